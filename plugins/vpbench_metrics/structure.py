"""SSIM and MS-SSIM with the Gaussian 11x11 window, and the conventions of other repositories."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vpbench.plugin.clip import Comparison
from vpbench.plugin.metric import Measurements, MetricInfo, Setting, Undefined
from vpbench.toolkit.windows import GAUSSIAN, UNIFORM7
from vpbench_metrics.engines import one_pass, scales, windowed
from vpbench_metrics.frames import checked_frames, everywhere, too_small
from vpbench_metrics.moments import halve, structure_torch
from vpbench_metrics.pixels import OfPass

__all__ = ["MSSSIM", "MSSSIM_WEIGHTS", "SSIM", "MSSSIMofPNG", "OpenSTLSSIM", "Uint8SSIM", "UniformSSIM"]

MSSSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The exponent of each scale, finest first (Wang et al. 2003, section 3.2)."""
_NEAR_ZERO = 1e-3
"""Mean terms nearer to zero have powers of so steep a slope that float32's rounding would show in them."""
_WANG = "Wang, Bovik, Sheikh, Simoncelli: Image Quality Assessment, IEEE TIP 13(4), 2004, section III.B"


class _Structure(OfPass):
    smallest: ClassVar[int]
    """Pixels per side that the window needs."""

    def why_not(self, setting: Setting) -> str:
        """Return what is lacking, or that the window is larger than the frames."""
        return super().why_not(setting) or too_small(setting.size, self.smallest)

    def measure(self, comparison: Comparison) -> Measurements:
        """Return one value per frame; undefined where the frames are too small.

        Raises:
            MetricError: frames that are not float32 [B,S,3,H,W] in [0,1], or none at all.
        """
        height, width = comparison.future.frames.shape[-2:]
        if reason := too_small((height, width), self.smallest):
            checked_frames(comparison, self.info.name)
            return everywhere(comparison, Undefined(reason))
        table: list[list[float]] = self._values(comparison).tolist()
        return table

    def _values(self, comparison: Comparison) -> NDArray[np.float64]:
        """Return the values of all frames, [B,S]."""
        raise NotImplementedError


class SSIM(_Structure):
    """Structural similarity, as Wang's ``ssim.m`` without downsampling and ``tf.image.ssim`` have it.

    Gaussian window, population covariance, data range 1, mean of the RGB channels over the valid interior (window
    centres 5 pixels or more from the border). In [-1,1]; identical frames give exactly 1.
    """

    info = MetricInfo(
        name="ssim",
        revision=2,
        better="higher",
        summary="SSIM with a Gaussian 11x11 window (sigma 1.5), data range 1, mean of RGB",
        source=_WANG,
    )
    smallest = len(GAUSSIAN.weights)

    def _values(self, comparison: Comparison) -> NDArray[np.float64]:
        structure = one_pass(comparison, self.info.name, self.device).structure
        assert structure is not None
        return np.asarray(1.0 - structure[..., 0].mean(axis=-1))


class MSSSIM(_Structure):
    """Multi-scale SSIM over 5 scales, the defaults of ``tf.image.ssim_multiscale``.

    Per channel, the product over scales of the mean contrast-structure term (the mean SSIM at the last scale), floored
    at 0, to the power of :data:`MSSSIM_WEIGHTS`; then the mean of the channels. Between scales 2x2 means, an odd side
    being extended by repeating its last row or column (zeros there, as in pytorch-msssim, are off by 5e-4). In [0,1];
    identical frames give exactly 1. The first scale is SSIM's own pass. Planes with a mean near zero are computed again
    in float64.
    """

    info = MetricInfo(
        name="ms-ssim",
        revision=3,
        better="higher",
        summary="MS-SSIM over 5 scales, Gaussian 11x11 window (sigma 1.5), data range 1, mean of RGB",
        source="Wang, Simoncelli, Bovik: Multi-scale structural similarity, Asilomar 2003; tf.image.ssim_multiscale",
    )
    smallest = (len(GAUSSIAN.weights) - 1) * 2 ** (len(MSSSIM_WEIGHTS) - 1) + 1
    """161: the pixels per side that leave the window its 11 at the last scale."""

    def _values(self, comparison: Comparison) -> NDArray[np.float64]:
        first = one_pass(comparison, self.info.name, self.device).structure
        assert first is not None
        coarser = scales(*comparison.frames, len(MSSSIM_WEIGHTS) - 1, self.device)
        terms = 1.0 - np.concatenate([first[..., None, 1], coarser[..., :-1, 1], coarser[..., -1:, 0]], axis=-1)
        for plane in map(tuple, np.argwhere((np.abs(terms) < _NEAR_ZERO).any(axis=-1))):
            terms[plane] = _exact_terms(*(frames[plane].to(self.device) for frames in comparison.frames))
        product = np.prod(np.maximum(terms, 0.0) ** np.array(MSSSIM_WEIGHTS), axis=-1)
        return np.asarray(product.mean(axis=-1))


