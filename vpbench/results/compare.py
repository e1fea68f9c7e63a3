"""Two results on the same clips: paired differences per step, with intervals and p-values.

The difficulty of a recording decides most of its score. So differences are paired by recording. The interval resamples
the recordings; the test exchanges the two results' predictions of a recording.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from vpbench.errors import ResultError, did_you_mean
from vpbench.plugin.metric import Better, Statistic, StepMetric, cost
from vpbench.plugin.set_metric import SetMetric
from vpbench.results.estimates import Recordings, difference_interval, finalise, group_frames, p_value
from vpbench.results.result import Result
from vpbench.results.summary import MetricTally, Tally

Frames: TypeAlias = dict[tuple[str, int], Statistic]
"""Defined statistics of one step by (clip, sample)."""


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
class MeanDifference:
    """The means over the steps of two results, on the clips that both have a value for at every step."""

    first: float | None
    second: float | None
    difference: float | None
    """The first less the second; None where one is undefined."""
    ci95: tuple[float, float] | None
    """95 % percentile interval of the difference, as that of a step."""


@dataclass(frozen=True)
class Comparison:
    """One metric of two results, per step. Differences are the first less the second; None where undefined."""

    metric: str
    better: Better
    steps: tuple[int, ...]
    first: tuple[float | None, ...]
    second: tuple[float | None, ...]
    difference: tuple[float | None, ...]
    ci95: tuple[tuple[float, float] | None, ...]
    """95 % percentile interval of the difference over resamples of recordings, drawn for both alike."""
    p: tuple[float | None, ...]
    """Two-sided: how often the difference is as large when a recording's two predictions are exchanged at random."""
    mean: MeanDifference
    clips: int
    recordings: int
    """Independent recordings that the clips were cut from: what the interval and the test resample."""
    undefined: Mapping[str, int]
    """Frames that either has no value for, by reason. A clip without any in one is left out of both at that step."""
    worst: tuple[ClipDifference, ...]
    """The clips where the first is worst compared with the second, worst first."""


@dataclass(frozen=True)
class SetDifference:
    """A set metric of two results: without interval and p-value, since resampling shifts a biased estimator."""

    metric: str
    better: Better
    first: float | None
    second: float | None
    difference: float | None
    """The first less the second; None where one is undefined."""
    clips: int
    samples: tuple[int, int]
    """Predictions of each clip, of the first and of the second."""


def compare_sets(first: Result, second: Result, metric: SetMetric) -> SetDifference:
    """Compare a set score of two results that passed :func:`check_comparable`."""
    name = metric.info.name
    scores = first.summary.sets[name], second.summary.sets[name]
    return SetDifference(
        metric=name,
        better=metric.info.better,
        first=scores[0].score,
        second=scores[1].score,
        difference=_difference(scores[0].score, scores[1].score),
        clips=scores[0].clips,
        samples=(scores[0].samples, scores[1].samples),
    )


def check_comparable(first: Result, second: Result) -> str:
    """Check that two results are of the same protocol and clips; return why they are partial ("" if they are not).

    Raises:
        ResultError: they are not.
    """
    identities = first.run.identity, second.run.identity
    protocols = [f"{result.run.protocol.name} v{result.run.protocol.version}" for result in (first, second)]
    problem = ""
    if identities[0].protocol != identities[1].protocol:
        problem = " and ".join(protocols)
    elif identities[0].manifest != identities[1].manifest:
        problem = "the same protocol, but of other clips"
    if problem:
        raise ResultError(
            f"{first.path} and {second.path} cannot be compared: they are of {problem}; run both on the same clips"
        )
    return "; ".join(dict.fromkeys(r.summary.partial_reason for r in (first, second) if r.summary.partial))


def shared_metrics(first: Result, second: Result, metric: str | None) -> list[str]:
    """Return the metrics to compare: ``metric``, else every metric that both results have scores of.

    Raises:
        ResultError: one of them lacks it, they measured it with different revisions or code, or they share none.
    """
    for result in (first, second) if metric else ():
        if metric and metric not in result.summary.measured:
            reason = result.summary.skipped.get(metric)
            hint = f": {reason}" if reason else did_you_mean(metric, result.summary.measured)
            raise ResultError(f"{result.path} has no {metric}{hint}")
    names = [metric] if metric else [n for n in first.summary.measured if n in second.summary.measured]
    if not names:
        raise ResultError(f"{first.path} and {second.path} share no metric")
    for name in names:
        revisions = [result.run.metrics[name].revision for result in (first, second)]
        if revisions[0] != revisions[1]:
            raise ResultError(
                f"{first.path} and {second.path}: {name} was measured with revisions {revisions[0]} and "
                f"{revisions[1]}; run the older one again"
            )
        if first.metric_code(name) != second.metric_code(name):
            raise ResultError(
                f"{first.path} and {second.path}: {name} was measured with different code under one revision; run "
                f"both again with the same plugin"
            )
    return names


def check_data(first: Result, second: Result, tallies: tuple[Tally, Tally], metrics: Sequence[str]) -> str:
    """Check that both results scored the same data; return how the predictors' other inputs differ ("" if they do not).

    Raises:
        ResultError: the digest of what was scored differs for a clip; names the metric and the clip.
    """
    for metric in metrics:
        data = [tally.metrics[metric].data for tally in tallies]
        if clips := sorted(clip for clip in data[0].keys() & data[1].keys() if data[0][clip] != data[1][clip]):
            raise ResultError(
                f"{first.path} and {second.path} cannot be compared: {metric} scored other data, for example other "
                f"frames of clip {clips[0]!r}; run both on the same data root with the same decoder"
            )
    contexts = [tally.context for tally in tallies]
    if contexts[0] == contexts[1]:
        return ""
    if all(contexts):
        return "the predictors were shown different inputs besides frames (labels, flow)"
    informed = first if contexts[0] else second
    return f"{informed.label} alone was shown more than frames (labels, flow)"


