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
from vpbench.results.summary import MetricTally, Tally


@dataclass(frozen=True)
class ClipArrays:
    """Scores of each clip at each step. A clip's score is what the metric makes of the clip's own samples."""

    clips: tuple[str, ...]
    """The clips, in the order of the manifest."""
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
    steps = run.protocol.steps
    values = {name: _values(metric, tally.metrics[name], places, steps) for name, metric in metrics.items()}
    averages = {name for name, metric in metrics.items() if _is_average(metric, tally.metrics[name])}
    return ClipArrays(clips, steps, values, frozenset(averages))


def mean_difference_interval(
    first: ClipArrays, second: ClipArrays, metric: str, steps: Sequence[int], recordings: Mapping[str, str]
) -> tuple[float, float] | None:
    """Return the interval of the difference of two means over steps, of results of the same clips.

    For a metric of ``averages``, it is that of :func:`vpbench.results.compare.compare_means`, in a thousandth of the
    time (``benchmarks/report.py`` compares 60 results by 8 metrics).
    """
    columns = [first.steps.index(step) for step in steps]
    values = [clips.values[metric][:, columns] for clips in (first, second)]
    differences = (values[0] - values[1]).mean(axis=1)
    defined = np.flatnonzero(np.isfinite(differences))
    names, groups = np.unique([recordings[first.clips[place]] for place in defined], return_inverse=True)
    if len(names) < 2:
        return None
    weights, counts = _resamples(len(names)), np.bincount(groups).astype(np.float64)
    sums = weights @ np.bincount(groups, weights=differences[defined])
    equal = bool((counts == counts[0]).all())  # the usual case, in half the time
    return percentiles(sums / (counts[0] * len(names) if equal else weights @ counts))


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
    is_mean = _scores_means(metric)
    for column, step in enumerate(steps):
        frames = rows.steps.get(step, {})
        if is_mean:
            values[:, column] = _means(frames, places)
            continue
        by_clip: dict[str, list[Statistic]] = {}
        for clip, sample in sorted(frames):
            by_clip.setdefault(clip, []).append(frames[clip, sample])
        for clip, statistics in by_clip.items():
            values[places[clip], column] = finalise(metric, statistics)["score"]
    return values


def _means(frames: Mapping[tuple[str, int], Statistic], places: Mapping[str, int]) -> NDArray[np.float64]:
    """Return the mean of each clip's samples, [clips]; NaN without any."""
    rows = np.fromiter((places[clip] for clip, _ in frames), dtype=np.int64, count=len(frames))
    statistics = np.fromiter(frames.values(), dtype=np.float64, count=len(frames))
    counts = np.bincount(rows, minlength=len(places))
    sums = np.bincount(rows, weights=statistics, minlength=len(places))
    return np.asarray(np.divide(sums, counts, out=np.full(len(places), math.nan), where=counts > 0))