def _exact_terms(predicted: Float[Tensor, "h w"], true: Float[Tensor, "h w"]) -> NDArray[np.float64]:
    """Return the mean contrast-structure term of each scale (SSIM's at the last), all of it in float64, [scales]."""
    x, y = predicted[None].double(), true[None].double()
    terms = [1.0 - structure_torch(x, y, exact=True)[0, 0]]
    for _ in MSSSIM_WEIGHTS[1:]:
        x, y = halve(x), halve(y)
        terms.append(1.0 - structure_torch(x, y, exact=True)[0, 0])
    return np.array([*(contrast for _, contrast in terms[:-1]), terms[-1][0]])


class UniformSSIM(_Structure):
    """SSIM as ``skimage.metrics.structural_similarity`` has it by default, with the data range 1.

    A uniform 7x7 window, sample covariance (49/48), mean of the RGB channels over the valid interior.
    """

    info = MetricInfo(
        name="ssim@uniform7",
        revision=1,
        better="higher",
        summary="SSIM with a uniform 7x7 window, sample covariance, data range 1 (scikit-image's default)",
        source="scikit-image, skimage.metrics.structural_similarity",
    )
    smallest = len(UNIFORM7.weights)
    data_range: ClassVar[float] = 1.0
    _ranges = (1.0, 2.0)

    @property
    def engine(self) -> str:
        """What computes it: "opencv" or "torch"."""
        return "torch" if super().engine == "torch" else "opencv"

    def _values(self, comparison: Comparison) -> NDArray[np.float64]:
        pair = checked_frames(comparison, self.info.name)
        table = comparison.cached(
            "vpbench_metrics.uniform7", lambda: windowed(*pair, UNIFORM7, self._ranges, self.device)
        )
        return np.asarray(1.0 - table[..., self._ranges.index(self.data_range), 0].mean(axis=-1))


class OpenSTLSSIM(UniformSSIM):
    """SSIM of OpenSTL, MIM and PhyDNet: uniform 7x7 and, for frames in [0,1], the data range 2.

    Up to version 0.19 scikit-image took it from the dtype (-1 to 1): +0.08 on photographs. Shares ``ssim@uniform7``'s
    pass.
    """

    info = replace(
        UniformSSIM.info,
        name="ssim@openstl",
        summary="SSIM with a uniform 7x7 window and data range 2, as OpenSTL, MIM and PhyDNet print it",
        source="OpenSTL, openstl/core/metrics.py with scikit-image <= 0.19.3",
    )
    data_range = 2.0


class Uint8SSIM(UniformSSIM):
    """SSIM of PredRNN: uniform 7x7 on frames truncated to 8 bits."""

    info = replace(
        UniformSSIM.info,
        name="ssim@uint8",
        summary="SSIM with a uniform 7x7 window on frames truncated to 8 bits, as PredRNN prints it",
        source="predrnn-pytorch, core/trainer.py",
    )

    def _values(self, comparison: Comparison) -> NDArray[np.float64]:
        predicted, true = ((frames * 255).floor() / 255 for frames in checked_frames(comparison, self.info.name))
        return np.asarray(1.0 - windowed(predicted, true, UNIFORM7, (1.0,), self.device)[..., 0, 0].mean(axis=-1))


class MSSSIMofPNG(MSSSIM):
    """MS-SSIM of the FVS family (SADM, WALDO): predictions are rounded to 8 bits first, as saved pictures are."""

    info = replace(
        MSSSIM.info,
        name="ms-ssim@fvs",
        revision=2,
        summary="MS-SSIM of predictions rounded to 8 bits",
        source="FutureVideoSynthesis, evaluation/demo_cityscape.py",
    )

    def _values(self, comparison: Comparison) -> NDArray[np.float64]:
        predicted, _ = checked_frames(comparison, self.info.name)
        return super()._values(_with_frames(comparison, torch.round(predicted * 255) / 255))


def _with_frames(comparison: Comparison, frames: Tensor) -> Comparison:
    return Comparison(replace(comparison.prediction, frames=frames), comparison.future)
