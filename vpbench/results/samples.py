"""Best, worst and spread over the samples of a stochastic predictor. Best and worst choose by the truth."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from vpbench.plugin.metric import MeanScore, Statistic, StepMetric, cost
from vpbench.results.estimates import finalise
from vpbench.results.scores import SampleCurve, SampleScores

Values: TypeAlias = dict[int, list[float]]
"""The score of each sample of a clip, by step; only steps at which every sample has one."""


def score_samples(
    metric: StepMetric,
    frames: Mapping[int, Mapping[tuple[str, int], Statistic]],
    steps: Sequence[int],
    samples: int,
    *,
    cumulative: bool,
) -> SampleScores:
    """Return the scores of the best and the worst sample of each clip, and the spread.

    The best sample of a clip is chosen by the mean over its steps, as SVG does, or at each step separately.

    Args:
        metric: makes the scores.
        frames: defined statistics by step, then by (clip, sample).
        steps: the scored steps.
        samples: predictions per clip.
        cumulative: whether a mean over steps is defined.

    Raises:
        MetricError: the metric makes no score of its statistics.
    """
    clips = values_by_clip(frames, samples, partial(_frame_score, metric))

    def curve(choices: Mapping[int, Mapping[str, int]]) -> SampleCurve:
        scores = []
        for step in steps:
            chosen = choices.get(step, {})
            scores.append(finalise(metric, [frames[step][clip, chosen[clip]] for clip in sorted(chosen)])["score"])
        return sample_curve(scores, cumulative=cumulative)

    spreads = [
        [statistics.stdev(values[step]) for _, values in sorted(clips.items()) if step in values] for step in steps
    ]
    return SampleScores(
        count=samples,
        clips=len(clips),
        best=curve(_choose(metric, clips)),
        worst=curve(_choose(metric, clips, sign=-1)),
        best_per_step=curve(_choose(metric, clips, per_step=True)),
        spread=sample_curve(
            [math.fsum(spread) / len(spread) if spread else math.nan for spread in spreads], cumulative=cumulative
        ),
    )


def values_by_clip(
    frames: Mapping[int, Mapping[tuple[str, int], Statistic]], samples: int, score: Callable[[Statistic], float]
) -> dict[str, Values]:
    """Return the scores of the samples of each clip, at the steps where all of them have a finite one.

    Args:
        frames: defined statistics by step, then by (clip, sample).
        samples: predictions per clip.
        score: makes the score of one statistic.
    """
    clips: dict[str, Values] = defaultdict(dict)
    for step in sorted(frames):
        for clip in sorted({clip for clip, _ in frames[step]}):
            keys = [(clip, sample) for sample in range(samples)]
            if not all(key in frames[step] for key in keys):
                continue
            values = [score(frames[step][key]) for key in keys]
            if all(map(math.isfinite, values)):
                clips[clip][step] = values
    return dict(clips)


def _frame_score(metric: StepMetric, statistic: Statistic) -> float:
    if isinstance(metric, MeanScore) and type(metric).finalise is MeanScore.finalise:
        return float(statistic)  # type: ignore[arg-type]
    return finalise(metric, [statistic])["score"]


def sample_means(values: Values) -> list[float]:
    """Return the mean over the steps of each sample of a clip."""
    return [math.fsum(column) / len(column) for column in zip(*values.values(), strict=True)]


def _choose(
    metric: StepMetric, clips: Mapping[str, Values], *, sign: int = 1, per_step: bool = False
) -> dict[int, dict[str, int]]:
    """Return the chosen sample by step and clip; of equal samples, the first. A negative ``sign`` chooses the worst."""
    choices: dict[int, dict[str, int]] = defaultdict(dict)
    for clip, values in clips.items():
        means = sample_means(values)
        for step, scores in values.items():
            costs = [sign * cost(score, metric.info.better) for score in (scores if per_step else means)]
            choices[step][clip] = costs.index(min(costs))
    return choices


def sample_curve(scores: Sequence[float], *, cumulative: bool) -> SampleCurve:
    """Return the scores of the steps, NaN as None, with their mean if it is defined."""
    per_step = tuple(score if math.isfinite(score) else None for score in scores)
    total = math.fsum(scores) / len(scores) if cumulative and all(map(math.isfinite, scores)) else None
    return SampleCurve(per_step=per_step, mean=total)
