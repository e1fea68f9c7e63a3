"""The request that a predictor in a process of its own receives."""

from __future__ import annotations

import pytest

from vpbench.evaluation.isolation import IsolatedCaller
from vpbench.plugin.predictor import PredictorInfo
from vpbench.testing.material import Shape, draw_batch


class SentError(Exception):
    """Ends a call once its request is there."""


class Receiver:
    def predict(self, request):
        self.request = request
        raise SentError


@pytest.mark.parametrize("is_oracle", [False, True])
def test_truth_and_unneeded_modalities_stay_in_the_parent(is_oracle):
    info = PredictorInfo(uses=("flow",), oracle=is_oracle)
    batch = draw_batch(Shape(), {"frames", "flow", "semantics"}, {"frames", "semantics"})
    receiver = Receiver()
    with pytest.raises(SentError):
        IsolatedCaller("p", receiver, info, ("frames",), 0).predict(batch, 0)
    assert set(receiver.request.context) == {"frames", "flow"}
    assert bool(receiver.request.future) == is_oracle
    assert receiver.request.label_shape == tuple(batch.future.semantics.shape)
