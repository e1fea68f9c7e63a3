"""Which pixels of a predicted frame are newly visible (section 3.2, figure 4): occupancy, consistency, and the image.

Flow f is backward: what pixel p of the next frame shows was at p + f(p). All of it is made of comparisons of flow and
labels; no gradient passes.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from vpbench.plugin.clip import IGNORE
from vpbench.toolkit.warp import grid, sample_nearest
from vpbench_sadm.options import Options

__all__ = ["inconsistent", "occluded", "outside", "overoccupied"]

_OF_A_PIXEL = 2**10
"""Motions that differ by less than this part of a pixel are the same to the order of claimants."""
_FAR = 2**28
_NOBODY = 2**63 - 1


@torch.no_grad()
def occluded(
    flow: Float[Tensor, "b 2 h w"],
    labels: Int64[Tensor, "b h w"],
    source_labels: Int64[Tensor, "b h w"],
    source_flow: Float[Tensor, "b 2 h w"] | None,
    options: Options,
) -> Bool[Tensor, "b h w"]:
    """Return the union of the criteria that the options name.

    Args:
        flow: from the next frame t+1 back to t.
        labels: of t+1, as predicted.
        source_labels: of t; 255 is unknown.
        source_flow: from t back to t-1, where that is known.
        options: ``occlusion``, ``consistency``, ``occupancy_tau`` and ``out_of_image``.
    """
    found = outside(flow) if options.out_of_image else torch.zeros_like(labels, dtype=torch.bool)
    if options.occlusion in ("both", "occupancy"):
        found = found | overoccupied(flow, labels, source_labels, source_flow, options.occupancy_tau)
    if options.occlusion in ("both", "semantic"):
        found = found | inconsistent(flow, labels, source_labels, options.consistency)
    return found


def outside(flow: Float[Tensor, "b 2 h w"]) -> Bool[Tensor, "b h w"]:
    """Return which pixels come from outside the image, whose pixels reach half a pixel beyond their centres."""
    height, width = flow.shape[-2:]
    x, y = (grid(flow) + flow).unbind(dim=1)
    return (x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)


def inconsistent(
    flow: Float[Tensor, "b 2 h w"],
    labels: Int64[Tensor, "b h w"],
    source_labels: Int64[Tensor, "b h w"],
    consistency: Literal["warped", "nearest", "literal"],
) -> Bool[Tensor, "b h w"]:
    """Return which pixels have another class than what they come from.

    ``warped``: than every pixel that a bilinear warp reads for them (the caption of figure 4; the nearest alone would
    contradict every other pixel of a boundary that moves by half a pixel). ``nearest``: than that one; it finds more,
    and more that is wrong (``benchmarks/disocclusion.py``). ``literal``: than the same pixel of the frame before (the
    formula of section 3.2, which has no warp). An unknown label (255) contradicts nothing.
    """
    at = grid(flow) + flow
    index, weight = _read(at)
    before, read = _at(source_labels[:, None], index)[:, 0], weight > 0
    if consistency == "nearest":
        before, read = sample_nearest(source_labels[:, None], at), read.any(dim=1, keepdim=True)
    elif consistency == "literal":
        before, read = source_labels[:, None], torch.ones_like(read[:, :1])
    agrees = read & ((labels[:, None] == before) | (before == IGNORE))
    return (agrees.sum(dim=1) == 0) & (read.sum(dim=1) > 0) & (labels != IGNORE)


def overoccupied(
    flow: Float[Tensor, "b 2 h w"],
    labels: Int64[Tensor, "b h w"],
    source_labels: Int64[Tensor, "b h w"],
    source_flow: Float[Tensor, "b 2 h w"] | None,
    tau: float,
) -> Bool[Tensor, "b h w"]:
    """Return which pixels come from where something else was seen (pixel A of figure 4).

    Each pixel claims the source pixels that a bilinear warp reads for it, four or fewer. Of several claimants one is
    what the source pixel shows: one of its class before others; then the one whose motion f(p) is nearest to the motion
    that the source pixel has itself (the fastest one where that is unknown); then the first. Another claimant loses the
    source pixel if it moves by more than ``tau`` pixels otherwise than that one; without a threshold, whatever grows
    would lose some. Marked is what loses more than half of what it reads, by weight. (The paper leaves all of this
    open, but that one of the claimants remains.)

    Args:
        flow: from t+1 back to t.
        labels: of t+1.
        source_labels: of t.
        source_flow: from t back to t-1, or None.
        tau: pixels.
    """
    size = flow.shape[-2] * flow.shape[-1]
    index, weight = _read(grid(flow) + flow)
    wrong = labels[:, None] != _at(source_labels[:, None], index)[:, 0]
    slowness = -_length(flow)[:, None]
    distance = slowness if source_flow is None else _length(flow[:, :, None] - _at(source_flow, index))
    order = (distance * _OF_A_PIXEL).round().clamp(-_FAR, _FAR).long() + wrong * 4 * _FAR
    number = torch.arange(size, device=flow.device).view(flow.shape[-2:])
    rank = torch.where(weight > 0, (order << 32) + number, _NOBODY)
    first = torch.full((len(flow), size), _NOBODY, device=flow.device)
    first.scatter_reduce_(1, index.flatten(1), rank.flatten(1), "amin")  # the least does not depend on the order
    winner = (first & (2**32 - 1)).clamp(max=size - 1).view_as(flow[:, 0])
    lost = _length(flow[:, :, None] - _at(_at(flow, winner), index)) > tau
    return (weight * lost).sum(dim=1) > weight.sum(dim=1) / 2


def _read(at: Float[Tensor, "b 2 h w"]) -> tuple[Int64[Tensor, "b 4 h w"], Float[Tensor, "b 4 h w"]]:
    """Return the four pixels that a bilinear warp reads at each position, as indices, and their weights."""
    column, across = _around(at[:, 0], at.shape[-1])
    row, down = _around(at[:, 1], at.shape[-2])
    index = row[:, :, None] * at.shape[-1] + column[:, None]
    return index.flatten(1, 2), (down[:, :, None] * across[:, None]).flatten(1, 2)


def _around(at: Float[Tensor, "b h w"], size: int) -> tuple[Int64[Tensor, "b 2 h w"], Float[Tensor, "b 2 h w"]]:
    """Return the two whole numbers around each coordinate, clamped to 0 .. size-1, and their weights (0: outside)."""
    low = at.floor()
    whole = torch.stack([low, low + 1], dim=1)
    weight = torch.stack([1 - (at - low), at - low], dim=1)
    within = whole.clamp(0, size - 1)
    return within.long(), weight * (within == whole)


def _length(vectors: Float[Tensor, "b 2 *n h w"]) -> Float[Tensor, "b *n h w"]:
    """Return what ``torch.linalg.vector_norm`` does, ten times as fast along this dimension."""
    return vectors.square().sum(dim=1).sqrt()


def _at(image: Shaped[Tensor, "b c h w"], index: Int64[Tensor, "b *n h w"]) -> Shaped[Tensor, "b c *n h w"]:
    """Return the image's values at indices of its pixels."""
    channels = image.shape[1]
    flat = index.flatten(1)[:, None].expand(-1, channels, -1)
    return image.flatten(2).gather(2, flat).view(len(image), channels, *index.shape[1:])
