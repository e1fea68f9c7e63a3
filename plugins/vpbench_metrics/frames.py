"""Shared by the metrics of frames: the smallest frame size, and one value for all frames."""

from __future__ import annotations

from typing import TypeVar

from vpbench.plugin.clip import Comparison

T = TypeVar("T")


def everywhere(comparison: Comparison, value: T) -> list[list[T]]:
    """Return one value for every clip and scored step."""
    return [[value] * len(comparison.future.steps) for _ in comparison.future.clips]


def too_small(size: tuple[int, int] | None, side: int) -> str:
    """Return why frames of ``size`` (H, W) cannot be judged, or "" where both sides have ``side`` pixels (or None)."""
    if size is None or min(size) >= side:
        return ""
    return f"needs at least {side} pixels per side; these frames are {size[0]}x{size[1]}"
