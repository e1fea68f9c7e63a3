"""The discriminators of frames, D_x, and of clips, D_v (section 3.3); used in training alone.

Both are PatchGANs as in CycleGAN (Zhu, Park, Isola, Efros, ICCV 2017, appendix 7.2), which the paper points to: each
output judges a patch, of 70x70 pixels by default, from the picture and the semantics under it. The paper says that D_v
has 3-D convolutions; here they span three frames and keep the time's length, so that any number of frames will do.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vpbench_sadm.options import Options

__all__ = ["FrameDiscriminator", "VideoDiscriminator"]


class FrameDiscriminator(nn.Module):
    """D_x: 2,773,953 parameters by default for 9 classes."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (inner, outer) in enumerate(pairwise(_channels(options))):
            layers += [nn.Conv2d(inner, outer, 4, _stride(options, number), padding=1)]
            layers += [nn.InstanceNorm2d(outer)] if number else []
            layers += [nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(options.discriminator_widths[-1], 1, 4, padding=1))

    def forward(
        self, frames: Float[Tensor, "b k 3 h w"], condition: Float[Tensor, "b k c h w"]
    ) -> Float[Tensor, "n 1 i j"]:
        """Return the judgement of each patch of each frame."""
        return self.layers(torch.cat([frames, condition], dim=2).flatten(0, 1))


class VideoDiscriminator(nn.Module):
    """D_v: the same with three frames per kernel; 8,319,937 parameters by default for 9 classes."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (inner, outer) in enumerate(pairwise(_channels(options))):
            layers += [nn.Conv3d(inner, outer, (3, 4, 4), (1, *[_stride(options, number)] * 2), padding=1)]
            layers += [nn.InstanceNorm3d(outer)] if number else []
            layers += [nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv3d(options.discriminator_widths[-1], 1, (3, 4, 4), padding=1))

    def forward(
        self, frames: Float[Tensor, "b k 3 h w"], condition: Float[Tensor, "b k c h w"]
    ) -> Float[Tensor, "b 1 k i j"]:
        """Return the judgement of each patch of each clip."""
        return self.layers(torch.cat([frames, condition], dim=2).transpose(1, 2))


def _channels(options: Options) -> tuple[int, ...]:
    return (3 + options.classes * options.semantic_conditioning, *options.discriminator_widths)


def _stride(options: Options, number: int) -> int:
    return 2 if number < len(options.discriminator_widths) - 1 else 1
