"""Labels scored at a size of their own: what a model sees, what it predicts and what is measured, against OpenCV."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from twins import cityscapes_snippet, label_ids

import vpbench
from vpbench.clips.prepare import find_prepared, prepare
from vpbench.clips.probe import PROBED
from vpbench.errors import MetricError, PredictorError, UsageError
from vpbench.evaluation.evaluate import evaluate
from vpbench.plugin.loader import load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.units import build_manifest
from vpbench.toolkit.labels import CITYSCAPES19
from vpbench_cityscapes.dataset import TRAIN_IDS, Cityscapes

INPUT, SCORED = (16, 34), (36, 68)
VALUE = {
    "schema": 1,
    "name": "labels",
    "version": 1,
    "dataset": {"name": "cityscapes", "split": "val", "options": {"labels": True}},
    "sampling": {"kind": "anchored", "context": 2, "target": 19, "steps": [1, 3]},
    "pixels": [{"op": "resize", "size": INPUT}],
    "label_size": SCORED,
    "metrics": ["miou"],
}
PROTOCOL = Protocol.parse(VALUE, "here")


class Guess:
    """Predicts random scores, or their labels, at the frames' size."""

    info = vpbench.PredictorInfo(outputs=("semantics",))

    def __init__(self, kind: str, classes: int = 19) -> None:
        self.kind, self.classes = kind, classes

    def predict(self, context, horizon, generators):
        assert context.frames.shape[-2:] == INPUT
        assert context.semantics is None
        scores = torch.from_numpy(np.stack([self.scores(clip, horizon) for clip in context.clips]))
        return vpbench.Prediction(
            semantics=scores if self.kind == "scores" else scores.argmax(2), label_space=CITYSCAPES19
        )

    def scores(self, clip: str, horizon: int) -> np.ndarray:
        rng = np.random.default_rng(list(f"{clip} {horizon}".encode()))
        return rng.normal(size=(horizon, self.classes, *INPUT)).astype(np.float32)


class Truth:
    info = vpbench.PredictorInfo(outputs=("semantics",), oracle=True)

    def predict(self, context, horizon, generators):
        assert context.future.semantics.shape[-2:] == SCORED
        return vpbench.Prediction(semantics=context.future.semantics.expand(-1, horizon, -1, -1))


@pytest.fixture
def twin(tmp_path, cache):
    """A snippet whose labels are as large as they are scored, and one with larger ones; frames are smaller."""
    for i, size in enumerate([SCORED, (72, 136)]):
        drive = f"lindau_{i:06d}"
        cityscapes_snippet(tmp_path / "data", "val", drive, 0, (20, 40))
        path = tmp_path / "data/gtFine/val/lindau" / f"{drive}_000019_gtFine_labelIds.png"
        assert cv2.imwrite(str(path), label_ids(drive, size))
    return tmp_path


def run(twin, predictor, name="out", protocol=PROTOCOL, **settings):
    settings = {"allow_partial": True} | settings
    return evaluate(predictor, protocol, data_root=twin / "data", out=twin / name, **settings)


def true_labels(sequence: str) -> np.ndarray:
    drive = sequence.split("/")[1].rpartition("_")[0]
    ids = label_ids(drive, SCORED if drive.endswith("0") else (72, 136))
    return cv2.resize(np.vectorize(TRAIN_IDS.get)(ids).astype(np.uint8), SCORED[::-1], interpolation=cv2.INTER_NEAREST)


def counts(predicted: np.ndarray, true: np.ndarray) -> list[int]:
    labelled = true != 255
    masks = [[(predicted == c) & labelled, (true == c) & labelled] for c in range(19)]
    tp = [int((p & t).sum()) for p, t in masks]
    return tp + [int((p & ~t).sum()) for p, t in masks] + [int((~p & t).sum()) for p, t in masks]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scores", "labels"])
