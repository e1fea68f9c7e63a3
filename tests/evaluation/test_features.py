"""Features of a batch: what a set metric is shown, and one line for each that misbehaves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clip_batches import CLIPS, batch
from safetensors.numpy import load

import vpbench
from vpbench.errors import MetricError
from vpbench.evaluation.features import measure_features
from vpbench.evaluation.measure import SpoiledError
from vpbench.evaluation.returned import Checked
from vpbench.plugin.clip import Prediction
from vpbench.results.estimates import finalise_set
from vpbench.results.features import UnitFeatures, digest


class Colours(vpbench.SetMetric):
    info = vpbench.MetricInfo("colours", revision=1, better="lower")

    def __init__(self, features=None, score=None):
        self._features, self._score = features, score

    def features(self, comparison):
        predicted, true = (frames.mean(dim=(1, 3, 4)) for frames in comparison.frames)
        return self._features(comparison, predicted, true) if self._features else (predicted, true)

    def score(self, features):
        return self._score(features)


def rows(metric, sample=None, loaded=None, unit=None):
    loaded, unit = loaded or batch(), unit or UnitFeatures()
    prediction = Prediction(frames=loaded.future.frames * 0.5)
    checked = Checked(prediction, prediction, None)
    context = ("frames",)
    return measure_features(
        "model", checked, loaded, {"colours": metric}, quantise=False, sample=sample, context=context, unit=unit
    )


def test_a_row_names_the_features_of_its_clip_and_sample():
    loaded, unit = batch(), UnitFeatures()
    first, second = (rows(Colours(), sample, loaded, unit) for sample in (0, 1))
    arrays = load(unit.to_bytes())
    assert [row["clip"] for row in first] == [ref.id for ref in loaded.refs]
    true = loaded.future.frames.mean(dim=(1, 3, 4)).numpy()
    for i, row in enumerate(first):
        assert row["true_features"] == digest(true[i])
        assert row["features"] == digest(arrays["predicted/colours"][2 * i])
        np.testing.assert_array_equal(arrays["true/colours"][i], true[i])
        np.testing.assert_allclose(arrays["predicted/colours"][2 * i], true[i] / 2, rtol=1e-6)
    assert [row["sample"] for row in second] == [1, 1, 1]
    assert all("true_features" not in row for row in second)
    assert all("sample" not in row and "true_features" in row for row in rows(Colours()))


def test_context_frames_are_there():
    loaded = batch()

    def features(comparison, predicted, true):
        assert torch.equal(comparison.context_frames, loaded.context.frames)
        return predicted, true

    assert len(rows(Colours(features), loaded=loaded)) == CLIPS


@pytest.mark.parametrize("spoil", ["context_frames", "frames"])
def test_a_metric_that_writes_into_its_input_is_refused(spoil):
    def features(comparison, predicted, true):
        value = getattr(comparison, spoil)
        (value if spoil == "context_frames" else value[0]).zero_()
        return predicted, true

    with pytest.raises(SpoiledError, match="'colours' changes what it measures in place"):
        rows(Colours(features))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (lambda c, p, t: (p, t[:, :2]), "features of one length, not 3 for the prediction and 2 for the truth"),
        (lambda c, p, t: (p[0], t), r"floating-point \[3, D\] for 3 clips, not \[3\] of torch.float32"),
        (lambda c, p, t: (p[:2], t), r"floating-point \[3, D\] for 3 clips, not \[2, 3\]"),
        (lambda c, p, t: (p[:, :0], t[:, :0]), r"floating-point \[3, D\] for 3 clips, not \[3, 0\]"),
        (lambda c, p, t: (p.long(), t), r"not \[3, 3\] of torch.int64"),
        (lambda c, p, t: (p / 0, t), "must be finite in float32"),
        (lambda c, p, t: (p.double() * 1e300, t), "must be finite in float32"),
        (lambda c, p, t: (p.tolist(), t), r"features are a tensor \[clips, D\], not"),
        (lambda c, p, t: p, "metric 'colours' failed on 'model', clip 's0@0'"),
    ],
)
def test_features_of_another_form_are_refused(features, message):
    with pytest.raises(MetricError, match=message):
        rows(Colours(features))


@pytest.mark.parametrize("score", [lambda features: 1 / 0, lambda features: "much", lambda features: {"fid": 1.0}])
def test_a_score_that_is_no_number_names_the_metric(score):
    features = vpbench.FeatureSet(np.ones((1, 1, 3), np.float32), np.ones((1, 3), np.float32))
    with pytest.raises(MetricError, match="metric 'colours' makes no score of its features"):
        finalise_set(Colours(score=score), features)
