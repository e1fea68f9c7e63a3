"""SSIM and MS-SSIM as scikit-image and pytorch-msssim compute them, frame by frame and in float64.

A library is imported when its function is first called: most runs need neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor


def scikit_image_ssim(
    predicted: Float[Tensor, "b s 3 h w"], true: Float[Tensor, "b s 3 h w"], **options: Any
) -> NDArray[np.float64]:
    """Return ``skimage.metrics.structural_similarity`` of each frame, [B,S]; ``options`` are its own."""
    from skimage.metrics import structural_similarity

    def compute(x: Tensor, y: Tensor) -> float:
        return float(structural_similarity(x[0].cpu().numpy(), y[0].cpu().numpy(), channel_axis=0, **options))

    return _frame_scores(compute, predicted, true)


def pytorch_msssim_ssim(predicted: Float[Tensor, "b s 3 h w"], true: Float[Tensor, "b s 3 h w"]) -> NDArray[np.float64]:
    """Return ``pytorch_msssim.ssim`` of each frame with data range 1, [B,S]."""
    from pytorch_msssim import ssim

    return _frame_scores(lambda x, y: float(ssim(x, y, data_range=1.0)), predicted, true)


def pytorch_msssim_ms_ssim(
    predicted: Float[Tensor, "b s 3 h w"], true: Float[Tensor, "b s 3 h w"], window: tuple[float, ...] = ()
) -> NDArray[np.float64]:
    """Return ``pytorch_msssim.ms_ssim`` of each frame with data range 1, [B,S].

    Args:
        predicted: frames in [0,1].
        true: as ``predicted``.
        window: weights in float64; by default the library's own, which are rounded to float32.
    """
    from pytorch_msssim import ms_ssim

    weights = torch.tensor(window, dtype=torch.float64, device=predicted.device).expand(3, 1, 1, -1) if window else None
    return _frame_scores(lambda x, y: float(ms_ssim(x, y, data_range=1.0, win=weights)), predicted, true)


def _frame_scores(compute: Callable[[Tensor, Tensor], float], predicted: Tensor, true: Tensor) -> NDArray[np.float64]:
    pairs = zip(predicted.flatten(0, 1).split(1), true.flatten(0, 1).split(1), strict=True)
    values = [compute(x.double(), y.double()) for x, y in pairs]
    return np.array(values).reshape(true.shape[:2])
