"""The losses of the dynamics (equations 6, 7 and 9): sums over steps, means over pixels and clips."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from vpbench.plugin.clip import IGNORE
from vpbench.toolkit.labels import boundaries

__all__ = ["boundary_weights", "flow_loss", "kl_divergence", "label_loss"]


def flow_loss(predicted: Float[Tensor, "b k 2 h w"], true: Float[Tensor, "b k 2 h w"]) -> Float[Tensor, ""]:
    """Return L_f (equation 6) in pixels: the mean absolute difference of a component, summed over steps."""
    return (predicted - true).abs().mean(dim=(0, 2, 3, 4)).sum()


def label_loss(
    log_probabilities: Float[Tensor, "b k c h w"], labels: Int64[Tensor, "b k h w"], weights: Float[Tensor, "b k h w"]
) -> Float[Tensor, ""]:
    """Return L_m (equation 7): the weighted cross entropy, its mean over the labelled pixels of a step, summed."""
    entropy = functional.nll_loss(
        log_probabilities.flatten(0, 1), labels.flatten(0, 1), ignore_index=IGNORE, reduction="none"
    )
    labelled = (labels != IGNORE).sum(dim=(0, 2, 3)).clamp(min=1)
    return ((entropy.unflatten(0, labels.shape[:2]) * weights).sum(dim=(0, 2, 3)) / labelled).sum()


def boundary_weights(
    labels: Int64[Tensor, "*any h w"], weight: float, sigma: float, norm: Literal["sum", "peak"]
) -> Float[Tensor, "*any h w"]:
    """Return ``1 + weight * (G * b)``: larger near class boundaries (equation 7); 0 where the label is 255.

    b marks pixels that differ from one of their four neighbours, G is a Gaussian over three deviations to each side,
    the border repeated. With ``norm="sum"`` G sums to 1, and a long straight edge gets ``1 + weight * (g(0) + g(1))``;
    with ``"peak"`` it gets ``1 + weight``, which is also the most.
    """
    edges = boundaries(labels).float()
    radius = math.ceil(3 * sigma)
    at = torch.arange(-radius, radius + 1, device=labels.device)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = kernel / kernel.sum()
    blurred = edges.reshape(-1, 1, *edges.shape[-2:])
    blurred = functional.conv2d(_replicated(blurred, 0, radius), kernel[:, None][None, None])
    blurred = functional.conv2d(_replicated(blurred, radius, 0), kernel[None, :][None, None])
    if norm == "peak":
        blurred = (blurred / (kernel[radius] + kernel[radius + 1])).clamp(max=1.0)
    return (1 + weight * blurred.view(labels.shape)) * (labels != IGNORE)


def kl_divergence(mean: Float[Tensor, "b c h w"], log_variance: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Return L_kl (equation 9), from N(0, I): summed over channels and classes, the mean over latent pixels."""
    each = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)
    return each.sum(dim=1).mean()


def _replicated(x: Tensor, across: int, down: int) -> Tensor:
    return functional.pad(x, (across, across, down, down), mode="replicate")
