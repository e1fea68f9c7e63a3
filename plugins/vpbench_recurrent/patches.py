"""Patches: the pixels of small squares become channels."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vpbench.toolkit.padding import padded

Order = Literal["colour", "pixel"]
"""The slower index of a patch's channels: ``"pixel"`` is the order of the official codes and of OpenSTL."""


def to_patches(
    frames: Float[Tensor, "b t c h w"], side: int, order: Order = "colour", stride: int = 1
) -> Float[Tensor, "b t d hp wp"]:
    """Turn patches of ``side`` x ``side`` pixels into channels.

    The border is repeated until the grid of patches has sides that are multiples of ``stride``.
    """
    images = functional.pixel_unshuffle(padded(frames, side * stride), side)
    return images if order == "colour" else _swap(images, frames.shape[2], side**2)


def from_patches(
    image: Float[Tensor, "b d hp wp"], size: tuple[int, int], side: int, order: Order = "colour"
) -> Float[Tensor, "b c h w"]:
    """Turn channels back into frames of ``size`` (height, width); padding is cut off."""
    if order == "pixel":
        image = _swap(image, side**2, image.shape[1] // side**2)
    return functional.pixel_shuffle(image, side)[..., : size[0], : size[1]]


def _swap(images: Tensor, slow: int, fast: int) -> Tensor:
    """Exchange the two indices that make the channels."""
    return images.unflatten(-3, (slow, fast)).transpose(-4, -3).flatten(-4, -3)
