"""The losses of both stages (equations 6, 7, 9 and 13), and the discriminators of the latter.

Each is a sum over steps and a mean over clips and pixels.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from vpbench.plugin.clip import IGNORE
from vpbench.toolkit.labels import boundaries
from vpbench_sadm.options import Options


def flow_loss(predicted: Float[Tensor, "b k 2 h w"], true: Float[Tensor, "b k 2 h w"]) -> Float[Tensor, ""]:
    """Return L_f (equation 6) in pixels: the mean absolute difference of a component, summed over steps."""
    return (predicted - true).abs().mean(dim=(0, 2, 3, 4)).sum()


def label_loss(
    log_probabilities: Float[Tensor, "b k c h w"], labels: Int64[Tensor, "b k h w"], weights: Float[Tensor, "b k h w"]
) -> Float[Tensor, ""]:
    """Return L_m (equation 7): the weighted cross entropy, a mean over labelled pixels, summed over steps."""
    entropy = functional.nll_loss(
        log_probabilities.flatten(0, 1), labels.flatten(0, 1), ignore_index=IGNORE, reduction="none"
    )
    labelled = (labels != IGNORE).sum(dim=(0, 2, 3)).clamp(min=1)
    return ((entropy.unflatten(0, labels.shape[:2]) * weights).sum(dim=(0, 2, 3)) / labelled).sum()


def boundary_weights(
    labels: Int64[Tensor, "*any h w"], alpha: float, sigma: float, norm: Literal["sum", "peak"]
) -> Float[Tensor, "*any h w"]:
    """Return ``1 + alpha G * b`` of equation 7; 0 where the label is 255.

    Args:
        labels: true class ids. b marks pixels that differ from one of their four neighbours.
        alpha: the extra weight.
        sigma: deviation in pixels of the Gaussian G, which reaches three deviations to each side.
        norm: ``sum`` scales G to a sum of 1, so a long straight edge weighs ``1 + alpha (g(0) + g(1))``. ``peak``
            scales it so that this edge weighs ``1 + alpha``, which is also the maximum.
    """
    edges = boundaries(labels).float()
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, device=labels.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    blurred = edges.reshape(-1, 1, *edges.shape[-2:])
    blurred = functional.conv2d(_replicated(blurred, 0, radius), kernel[:, None][None, None])
    blurred = functional.conv2d(_replicated(blurred, radius, 0), kernel[None, :][None, None])
    if norm == "peak":
        blurred = (blurred / (kernel[radius] + kernel[radius + 1])).clamp(max=1.0)
    return (1 + alpha * blurred.view(labels.shape)) * (labels != IGNORE)


def _replicated(x: Tensor, across: int, down: int) -> Tensor:
    return functional.pad(x, (across, across, down, down), mode="replicate")


def kl_divergence(mean: Float[Tensor, "b c h w"], log_variance: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Return L_kl (equation 9) from N(0, I), summed over channels and classes, averaged over latent pixels."""
    divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)
    return divergence.sum(dim=1).mean()


def covisible_loss(
    frames: Float[Tensor, "b k 3 h w"], warped: Float[Tensor, "b k 3 h w"], hole: Bool[Tensor, "b k h w"]
) -> Float[Tensor, ""]:
    """Return ``sum_t (1 - Omega) |x~ - x^|`` (equation 13), averaged over all pixels, those of the hole included."""
    visible = (frames - warped).abs() * ~hole[:, :, None]
    return visible.mean(dim=(0, 2, 3, 4)).sum()


def generator_loss(fake: Float[Tensor, "*any"]) -> Float[Tensor, ""]:
    """Return the term that equation 13 writes as D(x~): the generator's least-squares loss ``(D - 1)^2``.

    Source: Mao, Li, Xie, Lau, Wang, Smolley: Least Squares Generative Adversarial Networks, ICCV 2017, equation 9, as
    in CycleGAN.
    """
    return (fake - 1).square().mean()


def discriminator_loss(real: Float[Tensor, "*any"], fake: Float[Tensor, "*any"]) -> Float[Tensor, ""]:
    """Return the discriminator's least-squares loss ``((D(real) - 1)^2 + D(fake)^2) / 2``."""
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


class FrameDiscriminator(nn.Module):
    """D_x: CycleGAN's PatchGAN on frames and labels; 2,773,953 parameters for 9 classes.

    Each output judges a patch, by default of 70x70 pixels. Source: Zhu, Park, Isola, Efros, ICCV 2017, appendix 7.2.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.layers = _patch_gan(options, nn.Conv2d, nn.InstanceNorm2d, (), ())

    def forward(
        self, frames: Float[Tensor, "b k 3 h w"], condition: Float[Tensor, "b k c h w"]
    ) -> Float[Tensor, "n 1 i j"]:
        """Judge each patch of each frame."""
        return self.layers(torch.cat([frames, condition], dim=2).flatten(0, 1))


class VideoDiscriminator(nn.Module):
    """D_v: the same with 3-D convolutions, as the paper says; 8,319,937 parameters for 9 classes.

    Kernels span three frames and keep the number of frames, so a clip may have any length.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.layers = _patch_gan(options, nn.Conv3d, nn.InstanceNorm3d, (3,), (1,))

    def forward(
        self, frames: Float[Tensor, "b k 3 h w"], condition: Float[Tensor, "b k c h w"]
    ) -> Float[Tensor, "b 1 k i j"]:
        """Judge each patch of each clip."""
        return self.layers(torch.cat([frames, condition], dim=2).transpose(1, 2))


def _patch_gan(
    options: Options,
    convolution: type[nn.Conv2d] | type[nn.Conv3d],
    norm: type[nn.InstanceNorm2d] | type[nn.InstanceNorm3d],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
) -> nn.Sequential:
    """Build 4x4 convolutions of stride 2, the last two of stride 1; ``kernel`` and ``stride`` are those along time."""
    widths = options.discriminator_widths
    layers: list[nn.Module] = []
    for number, (inner, outer) in enumerate(pairwise((3 + options.classes * options.semantic_conditioning, *widths))):
        step = 2 if number < len(widths) - 1 else 1
        layers += [convolution(inner, outer, (*kernel, 4, 4), (*stride, step, step), padding=1)]
        layers += [norm(outer)] if number else []
        layers += [nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, convolution(widths[-1], 1, (*kernel, 4, 4), padding=1))
