"""Extrapolation of backward flow at constant velocity.

It is exact for whole-pixel motion. A clip's result depends neither on the other clips of its batch nor on the order of
execution, also on a GPU.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vpbench.toolkit.warp import grid, pick, sample

_ITERATIONS = 5
_UNIT = 2**16  # splatted weights are summed as integers in this unit: their order does not matter


def extrapolate(flow: Float[Tensor, "b 2 h w"]) -> tuple[Float[Tensor, "b 2 h w"], Bool[Tensor, "b h w"]]:
    """Extrapolate a backward flow f by one step at constant velocity, and find the dis-occluded pixels.

    Each pixel q moves to q - f(q) and is spread over the four pixels around it with bilinear weights. A pixel p of the
    next frame is covered if these weights sum to half or more. It takes the velocity of the fastest pixel that lands on
    it, because moving objects are mostly in front. There the next flow g solves g(p) = f(p + g(p)), by five fixed-point
    iterations from that velocity, with bilinear sampling and a clamped border. A pixel that is not covered keeps
    g(p) = f(p), which draws in the background behind the object that moved away.

    Returns:
        The next flow g, and the pixels that are not covered: background behind moving objects, pixels that enter at the
        border, and parts of objects that grow by more than 1.29 in width and height in one step.
    """
    width = flow.shape[-1]
    pixels = grid(flow)
    coverage, fastest = _land(flow)
    covered = (coverage >= _UNIT // 2)[:, None]
    next_flow = torch.where(covered, pick(flow, fastest % width, fastest // width), flow)
    for _ in range(_ITERATIONS):
        next_flow = torch.where(covered, sample(flow, pixels + next_flow), flow)
    return next_flow, ~covered[:, 0]


def _land(flow: Float[Tensor, "b 2 h w"]) -> tuple[Int64[Tensor, "b h w"], Int64[Tensor, "b h w"]]:
    """Return the weight that lands on each pixel (one pixel is ``_UNIT``), and the index of the fastest source."""
    batch, _, height, width = flow.shape
    x, y = (grid(flow) - flow).unbind(dim=1)
    # Positions beyond one pixel outside cover nothing; the clamp keeps large ones within the integers.
    x, y = x.clamp(-2, width + 1), y.clamp(-2, height + 1)
    x0, y0 = x.floor(), y.floor()
    speed = (flow.square().sum(dim=1) * 256).clamp(max=2**30).long()
    # Ordered by speed, then by position: the same pixel wins in any order of execution.
    rank = (speed.flatten(1) << 32) + torch.arange(height * width, device=flow.device)
    row = width + 5  # a margin of 2 on the left and 3 on the right
    coverage = torch.zeros(batch, (height + 5) * row, dtype=torch.int64, device=flow.device)
    highest = torch.zeros_like(coverage)
    for right in (0, 1):
        for down in (0, 1):
            weight = (1 - (x - x0 - right).abs()) * (1 - (y - y0 - down).abs())
            share = (weight * _UNIT).round().long().flatten(1)
            index = ((y0.long() + down + 2) * row + x0.long() + right + 2).flatten(1)
            coverage.scatter_add_(1, index, share)
            highest.scatter_reduce_(1, index, torch.where(share > 0, rank, 0), "amax")
    inside = (slice(None), slice(2, height + 2), slice(2, width + 2))
    fastest = highest & (2**32 - 1)
    return coverage.view(batch, height + 5, row)[inside], fastest.view(batch, height + 5, row)[inside]
