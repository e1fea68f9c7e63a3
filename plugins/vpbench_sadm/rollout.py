"""From predicted labels and flow to frames: warped, what is newly visible marked, and completed (section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vpbench.toolkit.warp import grid, sample, sample_nearest
from vpbench_sadm.disocclusion import occluded, outside
from vpbench_sadm.inpainter import Inpainter
from vpbench_sadm.options import Options

__all__ = ["Rendered", "render"]


@dataclass(frozen=True)
class Rendered:
    """K rendered steps of B clips."""

    frames: Float[Tensor, "b k 3 h w"]
    """Completed; in [0,1] unless the inpainter is in training mode."""
    warped: Float[Tensor, "b k 3 h w"]
    """What they were completed from."""
    disocclusion: Bool[Tensor, "b k h w"]
    """What each step shows that the step before did not."""
    hole: Bool[Tensor, "b k h w"]
    """Where ``warped`` is not valid: that; and, unless each step is completed before the next, what was so at an
    earlier step or comes from outside the last real frame, followed along the flow summed on the way."""


def render(
    inpainter: Inpainter | None,
    options: Options,
    frame: Float[Tensor, "b 3 h w"],
    labels: Int64[Tensor, "b h w"],
    last_flow: Float[Tensor, "b 2 h w"] | None,
    probabilities: Float[Tensor, "b k c h w"],
    flow: Float[Tensor, "b k 2 h w"],
) -> Rendered:
    """Render K steps. No gradient passes from one step to the next.

    ``options.rollout`` tells what step k warps: ``iterative``, the completed frame of step k-1 (equation 11);
    ``iterative_no_inpaint``, the warped one; ``compose``, the last real frame along the flows summed on the way, so
    that nothing is blurred twice. They agree for K = 1.

    Args:
        inpainter: completes the frames; None leaves them as they were warped.
        options: ``rollout``, ``composite``, and those of :func:`vpbench_sadm.disocclusion.occluded`.
        frame: the last real one, in [0,1].
        labels: its labels; 255 is unknown.
        last_flow: from it back to the one before, where that is known.
        probabilities: of the classes at each step.
        flow: of each step, back to the one before.
    """
    own = grid(flow[:, 0])
    here = torch.zeros_like(flow[:, :1])
    image, back = frame, here  # from the current step back to the last real frame and to each step since
    within = options.model_copy(update={"out_of_image": False})
    frames, warped, revealed, inner, holes = [], [], [], [], []
    for chances, motion in zip(probabilities.unbind(dim=1), flow.unbind(dim=1), strict=True):
        predicted = chances.argmax(dim=1)
        inner.append(occluded(motion, predicted, labels, last_flow, within))
        new = inner[-1] | outside(motion) if options.out_of_image else inner[-1]
        labels, last_flow = predicted, motion
        if options.rollout != "iterative":
            back = motion[:, None] + sample(back.flatten(1, 2), own + motion).unflatten(1, (-1, 2))
        image = sample(frame, own + back[:, 0]) if options.rollout == "compose" else sample(image, own + motion)
        warped.append(image)
        revealed.append(new)
        if options.rollout == "iterative":
            holes.append(new)
            frames.append(_completed(inpainter, options, image[:, None], new[:, None], chances[:, None]))
            image = frames[-1][:, 0].detach().clamp(0.0, 1.0)  # as inference reads it
        else:
            holes.append(_hole(inner, back, options))
            back = torch.cat([back, here], dim=1)
    anchors, marked = torch.stack(warped, dim=1), torch.stack(holes, dim=1)
    if options.rollout == "iterative":
        completed = torch.cat(frames, dim=1)
    else:
        completed = _completed(inpainter, options, anchors, marked, probabilities)
    return Rendered(completed, anchors, torch.stack(revealed, dim=1), marked)


def _hole(
    inner: list[Bool[Tensor, "b h w"]], back: Float[Tensor, "b k 2 h w"], options: Options
) -> Bool[Tensor, "b h w"]:
    """Return what was newly visible within some step, or comes from outside the last real frame.

    Each is looked up once, along all of the way since: rounded at every step, a hole would fall behind its picture.
    """
    *earlier, hole = inner
    if options.out_of_image:
        hole = hole | outside(back[:, 0])
    for step, new in enumerate(earlier, 1):
        hole = hole | sample_nearest(new[:, None], grid(back[:, step]) + back[:, step])[:, 0]
    return hole


def _completed(
    inpainter: Inpainter | None,
    options: Options,
    warped: Float[Tensor, "b k 3 h w"],
    hole: Bool[Tensor, "b k h w"],
    probabilities: Float[Tensor, "b k c h w"],
) -> Float[Tensor, "b k 3 h w"]:
    if inpainter is None:
        return warped
    marked = hole.flatten(0, 1)[:, None]
    frames = inpainter(warped.flatten(0, 1), marked, probabilities.flatten(0, 1))
    if options.composite:
        frames = torch.where(marked, frames, warped.flatten(0, 1))
    return frames.unflatten(0, warped.shape[:2])
