"""Check a result against itself, its summary against its rows, and its record against the installed plugins."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpbench.errors import ResultError, VpbenchError
from vpbench.plugin.loader import Plugins
from vpbench.plugin.predictor import PredictorInfo
from vpbench.plugin.sample_metric import AnyMetric
from vpbench.results.audit import audited_rows, check_files, check_run
from vpbench.results.layouts import Layouts
from vpbench.results.reading import has_text
from vpbench.results.result import Result
from vpbench.results.scores import Score, SetScore, Summary
from vpbench.results.store import Store
from vpbench.results.summarise import metrics_of, other_code, summary_of, summary_text
from vpbench.results.tally import Tally

_VALUES = {"per_step", "mean_to", "mean", "details", "samples"}
"""Fields of a score that need the metric: without it, frames are only counted."""
_CLOSE = 1e-9  # relative: scores of the same rows on another machine
_CLOSE_SET = 1e-6  # relative: linear algebra rounds differently with another library or number of threads


def verify(store: Store, plugins: Plugins) -> str:
    """Check every file of a result, and compute the summary again; return in words what was checked.

    Raises:
        ResultError: names the first file that contradicts the others.
        UsageError: a metric is not installed.
    """
    _check_records(store, plugins)
    tally = Tally(audited_rows(store, exact=True))
    checked = f"{len(store.published())} of {store.units} units, each as published"
    path = store.folder / "summary.json"
    if not os.path.lexists(path):
        return f"{checked}; no summary"
    metrics = metrics_of(store, plugins)
    for name, metric in metrics.items():
        _check_direction(store, name, metric)
    computed = summary_of(store, tally, metrics)
    if computed.sets:
        stored = Result(store).summary
        _check_sets(stored, computed, path, unscored=())
        computed = computed.model_copy(update={"sets": stored.sets})
    if not has_text(path, summary_text(computed)):
        raise _unfounded(path)
    return f"{checked}; the summary follows from them"


@dataclass(frozen=True)
class Check:
    """A result that passed its checks, with what was read for them."""

    doubts: dict[str, str]
    """Why scores could not be computed again, by metric: they must be shown without a rank."""
    tally: Tally
    metrics: dict[str, AnyMetric | None]
    """The metrics that compute the stored scores of the rows; None for a doubtful one."""


def check_result(result: Result, plugins: Plugins, layouts: Layouts | None = None) -> Check:
    """Check a result before it is ranked or compared: as :func:`verify`, but intervals are not computed again.

    Args:
        result: the result.
        plugins: where metrics are looked up.
        layouts: shared by results that are checked one after another, which makes reading fast.

    Raises:
        ResultError: names the first file that contradicts the others.
    """
    store = result.store
    _check_records(store, plugins)
    tally = (layouts or Layouts()).tally(store)
    metrics: dict[str, AnyMetric | None] = {}
    doubts: dict[str, str] = {}
    for name in store.run.metrics:
        metrics[name], doubt = _metric(store, plugins, name)
        if metric := metrics[name]:
            _check_direction(store, name, metric)
        if doubt and not _reproduces(result, tally, name, metrics[name]):
            metrics[name], doubts[name] = None, doubt
    unscored = [name for name, metric in metrics.items() if metric is None]
    _check_scores(result, summary_of(store, tally, metrics, intervals=False), unscored)
    return Check(doubts, tally, metrics)


def _check_records(store: Store, plugins: Plugins) -> None:
    """Check everything but the rows and the summary."""
    check_run(store)
    check_files(store)
    store.check_claims()
    _check_predictor(store, plugins)
    if os.path.lexists(store.folder / "summary.json") and not store.published():
        raise ResultError(f"{store.folder} has a summary, but no rows: its units/ are missing; make the result again")


def _metric(store: Store, plugins: Plugins, name: str) -> tuple[AnyMetric | None, str]:
    """Return a metric, if it is installed, and why it may not be the one that a result was measured with."""
    try:
        return plugins.load("metric", name)("cpu"), other_code(store, plugins, name)
    except VpbenchError:
        return None, f"{name} is not installed: load its plugin"


def _reproduces(result: Result, tally: Tally, name: str, metric: AnyMetric | None) -> bool:
    """Return whether a metric makes the stored scores of the rows."""
    if metric is None:
        return False
    try:
        summary = summary_of(result.store, tally, {name: metric}, intervals=False)
    except VpbenchError:
        return False
    if name in summary.sets and name in result.summary.sets:
        return _same_set(summary.sets[name], result.summary.sets[name])
    computed, stored = summary.scores.get(name), result.summary.scores.get(name)
    if computed is None or stored is None:
        return computed is stored
    return _same_score(computed, stored)


def _check_direction(store: Store, name: str, metric: AnyMetric) -> None:
    """Check that the record ranks in the metric's direction."""
    recorded = store.run.metrics[name].better
    if recorded != metric.info.better:
        raise ResultError(
            f"{store.folder / 'run.json'} records better = {recorded!r} for {name}, but the metric declares "
            f"{metric.info.better!r}: make the result again"
        )


