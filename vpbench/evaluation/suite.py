"""Plan and evaluate the jobs of a suite: jobs that run together share the decoding, and each fails alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

from vpbench.clips.probe import Probe
from vpbench.errors import DataError, UsageError, VpbenchError
from vpbench.evaluation.cell import Cell, plan_cell
from vpbench.evaluation.isolation import Limits, isolate_predictor
from vpbench.evaluation.plan import Run, Settings, add_annotators, open_run
from vpbench.files import canonical
from vpbench.names import Selector
from vpbench.plugin.dataset import Dataset
from vpbench.plugin.loader import Plugins
from vpbench.plugin.members import Members, members_of
from vpbench.plugin.predictor import PredictorInfo
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.suite import Job
from vpbench.select.component import Component, choose_predictor
from vpbench.select.data import open_protocol, open_protocol_dataset
from vpbench.select.options import Options, check_used
from vpbench.select.shipped import with_shipped_weights

FindWeights = Callable[[Job, Plugins, Settings], Path | None]
"""Finds the weights that training a job left; None if it is not trained yet."""
Errors = dict[Job, VpbenchError]


class Choice(NamedTuple):
    """A predictor that a job asks for: the arguments of :func:`choose_predictor`."""

    text: str
    options: Options
    """By name, of every plugin object of the run."""

    def build(self, plugins: Plugins, settings: Settings, protocol: Protocol) -> Component:
        """Build the predictor (raises as :func:`choose_predictor`)."""
        if settings.isolated:
            limits = Limits(settings.timeout, settings.memory)
            return isolate_predictor(plugins, self.text, self.options, protocol, limits)
        return choose_predictor(plugins, self.text, self.options, protocol)


@dataclass(frozen=True)
class Group:
    """A run, and its cells by job."""

    run: Run
    cells: Mapping[Job, Cell]
    choices: Mapping[Job, Choice]
    """The predictors of the cells."""

    def split(self) -> list[Group]:
        """Return the same work, each job by itself."""
        return [Group(self.run, {job: cell}, {job: self.choices[job]}) for job, cell in self.cells.items()]


def group_jobs(jobs: Sequence[Job]) -> list[list[Job]]:
    """Divide jobs, in their order, into those of one protocol, seed and number of samples."""
    groups: dict[tuple[str, int, int], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.protocol, job.seed, job.samples), []).append(job)
    return list(groups.values())


def plan_group(
    jobs: Sequence[Job], plugins: Plugins, settings: Settings, find_weights: FindWeights
) -> tuple[list[Group], Errors]:
    """Plan the jobs of one group of :func:`group_jobs`; a job that does not fit fails alone.

    Jobs with other annotations run separately, so that no result depends on the other jobs.

    Args:
        jobs: the jobs.
        plugins: loaded plugins.
        settings: apply to every job; their options and annotators override a job's.
        find_weights: looks up the weights of a job that is trained.

    Returns:
        The planned groups, and the errors of all other jobs.
    """
    errors: Errors = {}
    choices: dict[Job, Choice] = {}
    components: dict[Job, Component] = {}
    runs: dict[str, list[Job]] = {}
    groups = []
    with _failing(errors, jobs):
        protocol = open_protocol(plugins, jobs[0].protocol)
        for job in jobs:
            with _failing(errors, [job]):
                choices[job] = _choose(job, protocol, plugins, settings, find_weights)
                components[job] = choices[job].build(plugins, settings, protocol)
        probe = Probe(protocol, open_protocol_dataset(plugins, protocol, settings.data_roots))
        for job, component in components.items():
            annotators = job_annotators(job, component.info, protocol, probe.dataset, plugins) | dict(settings.annotate)
            runs.setdefault(canonical(annotators), []).append(job)
        for annotators_text, members in runs.items():
            with _failing(errors, members):
                run_settings = replace(
                    settings, seed=jobs[0].seed, samples=jobs[0].samples, annotate=json.loads(annotators_text)
                )
                run = open_run(protocol, plugins, run_settings, probe)
                if cells := _plan_cells(run, {job: components[job] for job in members}, errors):
                    groups.append(Group(run, cells, {job: choices[job] for job in cells}))
    return groups, errors


def _plan_cells(run: Run, components: Mapping[Job, Component], errors: Errors) -> dict[Job, Cell]:
    cells: dict[Job, Cell] = {}
    for job, component in components.items():
        with _failing(errors, [job]):
            cell = plan_cell(run, component)
            if any(cell.folder == planned_cell.folder for planned_cell in cells.values()):
                raise UsageError(f"{cell.label!r} is asked for twice with the same options")
            cells[job] = cell
    return cells


@contextmanager
def _failing(errors: Errors, jobs: Iterable[Job]) -> Iterator[None]:
    """Let an error in the block be that of every job that has none yet."""
    try:
        yield
    except VpbenchError as error:
        for job in jobs:
            errors.setdefault(job, error)


def _choose(job: Job, protocol: Protocol, plugins: Plugins, settings: Settings, find_weights: FindWeights) -> Choice:
    """Choose a job's predictor, with its weights.

    Raises:
        VpbenchError: an unknown name, or its weights are missing.
    """
    text, options = job_options(job, plugins, settings.options)
    name = job.entry.selector.name
    if job.entry.weights and not Path(options[name]["weights"]).is_file():
        raise DataError(f"weights of {job.label!r}: there is no file {options[name]['weights']}")
    if job.entry.train is not False and "weights" not in options[name]:
        weights = find_weights(job, plugins, settings)
        if weights is None:
            raise DataError(f"{job.label!r} is not trained yet: train this suite first, with the same results folder")
        options = {**options, name: {**options[name], "weights": str(weights)}}
        text = _without_shipped(text, plugins)
    return Choice(with_shipped_weights(plugins, text, options, protocol.name), options)


def _without_shipped(text: str, plugins: Plugins) -> str:
    """Return a predictor without its preset if that names weights, which were the start of a training."""
    selector = Selector.parse(text)
    presets = members_of(plugins.load("predictor", selector.name), f"predictor {selector.name!r}").presets
    return selector.name if "weights" in presets.get(selector.argument, {}) else text


def job_options(job: Job, plugins: Plugins, options: Options) -> tuple[str, Options]:
    """Return a job's predictor as after ``-m``, and options by name: the entry's, overridden by ``options``."""
    selector = job.entry.selector
    members = members_of(plugins.load("predictor", selector.name), f"predictor {selector.name!r}")
    values = job.entry.options | ({"weights": job.entry.weights} if job.entry.weights else {})
    values = {**_anchored(values, members, job.folder), **options.get(selector.name, {})}
    return _anchored_text(selector, members, job.folder), {**options, selector.name: values}


def _anchored_text(selector: Selector, members: Members, folder: Path) -> str:
    """Return the selector's text; a relative path as its argument starts from ``folder``."""
    option, argument = members.argument, selector.argument
    if option and argument and argument not in members.presets:
        argument = _anchored({option: argument}, members, folder)[option]
    return str(Selector(selector.name, argument))


