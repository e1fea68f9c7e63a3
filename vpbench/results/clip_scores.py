"""Scores of single clips: how often one result is better, by how much of their scatter, and on which clips it is worst.

A clip's score at a step is what the metric makes of all its frames there; over the steps, it is their mean.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from vpbench.plugin.metric import Better, Statistic, StepMetric, cost
from vpbench.results.estimates import finalise_each
from vpbench.results.tally import MetricTally

ClipScores: TypeAlias = Mapping[int, Mapping[str, float]]
"""Scores by step, then by clip; a clip without a score at a step is absent there."""
_SAME = 1e-12  # relative: gains that differ by their rounding alone


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

    clips: int
    win_rate: float | None
    """Share of the clips where the first is better, by the means over the steps; a tie counts half."""
    step_win_rates: tuple[float | None, ...]
    """The same at each step."""
    effect: float | None
    """Mean of the clips' gains, divided by their standard deviation (n - 1); positive if the first is better."""
    worst: tuple[ClipDifference, ...]
    """The clips where the first is worst compared with the second, worst first."""


def clip_scores(metric: StepMetric, rows: MetricTally, steps: Sequence[int]) -> dict[int, dict[str, float]]:
    """Return the scores of each clip at each step.

    Raises:
        MetricError: the metric makes no score of its statistics.
    """
    scores: dict[int, dict[str, float]] = {}
    for step in steps:
        frames: dict[str, list[Statistic]] = {}
        for (clip, _), statistic in sorted(rows.column(step).items(), key=lambda item: item[0]):
            frames.setdefault(clip, []).append(statistic)
        values = finalise_each(metric, frames.values())
        scores[step] = {clip: value for clip, value in zip(frames, values, strict=True) if math.isfinite(value)}
    return scores


def clip_means(scores: ClipScores) -> dict[str, float]:
    """Return the mean over its steps of each clip's scores."""
    values: dict[str, list[float]] = {}
    for step_scores in scores.values():
        for clip, score in step_scores.items():
            values.setdefault(clip, []).append(score)
    return {clip: math.fsum(clip_values) / len(clip_values) for clip, clip_values in sorted(values.items())}


def compare_clips(first: ClipScores, second: ClipScores, better: Better, worst: int = 5) -> ClipContest:
    """Compare two results clip by clip, at the steps where both have a score; name the ``worst`` clips."""
    clips = {step: first[step].keys() & second[step].keys() for step in first}
    sides = [
        clip_means({step: {clip: scores[step][clip] for clip in clips[step]} for step in clips})
        for scores in (first, second)
    ]
    pairs = [ClipDifference(clip, score, sides[1][clip]) for clip, score in sides[0].items()]
    gains = {pair: gain(pair.first, pair.second, better) for pair in pairs}
    losers = [pair for pair in pairs if gains[pair] < 0]
    return ClipContest(
        clips=len(pairs),
        win_rate=win_rate(gains.values()),
        step_win_rates=tuple(
            win_rate(gain(first[step][clip], second[step][clip], better) for clip in clips[step]) for step in clips
        ),
        effect=effect(list(gains.values())),
        worst=tuple(sorted(losers, key=lambda pair: (gains[pair], pair.clip))[:worst]),
    )


def gain(first: float, second: float, better: Better) -> float:
    """Return by how much the first score is better than the second; 0 if they differ by rounding alone."""
    if math.isclose(first, second, rel_tol=_SAME):
        return 0.0
    return cost(second, better) - cost(first, better)


def win_rate(gains: Iterable[float]) -> float | None:
    """Return the share of positive gains, where a gain of zero counts half; None without any gain."""
    wins = [1.0 if value > 0 else 0.5 if value == 0 else 0.0 for value in gains]
    return math.fsum(wins) / len(wins) if wins else None


def effect(gains: Sequence[float]) -> float | None:
    """Return the standardised paired effect of gains: Cohen's d_z, their mean by their standard deviation (n - 1).

    Returns:
        The effect; None for fewer than two gains, or for gains without any scatter.
    """
    if len(gains) < 2:
        return None
    mean, scatter = statistics.fmean(gains), statistics.stdev(gains)
    return mean / scatter if scatter > _SAME * abs(mean) else None
