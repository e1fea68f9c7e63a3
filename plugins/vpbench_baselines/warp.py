"""Motion carried on at constant velocity.

It is exact for whole-pixel motion, gives a clip the same bits whatever else is in its batch, and does not depend on the
order of execution, also on a GPU.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vpbench.toolkit.warp import grid, pick, sample

__all__ = ["carry_on"]

_ITERATIONS = 5
_ONE = 2**16  # splatted weights are summed as integers in this unit, so that the order of the sum cannot matter


def carry_on(flow: Float[Tensor, "b 2 h w"]) -> tuple[Float[Tensor, "b 2 h w"], Bool[Tensor, "b h w"]]:
    """Carry a backward flow f one step on, at constant velocity, and tell what that step reveals.

    What a pixel q shows moves to q - f(q), its own velocity going on, and is spread over the four pixels around with
    bilinear weights. A pixel p of the next frame that is covered by half or more takes the velocity of what lands on
    it, of the fastest where several do (what moves is mostly in front): the next flow g solves g(p) = f(p + g(p))
    there, by five fixed-point iterations from that velocity, with bilinear sampling and a clamped border. A pixel that
    is covered by less keeps g(p) = f(p), which draws in what lies behind the thing that moved away.

    Returns:
        The next flow g, and which pixels are not visible in the frame before, as far as the motion tells: those covered
        by less than half. So what moves away reveals what lies behind it, what enters at the border is new, and so are
        parts of what grows by more than 1.29 in width and height in one step.
    """
    width = flow.shape[-1]
    own = grid(flow)
    coverage, fastest = _land(flow)
    covered = (coverage >= _ONE // 2)[:, None]
    carried = torch.where(covered, pick(flow, fastest % width, fastest // width), flow)
    for _ in range(_ITERATIONS):
        carried = torch.where(covered, sample(flow, own + carried), flow)
    return carried, ~covered[:, 0]


def _land(flow: Float[Tensor, "b 2 h w"]) -> tuple[Int64[Tensor, "b h w"], Int64[Tensor, "b h w"]]:
    """Return how much lands on each pixel when all move on (one pixel is ``_ONE``), and the index of the fastest."""
    batch, _, height, width = flow.shape
    x, y = (grid(flow) - flow).unbind(dim=1)
    # Nothing is covered beyond a pixel outside; the clamp keeps positions of any size within the integers.
    x, y = x.clamp(-2, width + 1), y.clamp(-2, height + 1)
    left, top = x.floor(), y.floor()
    speed = (flow.square().sum(dim=1) * 256).clamp(max=2**30).long()
    # The order by speed and, for equals, by position: whatever the order of execution, the same one wins.
    rank = (speed.flatten(1) << 32) + torch.arange(height * width, device=flow.device)
    row = width + 5  # 2 more to the left and 3 to the right
    coverage = torch.zeros(batch, (height + 5) * row, dtype=torch.int64, device=flow.device)
    highest = torch.zeros_like(coverage)
    for right in (0, 1):
        for down in (0, 1):
            weight = (1 - (x - left - right).abs()) * (1 - (y - top - down).abs())
            share = (weight * _ONE).round().long().flatten(1)
            index = ((top.long() + down + 2) * row + left.long() + right + 2).flatten(1)
            coverage.scatter_add_(1, index, share)
            highest.scatter_reduce_(1, index, torch.where(share > 0, rank, 0), "amax")
    within = (slice(None), slice(2, height + 2), slice(2, width + 2))
    fastest = highest & (2**32 - 1)
    return coverage.view(batch, height + 5, row)[within], fastest.view(batch, height + 5, row)[within]
