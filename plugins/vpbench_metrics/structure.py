"""SSIM and MS-SSIM with the Gaussian 11x11 window, and the conventions of other repositories.

Each has two engines: ``fast``, and ``libraries``, with which anyone can audit the fast numbers on their own data.
"""

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
from vpbench_metrics.frames import everywhere, too_small
from vpbench_metrics.libraries import pytorch_msssim_ms_ssim, pytorch_msssim_ssim, scikit_image_ssim
from vpbench_metrics.moments import halve, structure_torch
from vpbench_metrics.pixels import OfPass

MSSSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The exponent of each scale, finest first (Wang et al. 2003, section 3.2)."""
_HALVED = 2 ** (len(MSSSIM_WEIGHTS) - 1)
_NEAR_ZERO = 1e-3
"""Mean terms nearer to zero have powers of so steep a slope that float32's rounding would show in them."""
_WANG = "Wang, Bovik, Sheikh, Simoncelli: Image Quality Assessment, IEEE TIP 13(4), 2004, section III.B"


class _Structure(OfPass):
    engines = ("fast", "libraries")
    smallest: ClassVar[int]
    """Pixels per side that the window needs."""
    reference: ClassVar[str] = "scikit-image"

    def __init__(self, device: str = "cpu", engine: str = "fast") -> None:
        super().__init__(device)
        self._by_library = engine == "libraries"

    @property
    def library(self) -> str:
        """Name the reference, or the library of the fast engine."""
        return self.reference if self._by_library else super().library

    def why_not(self, setting: Setting) -> str:
        """Return the modality that is missing, or why the frames have the wrong size."""
        return super().why_not(setting) or ("" if setting.size is None else self._unfit(*setting.size))

    def measure(self, comparison: Comparison) -> Measurements:
        """Return one value per frame; undefined if the frames are too small."""
        height, width = comparison.future.frames.shape[-2:]
        if reason := self._unfit(height, width):
            return everywhere(comparison, Undefined(reason))
        table: list[list[float]] = (self._audit if self._by_library else self._values)(comparison).tolist()
        return table

    def _unfit(self, height: int, width: int) -> str:
        return too_small((height, width), self.smallest)

    def _values(self, comparison: Comparison) -> NDArray[np.float64]:
        """Return the values of all frames, [B,S]."""
        raise NotImplementedError

    def _audit(self, comparison: Comparison) -> NDArray[np.float64]:
        """Return the library's values of all frames, [B,S]."""
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
        structure = one_pass(comparison, self.device).structure
        assert structure is not None
        return np.asarray(1.0 - structure[..., 0].mean(axis=-1))

    def _audit(self, comparison: Comparison) -> NDArray[np.float64]:
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
        return scikit_image_ssim(*comparison.frames, **options)


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
    reference = "pytorch-msssim"

    def _unfit(self, height: int, width: int) -> str:
        reason = super()._unfit(height, width)
        if self._by_library and not reason and (height % _HALVED or width % _HALVED):
            return (
                f"pytorch-msssim pads odd sides with zeros: it agrees only if both sides are multiples of {_HALVED}; "
                f"these frames are {height}x{width}"
            )
        return reason

    def _values(self, comparison: Comparison) -> NDArray[np.float64]:
        first = one_pass(comparison, self.device).structure
        assert first is not None
        coarser = scales(*comparison.frames, len(MSSSIM_WEIGHTS) - 1, self.device)
        terms = 1.0 - np.concatenate([first[..., None, 1], coarser[..., :-1, 1], coarser[..., -1:, 0]], axis=-1)
        for plane in map(tuple, np.argwhere((np.abs(terms) < _NEAR_ZERO).any(axis=-1))):
            terms[plane] = _exact_terms(*(frames[plane].to(self.device) for frames in comparison.frames))
        product = np.prod(np.maximum(terms, 0.0) ** np.array(MSSSIM_WEIGHTS), axis=-1)
        return np.asarray(product.mean(axis=-1))

    def _audit(self, comparison: Comparison) -> NDArray[np.float64]:
        return pytorch_msssim_ms_ssim(*comparison.frames, GAUSSIAN.weights)


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
    def library(self) -> str:
        """Name scikit-image, "opencv" or "torch"."""
        return super().library.replace("numba", "opencv")

    def _values(self, comparison: Comparison) -> NDArray[np.float64]:
        table = comparison.cached(
            "vpbench_metrics.uniform7",
            lambda: windowed(*comparison.frames, UNIFORM7, self._ranges, self.device),
        )
        return np.asarray(1.0 - table[..., self._ranges.index(self.data_range), 0].mean(axis=-1))

    def _audit(self, comparison: Comparison) -> NDArray[np.float64]:
        return scikit_image_ssim(*comparison.frames, data_range=self.data_range)


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

    _ranges = (1.0,)

    def measure(self, comparison: Comparison) -> Measurements:
        """Return one value per frame truncated to 8 bits; undefined if the frames are too small."""
        predicted, true = ((frames * 255).floor() / 255 for frames in comparison.frames)
        return super().measure(_with_frames(comparison, predicted, true))


class MSSSIMofPNG(MSSSIM):
    """MS-SSIM of the FVS family (SADM, WALDO): predictions are rounded to 8 bits first, as saved pictures are."""

    info = replace(
        MSSSIM.info,
        name="ms-ssim@fvs",
        revision=2,
        summary="MS-SSIM of predictions rounded to 8 bits",
        source="FutureVideoSynthesis, evaluation/demo_cityscape.py",
    )

    def measure(self, comparison: Comparison) -> Measurements:
        """Return one value per frame of which the prediction is rounded to 8 bits; undefined if it is too small."""
        predicted, true = comparison.frames
        return super().measure(_with_frames(comparison, torch.round(predicted * 255) / 255, true))


class PytorchSSIM(_Structure):
    """SSIM as the package pytorch-msssim computes it: DMVFN's and its followers' tables.

    Gaussian 11x11 window (sigma 1.5), data range 1, valid positions only, mean of RGB. The package rounds its window to
    float32, which shifts flat bright frames by up to 1e-4. Computed in float64, so no number depends on the batch.
    """

    info = replace(
        SSIM.info,
        name="ssim@pytorch-msssim",
        revision=1,
        summary="SSIM of the package pytorch-msssim, data range 1, as DMVFN prints it",
        source="pytorch-msssim, ssim",
    )
    engines = ()
    smallest = SSIM.smallest
    library = "pytorch-msssim"

    def _values(self, comparison: Comparison) -> NDArray[np.float64]:
        return pytorch_msssim_ssim(*comparison.frames)


class PytorchMSSSIM(PytorchSSIM):
    """MS-SSIM as the package pytorch-msssim computes it: as ``ssim@pytorch-msssim``, over 5 scales.

    Between scales, odd sides are padded with zeros, which lowers MS-SSIM by up to 2e-3 against ``ms-ssim``.
    """

    info = replace(
        MSSSIM.info,
        name="ms-ssim@pytorch-msssim",
        revision=1,
        summary="MS-SSIM of the package pytorch-msssim, data range 1, as DMVFN prints it",
        source="pytorch-msssim, ms_ssim",
    )
    smallest = MSSSIM.smallest

    def _values(self, comparison: Comparison) -> NDArray[np.float64]:
        return pytorch_msssim_ms_ssim(*comparison.frames)


def _with_frames(comparison: Comparison, predicted: Tensor, true: Tensor) -> Comparison:
    prediction, future = replace(comparison.prediction, frames=predicted), replace(comparison.future, frames=true)
    return Comparison(prediction, future)
