"""mIoU: intersection over union of semantic classes, from counts pooled over all clips."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import MetricError
from vpbench.plugin.clip import IGNORE, Comparison, LabelSpace
from vpbench.plugin.metric import Measurements, MetricInfo, PooledCounts, Setting, Undefined

__all__ = ["MIoU"]


class MIoU(PooledCounts):
    """Mean over classes of TP / (TP + FP + FN), the counts being summed over all clips first.

    Pixels whose truth is 255 are ignored; a *predicted* 255 elsewhere counts as a miss of the true class. A class with
    no pixel in truth and prediction is left out of the mean. The statistic of a frame is 3*C integers: the true
    positives of each of the C classes, their false positives, their false negatives.
    """

    info = MetricInfo(
        name="miou",
        revision=1,
        higher_is_better=True,
        summary="mean over classes of the intersection over union of pixels pooled over all clips; 255 is ignored",
        needs=("semantics",),
        source="Everingham et al.: The PASCAL Visual Object Classes Challenge, IJCV 111, 2015, section 4.3.2",
    )
    engine = "numpy"

    def why_not(self, setting: Setting) -> str:
        """Return what is lacking: labels on either side, or their names."""
        return super().why_not(setting) or ("" if setting.label_space else "the dataset names no label space")

    def measure(self, comparison: Comparison) -> Measurements:
        """Return the 3*C counts of each frame; undefined where no true pixel is labelled, or the label spaces differ.

        Raises:
            MetricError: a label is not in the label space, or the logits have another number of classes.
        """
        prediction, future = comparison.prediction, comparison.future
        assert prediction.semantics is not None  # it is not asked where there are no labels
        assert future.semantics is not None
        space = future.label_space
        if space is None:
            raise MetricError("miou: the truth has labels without a label space; the dataset's info must name one")
        theirs = prediction.label_space or space
        if theirs.name != space.name:
            reason = f"the predicted labels are of {theirs.name!r}, the true ones of {space.name!r}"
            return [[Undefined(reason)] * len(future.steps) for _ in future.clips]
        labels = prediction.semantics
        if labels.is_floating_point():
            if labels.shape[2] != len(space):
                raise MetricError(
                    f"miou: the predictor gives scores of {labels.shape[2]} classes, "
                    f"but the label space {space.name!r} has {len(space)}"
                )
            labels = labels.argmax(dim=2)
        pairs = zip(future.clips, labels.cpu().numpy(), future.semantics.cpu().numpy(), strict=True)
        return [
            [
                _counts(p, t, space, f"clip {clip}, step {step}")
                for step, p, t in zip(future.steps, predicted, true, strict=True)
            ]
            for clip, predicted, true in pairs
        ]

    def ratio(self, counts: NDArray[np.int64]) -> dict[str, float]:
        """Return the mean IoU and each class's, under ``"class <id>"`` (NaN where no pixel is of it)."""
        tp, fp, fn = counts.reshape(3, -1).tolist()
        iou = [t / (t + p + n) if t + p + n else math.nan for t, p, n in zip(tp, fp, fn, strict=True)]
        present = [value for value in iou if not math.isnan(value)]
        score = math.fsum(present) / len(present) if present else math.nan
        return {"score": score} | {f"class {i}": value for i, value in enumerate(iou)}


def _counts(
    predicted: NDArray[np.int64], true: NDArray[np.int64], space: LabelSpace, where: str
) -> list[int] | Undefined:
    classes = len(space)
    for labels, whose in ((predicted, "predicted"), (true, "true")):
        strange = labels[((labels < 0) | (labels >= classes)) & (labels != IGNORE)]
        if strange.size:
            raise MetricError(
                f"miou: {where}: the {whose} label {strange[0]} is not among the {classes} of {space.name!r} "
                f"(0 to {classes - 1}, {IGNORE} is ignored)"
            )
    counted = true != IGNORE
    if not counted.any():
        return Undefined("no pixel of the true frame is labelled")
    # One column more than classes: what was predicted as 255 belongs to no class.
    cell = true[counted] * (classes + 1) + np.where(predicted[counted] == IGNORE, classes, predicted[counted])
    confusion = np.bincount(cell, minlength=classes * (classes + 1)).reshape(classes, classes + 1)
    tp = confusion.diagonal()
    fp, fn = confusion[:, :classes].sum(axis=0) - tp, confusion.sum(axis=1) - tp
    return [*tp.tolist(), *fp.tolist(), *fn.tolist()]
