"""Sample pictures along backward flow (see :mod:`vpbench.plugin.clip` for the contract of flow).

Whole-pixel motion is exact. A clip gets the same bits in any batch, and in any order of execution on a GPU.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def grid(like: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "2 h w"]:
    """Return each pixel's own position (x, y)."""
    height, width = like.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=like.device, dtype=like.dtype),
        torch.arange(width, device=like.device, dtype=like.dtype),
        indexing="ij",
    )
    return torch.stack([x, y])


def sample(image: Float[Tensor, "b c h w"], at: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b c h w"]:
    """Sample bilinearly at positions (x, y) in pixels; beyond the border, the border's value."""
    height, width = image.shape[-2:]
    x, y = at[:, 0].clamp(0, width - 1), at[:, 1].clamp(0, height - 1)
    left, top = x.floor(), y.floor()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    across, down = (x - left)[:, None], (y - top)[:, None]
    upper = torch.lerp(pick(image, left, top), pick(image, right, top), across)
    lower = torch.lerp(pick(image, left, bottom), pick(image, right, bottom), across)
    return torch.lerp(upper, lower, down)


def sample_nearest(image: Shaped[Tensor, "b c h w"], at: Float[Tensor, "b 2 h w"]) -> Shaped[Tensor, "b c h w"]:
    """Sample the nearest pixel; beyond the border, the border's value."""
    height, width = image.shape[-2:]
    x, y = (at[:, 0] + 0.5).floor().clamp(0, width - 1), (at[:, 1] + 0.5).floor().clamp(0, height - 1)
    return pick(image, x, y)


def pick(
    image: Shaped[Tensor, "b c h w"], x: Shaped[Tensor, "b h w"], y: Shaped[Tensor, "b h w"]
) -> Shaped[Tensor, "b c h w"]:
    """Return the values at whole positions (x, y) inside the image."""
    batch, channels, height, width = image.shape
    index = (y.long() * width + x.long()).view(batch, 1, -1).expand(-1, channels, -1)
    return image.flatten(2).gather(2, index).view(batch, channels, height, width)
