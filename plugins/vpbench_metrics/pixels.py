"""MSE, MAE and PSNR of RGB frames in [0,1]: a frame's errors are averaged in float64, over its 3*H*W values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from vpbench.plugin.clip import Comparison
from vpbench.plugin.metric import ClipMean, Measurements, MetricInfo, Statistic, Value
from vpbench_metrics.engines import library, one_pass

PSNR_FLOOR = 1e-10
"""The smallest MSE that PSNR tells apart from none: 100 dB."""


class OfPass(ClipMean):
    """A metric of the pass over all frames that MSE, SSIM and others share."""

    @property
    def library(self) -> str:
        """Engine that computes it: "numba", "opencv" or "torch"."""
        return library(self.device)


class _Errors(OfPass):
    error: ClassVar[Literal["mse", "mae"]] = "mse"
    """The error that the value is made from."""

    def measure(self, comparison: Comparison) -> Measurements:
        """Return the value of each frame."""
        errors = getattr(one_pass(comparison, self.device), self.error)
        return [[self._value(error) for error in clip] for clip in errors.tolist()]

    def _value(self, error: float) -> float | Value:
        return error


class MSE(_Errors):
    """Mean squared error per value, in [0,1]. Papers that print sums over the frame differ by the factor H*W*C."""

    info = MetricInfo(
        name="mse",
        revision=1,
        better="lower",
        summary="mean squared error per value of RGB frames in [0,1]",
        decimals=5,
    )


class MAE(_Errors):
    """Mean absolute error per value, in [0,1]."""

    info = replace(MSE.info, name="mae", summary="mean absolute error per value of RGB frames in [0,1]")
    error = "mae"


class PSNR(_Errors):
    """Peak signal-to-noise ratio of each frame, peak 1, in dB: the score is a mean of dB, not the dB of a mean.

    The MSE is floored at 1e-10, so (near-)identical frames give 100 dB, with the note ``floored`` that is counted.
    """

    info = MetricInfo(
        name="psnr",
        revision=1,
        better="higher",
        summary="10 log10(1 / MSE) of each frame, averaged over clips; at most 100 dB",
        unit="dB",
        decimals=2,
    )

    derived_from = "mse"

    def derive(self, value: float) -> float:
        """Return the decibels of an MSE."""
        return _to_decibels(value)

    def _value(self, error: float) -> float | Value:
        return decibels(error)


class PooledPSNR(_Errors):
    """PSNR of the MSE pooled over all clips, as ``torchmetrics`` has it by default: at most the mean of the frames' dB.

    The statistic is the frame's MSE.
    """

    info = replace(
        PSNR.info,
        name="psnr@pooled",
        summary="10 log10(1 / mean MSE): the dB of a mean; at most 100 dB",
        source="torchmetrics.image.PeakSignalNoiseRatio without dim",
    )

    def finalise(self, statistics: Sequence[Statistic]) -> float:
        """Return the decibels of the mean MSE."""
        return _to_decibels(super().finalise(statistics))

    def resample(self, statistics: Sequence[Sequence[Statistic]], draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the decibels of the mean MSE of each resample, [R]."""
        return -10.0 * np.log10(np.maximum(super().resample(statistics, draws), PSNR_FLOOR))


def decibels(mse: float) -> float | Value:
    """Return 10 log10(1 / mse), noted as ``floored`` where the MSE is 1e-10 or less."""
    return Value(_to_decibels(mse), note="floored") if mse <= PSNR_FLOOR else _to_decibels(mse)


def _to_decibels(mse: float) -> float:
    return mse if math.isnan(mse) else -10.0 * math.log10(max(mse, PSNR_FLOOR))