def test_predictions_are_brought_to_the_labels_size_before_they_are_measured(twin, kind):
    guess = Guess(kind)
    rows = list(run(twin, guess).rows())
    assert len(rows) == 4
    for row in rows:
        scores = guess.scores(row["clip"], row["step"])[row["step"] - 1]
        if kind == "scores":
            large = [cv2.resize(plane, SCORED[::-1], interpolation=cv2.INTER_LINEAR) for plane in scores]
            predicted = np.stack(large).argmax(0)
        else:
            small = scores.argmax(0).astype(np.uint8)
            predicted = cv2.resize(small, SCORED[::-1], interpolation=cv2.INTER_NEAREST)
        expected = counts(predicted, true_labels(row["clip"].split("@")[0]))
        wrong = np.abs(np.array(row["value"]) - expected).sum()
        assert wrong <= (4 if kind == "scores" else 0)  # a tie of scores may fall either way: 1 pixel is 3 counts


def test_an_oracle_predicts_at_the_labels_size(twin):
    result = run(twin, Truth())
    assert result.summary.scores["miou"].per_step == (1.0, 1.0)


@pytest.mark.slow
def test_prepared_labels_keep_their_size_and_give_the_same_rows(twin, monkeypatch):
    plain = run(twin, Guess("scores"), "plain")
    dataset = Cityscapes(twin / "data", options=Cityscapes.Options(labels=True))
    manifest = build_manifest(PROTOCOL, dataset, allow_partial=True)
    prepare(PROTOCOL, dataset, manifest, dataset.info.modalities, lambda count, total: None)
    stored = find_prepared(PROTOCOL, dataset, manifest, dataset.info.modalities)
    ref = manifest.clips[0]
    assert stored.read(ref.sequence, ref.frames[-1:], "semantics").shape[1:] == SCORED
    assert stored.read(ref.sequence, ref.frames, "frames").shape[1:3] == INPUT
    reads, read = [], Cityscapes.read
    monkeypatch.setattr(Cityscapes, "read", lambda self, *args: reads.append(args) or read(self, *args))
    prepared = run(twin, Guess("scores"), "prepared")
    assert list(prepared.rows()) == list(plain.rows())
    assert len(reads) <= 3 * PROBED, "only the probed clips are read from the dataset"


@pytest.mark.slow
def test_metrics_of_pixels_and_their_labels_say_why_they_do_not_apply(twin):
    class LabelsWithFlow(Guess):
        info = vpbench.PredictorInfo(outputs=("frames", "semantics"))

        def predict(self, context, horizon, generators):
            frames = context.frames[:, -1:].expand(-1, horizon, -1, -1, -1)
            return vpbench.Prediction(frames=frames, semantics=super().predict(context, horizon, generators).semantics)

    reason = "the labels are 36x68 and the frames 16x34"
    with pytest.raises(MetricError, match=reason):
        run(twin, LabelsWithFlow("labels"), metrics=["mse/classes"])
    by_default = Protocol.parse(VALUE | {"metrics": ["mse", "mse/classes"]}, "here")
    result = run(twin, LabelsWithFlow("labels"), protocol=by_default)
    assert result.summary.skipped == {"mse/classes": reason}
    assert result.summary.scores.keys() == {"mse"}


@pytest.mark.slow
def test_scores_of_another_number_of_classes(twin):
    with pytest.raises(PredictorError, match="gives scores of 20 classes; the label space 'cityscapes19' has 19"):
        run(twin, Guess("scores", classes=20))


@pytest.mark.parametrize("options", [{}, {"labels": False}])
def test_it_is_for_labels_of_the_target_frame_only(twin, options):
    value = json.loads(json.dumps(VALUE)) | {"dataset": {"name": "cityscapes", "split": "val", "options": options}}
    with pytest.raises(UsageError, match="label_size is for datasets that label the target frame only"):
        run(twin, Guess("labels"), protocol=Protocol.parse(value, "here"), plugins=load_plugins())
