"""Recordings are what chance draws: known answers, scipy, simulated coverage, and one estimator everywhere."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from scored_rows import Mean, row, summarised, undefined

from vpbench.errors import MetricError
from vpbench.results.compare import compare_rows
from vpbench.results.estimates import draw_recordings, group_frames, interval
from vpbench.results.paired import Pairing, p_values
from vpbench.results.tally import Column, Frames, Tally

WINDOWS = [37, 37, 37, 37]  # windows of each of four videos, as a sliding protocol cuts them


def rows(values):
    """Rows of [clip] or [clip][sample]; None is undefined."""
    return [
        undefined(f"c{i:04d}", 1, "dark", sample=sample) if value is None else row(f"c{i:04d}", 1, value, sample=sample)
        for i, line in enumerate(values)
        for sample, value in enumerate(line if isinstance(line, list) else [line])
    ]


def recordings_of(sizes):
    clips = [f"c{i:04d}" for i in range(sum(sizes))]
    names = [f"video{number}" for number, size in enumerate(sizes) for _ in range(size)]
    return dict(zip(clips, names, strict=True))


def summary(values, sizes):
    return summarised(rows(values), steps=(1,), recordings=recordings_of(sizes)).scores["err"]


def windows(rng, sizes, between=1.0, within=0.2):
    """Scores of windows: each video has its own level, its windows differ little."""
    levels = rng.normal(0, between, len(sizes))
    return [float(rng.normal(level, within)) for level, size in zip(levels, sizes, strict=True) for _ in range(size)]


def test_148_windows_of_4_videos_have_the_interval_of_4_videos():
    values = windows(np.random.default_rng(0), WINDOWS)
    score = summary(values, WINDOWS)
    assert (score.clips, score.recordings) == (148, 4)
    means = np.array(values).reshape(4, 37).mean(axis=1)
    resamples = [np.mean(draw) for draw in itertools.product(means, repeat=4)]
    low, high = score.ci95[0]
    assert low == pytest.approx(np.quantile(resamples, 0.025), abs=0.08)
    assert high == pytest.approx(np.quantile(resamples, 0.975), abs=0.08)
    naive = summary(values, [1] * 148).ci95[0]
    assert (high - low) > 4 * (naive[1] - naive[0]), "windows as if independent: far too narrow"
    assert score.per_step[0] == summary(values, [1] * 148).per_step[0]


def test_the_interval_is_scipys_bootstrap_of_recordings():
    """The score is a ratio of sums, since recordings have different numbers of windows."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 9, 60).tolist()
    values = windows(rng, sizes)
    ends = np.cumsum([0, *sizes])
    sums = np.array([sum(values[a:b]) for a, b in itertools.pairwise(ends)])
    expected = scipy.stats.bootstrap(
        (sums, np.array(sizes)), lambda s, n, axis: s.sum(axis=axis) / n.sum(axis=axis), paired=True, vectorized=True,
        n_resamples=20_000, method="percentile", rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    low, high = summary(values, sizes).ci95[0]
    width = expected.high - expected.low
    assert abs(low - expected.low) < width / 15
    assert abs(high - expected.high) < width / 15


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say():
    """Simulated: 30 recordings of 4 windows, whose truth is 0; a percentile interval of so few covers a bit less."""
    rng = np.random.default_rng(3)
    metric, sizes = Mean(), [4] * 30
    clustered = naive = 0
    for _ in range(300):
        values = Column(Frames(tuple((clip, 0) for clip in recordings_of(sizes))), windows(rng, sizes))
        low, high = interval(metric, group_frames(values, recordings_of(sizes)))
        clustered += low <= 0 <= high
        low, high = interval(metric, group_frames(values, {clip: clip for clip, _ in values}))
        naive += low <= 0 <= high
    assert 0.90 <= clustered / 300 <= 0.98
    assert naive / 300 < 0.80


@pytest.mark.parametrize("advantage", [0.5, 50.0])
def test_no_p_value_of_4_recordings_is_below_an_eighth(advantage):
    rng = np.random.default_rng(4)
    second = windows(rng, WINDOWS)
    first = [value - advantage + float(noise) for value, noise in zip(second, rng.normal(0, 0.01, 148), strict=True)]
    tallies = Tally(rows(first)), Tally(rows(second))
    out = compare_rows(tallies, Mean(), (1,), recordings_of(WINDOWS))
    assert out.p == (2 / 16,)
    assert (out.clips, out.recordings) == (148, 4)
    assert compare_rows(tallies, Mean(), (1,), recordings_of([1] * 148)).p[0] < 1e-3, "what windows would claim"


def test_p_values_are_uniform_where_there_is_no_difference():
    """Simulated: of recordings whose windows share a difference that is none on average, 5 % have p of 0.05 or less."""
    rng = np.random.default_rng(5)
    metric = Mean()
    below = 0
    for _ in range(400):
        level = rng.normal(0, 1, 9)
        first = [[float(shift + rng.normal(0, 0.1)) for _ in range(5)] for shift in level]
        (p,) = p_values(metric, [Pairing([first], [[[0.0] * 5 for _ in level]])])
        below += p <= 0.05
    assert scipy.stats.binomtest(below, 400, 0.05).pvalue > 0.01


@pytest.mark.parametrize("seed", range(3))
def test_the_permutation_test_exchanges_recordings(seed):
    rng = np.random.default_rng(seed)
    sizes = [1, 2, 3, 4, 5]
    first, second = windows(rng, sizes), windows(rng, sizes)
    ends = list(itertools.pairwise(np.cumsum([0, *sizes])))
    differences = [sum(first[a:b]) - sum(second[a:b]) for a, b in ends]
    observed = abs(sum(differences))
    totals = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=5)
    ]
    out = compare_rows((Tally(rows(first)), Tally(rows(second))), Mean(), (1,), recordings_of(sizes))
    assert out.p[0] == sum(total >= observed - 1e-12 for total in totals) / 32


