"""mIoU: counts by hand, pooling over clips, ignored labels and every kind of bad label."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vpbench.errors import MetricError
from vpbench.plugin.clip import LabelSpace
from vpbench.plugin.metric import Setting, Undefined
from vpbench_metrics.semantic import MIoU

SPACE = LabelSpace("street", ("road", "car", "sky"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))


@pytest.fixture
def measure(compare):
    def run(predicted, true, spaces=(None, SPACE)):
        predicted, true = torch.as_tensor(predicted), torch.as_tensor(true)
        frames = torch.zeros(*true.shape[:2], 3, *true.shape[2:])
        return MIoU().measure(compare(frames, frames, (predicted, true), spaces))

    return run


def test_counts_and_score_by_hand(measure):
    true = [[[[0, 0, 1], [1, 255, 255]]]]
    predicted = [[[[0, 1, 1], [255, 2, 0]]]]
    # road: 1 hit, 1 miss; car: 1 hit, 1 false alarm, 1 miss (predicted 255); sky: predicted only where ignored.
    [[counts]] = measure(predicted, true)
    assert counts == [1, 1, 0, 0, 1, 0, 1, 1, 0]
    details = MIoU().finalise([counts])
    assert details["score"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert (details["class 0"], details["class 1"]) == (pytest.approx(1 / 2), pytest.approx(1 / 3))
    assert math.isnan(details["class 2"])


def test_a_class_predicted_but_never_true_counts_as_zero(measure):
    [[counts]] = measure([[[[0, 2]]]], [[[[0, 0]]]])
    assert MIoU().finalise([counts])["score"] == pytest.approx((1 / 2 + 0) / 2)


def test_counts_are_pooled_not_averaged(measure):
    rows = measure([[[[0, 0, 0, 0]]], [[[1, 0, 0, 0]]]], [[[[0, 0, 0, 0]]], [[[1, 1, 1, 1]]]])
    statistics = [clip[0] for clip in rows]
    assert MIoU().finalise(statistics)["score"] == pytest.approx((4 / 7 + 1 / 4) / 2)
    assert MIoU().finalise(statistics[::-1]) == pytest.approx(MIoU().finalise(statistics), nan_ok=True)
    draws = np.array([[0, 0], [1, 0]])
    expected = [1.0, (4 / 7 + 1 / 4) / 2]
    np.testing.assert_allclose(MIoU().resample([[s] for s in statistics], draws), expected)


def test_scores_of_classes_are_decided_by_the_largest(measure):
    labels = torch.randint(0, 3, (2, 2, 4, 5), generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.one_hot(labels, 3).movedim(-1, 2).float() * 4 - 1
    true = torch.randint(0, 3, (2, 2, 4, 5), generator=torch.Generator().manual_seed(1))
    assert measure(logits, true) == measure(labels, true)


def test_nothing_to_score(measure):
    assert measure([[[[0]]]], [[[[255]]]]) == [[Undefined("no pixel of the true frame is labelled")]]
    assert math.isnan(MIoU().finalise([])["score"])


def test_label_spaces_of_other_names_are_not_compared(measure):
    indoor = LabelSpace("indoor", SPACE.names, SPACE.palette)
    [[value]] = measure([[[[0]]]], [[[[0]]]], (indoor, SPACE))
    assert value == Undefined("the predicted labels are of 'indoor', the true ones of 'street'; no mapping is declared")


def test_labels_of_another_space_are_mapped_where_the_mapping_is_declared(measure):
    finer = LabelSpace("finer", ("lane", "kerb", "car", "void"), ((0, 0, 0),) * 4, into={"street": (0, 0, 1, 255)})
    true = [[[[0, 0, 1, 2]]]]
    [[counts]] = measure([[[[0, 1, 2, 3]]]], true, (finer, SPACE))
    # lane and kerb are road, a car is a car, and void is a miss of the sky and no false alarm of anything.
    assert counts == [2, 1, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("predicted", "true", "message"),
    [
        (3, 0, r"miou: clip 'clip0@0', step 1: the predicted label 3 is not among the 3 of 'street'"),
        (-1, 0, "the predicted label -1"),
        (0, 254, "the true label 254"),
    ],
)
def test_a_label_outside_the_space_is_an_error(measure, predicted, true, message):
    with pytest.raises(MetricError, match=message):
        measure([[[[predicted, 0]]]], [[[[true, 0]]]])


def test_scores_of_another_number_of_classes_are_an_error(measure):
    with pytest.raises(MetricError, match="scores of 4 classes, but the label space 'street' has 3"):
        measure(torch.zeros(1, 1, 4, 2, 2), torch.zeros(1, 1, 2, 2, dtype=torch.int64))


def test_where_it_cannot_apply(measure):
    complete = frozenset({"frames", "semantics"})
    frames = frozenset({"frames"})
    assert MIoU().why_not(Setting(None, complete, complete, SPACE)) == ""
    assert MIoU().why_not(Setting(None, complete, frames, SPACE)) == "the predictor gives no semantics"
    assert MIoU().why_not(Setting(None, frames, complete, SPACE)) == "the dataset has no semantics"
    assert MIoU().why_not(Setting(None, complete, complete)) == "the dataset names no label space"
    with pytest.raises(MetricError, match="without a label space"):
        measure([[[[0]]]], [[[[0]]]], (None, None))
