"""Run some clips of a result again with the recorded predictor, and compare their rows with the published ones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from vpbench.clips.probe import Probe
from vpbench.errors import DataError, Remedy, ResultError, VpbenchError
from vpbench.evaluation.cell import plan_cell
from vpbench.evaluation.evaluate import run_cells
from vpbench.evaluation.loop import Progress
from vpbench.evaluation.plan import Run, Settings, open_run
from vpbench.evaluation.prediction import evaluation_mode
from vpbench.evaluation.recorded import recorded_annotators, recorded_predictor
from vpbench.plugin.loader import Plugins
from vpbench.protocol.units import UNIT_CLIPS
from vpbench.results.agreement import TOLERANCE, difference, scale
from vpbench.results.records import RunRecord
from vpbench.results.result import Result
from vpbench.results.rows import Row
from vpbench.results.store import Store
from vpbench.results.summarise import other_code
from vpbench.select.component import Component
from vpbench.select.data import open_protocol_dataset

RowKey: TypeAlias = tuple[str, int, int, str]
"""Clip, sample, step, metric."""


@dataclass(frozen=True)
class MetricDifference:
    """The rows of one metric in both runs."""

    metric: str
    rows: int
    equal: int
    """Rows with the same bits."""
    largest: float
    """Largest absolute difference of a value; infinite if only one of the two is defined."""
    worst: str
    """The clip with the largest difference."""
    beyond: int
    """Rows that differ by more than the tolerance."""


@dataclass(frozen=True)
class Reproduction:
    """The outcome of running some clips again."""

    clips: tuple[str, ...]
    tolerance: float
    metrics: tuple[MetricDifference, ...]
    skipped: Mapping[str, str]
    """Why metrics were not compared, by name."""
    remarks: tuple[str, ...]
    """Facts that explain a difference."""

    @property
    def succeeded(self) -> bool:
        """True if every compared row is within the tolerance."""
        return not any(metric.beyond for metric in self.metrics)


def reproduce(
    result: Result,
    plugins: Plugins,
    settings: Settings,
    *,
    clips: int,
    offset: int = 0,
    tolerance: float = TOLERANCE,
    progress: Progress | None = None,
) -> Reproduction:
    """Run clips of a result again, spread evenly over its list, and compare every row.

    Args:
        result: the result.
        plugins: loaded plugins.
        settings: ``data_roots``, ``options`` (the weights), ``device``, ``batch_size``, ``workers`` and ``engine`` are
            used; the record decides everything else.
        clips: number of clips.
        offset: places by which the choice moves along the list: a forger cannot foresee a random one.
        tolerance: how far a row may differ: absolute for values up to 1, relative above.
        progress: called with (clips done, clips to do).

    Raises:
        ResultError: weights are not the recorded ones, or no metric can be compared.
        DataError: clips are missing, or hold other pixels than those that were scored.
        VpbenchError: the predictor is not installed, or fails.
    """
    ids = [result.run.manifest[place].clip for place in _spread(result.store, clips, offset)]
    return reproduce_clips(result, plugins, settings, ids, tolerance=tolerance, progress=progress)


def reproduce_clips(
    result: Result,
    plugins: Plugins,
    settings: Settings,
    ids: Sequence[str],
    *,
    tolerance: float = TOLERANCE,
    progress: Progress | None = None,
) -> Reproduction:
    """Run these clips of a result again, and compare every row (arguments and errors as :func:`reproduce`)."""
    run, store = result.run, result.store
    store.check_claims()
    names, skipped = _comparable(store, plugins)
    if not names:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise ResultError(f"{result.path}: no metric can be compared ({reasons})")
    component = recorded_predictor(run, plugins, settings.options)
    with tempfile.TemporaryDirectory(prefix="vpbench-") as folder:
        repeated = _run_again(
            run, plugins, replace(settings, out=Path(folder), metrics=names), component, ids, progress
        )
        second = _by_key(repeated.rows(), names, ids)
    places = {entry.clip: place for place, entry in enumerate(run.manifest)}
    units = dict.fromkeys(places[clip] // UNIT_CLIPS for clip in ids)
    first = _by_key((row for unit in units for row in store.unit_rows(unit)), names, ids)
    _check_data(first, second, run)
    metrics = tuple(_compare(name, first, second, tolerance) for name in names)
    return Reproduction(tuple(ids), tolerance, metrics, skipped, tuple(_remarks(run, component)))


def _comparable(store: Store, plugins: Plugins) -> tuple[list[str], dict[str, str]]:
    """Return the metrics that can be compared clip by clip, and why others cannot."""
    skipped: dict[str, str] = {}
    for name, metric in store.run.metrics.items():
        try:
            reason = "it has one score of all clips" if metric.kind == "set" else other_code(store, plugins, name)
        except VpbenchError:
            reason = "it is not installed"
        if reason:
            skipped[name] = reason
    return [name for name in store.run.metrics if name not in skipped], skipped


def _spread(store: Store, clips: int, offset: int) -> list[int]:
    """Return the places of ``clips`` clips in the manifest, spread evenly over those that are published."""
    published = set(store.published())
    places = [place for place in range(len(store.run.manifest)) if place // UNIT_CLIPS in published]
    if not places:
        raise ResultError(f"{store.folder} has no published clips")
    count = min(clips, len(places))
    return sorted(places[(i * len(places) // count + offset) % len(places)] for i in range(count))


def _run_again(
    run: RunRecord,
    plugins: Plugins,
    settings: Settings,
    component: Component,
    ids: Sequence[str],
    progress: Progress | None,
) -> Result:
    annotators, annotator_options = recorded_annotators(run)
    settings = replace(
        settings,
        options={**annotator_options, **settings.options},
        annotate=annotators,
        samples=run.identity.samples,
        seed=run.identity.seed,
        shard="0/1",
        allow_partial=bool(run.partial),
    )
    probe = Probe(run.protocol, open_protocol_dataset(plugins, run.protocol, settings.data_roots))
    with evaluation_mode(component.name, component.value):
        narrowed = _narrowed(open_run(run.protocol, plugins, settings, probe), ids)
        ((_, result, error),) = run_cells(narrowed, [plan_cell(narrowed, component)], progress)
    if error is not None:
        raise error
    assert result is not None
    return result


def _narrowed(run: Run, ids: Sequence[str]) -> Run:
    """Return a run of some clips only.

    Raises:
        DataError: the data lack a clip.
    """
    refs = {ref.id: ref for ref in run.manifest.clips}
    if missing := [clip for clip in ids if clip not in refs]:
        name = run.protocol.dataset.name
        raise DataError(f"the data have no clip {missing[0]!r}; complete them", Remedy.DATA_ROOT, name)
    clips = tuple(refs[clip] for clip in ids)
    return replace(run, manifest=replace(run.manifest, clips=clips, partial="clips that are run again"))


def _by_key(rows: Iterable[Row], names: Sequence[str], ids: Sequence[str]) -> dict[RowKey, Row]:
    metrics, clips = set(names), set(ids)
    return {
        (row["clip"], row.get("sample", 0), row["step"], row["metric"]): row
        for row in rows
        if row["metric"] in metrics and row["clip"] in clips
    }


def _check_data(first: Mapping[RowKey, Row], second: Mapping[RowKey, Row], run: RunRecord) -> None:
    if first.keys() != second.keys():
        raise ResultError(f"{run.label}: the run has other steps or samples than its record; run it again")
    differing = next((key for key, row in first.items() if row["data"] != second[key]["data"]), None)
    if differing is not None:
        raise DataError(
            f"clip {differing[0]!r}: these are other pixels than those that {differing[3]} scored; name the data "
            f"that the result was made with",
            Remedy.DATA_ROOT,
            run.protocol.dataset.name,
        )


def _compare(
    name: str, first: Mapping[RowKey, Row], second: Mapping[RowKey, Row], tolerance: float
) -> MetricDifference:
    keys = [key for key in first if key[3] == name]
    pairs = {key: (first[key]["value"], second[key]["value"]) for key in keys}
    differences = {key: difference(*pair) for key, pair in pairs.items()}
    worst = max(keys, key=lambda key: differences[key])
    return MetricDifference(
        metric=name,
        rows=len(keys),
        equal=sum(before == after for before, after in pairs.values()),
        largest=differences[worst],
        worst=worst[0],
        beyond=sum(differences[key] > tolerance * scale(pairs[key][0]) for key in keys),
    )


def _remarks(run: RunRecord, component: Component) -> Iterable[str]:
    if component.fingerprint != run.identity.fingerprint:
        yield f"the code or the values of {run.label} differ from the recorded ones"
