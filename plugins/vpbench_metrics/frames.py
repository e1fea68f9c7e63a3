"""What the metrics of frames share: one frame at a time, and the smallest frame they can judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from vpbench.plugin.clip import Comparison

__all__ = ["per_frame", "too_small"]

T = TypeVar("T")


def per_frame(comparison: Comparison, score: Callable[[Tensor, Tensor], T]) -> list[list[T]]:
    """Return ``score(predicted, true)`` of every pair of frames [3,H,W], by clip and scored step.

    A frame at a time bounds the memory, and makes a value independent of the batch it came in, to the last bit.
    """
    predicted, true = comparison.frames
    return [[score(*pair) for pair in zip(*clip, strict=True)] for clip in zip(predicted, true, strict=True)]


def too_small(size: tuple[int, int] | None, side: int) -> str:
    """Return why frames of ``size`` (H, W) cannot be judged, or "" where both sides have ``side`` pixels (or None)."""
    if size is None or min(size) >= side:
        return ""
    return f"needs at least {side} pixels per side; these frames are {size[0]}x{size[1]}"
