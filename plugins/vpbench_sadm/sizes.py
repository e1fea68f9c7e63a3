"""Bring labels, flow and log-probabilities to another size, so that the dynamics predicts at the size it learned at."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

Size = tuple[int, int]


def resized_labels(labels: Int64[Tensor, "b t h w"], size: Size) -> Int64[Tensor, "b t i j"]:
    """Return labels of the nearest pixels."""
    if labels.shape[-2:] == size:
        return labels
    return functional.interpolate(labels.double(), size, mode="nearest").long()


def resized_flow(flow: Float[Tensor, "b t 2 h w"], size: Size) -> Float[Tensor, "b t 2 i j"]:
    """Return flow between the pixels of the new size: interpolated bilinearly, and scaled."""
    height, width = flow.shape[-2:]
    scale = flow.new_tensor([size[1] / width, size[0] / height])
    return _bilinear(flow, size) * scale[:, None, None]


def resized_log(log: Float[Tensor, "b t c h w"], size: Size) -> Float[Tensor, "b t c i j"]:
    """Return log-probabilities, interpolated bilinearly as probabilities."""
    if log.shape[-2:] == size:
        return log
    return _bilinear(log.exp(), size).clamp(min=torch.finfo(log.dtype).tiny).log()


def _bilinear(maps: Float[Tensor, "b t c h w"], size: Size) -> Float[Tensor, "b t c i j"]:
    if maps.shape[-2:] == size:
        return maps
    return functional.interpolate(maps.flatten(0, 1), size, mode="bilinear").unflatten(0, maps.shape[:2])
