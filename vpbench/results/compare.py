"""Results on the same clips, each with each: paired differences per step, with intervals and corrected p-values.

The difficulty of a recording decides most of its score. So differences are paired by recording. The interval resamples
the recordings; the test exchanges the two results' predictions of a recording.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from vpbench.errors import ResultError
from vpbench.plugin.metric import Better, StepMetric
from vpbench.plugin.set_metric import SetMetric
from vpbench.results.clip_scores import ClipDifference, ClipScores, clip_scores, compare_clips
from vpbench.results.estimates import Recordings, finalise, group_frames
from vpbench.results.multiplicity import Lead, LeadFrom, holm, lead_from, lead_of
from vpbench.results.paired import Pairing, difference_intervals, p_values
from vpbench.results.result import Result
from vpbench.results.tally import MetricTally, Tally

Ends = tuple[float, float] | None


@dataclass(frozen=True)
class MeanDifference:
    """The means over the steps of two results, on the clips that both have a value for at every step."""

    first: float | None
    second: float | None
    difference: float | None
    """The first less the second; None where one is undefined."""
    ci95: tuple[float, float] | None
    """95 % percentile interval of the difference, as that of a step."""
    p: float | None = None
    """Two-sided, as that of a step; a recording's predictions of all steps are exchanged together."""
    p_holm: float | None = None
    """Corrected over the means of all pairs."""
    lead: Lead = ""
    """Which result is significantly better."""


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
    p_holm: tuple[float | None, ...]
    """Corrected by Holm's method over all pairs and steps of this metric."""
    family: int
    """The number of these tests."""
    leads: tuple[Lead, ...]
    """Which result is significantly better at each step."""
    lead_from: LeadFrom | None
    """The result that is significantly better at some step and at every later one."""
    mean: MeanDifference
    clips: int
    recordings: int
    """Independent recordings that the clips were cut from: what the interval and the test resample."""
    undefined: Mapping[str, int]
    """Frames that either has no value for, by reason. A clip without any in one is left out of both at that step."""
    win_rate: float | None
    """Share of the clips where the first is better, by the means over the steps; a tie counts half."""
    step_win_rates: tuple[float | None, ...]
    """The same at each step."""
    effect: float | None
    """Cohen's d_z over the clips: mean of their gains by its standard deviation; positive if the first is better."""
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
    """Compare a set score of two results that passed :func:`vpbench.results.comparable.check_comparable`."""
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


def compare_all(
    tallies: Sequence[Tally],
    metric: StepMetric,
    steps: Sequence[int],
    recordings: Mapping[str, str],
    worst: int = 5,
) -> dict[tuple[int, int], Comparison]:
    """Compare the rows of several results, of the same clips, by one metric, each with each.

    Args:
        tallies: the rows of each result.
        metric: the metric, which all of them measured.
        steps: the steps to compare, ascending.
        recordings: the recording of each clip.
        worst: the number of clips to name.

    Returns:
        The comparison of each pair by the places of its results, (i, j) with i < j. P-values are corrected over all
        pairs and steps, those of the means over all pairs.

    Raises:
        ResultError: the rows are not of the same clips.
        MetricError: the metric makes no score of its statistics.
    """
    rows = [tally.metrics[metric.info.name] for tally in tallies]
    for second in rows[1:]:
        _check_clips(rows[0], second)
    sides = [_Side(metric, side, recordings, steps) for side in rows]
    pairs = {(i, j): _Pair(metric, sides[i], sides[j]) for i, j in combinations(range(len(sides)), 2)}
    step_tests = _test(metric, [pairing for pair in pairs.values() for pairing in pair.steps])
    mean_tests = _test(metric, [pair.mean for pair in pairs.values()])
    family = sum(test.p is not None for test in step_tests)
    count = len(steps)
    return {
        places: _comparison(pair, step_tests[k * count : (k + 1) * count], mean_tests[k], family, worst)
        for k, (places, pair) in enumerate(pairs.items())
    }


def compare_rows(
    tallies: tuple[Tally, Tally],
    metric: StepMetric,
    steps: Sequence[int],
    recordings: Mapping[str, str],
    worst: int = 5,
) -> Comparison:
    """Compare the rows of two results, of the same clips, by one metric (as :func:`compare_all`)."""
    return compare_all(tallies, metric, steps, recordings, worst)[0, 1]


def compare_means(
    tallies: tuple[Tally, Tally], metric: StepMetric, steps: Sequence[int], recordings: Mapping[str, str]
) -> MeanDifference:
    """Compare the means over some steps of two results, without a test (raises as :func:`compare_rows`)."""
    rows = tallies[0].metrics[metric.info.name], tallies[1].metrics[metric.info.name]
    _check_clips(*rows)
    pair = _Pair(metric, *(_Side(metric, side, recordings, steps) for side in rows))
    first, second = pair.means
    (ends,) = difference_intervals(metric, [pair.mean])
    return MeanDifference(first, second, _difference(first, second), ends)


