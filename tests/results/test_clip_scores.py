"""Win rates and effects against numpy and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from scored_rows import Mean, Ratio, row, table, undefined

from vpbench.results.clip_scores import ClipDifference, clip_scores, compare_clips, effect, gain, win_rate
from vpbench.results.tally import Tally


def scores_of(rows, metric=None, steps=(1, 2)):
    metric = metric or Mean()
    return clip_scores(
        metric, Tally(rows).metrics[metric.info.name], tuple(sorted({row["clip"] for row in rows})), steps
    )


def test_a_clip_is_scored_by_the_metric_from_all_its_samples():
    rows = [row("a", 1, 1.0), row("a", 1, 4.0, sample=1), row("a", 2, 7.0), undefined("b", 1, "flat"), row("b", 2, 3.0)]
    scores = scores_of(rows)
    np.testing.assert_array_equal(scores.values, [[2.5, 7.0], [math.nan, 3.0]])
    assert scores.by_clip() == {"a": 4.75, "b": 3.0}


def test_a_clip_without_a_finite_score_is_absent():
    rows = table([[[1, 4], [0, 0]], [[2, 4], [1, 2]]], "hits")
    np.testing.assert_array_equal(scores_of(rows, Ratio()).values, [[0.25, math.nan], [0.5, 0.5]])
    assert scores_of(table([[[0, 0], [0, 0]]], "hits"), Ratio()).by_clip() == {}


def test_the_win_rate_counts_a_tie_as_half():
    assert win_rate(np.array([1.0, -1.0, 0.0, 2.0, math.nan])) == 2.5 / 4
    assert win_rate(np.array([math.nan])) is None


@pytest.mark.parametrize("seed", range(3))
def test_the_win_rate_is_scipys_rank_statistic_of_signs(seed):
    """The sign test counts the same wins."""
    gains = np.random.default_rng(seed).normal(0.3, 1, 50)
    wins = scipy.stats.binomtest(int((gains > 0).sum()), 50).statistic
    assert win_rate(gains) == pytest.approx(wins)


@pytest.mark.parametrize("seed", range(3))
def test_the_effect_is_scipys_paired_t_by_the_root_of_n(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=40), rng.normal(0.4, size=40)
    t = scipy.stats.ttest_rel(second, first).statistic
    assert effect((second - first).tolist()) == pytest.approx(t / math.sqrt(40))


def test_gains_without_scatter_have_no_effect():
    assert effect([0.5]) is None
    assert effect([0.0, 0.0]) is None
    assert effect([0.1 + 0.2, 0.3, 0.3]) is None, "scatter by rounding alone"


@pytest.mark.parametrize(
    ("first", "second", "better", "expected"),
    [
        (1.0, 3.0, "lower", 2.0),
        (1.0, 3.0, "higher", -2.0),
        (0.5, 2.0, 1.0, 0.5),
        (0.1 + 0.2, 0.3, "lower", 0.0),
    ],
)
def test_a_gain_is_positive_if_the_first_is_better(first, second, better, expected):
    assert gain(np.array([first]), np.array([second]), better).tolist() == [expected]


def test_two_results_clip_by_clip():
    first, second = (
        scores_of(table([[1.0, 3.0], [9.0, 9.0], [5.0, 5.0]])),
        scores_of(table([[2.0, 4.0], [1.0, 1.0], [5.0, 5.0]])),
    )
    contest = compare_clips(first, second, "lower")
    assert (contest.win_rate, contest.step_win_rates) == (0.5, (0.5, 0.5))
    assert contest.effect == pytest.approx(np.mean([1, -8, 0]) / np.std([1, -8, 0], ddof=1))
    assert contest.worst == (ClipDifference("c001", 9.0, 1.0),)
    turned = compare_clips(first, second, "higher")
    assert [clip.clip for clip in turned.worst] == ["c000"]
    assert turned.effect == pytest.approx(-contest.effect)


def test_only_steps_that_both_have_count():
    first = scores_of([row("a", 1, 1.0), row("a", 2, 9.0), row("b", 1, 2.0)])
    second = scores_of([row("a", 1, 2.0), undefined("a", 2, "flat"), undefined("b", 1, "flat")])
    contest = compare_clips(first, second, "lower")
    assert (contest.win_rate, contest.step_win_rates) == (1.0, (1.0, None))
    nothing = scores_of([undefined(clip, step, "flat") for clip in "ab" for step in (1, 2)])
    assert compare_clips(second, nothing, "lower").win_rate is None


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=9))
def test_turned_round_the_win_rates_add_up_to_one(pairs):
    first, second = scores_of(table([[float(a)] for a, _ in pairs])), scores_of(table([[float(b)] for _, b in pairs]))
    forth, back = compare_clips(first, second, "lower"), compare_clips(second, first, "lower")
    assert forth.win_rate + back.win_rate == pytest.approx(1.0)
    if forth.effect is not None:
        assert forth.effect == pytest.approx(-back.effect)
