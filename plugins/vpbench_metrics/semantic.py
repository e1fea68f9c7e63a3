"""mIoU: intersection over union of semantic classes, from counts pooled over all clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import MetricError
from vpbench.plugin.clip import IGNORE, Comparison, Future, LabelSpace
from vpbench.plugin.metric import Measurements, MetricInfo, PooledCounts, Setting, Undefined
from vpbench.toolkit.labels import MOVING, likeliest
from vpbench_metrics.frames import everywhere

Labels = NDArray[np.integer]


class MIoU(PooledCounts):
    """Mean over classes of TP / (TP + FP + FN), the counts being summed over all clips first.

    Pixels whose truth is 255 are ignored; a *predicted* 255 elsewhere counts as a miss of the true class. A class with
    no pixel in truth and prediction is left out of the mean. The statistic of a frame is 3*C integers: the true
    positives of each of the C classes, their false positives, their false negatives.
    """

    info = MetricInfo(
        name="miou",
        revision=1,
        better="higher",
        summary="mean over classes of the intersection over union of pixels pooled over all clips; 255 is ignored",
        needs=("semantics",),
        source="Everingham et al.: The PASCAL Visual Object Classes Challenge, IJCV 111, 2015, section 4.3.2",
    )
    library = "numpy"
    _names: ClassVar[Sequence[str]] = ()
    """Names of the scored classes, if they are the same for every label space."""

    def why_not(self, setting: Setting) -> str:
        """Return what is lacking: labels on either side, or their names."""
        return super().why_not(setting) or ("" if setting.label_space else "the dataset names no label space")

    def measure(self, comparison: Comparison) -> Measurements:
        """Return the counts of each frame; undefined where no true pixel is labelled, or the classes cannot be matched.

        Raises:
            MetricError: a label is not in the label space, or scores are of another number of classes.
        """
        true, space = checked_labels(comparison.future, self.info.name)
        predicted_space = comparison.prediction.label_space or space
        matched = self._match(predicted_space, space)
        if isinstance(matched, str):
            return everywhere(comparison, Undefined(matched))
        predicted = _predicted(comparison, predicted_space, self.info.name)
        return [
            [_counts(p, t, *matched) for p, t in zip(clip, true_clip, strict=True)]
            for clip, true_clip in zip(predicted, true, strict=True)
        ]

    def ratio(self, counts: NDArray[np.int64]) -> dict[str, float]:
        """Return the mean IoU and each class's, under ``"class <id>"`` (NaN where no pixel is of it)."""
        tp, fp, fn = counts.reshape(3, -1).tolist()
        iou = [t / (t + p + n) if t + p + n else math.nan for t, p, n in zip(tp, fp, fn, strict=True)]
        return over_classes(iou, self._names)

    def _match(self, predicted_space: LabelSpace, space: LabelSpace) -> tuple[Labels, Labels, int] | str:
        """Return the scored class of each predicted and of each true id, and the number of scored classes."""
        ids = np.arange(len(space))
        if predicted_space.name == space.name:
            same = predicted_space.names == space.names
            return (ids, ids, len(space)) if same else f"two label spaces are called {space.name!r}"
        if space.name not in predicted_space.into:
            named = f"the predicted labels are of {predicted_space.name!r}, the true ones of {space.name!r}"
            return f"{named}; no mapping is declared"
        into = np.array(predicted_space.into[space.name])
        if len(into) != len(predicted_space) or ((into >= len(space)) & (into != IGNORE)).any():
            return f"the mapping of {predicted_space.name!r} into {space.name!r} does not fit their classes"
        return np.where(into == IGNORE, len(space), into), ids, len(space)


