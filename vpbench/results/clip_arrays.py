"""The scores of single clips of a result, as arrays: small enough to hold those of many results at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpbench.plugin.metric import MeanScore, Statistic, StepMetric
from vpbench.results.estimates import finalise
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
    values = {
        name: _values(metric, tally.metrics[name], places, run.protocol.steps) for name, metric in metrics.items()
    }
    return ClipArrays(clips, run.protocol.steps, values)


def _values(
    metric: StepMetric, rows: MetricTally, places: Mapping[str, int], steps: Sequence[int]
) -> NDArray[np.float64]:
    values = np.full((len(places), len(steps)), math.nan)
    is_mean = isinstance(metric, MeanScore) and type(metric).finalise is MeanScore.finalise
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
