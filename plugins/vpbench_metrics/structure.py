"""SSIM and MS-SSIM with the Gaussian 11x11 window, in float64."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from skimage.metrics import structural_similarity
from torch import Tensor

from vpbench.plugin.clip import Comparison
from vpbench.plugin.metric import ClipMean, Measurements, MetricInfo, Setting, Undefined
from vpbench_metrics.frames import per_frame, too_small

__all__ = ["MSSSIM", "MSSSIM_WEIGHTS", "SSIM", "WINDOW"]

WINDOW = 11
"""Pixels per side of the Gaussian window; its sigma is 1.5."""
MSSSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The exponent of each scale, finest first (Wang et al. 2003, section 3.2)."""
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2  # (K * data range)^2 with the data range 1


class SSIM(ClipMean):
    """Structural similarity, as Wang's ``ssim.m`` without downsampling and ``tf.image.ssim`` have it.

    Gaussian window, population covariance, data range 1, mean of the RGB channels over the valid interior (window
    centres 5 pixels or more from the border).
    """

    info = MetricInfo(
        name="ssim",
        revision=1,
        higher_is_better=True,
        summary="SSIM with a Gaussian 11x11 window (sigma 1.5), data range 1, mean of RGB",
        source="Wang, Bovik, Sheikh, Simoncelli: Image Quality Assessment, IEEE TIP 13(4), 2004, section III.B",
    )
    engine = "scikit-image"

    def why_not(self, setting: Setting) -> str:
        """Return what is lacking, or that the window is larger than the frames."""
        return super().why_not(setting) or too_small(setting.size, WINDOW)

    def measure(self, comparison: Comparison) -> Measurements:
        """Return the SSIM of each frame, in [-1,1]."""
        return per_frame(comparison, _ssim)


class MSSSIM(ClipMean):
    """Multi-scale SSIM over 5 scales, the defaults of ``tf.image.ssim_multiscale``.

    Per channel, the product over scales of the mean contrast-structure term (the mean SSIM at the last scale), floored
    at 0, to the power of :data:`MSSSIM_WEIGHTS`; then the mean of the channels. Between scales 2x2 means, an odd side
    being extended by repeating its last row or column (zeros there, as in pytorch-msssim, are off by 5e-4).
    """

    info = MetricInfo(
        name="ms-ssim",
        revision=1,
        higher_is_better=True,
        summary="MS-SSIM over 5 scales, Gaussian 11x11 window (sigma 1.5), data range 1, mean of RGB",
        source="Wang, Simoncelli, Bovik: Multi-scale structural similarity, Asilomar 2003; tf.image.ssim_multiscale",
    )
    engine = "torch"
    smallest = (WINDOW - 1) * 2 ** (len(MSSSIM_WEIGHTS) - 1) + 1
    """161: the pixels per side that leave the window its 11 at the last scale."""

    def why_not(self, setting: Setting) -> str:
        """Return what is lacking, or that the frames are too small for 5 scales."""
        return super().why_not(setting) or too_small(setting.size, self.smallest)

    def measure(self, comparison: Comparison) -> Measurements:
        """Return the MS-SSIM of each frame, in [0,1]."""
        return per_frame(comparison, _ms_ssim)


def _ssim(predicted: Float[Tensor, "3 h w"], true: Float[Tensor, "3 h w"]) -> float | Undefined:
    height, width = predicted.shape[-2:]
    if reason := too_small((height, width), WINDOW):
        return Undefined(reason)
    value = structural_similarity(
        predicted.double().cpu().numpy(),
        true.double().cpu().numpy(),
        gaussian_weights=True,
        sigma=_SIGMA,
        use_sample_covariance=False,
        data_range=1.0,
        channel_axis=0,
    )
    return float(value)


def _ms_ssim(predicted: Float[Tensor, "3 h w"], true: Float[Tensor, "3 h w"]) -> float | Undefined:
    height, width = predicted.shape[-2:]
    if reason := too_small((height, width), MSSSIM.smallest):
        return Undefined(reason)
    x, y = predicted.double(), true.double()
    product = torch.ones(3, dtype=torch.float64, device=x.device)
    for scale, weight in enumerate(MSSSIM_WEIGHTS):
        last = scale == len(MSSSIM_WEIGHTS) - 1
        luminance, contrast = _terms(x, y)
        term = (luminance * contrast if last else contrast).mean(dim=(-2, -1))
        product = product * term.clamp(min=0.0) ** weight
        if not last:
            x, y = _halve(x), _halve(y)
    return float(product.mean())


def _terms(
    x: Float64[Tensor, "3 h w"], y: Float64[Tensor, "3 h w"]
) -> tuple[Float64[Tensor, "3 h-10 w-10"], Float64[Tensor, "3 h-10 w-10"]]:
    """Return the maps of the luminance and of the contrast-structure term."""
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    contrast = (2 * covariance + _C2) / (var_x + var_y + _C2)
    return luminance, contrast


def _blur(image: Float64[Tensor, "3 h w"]) -> Float64[Tensor, "3 h-10 w-10"]:
    window = torch.from_numpy(_gaussian()).to(image.device)
    return (image.unfold(-2, WINDOW, 1) @ window).unfold(-1, WINDOW, 1) @ window


@cache
def _gaussian() -> np.ndarray:
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    return np.asarray(weights / weights.sum())


def _halve(image: Float64[Tensor, "3 h w"]) -> Float64[Tensor, "3 (h+1)//2 (w+1)//2"]:  # noqa: UP037
    height, width = image.shape[-2:]
    return F.avg_pool2d(F.pad(image[None], (0, width % 2, 0, height % 2), mode="replicate"), 2)[0]