class MovingMIoU(MIoU):
    """mIoU over the eight moving classes of Cityscapes, matched by their names.

    All other classes are one that is not scored, so that models of 9 and of 20 classes stand on one ground. Names that
    the dataset's label space lacks are left out; a class that only the predictor's space lacks has an IoU of 0.
    """

    info = replace(
        MIoU.info,
        name="miou@moving",
        summary="mIoU over person, rider, car, truck, bus, train, motorcycle and bicycle, matched by name",
        source="Bei, Yang, Soatto: Learning Semantic-Aware Dynamics for Video Prediction, CVPR 2021, section 5",
    )
    _names = MOVING

    def why_not(self, setting: Setting) -> str:
        """Return what is lacking: labels on either side, their names, or a moving class among them."""
        reason = super().why_not(setting)
        return reason or ("" if setting.label_space is None else _without_moving(setting.label_space))

    def _match(self, predicted_space: LabelSpace, space: LabelSpace) -> tuple[Labels, Labels, int] | str:
        if reason := _without_moving(predicted_space) or _without_moving(space):
            return reason
        named = [name for name in MOVING if name in space.names]

        def scored(labels: LabelSpace) -> Labels:
            return np.array([MOVING.index(name) if name in named else len(MOVING) for name in labels.names])

        return scored(predicted_space), scored(space), len(MOVING)


def over_classes(values: Sequence[float], names: Sequence[str] = ()) -> dict[str, float]:
    """Return the mean of the classes that have a value (not NaN), under ``"score"``, and each class's.

    A class's name is by default ``"class <id>"``, for which the summary puts the name that the label space gives it.
    """
    present = [value for value in values if not math.isnan(value)]
    score = math.fsum(present) / len(present) if present else math.nan
    named = names or [f"class {i}" for i in range(len(values))]
    return {"score": score} | dict(zip(named, values, strict=True))


def _without_moving(space: LabelSpace) -> str:
    return "" if set(MOVING) & set(space.names) else f"the label space {space.name!r} names no moving class"


def checked_labels(future: Future, metric: str) -> tuple[Labels, LabelSpace]:
    """Return the true labels [B,S,H,W] and their space.

    Raises:
        MetricError: the labels have no space, or one of them is not in it.
    """
    assert future.semantics is not None  # a metric that needs labels is not asked where there are none
    if future.label_space is None:
        raise MetricError(f"{metric}: the truth has labels without a label space; the dataset's info must name one")
    labels = np.asarray(future.semantics.cpu().numpy())
    _check_range(labels, future, future.label_space, metric, "true")
    return labels, future.label_space


def _predicted(comparison: Comparison, space: LabelSpace, metric: str) -> Labels:
    """Return the predicted labels [B,S,H,W]: the class of the largest score where scores are predicted."""
    labels, future = comparison.prediction.semantics, comparison.future
    assert labels is not None
    if labels.is_floating_point():
        if labels.shape[2] != len(space):
            raise MetricError(
                f"{metric}: the predictor gives scores of {labels.shape[2]} classes, "
                f"but the label space {space.name!r} has {len(space)}"
            )
        labels = likeliest(labels)
    array = np.asarray(labels.cpu().numpy())
    _check_range(array, future, space, metric, "predicted")
    return array


def _check_range(labels: Labels, future: Future, space: LabelSpace, metric: str, source: str) -> None:
    strange = ((labels < 0) | (labels >= len(space))) & (labels != IGNORE)
    if strange.any():
        clip, step = np.argwhere(strange)[0][:2]
        raise MetricError(
            f"{metric}: clip {future.clips[clip]!r}, step {future.steps[step]}: the {source} label "
            f"{labels[strange][0]} is not among the {len(space)} of {space.name!r} "
            f"(0 to {len(space) - 1}, {IGNORE} is ignored)"
        )


def _counts(
    predicted: Labels, true: Labels, predicted_class: Labels, true_class: Labels, classes: int
) -> list[int] | Undefined:
    counted = true != IGNORE
    if not counted.any():
        return Undefined("no pixel of the true frame is labelled")
    # One more than classes: what is not scored, and what was predicted as 255.
    side = classes + 1
    guess, truth = predicted[counted], true[counted]
    guess = np.where(guess == IGNORE, classes, predicted_class[np.where(guess == IGNORE, 0, guess)])
    confusion = np.bincount(true_class[truth] * side + guess, minlength=side * side).reshape(side, side)
    tp = confusion.diagonal()[:classes]
    fp, fn = confusion.sum(axis=0)[:classes] - tp, confusion.sum(axis=1)[:classes] - tp
    return [*tp.tolist(), *fp.tolist(), *fn.tolist()]
