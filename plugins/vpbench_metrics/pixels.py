"""MSE, MAE and PSNR of RGB frames in [0,1]: a frame's errors are averaged in float64, over its 3*H*W values."""

from __future__ import annotations

import math

from torch import Tensor

from vpbench.plugin.clip import Comparison
from vpbench.plugin.metric import ClipMean, Measurements, MetricInfo, Value
from vpbench_metrics.frames import per_frame

__all__ = ["MAE", "MSE", "PSNR", "PSNR_FLOOR"]

PSNR_FLOOR = 1e-10
"""The smallest MSE that PSNR tells apart from none: 100 dB."""


def _difference(predicted: Tensor, true: Tensor) -> Tensor:
    return predicted.double() - true.double()


def _mse(comparison: Comparison) -> list[list[float]]:
    def score(predicted: Tensor, true: Tensor) -> float:
        return _difference(predicted, true).square().mean().item()

    return comparison.cached("vpbench_metrics.mse", lambda: per_frame(comparison, score))


class MSE(ClipMean):
    """Mean squared error per value, in [0,1]. Papers that print sums over the frame differ by the factor H*W*C."""

    info = MetricInfo(
        name="mse",
        revision=1,
        higher_is_better=False,
        summary="mean squared error per value of RGB frames in [0,1]",
        decimals=5,
    )
    engine = "torch"

    def measure(self, comparison: Comparison) -> Measurements:
        """Return the MSE of each frame."""
        return _mse(comparison)


class MAE(ClipMean):
    """Mean absolute error per value, in [0,1]."""

    info = MetricInfo(
        name="mae",
        revision=1,
        higher_is_better=False,
        summary="mean absolute error per value of RGB frames in [0,1]",
        decimals=5,
    )
    engine = "torch"

    def measure(self, comparison: Comparison) -> Measurements:
        """Return the MAE of each frame."""
        return per_frame(comparison, lambda p, t: _difference(p, t).abs().mean().item())


class PSNR(ClipMean):
    """Peak signal-to-noise ratio of each frame, peak 1, in dB: the score is a mean of dB, not the dB of a mean.

    The MSE is floored at 1e-10, so (near-)identical frames give 100 dB, with the note ``floored`` that is counted.
    """

    info = MetricInfo(
        name="psnr",
        revision=1,
        higher_is_better=True,
        summary="10 log10(1 / MSE) of each frame, averaged over clips; at most 100 dB",
        unit="dB",
        decimals=2,
    )
    engine = "torch"

    def measure(self, comparison: Comparison) -> Measurements:
        """Return the PSNR of each frame, in dB."""
        return [[_decibels(mse) for mse in clip] for clip in _mse(comparison)]


def _decibels(mse: float) -> float | Value:
    if mse <= PSNR_FLOOR:
        return Value(-10.0 * math.log10(PSNR_FLOOR), note="floored")
    return -10.0 * math.log10(mse)
