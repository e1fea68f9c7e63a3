"""Where the error is: regions of the true frames, from the dataset's flow, masks and frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from vpbench.errors import MetricError
from vpbench.plugin.clip import Future, Modality
from vpbench.plugin.metric import Undefined

FRAME_MOTION = 1.0
"""Pixels between a pixel's flow and the camera's above which what it shows moves."""
FRAME_DIFFERENCE = 0.05
"""Without the camera's flow: the largest channel's difference to the frame before above which a pixel moves."""

Masks = Sequence[Sequence[Tensor | Undefined]]
"""[clip][step]: a bool mask [H,W], or why there is none."""


def region(future: Future, name: str, metric: str) -> Masks:
    """Return the masks of one of :data:`REGIONS`, computed once per batch.

    - ``disoccluded``: not visible in the last context frame; ``covisible``: visible there. What a frame shows for the
      first time, or what comes from outside of the frame before, is followed through the true flow of every step.
    - ``moving``: the true flow is more than 1 pixel from the camera's; where the dataset has not both, some channel
      differs from the true frame before by more than 0.05. ``static``: the others.

    A pixel whose true flow is not known (NaN) is in none of them.

    Raises:
        MetricError: a true modality is not of the frames' size; names the metric.
    """
    for modality in (*NEEDS[name], *USES[name]):
        if getattr(future, modality) is not None:
            check_size(future, modality, metric)
    return future.cached(f"vpbench_metrics.region.{name}", lambda: _with_flow(REGIONS[name](future), name, future))


def check_size(future: Future, modality: str, metric: str) -> None:
    """Check that the true flow, camera's flow or dis-occlusion has the size of the frames.

    Raises:
        MetricError: it has another size.
    """
    size, expected = (list(getattr(future, name).shape[-2:]) for name in (modality, "frames"))
    if size != expected:
        raise MetricError(f"{metric}: the true {modality} must be of the frames' size, {expected}; it is {size}")


def _with_flow(masks: Masks, name: str, future: Future) -> Masks:
    """Leave out pixels whose true flow is not finite, where the region was made from flow."""
    flows = [getattr(future, modality) for modality in (*NEEDS[name], *USES[name]) if modality != "disocclusion"]
    if not flows or any(flow is None for flow in flows):
        return masks
    finite = torch.stack([torch.isfinite(flow).all(dim=2) for flow in flows]).all(dim=0)
    return [
        [mask if isinstance(mask, Undefined) else mask & finite_flow for mask, finite_flow in zip(*pair, strict=True)]
        for pair in zip(masks, finite, strict=True)
    ]


def _covisible(future: Future) -> Masks:
    steps = len(future.steps)
    if future.steps != tuple(range(1, steps + 1)):
        reason = Undefined("what the last context frame shows is known only where every step from the first is scored")
        return [[reason] * steps for _ in future.clips]
    return [list(clip) for clip in future.cached("vpbench_metrics.visible", lambda: _visible(future))]


def _visible(future: Future) -> Bool[Tensor, "b s h w"]:
    """Return which pixels of each step show what the last context frame shows too.

    visible_k(p) = not disoccluded_k(p) and visible_{k-1}(p + flow_k(p)), rounded to the nearest pixel; all of the last
    context frame is visible, nothing outside of a frame is.
    """
    assert future.flow is not None
    assert future.disocclusion is not None
    clips, steps, height, width = future.disocclusion.shape
    rows = torch.arange(height, device=future.flow.device)[:, None]
    columns = torch.arange(width, device=future.flow.device)
    visible = torch.ones(clips, height, width, dtype=torch.bool, device=future.flow.device)
    out = []
    for k in range(steps):
        x, y = (columns + future.flow[:, k, 0]).round(), (rows + future.flow[:, k, 1]).round()
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)  # NaN is not
        index = torch.where(inside, y * width + x, 0).long()
        before = visible.flatten(1).gather(1, index.flatten(1)).view_as(visible)
        visible = ~future.disocclusion[:, k] & inside & before
        out.append(visible)
    return torch.stack(out, dim=1)


def _moving(future: Future) -> Masks:
    if future.flow is not None and future.camera_flow is not None:
        distance = torch.linalg.vector_norm(future.flow - future.camera_flow, dim=2)
        return [list(clip > FRAME_MOTION) for clip in distance]
    table: list[list[Tensor | Undefined]] = [[] for _ in future.clips]
    for j, step in enumerate(future.steps):
        if step == 1:
            before = future.last
        elif j and future.steps[j - 1] == step - 1:
            before = future.frames[:, j - 1]
        else:
            for masks in table:
                masks.append(Undefined("the true frame before is not scored, so what moves is not known"))
            continue
        moved = (future.frames[:, j] - before).abs().amax(dim=1) > FRAME_DIFFERENCE
        for masks, mask in zip(table, moved, strict=True):
            masks.append(mask)
    return table


def _not(masks: Masks) -> Masks:
    return [[mask if isinstance(mask, Undefined) else ~mask for mask in clip] for clip in masks]


REGIONS: Mapping[str, Callable[[Future], Masks]] = {
    "disoccluded": lambda future: _not(_covisible(future)),
    "covisible": _covisible,
    "moving": _moving,
    "static": lambda future: _not(_moving(future)),
}
"""How each region's masks are made."""
NEEDS: Mapping[str, tuple[Modality, ...]] = {
    "disoccluded": ("flow", "disocclusion"),
    "covisible": ("flow", "disocclusion"),
    "moving": (),
    "static": (),
}
"""Modalities of the truth without which a region is not known."""
USES: Mapping[str, tuple[Modality, ...]] = {
    "disoccluded": (),
    "covisible": (),
    "moving": ("flow", "camera_flow"),
    "static": ("flow", "camera_flow"),
}
"""Modalities of the truth that are used where the dataset has them."""
