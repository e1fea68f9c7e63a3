"""Frames of any size, for networks that take multiples of their stride."""

from __future__ import annotations

import warnings

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vpbench.errors import VpbenchWarning


def padded(x: Float[Tensor, "*n h w"], stride: int) -> Float[Tensor, "*n i j"]:
    """Return pictures with their lower and right border repeated up to multiples of the stride."""
    height, width = x.shape[-2:]
    if height % stride == width % stride == 0:
        return x
    pictures = x.reshape(1, -1, height, width)
    grown = functional.pad(pictures, (0, -width % stride, 0, -height % stride), mode="replicate")
    return grown.reshape(*x.shape[:-2], *grown.shape[-2:])


def tell_padding(name: str, frames: Float[Tensor, "*n h w"], stride: int) -> None:
    """Warn if a predictor pads its frames; its prediction is cropped to their size."""
    height, width = frames.shape[-2:]
    tall, wide = height + -height % stride, width + -width % stride
    if (tall, wide) != (height, width):
        warnings.warn(
            f"{name}: frames of {height}x{width} are padded to {tall}x{wide}, multiples of {stride}, and what is "
            "predicted is cut again",
            VpbenchWarning,
            stacklevel=3,
        )
