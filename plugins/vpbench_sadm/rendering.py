"""From predicted labels and flow to frames: warping, dis-occlusion, inpainting (section 3.2, equations 11 and 12).

Flow f is backward: pixel p of the next frame was at p + f(p). Dis-occlusion compares flow and labels only, so no
gradient passes through it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from vpbench.plugin.clip import IGNORE
from vpbench.toolkit.labels import likeliest
from vpbench.toolkit.warp import grid, sample, sample_nearest
from vpbench_sadm.inpainter import Inpainter
from vpbench_sadm.options import Options
from vpbench_sadm.recompute import recomputed

_STEPS_PER_PIXEL = 2**10
"""Motions that differ by less than one of these steps are equal to the order of claimants."""
_FAR = 2**28
_NOBODY = 2**63 - 1


@dataclass(frozen=True)
class Rendered:
    """K rendered steps of B clips."""

    frames: Float[Tensor, "b k 3 h w"]
    """Inpainted frames; in [0,1] unless the inpainter is in training mode."""
    warped: Float[Tensor, "b k 3 h w"]
    """The frames that the inpainter completed."""
    disocclusion: Bool[Tensor, "b k h w"]
    """Pixels that each step shows and the step before does not (Omega)."""
    hole: Bool[Tensor, "b k h w"]
    """Pixels of ``warped`` to inpaint: this step's dis-occlusion. Unless each step is inpainted before the next, also
    earlier holes and pixels from outside the last real frame, tracked along the accumulated flow."""


def render(
    inpainter: Inpainter | None,
    options: Options,
    frame: Float[Tensor, "b 3 h w"],
    labels: Int64[Tensor, "b h w"],
    last_flow: Float[Tensor, "b 2 h w"],
    probabilities: Float[Tensor, "b k c h w"],
    flow: Float[Tensor, "b k 2 h w"],
) -> Rendered:
    """Render K steps. No gradient passes from one step to the next. All rollouts agree for K = 1.

    Args:
        inpainter: completes the frames; None returns them as warped.
        options: ``rollout``, ``composite`` and the options of dis-occlusion.
        frame: the last real one, in [0,1].
        labels: of that frame; 255 is unknown.
        last_flow: from that frame back to the one before.
        probabilities: of the classes at each step.
        flow: of each step, back to the step before.
    """
    predicted = likeliest(probabilities)
    uncovers = uncovered(
        flow.flatten(0, 1),
        predicted.flatten(0, 1),
        torch.cat([labels[:, None], predicted[:, :-1]], dim=1).flatten(0, 1),
        torch.cat([last_flow[:, None], flow[:, :-1]], dim=1).flatten(0, 1),
        options,
    ).unflatten(0, flow.shape[:2])
    omega = uncovers | entering(flow.flatten(0, 1), options).unflatten(0, flow.shape[:2])
    if options.rollout == "iterative":
        warped, frames = _rolled_out(inpainter, options, frame, omega, probabilities, flow)
        return Rendered(frames, warped, omega, omega)
    warped, hole = _warped(frame, flow, options), _holes(uncovers, flow, options)
    return Rendered(_completed(inpainter, options, warped, hole, probabilities), warped, omega, hole)


def _rolled_out(
    inpainter: Inpainter | None,
    options: Options,
    frame: Float[Tensor, "b 3 h w"],
    omega: Bool[Tensor, "b k h w"],
    probabilities: Float[Tensor, "b k c h w"],
    flow: Float[Tensor, "b k 2 h w"],
) -> tuple[Float[Tensor, "b k 3 h w"], Float[Tensor, "b k 3 h w"]]:
    """Warp and inpaint one step after the other; return the warped and the inpainted frames."""
    warped, frames = [], []
    for step in range(flow.shape[1]):
        now = slice(step, step + 1)
        warped.append(sample(frame, grid(flow[:, step]) + flow[:, step])[:, None])  # equation 11
        frames.append(_completed(inpainter, options, warped[-1], omega[:, now], probabilities[:, now]))  # equation 12
        frame = frames[-1][:, 0].detach().clamp(0.0, 1.0)
    return torch.cat(warped, dim=1), torch.cat(frames, dim=1)


def _warped(
    frame: Float[Tensor, "b 3 h w"], flow: Float[Tensor, "b k 2 h w"], options: Options
) -> Float[Tensor, "b k 3 h w"]:
    """Warp the last real frame along the accumulated flow (``compose``), or each warped frame again (equation 11)."""
    frames, image, back = [], frame, torch.zeros_like(flow[:, 0])
    for motion in flow.unbind(dim=1):
        source = grid(motion) + motion
        back = motion + sample(back, source)
        image = sample(frame, grid(back) + back) if options.rollout == "compose" else sample(image, source)
        frames.append(image)
    return torch.stack(frames, dim=1)


def _holes(
    uncovers: Bool[Tensor, "b k h w"], flow: Float[Tensor, "b k 2 h w"], options: Options
) -> Bool[Tensor, "b k h w"]:
    """Return pixels that some step up to each uncovered, or that come from outside the last real frame.

    Each is looked up once along all of the way: rounded at every step, a hole would fall behind its picture.
    """
    holes = []
    for step, back in enumerate(_accumulated(flow)):
        hole = uncovers[:, step] | entering(back[:, 0], options)
        for earlier in range(step):
            way = back[:, earlier + 1]
            hole = hole | sample_nearest(uncovers[:, earlier, None], grid(way) + way)[:, 0]
        holes.append(hole)
    return torch.stack(holes, dim=1)


def _accumulated(flow: Float[Tensor, "b k 2 h w"]) -> Iterator[Float[Tensor, "b _ 2 h w"]]:
    """Yield for each step the summed flow back to the last real frame, and to every step since."""
    zero = torch.zeros_like(flow[:, :1])
    back = zero
    for motion in flow.unbind(dim=1):
        before = sample(back.flatten(1, 2), grid(motion) + motion).unflatten(1, (-1, 2))
        back = motion[:, None] + before
        yield back
        back = torch.cat([back, zero], dim=1)


def _completed(
    inpainter: Inpainter | None,
    options: Options,
    warped: Float[Tensor, "b k 3 h w"],
    hole: Bool[Tensor, "b k h w"],
    probabilities: Float[Tensor, "b k c h w"],
) -> Float[Tensor, "b k 3 h w"]:
    """Inpaint frames (equation 12); ``composite`` keeps the warped pixels outside the hole."""
    if inpainter is None:
        return warped
    holes = hole.flatten(0, 1)[:, None]
    frames = recomputed(options.recompute, inpainter, warped.flatten(0, 1), holes, probabilities.flatten(0, 1))
    if options.composite:
        frames = torch.where(holes, frames, warped.flatten(0, 1))
    return frames.unflatten(0, warped.shape[:2])


def entering(flow: Float[Tensor, "b 2 h w"], options: Options) -> Bool[Tensor, "b h w"]:
    """Mark pixels that come from outside the image, which reaches half a pixel beyond its outer pixels' centres."""
    height, width = flow.shape[-2:]
    x, y = (grid(flow) + flow).unbind(dim=1)
    beyond = (x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)
    return beyond & options.out_of_image


