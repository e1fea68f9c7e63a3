"""Results on the same clips, each with each: paired differences per step, with intervals and corrected p-values.

The difficulty of a recording decides most of its score. So differences are paired by recording. The interval resamples
the recordings; the test exchanges the two results' predictions of a recording.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from vpbench.errors import ResultError
from vpbench.plugin.metric import Better, StepMetric
from vpbench.plugin.set_metric import SetMetric
from vpbench.results.clip_scores import ClipDifference, compare_clips
from vpbench.results.multiplicity import Lead, LeadFrom, holm, lead_from, lead_of
from vpbench.results.paired import Pairing, difference_intervals, p_values
from vpbench.results.result import Result
from vpbench.results.sides import Groupings, Pair, Side
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
    sides = _sides(tallies, metric, steps, recordings)
    pairs = {(i, j): Pair(sides[i], sides[j]) for i, j in combinations(range(len(sides)), 2)}
    pairings = [pairing for pair in pairs.values() for pairing in pair.steps]
    tests = _test(metric, [*pairings, *(pair.mean for pair in pairs.values())], len(pairings))
    step_tests, mean_tests = tests[: len(pairings)], tests[len(pairings) :]
    family, count = sum(test.p is not None for test in step_tests), len(steps)
    return {
        places: _comparison(
            metric, pair, step_tests[k * count : (k + 1) * count], mean_tests[k], family, recordings, worst
        )
        for k, (places, pair) in enumerate(pairs.items())
    }


def _sides(
    tallies: Sequence[Tally], metric: StepMetric, steps: Sequence[int], recordings: Mapping[str, str]
) -> list[Side]:
    rows = [tally.metrics[metric.info.name] for tally in tallies]
    for second in rows[1:]:
        _check_clips(rows[0], second)
    groupings = Groupings(recordings)
    return [Side(metric, side, steps, groupings) for side in rows]


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
    pair = Pair(*_sides(tallies, metric, steps, recordings))
    first, second = pair.means
    (ends,) = difference_intervals(metric, [pair.mean])
    return MeanDifference(first, second, _difference(first, second), ends)


@dataclass(frozen=True)
class _Test:
    """The interval and the p-values of one pairing."""

    ci95: Ends
    p: float | None
    p_holm: float | None
    lead: Lead


def _test(metric: StepMetric, pairings: Sequence[Pairing], family: int) -> list[_Test]:
    """Test pairings; the first ``family`` of them are one family of tests, the others are a second one."""
    better = metric.info.better
    p = p_values(metric, pairings)
    corrected = [*holm(p[:family]), *holm(p[family:])]
    intervals = difference_intervals(metric, pairings)
    costs = intervals if isinstance(better, str) else difference_intervals(metric, pairings, costs=True)
    sign = 1.0 if better == "higher" else -1.0
    advantages = [None if ends is None else (sign * ends[0], sign * ends[1]) for ends in costs]
    return [
        _Test(ends, raw, holm_p, lead_of(holm_p, advantage and (min(advantage), max(advantage))))
        for ends, raw, holm_p, advantage in zip(intervals, p, corrected, advantages, strict=True)
    ]


def _comparison(
    metric: StepMetric,
    pair: Pair,
    steps: Sequence[_Test],
    mean: _Test,
    family: int,
    recordings: Mapping[str, str],
    worst: int,
) -> Comparison:
    first, second = pair.sides
    scores = pair.scores(first), pair.scores(second)
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
        recordings=len({recordings[clip] for clip in pair.clips}),
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
