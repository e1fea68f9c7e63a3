"""Flow, dis-occlusion, moving classes and the copy index: oracles, a shifted truth and noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from golden.cases import rand, truth_of

from vpbench.plugin.clip import Comparison, LabelSpace, Prediction
from vpbench.plugin.metric import Setting, Undefined
from vpbench.toolkit.labels import MOVING
from vpbench_metrics.motion import (
    BoundaryEndPointError,
    CopyIndex,
    DisocclusionPrecision,
    DisocclusionRecall,
    EndPointError,
    near_boundary,
)
from vpbench_metrics.semantic import MovingMIoU


class TestEndPointError:
    def measure(self, predicted, true):
        return EndPointError().measure(
            Comparison(Prediction(flow=predicted), truth_of(rand(2, 3, 3, 8, 10), flow=true))
        )

    def test_unknown_flow_is_left_out(self):
        true = torch.zeros(2, 3, 2, 8, 10)
        predicted = torch.zeros(2, 3, 2, 8, 10)
        predicted[:, :, 0, 0, 0] = 80.0
        true[0, 1, 0, 0, 0] = float("nan")
        true[1, 2] = float("inf")
        rows = self.measure(predicted, true)
        assert rows == [[1.0, 0.0, 1.0], [1.0, 1.0, Undefined("no pixel's true flow is known")]]


class TestBoundaryEndPointError:
    space = LabelSpace("two", ("a", "b"), ((0, 0, 0), (9, 9, 9)))

    def measure(self, predicted, labels, region=slice(None)):
        true = torch.full_like(predicted, math.nan)
        true[..., region] = 0.0
        truth = truth_of(rand(1, 1, 3, 8, 20), flow=true, semantics=labels, label_space=self.space)
        return BoundaryEndPointError().measure(Comparison(Prediction(flow=predicted), truth))

    def test_pixels_up_to_three_from_the_pair_of_pixels_that_differ_are_counted(self):
        labels = torch.zeros(1, 1, 8, 20, dtype=torch.int64)
        labels[..., 10:] = 1
        predicted = torch.zeros(1, 1, 2, 8, 20)
        for column, expected in ((5, 0.0), (6, 1 / 8), (9, 1 / 8), (10, 1 / 8), (13, 1 / 8), (14, 0.0)):
            predicted.zero_()[..., 0, :, column] = 1.0
            assert self.measure(predicted, labels) == [[expected]], column

    def test_ignored_pixels_make_no_boundary_and_are_left_out(self):
        labels = torch.zeros(1, 1, 8, 20, dtype=torch.int64)
        labels[..., 5:9] = 255
        labels[..., 9:] = 1
        assert not near_boundary(labels).any()
        nothing = Undefined("no pixel near a class boundary has a known true flow")
        assert self.measure(torch.zeros(1, 1, 2, 8, 20), labels) == [[nothing]]
        labels[..., 4:6, :5] = 1  # beside the ignored ones: their columns 5 to 7 are near it
        predicted = torch.zeros(1, 1, 2, 8, 20)
        predicted[..., 5:9] = 1.0
        assert self.measure(predicted, labels) == [[0.0]]

    def test_unknown_flow_near_it(self):
        labels = torch.zeros(1, 1, 8, 20, dtype=torch.int64)
        labels[..., 10:] = 1
        predicted = torch.ones(1, 1, 2, 8, 20)
        assert self.measure(predicted, labels, region=slice(0, 7)) == [[pytest.approx(2**0.5)]]
        nothing = Undefined("no pixel near a class boundary has a known true flow")
        assert self.measure(predicted, labels, region=slice(0, 6)) == [[nothing]]

    def test_needs_labels(self):
        setting = Setting(None, frozenset({"flow"}), frozenset({"flow"}))
        assert BoundaryEndPointError().why_not(setting) == "the dataset has no semantics"


class TestDisocclusion:
    def scores(self, predicted, true):
        comparison = Comparison(Prediction(disocclusion=predicted), truth_of(rand(2, 3, 3, 8, 10), disocclusion=true))
        scores = []
        for metric in (DisocclusionPrecision(), DisocclusionRecall()):
            rows = metric.measure(comparison)
            scores.append(metric.finalise([counts for clip in rows for counts in clip])["score"])
        return scores

    def test_truth_shifted_truth_noise_and_nothing(self):
        true = torch.zeros(2, 3, 8, 10, dtype=torch.bool)
        true[..., :4] = True
        assert self.scores(true, true) == [1.0, 1.0]
        assert self.scores(true.roll(1, -1), true) == [0.75, 0.75]
        everything = torch.ones_like(true)
        assert self.scores(everything, true) == [pytest.approx(0.4), 1.0]
        precision, recall = self.scores(torch.zeros_like(true), true)
        assert math.isnan(precision) and recall == 0.0
        noise = rand(2, 3, 8, 10) > 0.5
        hits = (noise & true).sum().item()
        assert self.scores(noise, true) == pytest.approx([hits / noise.sum().item(), hits / true.sum().item()])


class TestCopyIndex:
    def measure(self, predicted, true, last):
        return CopyIndex().measure(Comparison(Prediction(frames=predicted), truth_of(frames=true, last=last)))

    def test_repeating_is_zero_and_the_truth_is_undefined(self):
        true, last = rand(2, 3, 3, 8, 10), rand(2, 3, 8, 10, seed=1)
        repeated = last[:, None].expand_as(true)
        assert self.measure(repeated, true, last) == [[0.0] * 3] * 2
        assert self.measure(true, true, last) == [[Undefined("the prediction equals the truth")] * 3] * 2

    def test_the_way_from_the_last_frame_to_the_truth(self):
        last = torch.zeros(1, 3, 8, 10)
        true = torch.full((1, 1, 3, 8, 10), 0.8)
        for value, expected in ((0.2, 1 / 3), (0.4, 1.0), (0.6, 3.0)):
            rows = self.measure(torch.full_like(true, value), true, last)
            assert rows[0][0] == pytest.approx(expected, rel=1e-6)


def space(name, *names):
    return LabelSpace(name, names, tuple((i, i, i) for i in range(len(names))))


FULL = space("cityscapes", "road", "sky", *MOVING)
MERGED = space("merged", "static", *MOVING)


class TestMovingClasses:
    def score(self, predicted, true, spaces=(None, FULL)):
        frames = torch.zeros(*true.shape[:2], 3, *true.shape[2:])
        truth = truth_of(frames=frames, semantics=true, label_space=spaces[1])
        prediction = Prediction(semantics=predicted, label_space=spaces[0])
        metric = MovingMIoU()
        rows = [value for clip in metric.measure(Comparison(prediction, truth)) for value in clip]
        return metric.finalise([v for v in rows if not isinstance(v, Undefined)]), rows

    def labels(self, high, seed=0):
        return torch.randint(0, high, (2, 2, 6, 7), generator=torch.Generator().manual_seed(seed))

    def test_models_of_9_and_of_all_classes_stand_on_one_ground(self):
        true, guess = self.labels(len(FULL)), self.labels(len(FULL), seed=1)
        full, _ = self.score(guess, true)
        merged, _ = self.score((guess - 1).clamp(min=0), true, (MERGED, FULL))
        assert merged == full
        logits = torch.nn.functional.one_hot((guess - 1).clamp(min=0), 9).movedim(-1, 2).float()
        assert self.score(logits, true, (MERGED, FULL))[0] == full
        g, t = guess.numpy(), true.numpy()
        expected = {
            name: ((g == i) & (t == i)).sum() / ((g == i) | (t == i)).sum() for i, name in enumerate(FULL.names)
        }
        assert {name: full[name] for name in MOVING} == pytest.approx({name: expected[name] for name in MOVING})
        assert full["score"] == pytest.approx(np.mean([expected[name] for name in MOVING]))

    def test_truth_scores_one_and_static_classes_do_not_count(self):
        true = self.labels(len(FULL))
        assert self.score(true, true)[0]["score"] == 1.0
        swapped = torch.where(true < 2, 1 - true, true)
        assert self.score(swapped, true)[0]["score"] == 1.0
        details, _ = self.score(torch.full_like(true, 255), true)
        assert details["score"] == 0.0

    def test_a_class_the_dataset_does_not_name_is_left_out(self):
        few = space("few", "ground", "person", "car")
        true = self.labels(3)
        predicted = torch.tensor([0, 1 + MOVING.index("person"), 1 + MOVING.index("car")])[true]
        predicted[0, 0, 0] = 1 + MOVING.index("train")
        details, _ = self.score(predicted, true, (MERGED, few))
        assert 0 < details["score"] < 1
        assert math.isnan(details["train"]) and not math.isnan(details["car"])

    def test_without_moving_classes(self):
        indoor = space("indoor", "wall", "chair")
        reason = "the label space 'indoor' names no moving class"
        semantics = frozenset({"semantics"})
        assert MovingMIoU().why_not(Setting(None, semantics, semantics, indoor)) == reason
        _, rows = self.score(self.labels(2), self.labels(len(FULL)), (indoor, FULL))
        assert rows == [Undefined(reason)] * 4