def compare_rows(
    tallies: tuple[Tally, Tally],
    metric: StepMetric,
    steps: Sequence[int],
    recordings: Mapping[str, str],
    worst: int = 5,
) -> Comparison:
    """Compare the rows of two results, of the same clips, by one metric; name the ``worst`` clips.

    Raises:
        ResultError: the rows are not of the same clips.
        MetricError: the metric makes no score of its statistics.
    """
    name = metric.info.name
    rows = tallies[0].metrics[name], tallies[1].metrics[name]
    pairs = _pairs(rows, steps)
    groups = [(group_frames(first, recordings), group_frames(second, recordings)) for first, second in pairs]
    first, second = ([_score(metric, group[side]) for group in groups] for side in (0, 1))
    clips = {clip for frames, _ in pairs for clip, _ in frames}
    return Comparison(
        metric=name,
        better=metric.info.better,
        steps=tuple(steps),
        first=tuple(first),
        second=tuple(second),
        difference=tuple(map(_difference, first, second)),
        ci95=tuple(difference_interval(metric, [a], [b]) for a, b in groups),
        p=tuple(p_value(metric, *group) for group in groups),
        mean=_compare_means(metric, pairs, recordings),
        clips=len(clips),
        recordings=len({recordings[clip] for clip in clips}),
        undefined=dict(sorted(Counter((rows[1].undefined | rows[0].undefined).values()).items())),
        worst=_worst(metric, pairs)[:worst],
    )


def compare_means(
    tallies: tuple[Tally, Tally], metric: StepMetric, steps: Sequence[int], recordings: Mapping[str, str]
) -> MeanDifference:
    """Compare the means over some steps of two results (raises as :func:`compare_rows`)."""
    rows = tallies[0].metrics[metric.info.name], tallies[1].metrics[metric.info.name]
    return _compare_means(metric, _pairs(rows, steps), recordings)


def _compare_means(
    metric: StepMetric, pairs: Sequence[tuple[Frames, Frames]], recordings: Mapping[str, str]
) -> MeanDifference:
    clips = set.intersection(*({clip for clip, _ in frames} for frames, _ in pairs))
    sides = [[group_frames(_of_clips(pair[side], clips), recordings) for pair in pairs] for side in (0, 1)]
    first, second = (_mean([_score(metric, groups) for groups in side]) for side in sides)
    return MeanDifference(first, second, _difference(first, second), difference_interval(metric, *sides))


def _pairs(rows: tuple[MetricTally, MetricTally], steps: Sequence[int]) -> list[tuple[Frames, Frames]]:
    """Return, per step, the frames of the clips that both results have a value for.

    Raises:
        ResultError: the rows are not of the same clips.
    """
    if unpaired := sorted(rows[0].data.keys() ^ rows[1].data.keys()):
        raise ResultError(f"the results are not of the same clips: only one of them has {unpaired[0]}, for example")
    pairs = []
    for step in steps:
        first, second = (side.steps.get(step, {}) for side in rows)
        clips = {clip for clip, _ in first} & {clip for clip, _ in second}
        pairs.append((_of_clips(first, clips), _of_clips(second, clips)))
    return pairs


def _of_clips(frames: Frames, clips: set[str]) -> Frames:
    return {key: value for key, value in frames.items() if key[0] in clips}


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _mean(scores: Sequence[float | None]) -> float | None:
    values = [score for score in scores if score is not None]
    return math.fsum(values) / len(values) if len(values) == len(scores) else None


def _score(metric: StepMetric, recordings: Recordings) -> float | None:
    """Return a score of all frames; None where it is undefined."""
    score = finalise(metric, [statistic for frames in recordings for statistic in frames])["score"]
    return score if math.isfinite(score) else None


def _worst(metric: StepMetric, pairs: Iterable[tuple[Frames, Frames]]) -> tuple[ClipDifference, ...]:
    """Return the clips where the first is worse, worst first: by the mean over steps of each clip's own scores."""
    scores: dict[str, list[tuple[float, float]]] = {}
    for first, second in pairs:
        statistics_of = _by_clip(second)
        for clip, statistics in _by_clip(first).items():
            a, b = _score(metric, [statistics]), _score(metric, [statistics_of[clip]])
            if a is not None and b is not None:
                scores.setdefault(clip, []).append((a, b))
    differences = [
        ClipDifference(
            clip, math.fsum(a for a, _ in values) / len(values), math.fsum(b for _, b in values) / len(values)
        )
        for clip, values in scores.items()
    ]

    def loss(clip: ClipDifference) -> float:
        return cost(clip.first, metric.info.better) - cost(clip.second, metric.info.better)

    worse = [clip for clip in differences if loss(clip) > 0]
    return tuple(sorted(worse, key=lambda clip: (-loss(clip), clip.clip)))


def _by_clip(frames: Frames) -> dict[str, list[Statistic]]:
    clips: dict[str, list[Statistic]] = {}
    for clip, sample in sorted(frames):
        clips.setdefault(clip, []).append(frames[clip, sample])
    return clips
