"""Plan the evaluations of a suite: jobs that run together share the decoding; one that does not fit fails alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from vpbench.clips.probe import Probe
from vpbench.errors import DataError, UsageError, VpbenchError
from vpbench.evaluation.plan import Plan, Settings, make_plan
from vpbench.files import canonical
from vpbench.names import Selector
from vpbench.plugin.dataset import Dataset
from vpbench.plugin.loader import Plugins
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.suite import Job
from vpbench.select.component import Component, choose_predictor
from vpbench.select.data import open_protocol, open_protocol_dataset
from vpbench.select.options import Options

__all__ = ["FindWeights", "Planned", "group_jobs", "job_annotators", "job_options", "plan_group"]

FindWeights = Callable[[Job, Plugins, Settings], Path | None]
"""Finds the weights that training a job left; None if it is not trained yet."""
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


def plan_group(
    jobs: Sequence[Job], plugins: Plugins, settings: Settings, find_weights: FindWeights
) -> tuple[list[Planned], Failed]:
    """Plan a group of :func:`group_jobs` as far as that can be done: without those jobs that do not fit.

    Jobs that are given other annotations go apart, so that no result depends on what else is run.

    Args:
        jobs: the group.
        plugins: loaded plugins.
        settings: apply to every job; their options and annotators override a job's.
        find_weights: looks up the weights of a job that is trained.

    Returns:
        The plans, and the errors of the jobs that are in none.
    """
    try:
        protocol = open_protocol(plugins, jobs[0].protocol)
    except VpbenchError as error:
        return [], dict.fromkeys(jobs, error)
    chosen: dict[Job, Component] = {}
    failed: Failed = {}
    for job in jobs:
        try:
            chosen[job] = _choose(job, plugins, settings, find_weights)
        except VpbenchError as error:
            failed[job] = error
    try:
        dataset = open_protocol_dataset(plugins, protocol, settings.data_roots)
    except VpbenchError as error:
        return [], failed | dict.fromkeys(chosen, error)
    probe = Probe(protocol, dataset)
    parts: dict[str, dict[Job, Component]] = {}
    for job, one in chosen.items():
        wanted = {**job_annotators(job, one, protocol, dataset), **settings.annotate}
        parts.setdefault(canonical(wanted), {})[job] = one
    planned = []
    for wanted_text, part in parts.items():
        draws = next(iter(part))
        own = replace(settings, seed=draws.seed, samples=draws.samples, annotate=json.loads(wanted_text))
        done, problems = _plan(protocol, part, probe, plugins, own)
        planned += done
        failed |= problems
    return planned, failed


def _choose(job: Job, plugins: Plugins, settings: Settings, find_weights: FindWeights) -> Component:
    """Build a job's predictor.

    Raises:
        VpbenchError: as :func:`choose_predictor`; weights that are not there.
    """
    text, options = job_options(job, plugins, settings.options)
    name = job.entry.selector.name
    if job.entry.weights and not Path(options[name]["weights"]).is_file():
        raise DataError(f"weights of {job.label!r}: there is no file {options[name]['weights']}")
    if job.entry.train is not False and "weights" not in options[name]:
        weights = find_weights(job, plugins, settings)
        if weights is None:
            raise DataError(f"{job.label!r} is not trained yet: `vpbench train` with this suite and --out does it")
        options = {**options, name: {**options[name], "weights": str(weights)}}
    return choose_predictor(plugins, text, options)


def job_options(job: Job, plugins: Plugins, options: Options) -> tuple[str, Options]:
    """Return a job's predictor as after ``-m``, and options by name: the entry's, overridden by ``options``."""
    selector = job.entry.selector
    target = plugins.load("predictor", selector.name)
    values = job.entry.options | ({"weights": job.entry.weights} if job.entry.weights else {})
    option, argument = getattr(target, "argument", ""), selector.argument
    if option and argument and argument not in getattr(target, "presets", {}):
        argument = _anchored({option: argument}, target, job.folder)[option]
    values = {**_anchored(values, target, job.folder), **options.get(selector.name, {})}
    return str(Selector(selector.name, argument)), {**options, selector.name: values}


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


def job_annotators(job: Job, chosen: Component, protocol: Protocol, dataset: Dataset) -> dict[str, str]:
    """Return the annotators that a job names, and those for what the dataset lacks and the predictor requires."""
    lacking = set(chosen.info.requires) - set(dataset.info.context_modalities)
    return {m: name for m, name in {**job.annotate, **protocol.annotate}.items() if m in lacking} | job.entry.annotate


def _plan(
    protocol: Protocol, chosen: Mapping[Job, Component], probe: Probe, plugins: Plugins, settings: Settings
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
    fitting: dict[Job, Component] = {}
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
