"""How well motion is predicted: flow end-point error, dis-occlusion, and whether the prediction only repeats."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vpbench.errors import MetricError
from vpbench.plugin.clip import IGNORE, Comparison
from vpbench.plugin.metric import ClipMean, Measurements, MetricInfo, PooledCounts, Undefined
from vpbench.toolkit.labels import boundaries
from vpbench_metrics.engines import one_pass
from vpbench_metrics.pixels import OfPass
from vpbench_metrics.regions import check_size
from vpbench_metrics.semantic import checked_labels

BOUNDARY = 3
"""Pixels (the larger of dx and dy) to a class boundary within which a pixel is near it."""


class EndPointError(ClipMean):
    """Mean over pixels of the distance between predicted and true backward flow, in pixels, 0 or more.

    Pixels whose true flow is not finite (unknown) are left out; those that come from outside of the frame are not.
    """

    info = MetricInfo(
        name="epe",
        revision=1,
        better="lower",
        summary="end-point error of the backward flow, mean over pixels",
        unit="px",
        decimals=3,
        needs=("flow",),
        source="Baker et al.: A Database and Evaluation Methodology for Optical Flow, IJCV 92, 2011, section 4.1",
    )
    library = "torch"
    _nothing: ClassVar[str] = "no pixel's true flow is known"

    def measure(self, comparison: Comparison) -> Measurements:
        """Return the end-point error of each frame; undefined where no true flow is known.

        Raises:
            MetricError: the true flow is not of the frames' size.
        """
        predicted, true = _pair(comparison, "flow", self.info.name)
        counted = self._counted(comparison, torch.isfinite(true).all(dim=2))
        return [
            [self._distance(*frame) for frame in zip(*clip, strict=True)]
            for clip in zip(predicted, true, counted, strict=True)
        ]

    def _counted(self, comparison: Comparison, finite: Bool[Tensor, "b s h w"]) -> Bool[Tensor, "b s h w"]:
        """Return which of the pixels whose true flow is known are counted."""
        return finite

    def _distance(
        self, predicted: Float[Tensor, "2 h w"], true: Float[Tensor, "2 h w"], counted: Bool[Tensor, "h w"]
    ) -> float | Undefined:
        if not counted.any():
            return Undefined(self._nothing)
        difference = predicted[:, counted].double() - true[:, counted].double()
        return float(torch.linalg.vector_norm(difference, dim=0).mean())


class BoundaryEndPointError(EndPointError):
    """End-point error of the pixels within 3 pixels of a boundary between true semantic classes.

    A pixel is at a boundary where its label differs from that of a pixel above, below or beside it, neither being 255;
    near it, where one at a boundary lies at most 3 rows and 3 columns away. Pixels labelled 255 are left out.
    """

    info = replace(
        EndPointError.info,
        name="epe/boundary",
        summary="end-point error of the backward flow, mean over the pixels near a boundary between classes",
        truth=("semantics",),
        source="the region of a claim of Bei, Yang, Soatto: Learning Semantic-Aware Dynamics for Video Prediction, "
        "CVPR 2021, section 4.3; its width is this suite's own",
    )
    _nothing = "no pixel near a class boundary has a known true flow"

    def _counted(self, comparison: Comparison, finite: Bool[Tensor, "b s h w"]) -> Bool[Tensor, "b s h w"]:
        labels = torch.from_numpy(checked_labels(comparison.future, self.info.name)[0]).to(finite.device)
        if labels.shape != finite.shape:
            sizes = f"{list(finite.shape)}; they are {list(labels.shape)}"
            raise MetricError(f"{self.info.name}: the true labels must be of the flow's size, {sizes}")
        return finite & near_boundary(labels) & (labels != IGNORE)


class _Disocclusion(PooledCounts):
    counted: ClassVar[str]
    """Divisor of the true positives: "predicted" or "true" pixels."""
    library = "torch"

    def measure(self, comparison: Comparison) -> Measurements:
        """Return true positives, false positives and false negatives of each frame, in pixels.

        Raises:
            MetricError: the true dis-occlusion is not of the frames' size.
        """
        predicted, true = _pair(comparison, "disocclusion", self.info.name)

        def counts() -> list[list[list[int]]]:
            table = [(a & b).sum(dim=(2, 3)) for a, b in ((predicted, true), (predicted, ~true), (~predicted, true))]
            return torch.stack(table, dim=-1).tolist()

        return comparison.cached("vpbench_metrics.disocclusion", counts)

    def ratio(self, counts: NDArray[np.int64]) -> dict[str, float]:
        """Return the share of true positives (NaN where there is nothing to divide by)."""
        tp, fp, fn = counts.tolist()
        total = tp + (fp if self.counted == "predicted" else fn)
        return {"score": tp / total if total else math.nan}


class DisocclusionPrecision(_Disocclusion):
    """Share of the pixels predicted as dis-occluded that are, pooled over all clips."""

    info = MetricInfo(
        name="disocclusion-precision",
        revision=1,
        better="higher",
        summary="share of the pixels predicted as newly visible that are, pooled over all clips",
        needs=("disocclusion",),
    )
    counted = "predicted"


class DisocclusionRecall(_Disocclusion):
    """Share of the dis-occluded pixels that are predicted as such, pooled over all clips."""

    info = replace(
        DisocclusionPrecision.info,
        name="disocclusion-recall",
        summary="share of the newly visible pixels that are predicted as such, pooled over all clips",
    )
    counted = "true"


class CopyIndex(OfPass):
    """RMSE of the prediction to the last context frame over its RMSE to the true frame.

    0 for a model that repeats the last frame; 1 where the prediction is as far from it as from the truth; it grows
    without bound as the prediction nears the truth, where it is undefined.
    """

    info = MetricInfo(
        name="copy-index",
        revision=1,
        better="higher",
        summary="RMSE to the last context frame over RMSE to the truth: 0 for a model that only repeats",
        decimals=3,
    )

    def measure(self, comparison: Comparison) -> Measurements:
        """Return the index of each frame; undefined where the prediction equals the truth."""
        errors = one_pass(comparison, self.device).mse.tolist()
        return [
            [_index(frame, last, mse) for frame, mse in zip(clip, row, strict=True)]
            for clip, last, row in zip(comparison.frames[0], comparison.future.last, errors, strict=True)
        ]


def _index(frame: Float[Tensor, "3 h w"], last: Float[Tensor, "3 h w"], mse: float) -> float | Undefined:
    if mse == 0:
        return Undefined("the prediction equals the truth")
    return math.sqrt((frame.double() - last.double()).square().mean().item() / mse)


def near_boundary(labels: Int64[Tensor, "b s h w"]) -> Bool[Tensor, "b s h w"]:
    """Return which pixels lie within :data:`BOUNDARY` rows and columns of one at a boundary between two classes."""
    wide = functional.max_pool2d(boundaries(labels).float(), 2 * BOUNDARY + 1, stride=1, padding=BOUNDARY)
    return wide > 0


def _pair(comparison: Comparison, modality: str, metric: str) -> tuple[Tensor, Tensor]:
    """Return what is predicted and true of a modality (raises as :func:`check_size`)."""
    check_size(comparison.future, modality, metric)
    return getattr(comparison.prediction, modality), getattr(comparison.future, modality)
