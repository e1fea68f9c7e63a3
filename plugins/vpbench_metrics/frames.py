"""What the metrics of frames share: checks of what they are given, and the smallest frame they can judge."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from vpbench.errors import MetricError
from vpbench.plugin.clip import Comparison

__all__ = ["check_layout", "check_values", "checked_frames", "everywhere", "too_small"]

T = TypeVar("T")


def checked_frames(comparison: Comparison, metric: str) -> tuple[Tensor, Tensor]:
    """Return the predicted and the true frames, float32 [B,S,3,H,W], which lie in [0,1].

    Raises:
        MetricError: they do not; names the metric and, where it is one, the clip.
    """

    def check() -> bool:
        check_layout(comparison, metric)
        check_values(comparison, metric)
        return True

    comparison.cached("vpbench_metrics.checked", check)
    return comparison.frames


def check_layout(comparison: Comparison, metric: str) -> None:
    """Check the dtypes and shapes of the frames.

    Raises:
        MetricError: says what they are and what they should be.
    """
    future = comparison.future
    expected = (len(future.clips), len(future.steps), 3)
    for frames, whose in zip(comparison.frames, ("predicted", "true"), strict=True):
        if frames.dtype != torch.float32:
            raise MetricError(f"{metric}: the {whose} frames must be float32 in [0,1]; they are {_word(frames.dtype)}")
        if frames.ndim != 5 or tuple(frames.shape[:3]) != expected:
            raise MetricError(
                f"{metric}: the {whose} frames must be [clips,steps,3,H,W] with {expected[0]} clips and {expected[1]} "
                f"steps; they are {list(frames.shape)}"
            )
    predicted, true = (frames.shape[-2:] for frames in comparison.frames)
    if predicted != true:
        raise MetricError(f"{metric}: the predicted frames are {list(predicted)} pixels, the true ones {list(true)}")
    if not comparison.frames[1].numel():
        raise MetricError(f"{metric}: there is nothing to measure: {list(comparison.frames[1].shape)} values")


def check_values(comparison: Comparison, metric: str) -> None:
    """Check that all values lie in [0,1].

    Raises:
        MetricError: names the first clip and step that has others, or NaN.
    """
    future = comparison.future
    for frames, whose in zip(comparison.frames, ("predicted", "true"), strict=True):
        for clip, name in zip(frames, future.clips, strict=True):
            low, high = (float(v) for v in torch.aminmax(clip))
            if low >= 0 and high <= 1:  # NaN is neither
                continue
            fine = ((clip >= 0) & (clip <= 1)).flatten(1).all(dim=1)
            step = int((~fine).nonzero()[0])
            where = f"{metric}: the {whose} frame of clip {name!r}, step {future.steps[step]}"
            if not torch.isfinite(clip[step]).all():
                raise MetricError(f"{where} holds NaN or inf")
            low, high = (float(v) for v in torch.aminmax(clip[step]))
            raise MetricError(f"{where} must lie in [0,1]; it spans [{low:.4g}, {high:.4g}]")


def everywhere(comparison: Comparison, value: T) -> list[list[T]]:
    """Return one value for every clip and scored step."""
    return [[value] * len(comparison.future.steps) for _ in comparison.future.clips]


def too_small(size: tuple[int, int] | None, side: int) -> str:
    """Return why frames of ``size`` (H, W) cannot be judged, or "" where both sides have ``side`` pixels (or None)."""
    if size is None or min(size) >= side:
        return ""
    return f"needs at least {side} pixels per side; these frames are {size[0]}x{size[1]}"


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