def _anchored(options: Mapping[str, Any], members: Members, folder: Path) -> dict[str, Any]:
    """Let relative paths among the options start from ``folder``."""
    fields = members.Options.model_fields if members.Options else {}
    paths = {name for name, field in fields.items() if Path in (field.annotation, *get_args(field.annotation))}
    return {
        name: str(folder / Path(value).expanduser())
        if name in {*paths, "weights"} and isinstance(value, str)
        else value
        for name, value in options.items()
    }


def job_annotators(
    job: Job, info: PredictorInfo, protocol: Protocol, dataset: Dataset, plugins: Plugins
) -> dict[str, str]:
    """Return the annotators that a job names, and the suite's and protocol's for what the predictor requires."""

    def anchored(text: str) -> str:
        selector = Selector.parse(text)
        members = members_of(plugins.load("annotator", selector.name), f"annotator {selector.name!r}")
        return _anchored_text(selector, members, job.folder)

    lacking = set(info.requires) - set(dataset.info.context_modalities)
    suite = {modality: anchored(text) for modality, text in job.annotate.items() if modality in lacking}
    entry = {modality: anchored(text) for modality, text in job.entry.annotate.items()}
    return suite | add_annotators(entry, info, protocol, dataset)


def check_options(jobs: Sequence[Job], plugins: Plugins, options: Options, annotate: Mapping[str, str]) -> None:
    """Check that every option belongs to a predictor or an annotator of these jobs, or to an annotator of ``annotate``.

    Raises:
        UsageError: names an option of another plugin object.
    """
    texts = list(annotate.values())
    for job in jobs:
        texts += [job.entry.name, *job.entry.annotate.values(), *job.annotate.values()]
    names = {Selector.parse(text).name for text in texts}
    if unused := set(options) - names:
        protocols = [open_protocol(plugins, name) for name in dict.fromkeys(job.protocol for job in jobs)]
        names |= {Selector.parse(text).name for protocol in protocols for text in protocol.annotate.values()}
        registered = {entry.name for kind in ("predictor", "annotator") for entry in plugins.of(kind)}
        check_used(options, names, "; add that predictor or annotator to the run" if unused & registered else "")