def _check_predictor(store: Store, plugins: Plugins) -> None:
    """Check the record of the predictor against the installed class of that name, if there is one."""
    run = store.run
    entry = plugins.entries.get(("predictor", run.predictor))
    try:
        target = None if entry is None else entry.load()
    except VpbenchError:
        return
    info = getattr(target, "info", None)
    problem = ""
    if isinstance(info, PredictorInfo) and run.sees_truth is not info.oracle:  # another kind of info needs an object
        problem = f"sees_truth is {run.sees_truth}, the installed predictor of that name says {info.oracle}"
    if entry and entry.trainer and not run.weights:
        problem = "the weights field is empty, but the installed predictor of that name is trained"
    if problem:
        raise ResultError(
            f"{store.folder / 'run.json'}, predictor {run.predictor!r}: {problem}; make the result again, or load "
            f"the plugin that made it"
        )


def _check_scores(result: Result, computed: Summary, unscored: Collection[str]) -> None:
    """Check that a summary follows from the rows; for ``unscored`` metrics, only counts are compared."""
    stored, path = result.summary, result.path / "summary.json"
    exclude = {"scores", "sets"}
    if not _same(computed.model_dump(exclude=exclude), stored.model_dump(exclude=exclude)):
        raise _unfounded(path)
    _check_sets(stored, computed, path, unscored)
    if stored.scores.keys() != computed.scores.keys():
        raise _unfounded(path)
    for name, score in stored.scores.items():
        turned = any(ends and ends[0] > ends[1] for ends in score.ci95)
        if turned or not _same_score(computed.scores[name], score):
            raise _unfounded(path, name)


def _check_sets(stored: Summary, computed: Summary, path: Path, unscored: Collection[str]) -> None:
    """Check that set scores follow from the rows; for ``unscored`` metrics, only counts are compared."""
    if stored.sets.keys() != computed.sets.keys():
        raise _unfounded(path)
    for name, score in computed.sets.items():
        if not _same_set(score, stored.sets[name], counts_only=name in unscored):
            raise _unfounded(path, name)


def _same_set(computed: SetScore, stored: SetScore, *, counts_only: bool = False) -> bool:
    skipped = {"score", "details", "caution"} if counts_only else {"caution"}
    return _same(computed.model_dump(exclude=skipped), stored.model_dump(exclude=skipped), _CLOSE_SET)


def _same_score(computed: Score, stored: Score) -> bool:
    """Return whether two scores are equal except for intervals; a score computed without a metric has only counts."""
    skipped = {"ci95"} if computed.per_step else {"ci95", *_VALUES}
    return _same(computed.model_dump(exclude=skipped), stored.model_dump(exclude=skipped))


def _unfounded(path: Path, metric: str = "") -> ResultError:
    score = f" ({metric})" if metric else ""
    return ResultError(f"{path} does not follow from the rows{score}: `vpbench merge {path.parent}` computes it again")


def _same(expected: Any, stored: Any, close: float = _CLOSE) -> bool:
    """Return whether two values of a record are equal, up to the rounding of floats."""
    if isinstance(expected, float) and type(stored) in (int, float):
        return math.isclose(expected, stored, rel_tol=close, abs_tol=1e-300)
    if type(expected) is not type(stored):
        return False
    if isinstance(expected, dict):
        if expected.keys() != stored.keys():
            return False
        return all(_same(value, stored[key], close) for key, value in expected.items())
    if isinstance(expected, tuple):
        return len(expected) == len(stored) and all(_same(*pair, close) for pair in zip(expected, stored, strict=True))
    return bool(expected == stored)
