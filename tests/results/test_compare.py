"""Paired differences: by hand, against scipy, and against every exchange that there is."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from scored_rows import Mean, OneEach, Ratio, row, summarised, table, undefined

from vpbench.errors import ResultError
from vpbench.plugin.metric import MetricInfo
from vpbench.results import compare
from vpbench.results.multiplicity import LeadFrom, holm
from vpbench.results.paired import EXCHANGES, exchanges
from vpbench.results.tally import Tally


class Gain(Mean):
    info = MetricInfo("err", 1, 1.0)


def compare_rows(first, second, metric, steps, recordings=(), **options):
    tallies = Tally(first), Tally(second)
    return compare.compare_rows(tallies, metric, steps, OneEach(recordings), **options)


def draw(shape, seed):
    return np.random.default_rng(seed).normal(size=shape)


def test_differences_by_hand():
    out = compare_rows(table([[1.0, 2.0], [3.0, 6.0]]), table([[2.0, 2.0], [4.0, 1.0]]), Mean(), (1, 2))
    assert (out.metric, out.better, out.steps, out.clips) == ("err", "lower", (1, 2), 2)
    assert (out.first, out.second, out.difference) == ((2.0, 4.0), (3.0, 1.5), (-1.0, 2.5))
    assert out.ci95 == ((-1.0, -1.0), (0.0, 5.0))
    assert out.p == (0.5, 1.0), "of the four exchanges of two clips, two and four are as large"


def test_of_two_equal_results_nothing_differs():
    values = draw((30, 1), 0).tolist()
    out = compare_rows(table(values), table(values), Mean(), (1,))
    assert (out.difference, out.ci95, out.p, out.worst) == ((0.0,), ((0.0, 0.0),), (1.0,), ())


@pytest.mark.parametrize("block", [2_000_000, 40 * 33])
def test_the_interval_is_the_summarys_interval_of_the_differences(monkeypatch, block):
    monkeypatch.setattr("vpbench.results.estimates._BLOCK", block)
    a, b = draw((40, 3), 1), draw((40, 3), 2) + 0.3
    out = compare_rows(table(a.tolist()), table(b.tolist()), Mean(), (1, 2, 3))
    summary = summarised(table((a - b).tolist()), steps=(1, 2, 3))
    assert np.array(out.ci95) == pytest.approx(np.array(summary.scores["err"].ci95), abs=1e-12)
    assert out.difference == pytest.approx((a - b).mean(0), abs=1e-12)


def test_pairing_makes_the_interval_narrow_where_clips_are_hard_for_both():
    hard = draw((50, 1), 3) * 100
    out = compare_rows(table((hard + 1).tolist()), table(hard.tolist()), Mean(), (1,))
    assert out.ci95[0] == pytest.approx((1, 1), abs=1e-9)
    assert out.p[0] == 1 / (EXCHANGES + 1)


@pytest.mark.parametrize("seed", range(4))
def test_p_values_of_few_clips_are_scipys_exact_ones(seed):
    a, b = draw(9, seed), draw(9, seed + 100) + 0.5
    out = compare_rows(table(a[:, None].tolist()), table(b[:, None].tolist()), Mean(), (1,))
    expected = scipy.stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    assert out.p[0] == pytest.approx(expected.pvalue, abs=1e-12)


def test_p_values_of_many_clips_are_near_the_t_tests():
    a, b = draw(400, 7), draw(400, 8) + 0.05
    out = compare_rows(table(a[:, None].tolist()), table(b[:, None].tolist()), Mean(), (1,))
    expected = scipy.stats.ttest_rel(a, b).pvalue
    assert 0.005 < expected < 0.2, "the known answer is one that could be told apart"
    assert out.p[0] == pytest.approx(expected, abs=4 * math.sqrt(expected / EXCHANGES))


def test_pooled_scores_are_pooled_anew_in_every_exchange():
    a, b = [[5, 10], [1, 2], [7, 40], [3, 3]], [[4, 10], [2, 2], [1, 40], [0, 3]]
    out = compare_rows(table([[x] for x in a], "hits"), table([[x] for x in b], "hits"), Ratio(), (1,))

    def pooled(counts):
        return sum(c[0] for c in counts) / sum(c[1] for c in counts)

    differences = []
    for swaps in itertools.product([False, True], repeat=4):
        sides = [(y, x) if swap else (x, y) for x, y, swap in zip(a, b, swaps, strict=True)]
        differences.append(pooled([s[0] for s in sides]) - pooled([s[1] for s in sides]))
    observed = 16 / 55 - 7 / 55
    assert out.difference[0] == pytest.approx(observed)
    assert out.p[0] == sum(abs(d) >= observed - 1e-12 for d in differences) / 16

    resampled = [
        pooled([a[i] for i in draws]) - pooled([b[i] for i in draws]) for draws in itertools.product(range(4), repeat=4)
    ]
    low, high = np.quantile(resampled, [0.025, 0.975])
    assert out.ci95[0] == pytest.approx((low, high), abs=0.05)


def test_exchanges_are_all_where_few_and_else_fair_and_the_same_for_any_block(monkeypatch):
    (block,) = exchanges(3)
    assert sorted(map(tuple, block)) == list(itertools.product([0, 1], repeat=3))
    whole = np.concatenate(list(exchanges(20)))
    assert whole.shape == (EXCHANGES, 20)
    assert set(np.unique(whole)) == {0, 1}
    assert scipy.stats.binomtest(int(whole.sum()), whole.size).pvalue > 1e-3
    monkeypatch.setattr("vpbench.results.paired._BLOCK", 20 * 999)
    blocks = list(exchanges(20))
    assert len(blocks) > 1
    assert np.array_equal(np.concatenate(blocks), whole)


def test_the_worst_clips_are_those_where_the_first_loses_most():
    first, second = [[1.0, 3.0], [9.0, 9.0], [5.0, 5.0]], [[2.0, 4.0], [1.0, 1.0], [4.0, 4.0]]
    lower = compare_rows(table(first), table(second), Mean(), (1, 2))
    assert [(w.clip, w.first, w.second, w.difference) for w in lower.worst] == [
        ("c001", 9.0, 1.0, 8.0),
        ("c002", 5.0, 4.0, 1.0),
    ]
    counts = [[[int(v), 10] for v in line] for line in first], [[[int(v), 10] for v in line] for line in second]
    higher = compare_rows(table(counts[0], "hits"), table(counts[1], "hits"), Ratio(), (1, 2))
    assert [w.clip for w in higher.worst] == ["c000"], "a higher score is the better one here"
    towards = compare_rows(table(first), table(second), Gain(), (1, 2))
    assert [w.clip for w in towards.worst] == ["c001", "c002"], "both means are above 1"
    assert not compare_rows(table([[0.9]]), table([[1.5]]), Gain(), (1,)).worst, "0.9 is closer to 1"
    assert len(compare_rows(table(first), table(second), Mean(), (1, 2), worst=1).worst) == 1


def test_a_frame_without_a_value_in_either_is_left_out_of_both():
    first = [*table([[1.0], [2.0], [3.0]]), undefined("z", 1, "flat")]
    second = [row("c000", 1, 2.0), undefined("c001", 1, "empty"), row("c002", 1, 5.0), row("z", 1, 7.0)]
    out = compare_rows(first, second, Mean(), (1,))
    assert (out.first, out.second, out.clips) == ((2.0,), (3.5,), 2)
    assert out.undefined == {"empty": 1, "flat": 1}


def test_the_mean_over_the_steps_is_resampled_as_one_score():
    """Errors of two steps that cancel: each step differs by chance, and their mean does not differ at all."""
    noise = draw((40, 1), 5)
    first, second = np.hstack([noise, -noise]) + 1.0, np.full((40, 2), 1.5)
    out = compare_rows(table(first.tolist()), table(second.tolist()), Mean(), (1, 2))
    assert (out.mean.first, out.mean.second) == pytest.approx((1.0, 1.5))
    assert out.mean.difference == pytest.approx(-0.5)
    assert out.mean.ci95 == pytest.approx((-0.5, -0.5)), "one draw of recordings for all steps"
    assert all(high - low > 0.1 for low, high in out.ci95)
    tallies = Tally(table(first.tolist())), Tally(table(second.tolist()))
    assert compare.compare_means(tallies, Mean(), (1, 2), OneEach(())) == replace(
        out.mean, p=None, p_holm=None, lead=""
    )


def test_the_mean_is_of_clips_with_a_value_at_every_step():
    first = [row("a", 1, 1.0), row("a", 2, 3.0), row("b", 1, 9.0), undefined("b", 2, "flat")]
    second = [row(clip, step, 1.0) for clip in "ab" for step in (1, 2)]
    out = compare_rows(first, second, Mean(), (1, 2))
    assert out.first == (5.0, 3.0)
    assert (out.mean.first, out.mean.second, out.mean.difference, out.mean.ci95) == (2.0, 1.0, 1.0, None)


def test_steps_of_different_clips_have_no_mean():
    first, second = ([row("a", 1, value), row("b", 2, value)] for value in (1.0, 2.0))
    out = compare_rows(first, second, Mean(), (1, 2)).mean
    assert (out.first, out.second, out.difference, out.ci95) == (None, None, None, None)


def test_a_step_without_any_value_has_no_difference():
    first = [undefined(c, 1, "flat") for c in "ab"] + [row("a", 2, 1.0), row("b", 2, 2.0)]
    second = [row(c, k, 1.0) for c in "ab" for k in (1, 2)]
    out = compare_rows(first, second, Mean(), (1, 2))
    assert (out.first[0], out.difference[0], out.ci95[0], out.p[0]) == (None, None, None, None)
    assert out.difference[1] == 0.5


def test_samples_of_a_clip_are_averaged_and_need_not_be_as_many():
    first = [row("a", 1, v, sample=i) for i, v in enumerate([1.0, 3.0])] + [
        row("b", 1, v, sample=i) for i, v in enumerate([4.0, 8.0])
    ]
    out = compare_rows(first, [row("a", 1, 1.0), row("b", 1, 1.0)], Mean(), (1,))
    assert (out.first, out.difference, out.ci95) == ((4.0,), (3.0,), ((1.0, 5.0),))


def test_rows_of_other_clips_are_refused():
    with pytest.raises(ResultError, match="same clips: only one of them has c002"):
        compare_rows(table([[1.0], [2.0], [3.0]]), table([[1.0], [2.0]]), Mean(), (1,))


numbers = st.floats(-1e3, 1e3, allow_nan=False)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_the_two_turns_signs_and_the_order_of_rows_nothing(pairs, random):
    first, second = table([[a] for a, _ in pairs]), table([[b] for _, b in pairs])
    forth = compare_rows(first, second, Mean(), (1,))
    back = compare_rows(second, first, Mean(), (1,))
    shuffled = compare_rows(random.sample(first, len(first)), random.sample(second, len(second)), Mean(), (1,))
    assert shuffled == forth
    assert back.difference[0] == -forth.difference[0]
    assert back.ci95[0] == pytest.approx((-forth.ci95[0][1], -forth.ci95[0][0]), abs=1e-9)
    assert back.p == forth.p
    assert not {w.clip for w in forth.worst} & {w.clip for w in back.worst}


def test_each_pair_of_several_is_the_comparison_of_the_two_with_p_values_of_one_family():
    values = [draw((12, 3), seed) + shift for seed, shift in enumerate([0.0, 0.2, 1.5])]
    tables = [table(v.tolist()) for v in values]
    several = compare.compare_all([Tally(rows) for rows in tables], Mean(), (1, 2, 3), OneEach(()))
    assert list(several) == [(0, 1), (0, 2), (1, 2)]
    for (i, j), pair in several.items():
        single = compare_rows(tables[i], tables[j], Mean(), (1, 2, 3))
        uncorrected = {"p_holm": None, "leads": (), "lead_from": None, "family": 0}
        means = [replace(c.mean, p_holm=None, lead="") for c in (pair, single)]
        assert replace(pair, mean=means[0], **uncorrected) == replace(single, mean=means[1], **uncorrected)
        assert (pair.family, single.family) == (9, 3)
        assert single.p_holm == tuple(holm(single.p))
        assert single.mean.p_holm == single.mean.p
    assert [p for c in several.values() for p in c.p_holm] == holm([p for c in several.values() for p in c.p])
    assert [c.mean.p_holm for c in several.values()] == holm([c.mean.p for c in several.values()])


def test_a_lead_is_named_with_the_step_from_which_it_lasts():
    noise = draw((30, 4), 1)
    gap = np.array([0.0, 0.0, 3.0, 5.0])
    first, second = table((noise + gap).tolist()), table(draw((30, 4), 2).tolist())
    out = compare_rows(first, second, Mean(), (1, 2, 3, 4))
    assert out.leads == ("", "", "second", "second")
    assert out.lead_from == LeadFrom("second", 3)
    assert out.mean.lead == "second"
    back = compare_rows(second, first, Mean(), (1, 2, 3, 4))
    assert (back.leads, back.lead_from) == (("", "", "first", "first"), LeadFrom("first", 3))


def test_the_better_direction_decides_who_leads():
    counts = [[[[9, 10]]] * 20, [[[2, 10]]] * 20]
    higher = compare_rows(table(counts[0], "hits"), table(counts[1], "hits"), Ratio(), (1,))
    assert (higher.leads, higher.mean.lead, higher.win_rate) == (("first",), "first", 1.0)
    towards = compare_rows(table([[1.2]] * 20), table([[0.1]] * 20), Gain(), (1,))
    assert (towards.leads, towards.win_rate) == (("first",), 1.0), "1.2 is closer to 1"
    equal = compare_rows(table([[0.5]] * 20), table([[1.5]] * 20), Gain(), (1,))
    assert (equal.leads, equal.p, equal.ci95) == (("",), (1.0,), ((-1.0, -1.0),)), "both are equally far from 1"


def test_pairs_leave_out_what_one_of_the_two_lacks_and_keep_the_rest_for_other_pairs():
    full, gappy = table([[1.0], [2.0], [6.0]]), [row("c000", 1, 1.0), undefined("c001", 1, "flat"), row("c002", 1, 6.0)]
    several = compare.compare_all([Tally(rows) for rows in (full, full, gappy)], Mean(), (1,), OneEach(()))
    assert several[0, 1].first == (3.0,)
    assert several[0, 2].first == several[1, 2].second == (3.5,)
    assert [c.clips for c in several.values()] == [3, 2, 2]


def test_a_family_counts_the_tests_that_could_be_made():
    undefined_step = [undefined(c, 1, "flat") for c in "ab"] + [row("a", 2, 1.0), row("b", 2, 2.0)]
    out = compare_rows(undefined_step, [row(c, k, 1.0) for c in "ab" for k in (1, 2)], Mean(), (1, 2))
    assert (out.family, out.p_holm) == (1, (None, 1.0))