@torch.no_grad()
def uncovered(
    flow: Float[Tensor, "b 2 h w"],
    labels: Int64[Tensor, "b h w"],
    source_labels: Int64[Tensor, "b h w"],
    source_flow: Float[Tensor, "b 2 h w"],
    options: Options,
) -> Bool[Tensor, "b h w"]:
    """Mark dis-occluded pixels by the criteria of ``options.occlusion`` (figure 4).

    Args:
        flow: from frame t+1 back to t.
        labels: of t+1, as predicted.
        source_labels: of t; 255 is unknown.
        source_flow: from t back to t-1.
        options: ``occlusion``, ``consistency`` and ``occupancy_tau``.
    """
    omega = torch.zeros_like(labels, dtype=torch.bool)
    if options.occlusion in ("both", "occupancy"):
        omega = omega | overoccupied(flow, labels, source_labels, source_flow, options.occupancy_tau)
    if options.occlusion in ("both", "semantic"):
        omega = omega | inconsistent(flow, labels, source_labels, options.consistency)
    return omega


def overoccupied(
    flow: Float[Tensor, "b 2 h w"],
    labels: Int64[Tensor, "b h w"],
    source_labels: Int64[Tensor, "b h w"],
    source_flow: Float[Tensor, "b 2 h w"],
    tau: float,
) -> Bool[Tensor, "b h w"]:
    """Mark pixels whose source shows something else: pixel A of figure 4 (pixel occupancy).

    Each pixel claims the source pixels that a bilinear warp reads for it, up to four. One claimant wins each source
    pixel: first by the class of the source, then by the motion f(p) nearest to the source's own motion, then by index.
    Another claimant loses the source pixel if its motion differs from the winner's by more than ``tau`` pixels; without
    a threshold, anything that grows would lose some. A pixel is marked if it loses more than half of its reads, by
    weight. The paper only says that one claimant remains.

    Args:
        flow: from t+1 back to t.
        labels: of t+1.
        source_labels: of t.
        source_flow: from t back to t-1.
        tau: pixels.
    """
    size = flow.shape[-2] * flow.shape[-1]
    index, weight = _reads(grid(flow) + flow)
    other_class = labels[:, None] != _at(source_labels[:, None], index)[:, 0]
    distance = _length(flow[:, :, None] - _at(source_flow, index))
    order = (distance * _STEPS_PER_PIXEL).round().clamp(-_FAR, _FAR).long() + other_class * 4 * _FAR
    number = torch.arange(size, device=flow.device).view(flow.shape[-2:])
    rank = torch.where(weight > 0, (order << 32) + number, _NOBODY)
    first = torch.full((len(flow), size), _NOBODY, device=flow.device)
    first.scatter_reduce_(1, index.flatten(1), rank.flatten(1), "amin")  # deterministic, unlike a scatter of winners
    winner = (first & (2**32 - 1)).clamp(max=size - 1).view_as(flow[:, 0])
    lost = _length(flow[:, :, None] - _at(_at(flow, winner), index)) > tau
    return (weight * lost).sum(dim=1) > weight.sum(dim=1) / 2


