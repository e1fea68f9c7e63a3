"""Scores of single clips: how often one result is better, by how much of their scatter, and on which clips it is worst.

A clip's score at a step is what the metric makes of all its frames there; over the steps, it is their mean.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vpbench.plugin.metric import Better, MeanScore, Statistic, StepMetric, cost
from vpbench.results.estimates import finalise_each
from vpbench.results.tally import Column, MetricTally

_SAME = 1e-12  # relative: gains that differ by their rounding alone


@dataclass(frozen=True, eq=False)
class ClipScores:
    """The scores of each clip at each step."""

    clips: tuple[str, ...]
    values: NDArray[np.float64]
    """[clips, steps]; NaN where a clip has no score."""

    @cached_property
    def means(self) -> NDArray[np.float64]:
        """The mean over the steps that a clip has a score at, [clips]; NaN without any."""
        if not np.isnan(self.values).any():
            return np.array([math.fsum(row) / len(row) for row in self.values.tolist()])
        rows = [row[~np.isnan(row)] for row in self.values]
        return np.array([math.fsum(row) / len(row) if len(row) else math.nan for row in rows])

    def by_clip(self) -> dict[str, float]:
        """Return the mean of each clip that has one."""
        return {clip: mean for clip, mean in zip(self.clips, self.means.tolist(), strict=True) if not math.isnan(mean)}

    def masked(self, chosen: NDArray[np.bool_]) -> ClipScores:
        """Return the scores where ``chosen``, [clips, steps], is true."""
        if np.array_equal(chosen, ~np.isnan(self.values)):
            return self  # with its means
        return ClipScores(self.clips, np.where(chosen, self.values, math.nan))


@dataclass(frozen=True)
class ClipDifference:
    """One clip's scores, each the mean over its steps."""

    clip: str
    first: float
    second: float

    @property
    def difference(self) -> float:
        """The first less the second."""
        return self.first - self.second


@dataclass(frozen=True)
class ClipContest:
    """Two results, clip by clip."""

    win_rate: float | None
    """Share of the clips where the first is better, by the means over the steps; a tie counts half."""
    step_win_rates: tuple[float | None, ...]
    """The same at each step."""
    effect: float | None
    """Mean of the clips' gains, divided by their standard deviation (n - 1); positive if the first is better."""
    worst: tuple[ClipDifference, ...]
    """The clips where the first is worst compared with the second, worst first."""


def clip_scores(metric: StepMetric, rows: MetricTally, clips: tuple[str, ...], steps: Sequence[int]) -> ClipScores:
    """Return the scores of clips: what the metric makes of a clip's own samples at each step.

    Raises:
        MetricError: the metric makes no score of its statistics.
    """
    places = {clip: place for place, clip in enumerate(clips)}
    columns = [rows.column(step) for step in steps]
    shared = {frames: [places[clip] for clip in frames.clips] for frames in {column.frames for column in columns}}
    values = np.full((len(clips), len(columns)), math.nan)
    for index, column in enumerate(columns):
        values[shared[column.frames], index] = _column_scores(metric, column)
    return ClipScores(clips, np.where(np.isfinite(values), values, math.nan))


def _column_scores(metric: StepMetric, column: Column) -> NDArray[np.float64]:
    """Return the score of each clip of a column, [clips]."""
    if scores_means(metric) and len(column.frames.clips) == len(column):  # the statistic is the score
        return column.to_array()
    by_clip: dict[str, list[Statistic]] = {clip: [] for clip in column.frames.clips}
    for (clip, _), statistic in zip(column, column.statistics, strict=True):
        by_clip[clip].append(statistic)
    return np.array(finalise_each(metric, by_clip.values()))


def scores_means(metric: StepMetric) -> bool:
    """Return whether a metric's score is the mean of its statistics."""
    return isinstance(metric, MeanScore) and type(metric).finalise is MeanScore.finalise


def compare_clips(first: ClipScores, second: ClipScores, better: Better, worst: int = 5) -> ClipContest:
    """Compare two results of the same clips, at the steps where both have a score; name the ``worst`` clips."""
    shared = np.isfinite(first.values) & np.isfinite(second.values)
    means = first.masked(shared).means, second.masked(shared).means
    gains = gain(*means, better)
    step_gains = gain(first.values, second.values, better)
    return ClipContest(
        win_rate=win_rate(gains),
        step_win_rates=tuple(win_rate(column) for column in step_gains.T),
        effect=effect(gains[np.isfinite(gains)].tolist()),
        worst=tuple(
            ClipDifference(first.clips[place], float(means[0][place]), float(means[1][place]))
            for place in sorted(np.flatnonzero(gains < 0), key=lambda place: (gains[place], first.clips[place]))[:worst]
        ),
    )


def gain(first: NDArray[np.float64], second: NDArray[np.float64], better: Better) -> NDArray[np.float64]:
    """Return by how much the first scores are better than the second; 0 if they differ by rounding alone."""
    same = np.abs(first - second) <= _SAME * np.maximum(np.abs(first), np.abs(second))
    return np.where(same, 0.0, cost(second, better) - cost(first, better))


def win_rate(gains: NDArray[np.float64]) -> float | None:
    """Return the share of positive gains, where a gain of zero counts half; None without any gain but NaN."""
    count = int(np.isfinite(gains).sum())
    return (int((gains > 0).sum()) + 0.5 * int((gains == 0).sum())) / count if count else None


def effect(gains: Sequence[float]) -> float | None:
    """Return the standardised paired effect of gains: Cohen's d_z, their mean by their standard deviation (n - 1).

    Returns:
        The effect; None for fewer than two gains, or for gains without any scatter.
    """
    if len(gains) < 2:
        return None
    mean, scatter = statistics.fmean(gains), statistics.stdev(gains)
    return mean / scatter if scatter > _SAME * abs(mean) else None
