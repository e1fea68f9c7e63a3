"""The two bases of metrics: known answers, order-free, and resampling that equals finalising the drawn clips."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpbench.plugin.metric import ClipMean, MetricInfo, PooledCounts, Setting

INFO = MetricInfo("toy", 1, False, needs=("frames", "semantics"), truth=("flow",))


class Mean(ClipMean):
    info = INFO

    def measure(self, comparison):
        raise NotImplementedError


class Ratio(PooledCounts):
    info = INFO

    def measure(self, comparison):
        raise NotImplementedError

    def ratio(self, counts):
        hits, all_ = (int(c) for c in counts)
        return {"score": hits / all_ if all_ else math.nan, "all": float(all_)}


floats = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)


@given(floats, st.randoms(use_true_random=False))
def test_the_mean_is_exactly_rounded_in_any_order(values, random):
    shuffled = random.sample(values, len(values))
    exact = float(sum(map(Fraction, values))) / len(values)
    assert Mean().finalise(values) == Mean().finalise(shuffled) == exact


def test_pooled_counts_are_summed_before_the_ratio():
    assert Ratio().finalise([[1, 2], [0, 8]]) == {"score": 0.1, "all": 10.0}


def test_pooled_counts_stay_exact_beyond_float64():
    class Odd(Ratio):
        def ratio(self, counts):
            return {"score": float(int(counts[0]) % 2)}

    assert Odd().finalise([[2**53, 0], [1, 0]]) == {"score": 1.0}
    assert Odd().resample([[[2**53, 0]], [[1, 0]]], np.array([[0, 1]])).tolist() == [1.0]


@pytest.mark.parametrize("metric", [Mean(), Ratio()])
def test_no_statistics_have_no_score(metric):
    score = metric.finalise([])
    assert math.isnan(score["score"] if isinstance(score, dict) else score)


clips = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.lists(st.integers(0, 50), min_size=2, max_size=2), min_size=n, max_size=n),
        st.lists(st.lists(st.integers(0, n - 1), min_size=n, max_size=n), min_size=1, max_size=4),
    )
)


@settings(max_examples=50)
@given(clips)
def test_a_resample_is_the_score_of_the_clips_drawn(example):
    """With two samples per clip, which stay together."""
    samples, draws = example
    mean = Mean().resample(samples, np.array(draws))
    assert mean == pytest.approx([np.mean([samples[i] for i in draw]) for draw in draws])
    counts = [[[min(pair), 50] for pair in [(a, b), (b, a)]] for a, b in samples]
    pooled = Ratio().resample(counts, np.array(draws))
    assert pooled == pytest.approx([Ratio().finalise([c for i in d for c in counts[i]])["score"] for d in draws])


def test_a_resample_without_a_score_is_nan():
    assert np.isnan(Ratio().resample([[[0, 0]], [[1, 2]]], np.array([[0, 0], [0, 1]]))).tolist() == [True, False]


@pytest.mark.parametrize(
    ("truth", "outputs", "reason"),
    [
        ({"frames", "semantics", "flow"}, {"frames", "semantics"}, ""),
        ({"frames", "flow"}, {"frames", "semantics"}, "the dataset has no semantics"),
        ({"frames", "semantics", "flow"}, {"frames"}, "the predictor gives no semantics"),
        ({"frames", "semantics"}, {"frames", "semantics"}, "the dataset has no flow"),
        ({"frames", "semantics"}, {"frames"}, "the dataset has no flow"),
    ],
)
def test_why_a_metric_cannot_apply(truth, outputs, reason):
    assert Mean().why_not(Setting(None, frozenset(truth), frozenset(outputs))) == reason


def test_a_base_without_measure_cannot_be_built():
    class Half(ClipMean):
        info = INFO

    with pytest.raises(TypeError, match="measure"):
        Half()
