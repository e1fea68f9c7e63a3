"""Losses on frames: absolute and squared errors, and SSIM with the definition of the metric ``ssim``."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vpbench.errors import PredictorError
from vpbench.toolkit.windows import GAUSSIAN, K1, K2


def frame_loss(
    predicted: Float[Tensor, "b k c h w"],
    true: Float[Tensor, "b k c h w"],
    *,
    l1: float = 0.0,
    l2: float = 1.0,
    ssim_weight: float = 0.0,
) -> Float[Tensor, ""]:
    """Return ``l1 mean |e| + l2 mean e^2 + ssim_weight (1 - SSIM)`` of frames in [0,1]. SSIM costs nothing at weight 0.

    Raises:
        PredictorError: SSIM has a weight, and frames are smaller than its window.
    """
    difference = predicted - true
    loss = l1 * difference.abs().mean() + l2 * difference.square().mean()
    return loss + ssim_weight * (1.0 - ssim(predicted, true)) if ssim_weight else loss


def ssim(x: Float[Tensor, "b k c h w"], y: Float[Tensor, "b k c h w"]) -> Float[Tensor, ""]:
    """Return the mean SSIM of frames as the metric ``ssim`` defines it, with gradients.

    It is computed in float32: variances vanish in reduced precision.

    Raises:
        PredictorError: Frames are smaller than the window.
    """
    if min(x.shape[-2:]) < len(GAUSSIAN.weights):
        raise PredictorError(
            f"an SSIM loss needs frames of {len(GAUSSIAN.weights)} pixels a side; these are "
            f"{x.shape[-2]}x{x.shape[-1]}: set the option ssim to 0"
        )
    with torch.autocast(x.device.type, enabled=False):
        x, y = x.float().flatten(0, 1), y.float().flatten(0, 1)
        maps = torch.cat([x, y, x * x + y * y, x * y], dim=1)
        window = x.new_tensor(GAUSSIAN.weights).expand(maps.shape[1], 1, -1)
        maps = functional.conv2d(maps, window[..., None], groups=len(window))
        maps = functional.conv2d(maps, window[..., None, :], groups=len(window))
        mean_x, mean_y, squares, product = maps.chunk(4, dim=1)
        means, squared_means = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
        luminance = (2 * means + K1**2) / (squared_means + K1**2)
        contrast = (2 * (product - means) + K2**2) / (squares - squared_means + K2**2)
        return (luminance * contrast).mean()
