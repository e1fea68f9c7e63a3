"""The scores of single clips of a result, as arrays: small enough to hold those of many results at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vpbench.plugin.metric import MeanScore, Statistic, StepMetric
from vpbench.results.estimates import draw_recordings, finalise, percentiles
from vpbench.results.records import RunRecord
from vpbench.results.tally import Column, MetricTally, Tally


@dataclass(frozen=True)
class ClipArrays:
    """Scores of each clip at each step. A clip's score is what the metric makes of the clip's own samples."""

    clips: tuple[str, ...]
    """The clips, in the order of the manifest."""
    recordings: NDArray[np.int64]
    """The number of each clip's recording, in the order of their names."""
    steps: tuple[int, ...]
    values: Mapping[str, NDArray[np.float64]]
    """By metric, [clips, steps]; NaN where a clip has no value."""
    averages: frozenset[str] = frozenset()
    """Metrics with scores that are means of the clips' scores."""

    def means(self, metric: str) -> NDArray[np.float64]:
        """Return the mean over the steps that a clip has a value at, [clips]; NaN without any."""
        values = self.values[metric]
        counts = np.isfinite(values).sum(axis=1)
        sums = np.nansum(values, axis=1)
        return np.asarray(np.divide(sums, counts, out=np.full(len(sums), math.nan), where=counts > 0))


def clip_arrays(tally: Tally, metrics: Mapping[str, StepMetric], run: RunRecord) -> ClipArrays:
    """Return the scores of every clip that has rows.

    Raises:
        MetricError: a metric makes no score of a clip's statistics.
    """
    clips = tuple(entry.clip for entry in run.manifest if entry.clip in tally.clips)
    places = {clip: place for place, clip in enumerate(clips)}
    names = list(map(run.recordings.__getitem__, clips))
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    recordings = np.array([numbers[name] for name in names], dtype=np.int64)
    steps = run.protocol.steps
    values = {name: _values(metric, tally.metrics[name], places, steps) for name, metric in metrics.items()}
    averages = {name for name, metric in metrics.items() if _is_average(metric, tally.metrics[name])}
    return ClipArrays(clips, recordings, steps, values, frozenset(averages))


def mean_difference_interval(
    first: ClipArrays, second: ClipArrays, metric: str, steps: Sequence[int]
) -> tuple[float, float] | None:
    """Return the interval of the difference of two means over steps, of results of the same clips.

    For a metric of ``averages``, it is that of :func:`vpbench.results.compare.compare_means`, in a thousandth of the
    time (``benchmarks/report.py`` compares 60 results by 8 metrics).
    """
    columns = [first.steps.index(step) for step in steps]
    values = [clips.values[metric][:, columns] for clips in (first, second)]
    differences = (values[0] - values[1]).mean(axis=1)
    defined = np.flatnonzero(np.isfinite(differences))
    numbers, groups = np.unique(first.recordings[defined], return_inverse=True)
    if len(numbers) < 2:
        return None
    weights, counts = _resamples(len(numbers)), np.bincount(groups).astype(np.float64)
    sums = weights @ np.bincount(groups, weights=differences[defined])
    equal = bool((counts == counts[0]).all())  # the usual case, in half the time
    return percentiles(sums / (counts[0] * len(numbers) if equal else weights @ counts))


@lru_cache(maxsize=2)
def _resamples(count: int) -> NDArray[np.float64]:
    """Return how often each resample draws each recording, [resamples, recordings]."""
    draws = (draw for block in draw_recordings(count) for draw in block)
    return np.array([np.bincount(draw, minlength=count) for draw in draws], dtype=np.float64)


def _is_average(metric: StepMetric, rows: MetricTally) -> bool:
    """Return whether a metric is a mean and every clip has as many samples as the others."""
    is_mean = isinstance(metric, MeanScore) and type(metric).resample is MeanScore.resample
    return is_mean and _scores_means(metric) and (not rows.undefined or rows.samples == 1)


def _scores_means(metric: StepMetric) -> bool:
    return isinstance(metric, MeanScore) and type(metric).finalise is MeanScore.finalise


def _values(
    metric: StepMetric, rows: MetricTally, places: Mapping[str, int], steps: Sequence[int]
) -> NDArray[np.float64]:
    values = np.full((len(places), len(steps)), math.nan)
    columns = [rows.column(step) for step in steps]
    shared = {frames: [places[clip] for clip in frames.clips] for frames in {column.frames for column in columns}}
    for index, column in enumerate(columns):
        scores = _means(column) if _scores_means(metric) else _scores(metric, column)
        values[shared[column.frames], index] = scores
    return values


def _means(column: Column) -> NDArray[np.float64]:
    """Return the mean of each clip's samples, [clips]."""
    numbers = column.frames.numbers
    return np.asarray(np.bincount(numbers, weights=column.to_array()) / np.bincount(numbers))


def _scores(metric: StepMetric, column: Column) -> list[float]:
    """Return what the metric makes of each clip's samples."""
    by_clip: dict[str, list[Statistic]] = {clip: [] for clip in column.frames.clips}
    for (clip, _), statistic in zip(column, column.statistics, strict=True):
        by_clip[clip].append(statistic)
    return [finalise(metric, statistics)["score"] for statistics in by_clip.values()]
