"""Fill holes of pictures from their nearest valid pixels, by a push-pull pyramid without parameters.

Source: Gortler, Grzeszczuk, Szeliski, Cohen: The Lumigraph, SIGGRAPH 1996, section 3.4.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional


def push_pull(
    pictures: Float[Tensor, "n c h w"], valid: Bool[Tensor, "n 1 h w"], default: Float[Tensor, "n c 1 1"] | float
) -> Float[Tensor, "n c h w"]:
    """Return pictures whose invalid pixels are filled from valid ones nearby; valid pixels keep their bits.

    Valid pixels are averaged into pictures of half the size until none is invalid. Each hole is then read from the
    smallest of these that has a value there.

    Args:
        pictures: invalid pixels may hold anything, NaN too.
        valid: pixels to keep.
        default: value of a picture without a valid pixel.
    """
    if valid.shape[-2:] == (1, 1):
        return torch.where(valid, pictures, default)
    height, width = valid.shape[-2:]
    half = push_pull(*_halved(pictures, valid), default)
    coarse = functional.interpolate(half, scale_factor=2.0, mode="bilinear", align_corners=False)
    return torch.where(valid, pictures, coarse[..., :height, :width])


def _halved(
    pictures: Float[Tensor, "n c h w"], valid: Bool[Tensor, "n 1 h w"]
) -> tuple[Float[Tensor, "n c i j"], Bool[Tensor, "n 1 i j"]]:
    """Return the mean of the valid pixels of each 2x2 block, and whether it has one."""
    height, width = valid.shape[-2:]
    even = (0, width % 2, 0, height % 2)
    weights = functional.pad(valid.to(pictures.dtype), even)
    sums = functional.avg_pool2d(functional.pad(torch.where(valid, pictures, 0.0), even), 2)
    shares = functional.avg_pool2d(weights, 2)
    return sums / shares.clamp(min=0.25), shares > 0