def inconsistent(
    flow: Float[Tensor, "b 2 h w"],
    labels: Int64[Tensor, "b h w"],
    source_labels: Int64[Tensor, "b h w"],
    consistency: Literal["warped", "nearest", "literal"],
) -> Bool[Tensor, "b h w"]:
    """Mark pixels whose class differs from the class of their source (semantic consistency).

    An unknown label (255) is consistent with every class.

    Args:
        flow: from t+1 back to t.
        labels: of t+1.
        source_labels: of t.
        consistency: ``warped`` compares with every pixel that a bilinear warp reads (caption of figure 4); the nearest
            one would contradict every other pixel of a boundary that moves by half a pixel. ``nearest`` compares with
            that one: more recall, less precision (``benchmarks/disocclusion.py``). ``literal`` compares with the same
            pixel of the frame before, as the formula of section 3.2 does.
    """
    position = grid(flow) + flow
    index, weight = _reads(position)
    source, reads = _at(source_labels[:, None], index)[:, 0], weight > 0
    if consistency == "nearest":
        source, reads = sample_nearest(source_labels[:, None], position), reads.any(dim=1, keepdim=True)
    elif consistency == "literal":
        source, reads = source_labels[:, None], torch.ones_like(reads[:, :1])
    agrees = reads & ((labels[:, None] == source) | (source == IGNORE))
    return (agrees.sum(dim=1) == 0) & (reads.sum(dim=1) > 0) & (labels != IGNORE)


def _reads(position: Float[Tensor, "b 2 h w"]) -> tuple[Int64[Tensor, "b 4 h w"], Float[Tensor, "b 4 h w"]]:
    """Return the indices of the four pixels that a bilinear warp reads at each position, and their weights."""
    column, across = _neighbours(position[:, 0], position.shape[-1])
    row, down = _neighbours(position[:, 1], position.shape[-2])
    index = row[:, :, None] * position.shape[-1] + column[:, None]
    return index.flatten(1, 2), (down[:, :, None] * across[:, None]).flatten(1, 2)


def _neighbours(
    coordinate: Float[Tensor, "b h w"], size: int
) -> tuple[Int64[Tensor, "b 2 h w"], Float[Tensor, "b 2 h w"]]:
    """Return the two integers around each coordinate, clamped to the image, and their weights (0 outside)."""
    low = coordinate.floor()
    integers = torch.stack([low, low + 1], dim=1)
    weight = torch.stack([1 - (coordinate - low), coordinate - low], dim=1)
    inside = integers.clamp(0, size - 1)
    return inside.long(), weight * (inside == integers)


def _length(vectors: Float[Tensor, "b 2 *n h w"]) -> Float[Tensor, "b *n h w"]:
    """Return Euclidean lengths: ``torch.linalg.vector_norm`` is ten times as slow along this dimension."""
    return vectors.square().sum(dim=1).sqrt()


def _at(image: Shaped[Tensor, "b c h w"], index: Int64[Tensor, "b *n h w"]) -> Shaped[Tensor, "b c *n h w"]:
    """Return the image's values at pixel indices."""
    channels = image.shape[1]
    flat = index.flatten(1)[:, None].expand(-1, channels, -1)
    return image.flatten(2).gather(2, flat).view(len(image), channels, *index.shape[1:])
