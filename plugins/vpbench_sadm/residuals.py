"""Two additions to the paper's dynamics, for models that train in minutes: residuals to the last flow and masks."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from vpbench.toolkit.fill import push_pull
from vpbench.toolkit.warp import grid
from vpbench_sadm.labels import one_hot
from vpbench_sadm.options import Options

CERTAIN = 5.0
"""The logit that a carried mask adds to its class: a probability of 0.89 among 19 classes."""


def last_flow(
    labels: Int64[Tensor, "b h w"], flow: Float[Tensor, "b 2 h w"], options: Options
) -> Float[Tensor, "b _ 2 _ _"]:
    """Return the flow in pixels that ``flow_residual`` adds to the decoded flow of each class."""
    if options.flow_residual == "none":
        return flow.new_zeros(len(flow), 1, 2, 1, 1)
    masks = one_hot(labels, options.classes)[:, :, None]
    return _mean_flow(masks, flow) if options.flow_residual == "class_mean" else _segment_flow(masks, flow)


def _mean_flow(masks: Float[Tensor, "b c 1 h w"], flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b c 2 1 1"]:
    """Return each class's mean flow. A class without a pixel gets the frame's mean flow."""
    area = masks.sum(dim=(-2, -1), keepdim=True)
    means = (masks * flow[:, None]).sum(dim=(-2, -1), keepdim=True) / area.clamp(min=1)
    return torch.where(area > 0, means, flow.mean(dim=(-2, -1), keepdim=True)[:, None])


def _segment_flow(masks: Float[Tensor, "b c 1 h w"], flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b c 2 h w"]:
    """Return the flow inside each class's mask, and around it that of the class's nearest segment.

    A class without a pixel gets the frame's mean flow.
    """
    flows = flow[:, None].expand(-1, masks.shape[1], -1, -1, -1)
    means = flows.mean(dim=(-2, -1), keepdim=True)
    filled = push_pull(flows.flatten(0, 1), masks.flatten(0, 1) > 0, means.flatten(0, 1))
    return filled.view(flows.shape)


def carried_masks(masks: Float[Tensor, "b c h w"], flows: Float[Tensor, "b _ 2 h w"]) -> Float[Tensor, "b c h w"]:
    """Warp each mask along its class's flow, and repeat the border beyond it.

    No gradient reaches the flow: the loss of the labels would move it away from the true flow.
    """
    shape, flows = masks.shape, flows.detach()
    flows = flows.expand(-1, shape[1], -1, -1, -1).flatten(0, 1)
    positions = (grid(flows) + flows).movedim(1, -1)
    size = positions.new_tensor([shape[-1] - 1, shape[-2] - 1]).clamp(min=1)
    return functional.grid_sample(
        masks.flatten(0, 1)[:, None], positions * 2 / size - 1, padding_mode="border", align_corners=True
    ).view(shape)
