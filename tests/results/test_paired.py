"""Resamples of many pairings at once: the fast form equals the metric's own, and scipy agrees with both."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from scored_rows import Mean, Ratio

from vpbench.plugin.metric import MetricInfo
from vpbench.results.paired import EXCHANGES, Pairing, difference_intervals, exchanges, p_values, smallest_p


class Plain(Mean):
    """A mean that resamples by itself, so that no matrix product is taken."""

    def resample(self, statistics, draws):
        return super().resample(statistics, draws)


class Bias(Mean):
    info = MetricInfo("err", 1, 1.0)


def pairings(count, steps, sizes=(1, 1), seed=0):
    """Two results with several steps and 1 to n frames of each recording, differently many in both."""
    rng = np.random.default_rng(seed)

    def side(size):
        frames = rng.integers(1, size + 1, count)
        return [[rng.normal(1, 1, n).tolist() for n in frames] for _ in range(steps)]

    first, second = side(sizes[0]), side(sizes[1])
    single = [Pairing([a], [b]) for a, b in zip(first, second, strict=True)]
    return [*single, Pairing(first, second)]


@pytest.mark.parametrize("sizes", [(1, 1), (4, 1), (3, 5)])
@pytest.mark.parametrize("count", [2, 9, 40])
def test_the_matrix_product_is_the_metrics_own_resampling(count, sizes):
    several = pairings(count, 3, sizes)
    fast, plain = difference_intervals(Mean(), several), difference_intervals(Plain(), several)
    assert np.array(fast) == pytest.approx(np.array(plain), abs=1e-12)
    assert p_values(Mean(), several) == p_values(Plain(), several)


def test_costs_of_a_metric_with_a_target_are_distances_from_it():
    first, second = [[0.5]] * 6, [[1.5]] * 6
    away = [[2.0]] * 6
    equal, worse = Pairing([first], [second]), Pairing([first], [away])
    assert difference_intervals(Bias(), [equal, worse]) == [(-1.0, -1.0), (-1.5, -1.5)]
    assert difference_intervals(Bias(), [equal, worse], costs=True) == [(0.0, 0.0), (-0.5, -0.5)]
    assert p_values(Bias(), [equal, worse])[0] == 1.0, "both are equally far from 1"


def test_costs_of_a_higher_metric_turn_the_interval():
    counts = Pairing([[[[9, 10]], [[8, 10]], [[7, 10]]]], [[[[1, 10]], [[2, 10]], [[4, 10]]]])
    (ends,), (costs,) = difference_intervals(Ratio(), [counts]), difference_intervals(Ratio(), [counts], costs=True)
    assert costs == pytest.approx((-ends[1], -ends[0]))
    assert ends[0] > 0


def test_pairings_of_other_numbers_of_recordings_keep_their_places():
    few, many, lonely = pairings(5, 1, seed=1)[0], pairings(30, 1, seed=2)[0], pairings(1, 1)[0]
    mixed = [many, lonely, few, many]
    assert p_values(Mean(), mixed) == [*p_values(Mean(), [many]), None, *p_values(Mean(), [few, many])]
    intervals = difference_intervals(Mean(), mixed)
    assert intervals[1] is None
    assert intervals[0] == intervals[3] == difference_intervals(Mean(), [many])[0]


@pytest.mark.parametrize("batch", [1, 2, 256])
def test_batches_change_nothing(monkeypatch, batch):
    expected = p_values(Mean(), several := pairings(20, 5)), difference_intervals(Mean(), several)
    monkeypatch.setattr("vpbench.results.paired._PAIRINGS", batch)
    assert p_values(Mean(), several) == expected[0]
    assert np.array(difference_intervals(Mean(), several)) == pytest.approx(np.array(expected[1]), abs=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_over_steps_is_scipys_exact_test_of_the_clips_means(seed):
    (*_, mean) = pairings(9, 4, seed=seed)
    first, second = (np.array(side).mean(axis=(0, 2)) for side in (mean.first, mean.second))
    expected = scipy.stats.permutation_test(
        (first, second), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    assert p_values(Mean(), [mean])[0] == pytest.approx(expected.pvalue, abs=1e-12)


def test_the_interval_of_a_difference_is_near_scipys_bootstrap():
    (pairing, _) = pairings(60, 1)
    first, second = (np.array(side[0])[:, 0] for side in (pairing.first, pairing.second))
    expected = scipy.stats.bootstrap(
        (first, second), lambda a, b, axis: (a - b).mean(axis=axis), paired=True, vectorized=True, n_resamples=20_000,
        method="percentile", rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    (ends,) = difference_intervals(Mean(), [pairing])
    assert ends == pytest.approx((expected.low, expected.high), abs=(expected.high - expected.low) / 15)


def test_values_of_both_signs_tie_with_their_own_exchange():
    """The scores are small against their values, so rounding must not break the tie with no exchange at all."""
    values = [[1e6], [-1e6], [3e5], [-3e5 + 1e-3], [1.0]]
    (p,) = p_values(Mean(), [Pairing([values], [[[v[0] + 1.0] for v in values]])])
    assert p == 2 / 32


@pytest.mark.parametrize(
    ("recordings", "expected"), [(1, 1.0), (2, 0.5), (4, 2 / 16), (13, 2 / 2**13), (40, 1 / 10_001)]
)
def test_the_smallest_p_value_is_reached(recordings, expected):
    assert smallest_p(recordings) == expected
    if recordings > 1:
        best = Pairing([[[0.0]] * recordings], [[[1.0 + k / 100] for k in range(recordings)]])
        assert p_values(Mean(), [best]) == [expected]


@pytest.mark.slow
def test_p_values_and_intervals_agree_at_random():
    """Simulated: 25 recordings without a difference; each claims one in 5 %, the interval a little more often."""
    rng = np.random.default_rng(6)
    noise = rng.normal(size=(400, 25))
    several = [Pairing([[[v] for v in row]], [[[0.0]] * 25]) for row in noise.tolist()]
    claims = sum(p <= 0.05 for p in p_values(Mean(), several))
    assert scipy.stats.binomtest(claims, 400, 0.05).pvalue > 0.01
    covered = sum(low <= 0 <= high for low, high in difference_intervals(Mean(), several))
    assert 0.90 <= covered / 400 <= 0.98


def test_exchanges_are_of_whole_recordings():
    blocks = list(exchanges(70))
    assert sum(map(len, blocks)) == EXCHANGES
    assert {block.shape[1] for block in blocks} == {70}
