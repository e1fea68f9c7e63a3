"""From a suite's jobs to plans: what can be done together shares the decoding, what does not fit stands aside.

Where an entry is trained, its weights are those that ``vpbench train`` left for just this training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from vpbench.clips.probe import Probe
from vpbench.errors import DataError, UsageError, VpbenchError
from vpbench.evaluation.plan import Plan, Settings, make_plan
from vpbench.files import RECORD, canonical, parse_json, read_text
from vpbench.plugin.dataset import Dataset
from vpbench.plugin.loader import Plugins
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.suite import Job
from vpbench.select.choose import Chosen, Options, choose_predictor, open_protocol, open_protocol_dataset
from vpbench.training.plan import TrainingPlan, TrainSettings, make_training_plan

__all__ = ["Planned", "find_weights", "group_jobs", "plan_group", "plan_training"]

Failed = dict[Job, VpbenchError]


@dataclass(frozen=True)
class Planned:
    """A plan, its settings, and the jobs that its cells are, in their order."""

    plan: Plan
    settings: Settings
    jobs: Sequence[Job]

    def apart(self) -> list[Planned]:
        """Return the same work, each job by itself."""
        cells = zip(self.plan.cells, self.jobs, strict=True)
        return [Planned(replace(self.plan, cells=[cell]), self.settings, [job]) for cell, job in cells]


def group_jobs(jobs: Sequence[Job]) -> list[list[Job]]:
    """Divide jobs, in their order, into those of one protocol, seed and number of samples."""
    groups: dict[tuple[str, int, int], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.protocol, job.seed, job.samples), []).append(job)
    return list(groups.values())


def plan_group(jobs: Sequence[Job], plugins: Plugins, settings: Settings) -> tuple[list[Planned], Failed]:
    """Plan a group of :func:`group_jobs` as far as that can be done: without those jobs that do not fit.

    Jobs that are given other annotations go apart, so that no result depends on what else is run.

    Args:
        jobs: the group.
        plugins: loaded plugins.
        settings: what holds for every job; its options and annotators go before a job's own.

    Returns:
        The plans, and the errors of the jobs that are in none.
    """
    try:
        protocol = open_protocol(plugins, jobs[0].protocol)
    except VpbenchError as error:
        return [], dict.fromkeys(jobs, error)
    chosen: dict[Job, Chosen] = {}
    failed: Failed = {}
    for job in jobs:
        try:
            chosen[job] = _choose(job, plugins, settings)
        except VpbenchError as error:
            failed[job] = error
    try:
        dataset = open_protocol_dataset(plugins, protocol, settings.data_roots)
    except VpbenchError as error:
        return [], failed | dict.fromkeys(chosen, error)
    probe = Probe(protocol, dataset)
    parts: dict[str, dict[Job, Chosen]] = {}
    for job, one in chosen.items():
        wanted = {**_annotators(job, one, protocol, dataset), **settings.annotate}
        parts.setdefault(canonical(wanted), {})[job] = one
    planned = []
    for wanted_text, part in parts.items():
        draws = next(iter(part))
        own = replace(settings, seed=draws.seed, samples=draws.samples, annotate=json.loads(wanted_text))
        done, problems = _plan(protocol, part, probe, plugins, own)
        planned += done
        failed |= problems
    return planned, failed


def plan_training(job: Job, plugins: Plugins, settings: TrainSettings) -> TrainingPlan:
    """Plan the training of a job whose entry is trained; what the settings say goes before what the entry says.

    Raises:
        VpbenchError: as :func:`make_training_plan`; Lightning is not installed.
    """
    text, given = _named(job, plugins, settings.options)
    protocol = open_protocol(plugins, job.protocol)
    dataset = open_protocol_dataset(plugins, protocol, settings.data_roots)
    chosen = choose_predictor(plugins, text, given)
    recipe = job.entry.train if isinstance(job.entry.train, dict) else {}
    own = replace(
        settings,
        options={**settings.options, **given},
        annotate={**_annotators(job, chosen, protocol, dataset), **settings.annotate},
        recipe=recipe,
        seed=job.seed,
    )
    try:
        return make_training_plan(protocol, text, plugins, own)
    except ModuleNotFoundError as error:
        raise VpbenchError(
            f"{job.label!r} is trained, which needs {error.name}: pip install 'vpbench[train]'"
        ) from error


def find_weights(plan: TrainingPlan) -> Path | None:
    """Return the weights that this training left, on whatever devices it ran and by whatever metric they were kept.

    Raises:
        DataError: several did.
    """
    found = []
    for file in sorted(plan.folder.parent.glob("*/weights.safetensors")):
        try:
            there = parse_json(read_text(file.parent / "training.json", RECORD))
        except (OSError, ValueError):
            continue  # not of a training of ours, or spoiled: nothing tells what it is
        if isinstance(there, dict) and _trained(there) == _trained(plan.identity):
            found.append(file)
    if len(found) > 1:
        raise DataError(f"trained more than once: name one of {', '.join(map(str, found))} as the entry's weights")
    return found[0] if found else None


def _trained(identity: Mapping[str, Any]) -> str:
    return canonical(
        {key: value for key, value in identity.items() if key not in ("world", "validation", "keep", "code")}
    )


def _choose(job: Job, plugins: Plugins, settings: Settings) -> Chosen:
    """Build a job's predictor.

    Raises:
        VpbenchError: as :func:`choose_predictor`; weights that are not there.
    """
    text, given = _named(job, plugins, settings.options)
    ((name, own),) = given.items()
    if job.entry.weights and not Path(own["weights"]).is_file():
        raise DataError(f"weights of {job.label!r}: there is no file {own['weights']}")
    if job.entry.train is not False and "weights" not in own:
        training = TrainSettings(
            out=settings.out, data_roots=settings.data_roots, options=settings.options, annotate=settings.annotate
        )
        weights = find_weights(plan_training(job, plugins, training))
        if weights is None:
            raise DataError(f"{job.label!r} is not trained yet: `vpbench train` with this suite and --out does it")
        own["weights"] = str(weights)
    return choose_predictor(plugins, text, {name: own})


def _named(job: Job, plugins: Plugins, options: Options) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return a job's predictor as after ``-m``, and its options by its name; ``options`` go before the entry's."""
    name, _, argument = job.entry.name.partition(":")
    target = plugins.load("predictor", name)
    given = job.entry.options | ({"weights": job.entry.weights} if job.entry.weights else {})
    takes = getattr(target, "argument", "")
    if takes and argument and argument not in getattr(target, "presets", {}):
        argument = _anchored({takes: argument}, target, job.folder)[takes]
    own = {**_anchored(given, target, job.folder), **options.get(name, {})}
    return f"{name}:{argument}" if argument else name, {name: own}