def test_samples_without_a_value_leave_one_estimator_for_score_interval_and_comparison():
    """A clip with one defined sample of four weighs less than a clip with four: the mean over all defined frames."""
    values = [[1.0, None, None, None], [3.0, 3.0, 3.0, 3.0], [5.0, 5.0, None, None]]
    score = summary(values, [1, 1, 1])
    assert score.per_step == (23 / 7,)
    assert score.undefined == {"dark": 5}
    low, high = score.ci95[0]
    assert low <= 23 / 7 <= high
    drawn = [[1.0], [3.0] * 4, [5.0] * 2]
    resampled = [math.fsum(x for i in draw for x in drawn[i]) / sum(len(drawn[i]) for i in draw)
                 for draws in draw_recordings(3) for draw in draws]  # fmt: skip
    assert (low, high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])), abs=1e-12)
    out = compare_rows(
        (Tally(rows(values)), Tally(rows([[1.0], [1.0], [1.0]]))), Mean(), (1,), recordings_of([1, 1, 1])
    )
    assert (out.first, out.difference) == ((23 / 7,), (23 / 7 - 1,))
    assert out.undefined == {"dark": 5}


def test_one_recording_has_neither_interval_nor_p_value():
    score = summary([1.0, 2.0, 3.0], [3])
    assert (score.per_step, score.ci95, score.recordings) == ((2.0,), (None,), 1)
    tallies = Tally(rows([1.0, 2.0, 3.0])), Tally(rows([2.0, 2.0, 2.0]))
    out = compare_rows(tallies, Mean(), (1,), recordings_of([3]))
    assert (out.ci95, out.p, out.recordings) == ((None,), (None,), 1)


def test_recordings_that_have_no_value_do_not_count():
    score = summary([1.0, 2.0, None, None], [2, 2])
    assert (score.ci95, score.recordings, score.clips) == ((None,), 1, 2)


def test_a_metric_whose_resample_is_another_estimator_is_refused_by_name():
    class MeanOfMeans(Mean):
        def resample(self, statistics, draws):
            return np.array([np.mean(frames) for frames in statistics])[draws].mean(axis=1)

    interval(MeanOfMeans(), [[1.0, 2.0], [3.0, 5.0]])
    with pytest.raises(MetricError, match=r"metric 'err': resample gives 2.5 for all recordings, finalise gives 2\.8"):
        interval(MeanOfMeans(), [[1.0, 1.0], [3.0, 5.0, 4.0]])


@pytest.mark.parametrize(
    ("resample", "words"),
    [
        (lambda self, statistics, draws: np.zeros((len(draws), 2)), r"resample gave \[1000, 2\] scores for 1000"),
        (lambda self, statistics, draws: 0.5, r"resample gave \[\] scores"),
        (lambda self, statistics, draws: 1 / 0, "cannot be resampled: ZeroDivisionError"),
    ],
)
def test_a_metric_that_cannot_be_resampled_is_named(resample, words):
    metric = type("Broken", (Mean,), {"resample": resample})()
    with pytest.raises(MetricError, match=f"metric 'err'.*{words}"):
        interval(metric, [[1.0], [2.0]])
