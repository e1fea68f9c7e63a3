"""The two bases of metrics: known answers, order-free, and resampling that equals finalising the drawn recordings."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored_rows import Mean, Ratio

from vpbench.errors import MetricError, PluginError
from vpbench.plugin.metric import ClipMean, MetricInfo, Setting, better_text, cost

floats = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)


@given(floats, st.randoms(use_true_random=False))
def test_the_mean_is_exactly_rounded_in_any_order(values, random):
    shuffled = random.sample(values, len(values))
    exact = float(sum(map(Fraction, values))) / len(values)
    assert Mean().finalise(values) == Mean().finalise(shuffled) == exact


def test_pooled_counts_are_summed_before_the_ratio():
    assert Ratio().finalise([[1, 2], [0, 8]]) == {"score": 0.1, "total": 10.0}


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


recordings = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=5), min_size=n, max_size=n),
        st.lists(st.lists(st.integers(0, n - 1), min_size=n, max_size=n), min_size=1, max_size=4),
    )
)


@given(recordings)
def test_a_resample_is_the_score_of_the_recordings_drawn(example):
    """Whole numbers, whose sums are exact: so the scores agree to the bit, however many frames a recording has."""
    frames, draws = example
    draws = [*draws, range(len(frames))]  # every recording once: the score itself
    mean = Mean().resample(frames, np.array(draws))
    assert mean.tolist() == [Mean().finalise([x for i in draw for x in frames[i]]) for draw in draws]
    counts = [[[x, 50] for x in recording] for recording in frames]
    pooled = Ratio().resample(counts, np.array(draws))
    assert pooled.tolist() == [Ratio().finalise([c for i in draw for c in counts[i]])["score"] for draw in draws]


@given(st.lists(st.lists(st.floats(0, 1e3), min_size=1, max_size=5), min_size=1, max_size=8))
def test_the_resample_of_every_recording_once_is_the_score(frames):
    (whole,) = Mean().resample(frames, np.arange(len(frames))[None])
    assert whole == pytest.approx(Mean().finalise([x for recording in frames for x in recording]), rel=1e-14)


@pytest.mark.parametrize(
    ("statistics", "words"),
    [
        ([[0.5, 1]], "values of type float"),
        ([[1.0, 1.0]], "values of type float"),
        ([[1, 2], [np.float64(3), 4]], "values of type float64"),
        ([np.array([1.0, 2.0])], "values of type float64"),
        ([[True, 1]], "values of type bool"),
        ([[np.True_, 1]], "values of type bool"),
        ([["1", "2"]], "values of type str"),
        ([[1, 2], [1, 2, 3]], "2 counts for one frame, 3 for another: return as many for each"),
        ([[[1, 2], [3, 4]]], "values of type list"),
        ([3, 4], "a number alone"),
        ([1.5], "a number alone"),
        ([[2**64, 1]], "a count beyond 64 bits"),
        ([[2**62, 1], [2**62, 1]], "whose sum is beyond 64 bits"),
        ([[-(2**63), 1], [-1, 1]], "whose sum is beyond 64 bits"),
    ],
)
def test_counts_that_are_none_are_refused_by_the_metrics_name(statistics, words):
    with pytest.raises(MetricError, match=f"metric 'hits' sums counts, but its statistics hold .*{words}"):
        Ratio().finalise(statistics)
    with pytest.raises(MetricError, match="metric 'hits'"):
        Ratio().resample([statistics, statistics], np.array([[0, 1]]))


def test_a_resample_of_one_recording_over_and_over_does_not_overflow():
    counts = [[[2**61, 2**61]], [[1, 1]]]
    assert Ratio().finalise([frame for frames in counts for frame in frames])["score"] == 1
    with pytest.raises(MetricError, match="beyond 64 bits"):
        Ratio().resample(counts, np.array([[0, 0, 0, 0]]))


@pytest.mark.parametrize("integer", [int, np.int32, np.int64, np.uint8])
def test_integers_of_every_kind_are_counts(integer):
    assert Ratio().finalise([[integer(1), integer(2)], [integer(0), integer(2)]])["score"] == 0.25
    assert Ratio().finalise([np.array([1, 2]), np.array([0, 2])])["score"] == 0.25


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
        info = Mean.info

    with pytest.raises(TypeError, match="measure"):
        Half()


@pytest.mark.parametrize(
    ("better", "best_first", "text"),
    [
        ("lower", [0.5, 0.9, 1.2], "lower is better"),
        ("higher", [1.2, 0.9, 0.5], "higher is better"),
        (1, [0.9, 1.2, 0.5], "closer to 1 is better"),
    ],
)
def test_a_metric_s_direction_orders_scores(better, best_first, text):
    assert sorted([0.5, 1.2, 0.9], key=lambda score: cost(score, better)) == best_first
    assert better_text(MetricInfo("toy", 1, better).better) == text


@pytest.mark.parametrize("better", [True, "up", math.nan, math.inf])
def test_a_direction_that_orders_nothing_is_refused(better):
    with pytest.raises(PluginError, match="MetricInfo: better must be"):
        MetricInfo("toy", 1, better)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "a b"}, "the name 'a b': a name holds letters"),
        ({"decimals": 16}, "decimals must be 0 to 15, not 16"),
        ({"revision": -1}, "revision must be 0 or more, not -1"),
        ({"needs": "frames"}, "needs must be a tuple of names"),
        ({"truth": ["flow"]}, "truth must be a tuple of names"),
    ],
)
def test_a_wrong_field_is_named(fields, message):
    with pytest.raises(PluginError, match=f"MetricInfo: {message}"):
        MetricInfo(**{"name": "toy", "revision": 1, "better": "lower", **fields})