class _Side:
    """The rows of one result, grouped by recording once for all partners that have values for the same clips."""

    def __init__(
        self, metric: StepMetric, rows: MetricTally, recordings: Mapping[str, str], steps: Sequence[int]
    ) -> None:
        self.rows = rows
        self.steps = tuple(steps)
        self.recordings = recordings
        self.clips = [frozenset(rows.column(step).frames.clips) for step in steps]
        self._metric = metric
        self._groups: dict[tuple[int, frozenset[str]], Recordings] = {}

    @cached_property
    def scores(self) -> ClipScores:
        """The scores of each clip at each step."""
        return clip_scores(self._metric, self.rows, self.steps)

    def groups(self, place: int, clips: frozenset[str]) -> Recordings:
        """Return the recordings of some clips at the step of that place."""
        if (place, clips) not in self._groups:
            frames = self.rows.column(self.steps[place])
            chosen = {key: value for key, value in frames.items() if key[0] in clips}
            self._groups[place, clips] = group_frames(chosen, self.recordings)
        return self._groups[place, clips]


class _Pair:
    """Two results at each step, on the clips that both have a value for."""

    def __init__(self, metric: StepMetric, first: _Side, second: _Side) -> None:
        self.metric = metric
        self.sides = first, second
        clips = [a & b for a, b in zip(first.clips, second.clips, strict=True)]
        self.clips = frozenset().union(*clips)
        self.steps = [self._pairing([place], step_clips) for place, step_clips in enumerate(clips)]
        self.mean = self._pairing(range(len(clips)), frozenset.intersection(*clips))

    def _pairing(self, places: Iterable[int], clips: frozenset[str]) -> Pairing:
        return Pairing(*([side.groups(place, clips) for place in places] for side in self.sides))

    @property
    def means(self) -> tuple[float | None, float | None]:
        """The means over the steps of both."""
        return self._mean(self.mean.first), self._mean(self.mean.second)

    def scores(self, second: bool) -> tuple[float | None, ...]:
        """Return the scores of one side at each step."""
        return tuple(self._mean(pairing.second if second else pairing.first) for pairing in self.steps)

    def _mean(self, steps: Sequence[Recordings]) -> float | None:
        scores = [_score(self.metric, recordings) for recordings in steps]
        values = [score for score in scores if score is not None]
        return math.fsum(values) / len(values) if len(values) == len(scores) else None


@dataclass(frozen=True)
class _Test:
    """The interval and the p-values of one pairing."""

    ci95: Ends
    p: float | None
    p_holm: float | None
    lead: Lead


def _test(metric: StepMetric, pairings: Sequence[Pairing]) -> list[_Test]:
    """Test the pairings of one family."""
    better = metric.info.better
    p = p_values(metric, pairings)
    corrected = holm(p)
    intervals = difference_intervals(metric, pairings)
    costs = intervals if isinstance(better, str) else difference_intervals(metric, pairings, costs=True)
    sign = 1.0 if better == "higher" else -1.0
    advantages = [None if ends is None else (sign * ends[0], sign * ends[1]) for ends in costs]
    return [
        _Test(ends, raw, holm_p, lead_of(holm_p, advantage and (min(advantage), max(advantage))))
        for ends, raw, holm_p, advantage in zip(intervals, p, corrected, advantages, strict=True)
    ]


def _comparison(pair: _Pair, steps: Sequence[_Test], mean: _Test, family: int, worst: int) -> Comparison:
    metric, (first, second) = pair.metric, pair.sides
    scores = pair.scores(second=False), pair.scores(second=True)
    means = pair.means
    leads = tuple(test.lead for test in steps)
    contest = compare_clips(first.scores, second.scores, metric.info.better, worst)
    undefined = Counter((second.rows.undefined | first.rows.undefined).values())
    return Comparison(
        metric=metric.info.name,
        better=metric.info.better,
        steps=first.steps,
        first=scores[0],
        second=scores[1],
        difference=tuple(map(_difference, *scores)),
        ci95=tuple(test.ci95 for test in steps),
        p=tuple(test.p for test in steps),
        p_holm=tuple(test.p_holm for test in steps),
        family=family,
        leads=leads,
        lead_from=lead_from(first.steps, leads),
        mean=MeanDifference(*means, _difference(*means), mean.ci95, mean.p, mean.p_holm, mean.lead),
        clips=len(pair.clips),
        recordings=len({first.recordings[clip] for clip in pair.clips}),
        undefined=dict(sorted(undefined.items())),
        win_rate=contest.win_rate,
        step_win_rates=contest.step_win_rates,
        effect=contest.effect,
        worst=contest.worst,
    )


def _check_clips(first: MetricTally, second: MetricTally) -> None:
    if unpaired := sorted(first.data.keys() ^ second.data.keys()):
        raise ResultError(f"the results are not of the same clips: only one of them has {unpaired[0]}, for example")


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _score(metric: StepMetric, recordings: Recordings) -> float | None:
    """Return a score of all frames; None where it is undefined."""
    score = finalise(metric, [statistic for frames in recordings for statistic in frames])["score"]
    return score if math.isfinite(score) else None
