"""A result's record of the cost of predicting: parameters, seconds, frames."""

from __future__ import annotations

import time

import pytest
import torch
from toys import repeat

import vpbench
from vpbench.errors import PluginError


class Slow(torch.nn.Module):
    """Repeats the last frame, 50 ms per call."""

    info = vpbench.PredictorInfo()

    def __init__(self):
        super().__init__()
        self.used, self.unused = torch.nn.Linear(3, 4), torch.nn.Linear(5, 5)

    def inference_parts(self):
        return {"used": self.used}

    def predict(self, context, horizon, generators):
        time.sleep(0.05)
        return vpbench.Prediction(frames=repeat(context, horizon))


class Broken(Slow):
    def inference_parts(self):
        raise RuntimeError("no parts")


def evaluate(predictor, tmp_path):
    return vpbench.evaluate(predictor, "scenes-small", clips=4, metrics=["mse"], batch_size=2, out=tmp_path)


def test_parameters_and_the_time_of_predicting_are_recorded(tmp_path):
    result = evaluate(Slow(), tmp_path)
    assert result.run.parameters == 16, "those that the prediction uses"
    (attempt,) = result.store.attempts()
    assert attempt.predicted_frames == 4 * 8
    assert attempt.seconds["predict"] >= 0.1
    assert attempt.seconds["check"] >= 0.05, "the clip that is predicted again counts here"


def test_parts_that_cannot_be_listed_are_an_error_of_the_predictor(tmp_path):
    with pytest.raises(PluginError, match="`inference_parts` of Broken: RuntimeError: no parts"):
        evaluate(Broken(), tmp_path)