def _anchored(options: Mapping[str, Any], target: Any, folder: Path) -> dict[str, Any]:
    """Let those options that are paths start from ``folder``, where they are relative."""
    fields = target.Options.model_fields if hasattr(target, "Options") else {}
    paths = {name for name, field in fields.items() if Path in (field.annotation, *get_args(field.annotation))}
    return {
        name: str(folder / Path(value).expanduser())
        if name in {*paths, "weights"} and isinstance(value, str)
        else value
        for name, value in options.items()
    }


def _annotators(job: Job, chosen: Chosen, protocol: Protocol, dataset: Dataset) -> dict[str, str]:
    """Return the annotators that a job names, and those for what the dataset lacks and the predictor requires."""
    lacking = set(chosen.info.requires) - set(dataset.info.context_modalities)
    return {m: name for m, name in {**job.annotate, **protocol.annotate}.items() if m in lacking} | job.entry.annotate


def _plan(
    protocol: Protocol, chosen: Mapping[Job, Chosen], probe: Probe, plugins: Plugins, settings: Settings
) -> tuple[list[Planned], Failed]:
    try:
        plan = make_plan(protocol, list(chosen.values()), plugins, settings, probe)
        return [Planned(plan, settings, list(chosen))], {}
    except VpbenchError:
        pass  # whose is it: everybody's, or that of some?
    try:
        make_plan(protocol, [], plugins, settings, probe)
    except VpbenchError as error:
        return [], dict.fromkeys(chosen, error)
    fitting: dict[Job, Chosen] = {}
    failed: Failed = {}
    folders: set[Path] = set()
    for job, one in chosen.items():
        try:
            (cell,) = make_plan(protocol, [one], plugins, settings, probe).cells
            if cell.folder in folders:
                raise UsageError(f"{cell.label!r} is asked for twice with the same options")
            folders.add(cell.folder)
            fitting[job] = one
        except VpbenchError as error:
            failed[job] = error
    if not fitting:
        return [], failed
    plan = make_plan(protocol, list(fitting.values()), plugins, settings, probe)
    return [Planned(plan, settings, list(fitting))], failed
