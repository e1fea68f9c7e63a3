"""The data that flows: caches that compute once, and what a prediction gives."""

from __future__ import annotations

import pytest
import torch

from vpbench.plugin.clip import Comparison, Future, LabelSpace, Prediction
from vpbench.plugin.predictor import PredictorInfo

FRAMES = torch.zeros(1, 2, 3, 4, 5)


def future():
    return Future(frames=FRAMES + 1, steps=(1, 2), clips=("a@0",), last=FRAMES[:, 0])


@pytest.mark.parametrize("make", [future, lambda: Comparison(Prediction(frames=FRAMES), future())])
def test_what_is_cached_is_made_once_per_key_and_object(make):
    first, second = make(), make()
    calls = []

    def value():
        calls.append(len(calls))
        return None if len(calls) == 1 else calls[-1]

    assert [first.cached("a", value) for _ in range(2)] == [None, None]
    assert first.cached("b", value) == 1
    assert second.cached("a", value) == 2
    assert len(calls) == 3


def test_the_futures_cache_is_shared_by_the_comparisons_with_it():
    truth = future()
    first, second = (Comparison(Prediction(frames=FRAMES), truth) for _ in range(2))
    assert first.future.cached("a", lambda: 1) == second.future.cached("a", lambda: 2) == 1
    assert first.cached("a", lambda: 3) == 3


def test_a_prediction_gives_what_is_not_none():
    assert dict(Prediction().tensors()) == {}
    tensors = Prediction(
        flow=FRAMES[:, :, :2], frames=FRAMES, label_space=LabelSpace("x", ("a",), ((0, 0, 0),))
    ).tensors()
    assert list(tensors) == ["frames", "flow"]
    assert tensors["frames"] is FRAMES


def test_a_comparison_gives_predicted_then_true_frames():
    predicted, true = Comparison(Prediction(frames=FRAMES), future()).frames
    assert (predicted.max(), true.min()) == (0, 1)


@pytest.mark.parametrize(
    ("available", "expected"),
    [(set(), ("frames",)), ({"frames", "semantics"}, ("frames", "semantics")), ({"flow"}, ("frames",))],
)
def test_an_output_that_is_also_used_is_expected_only_where_it_is_given(available, expected):
    info = PredictorInfo(outputs=("frames", "semantics"), uses=("semantics",))
    assert info.expected(available) == expected
    assert PredictorInfo(outputs=("frames", "semantics")).expected(available) == ("frames", "semantics")
