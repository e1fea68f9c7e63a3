"""Encoder and decoder of a frame: DCGAN's or VGG's convolutions, with skip connections between them.

Radford, Metz, Chintala: Unsupervised Representation Learning with Deep Convolutional GANs, ICLR 2016. Simonyan,
Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015.

Every stage halves height and width. A convolution as large as the remaining grid then makes a vector of the frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Backbone = Literal["dcgan", "vgg"]
Pyramid = Sequence[Float[Tensor, "b _ _ _"]]
"""Features of a frame after each stage, the largest first: what the skip connections carry."""
_DEPTHS = (2, 2, 3, 3, 3)
"""Convolutions in each of VGG's stages."""


def stage_count(size: tuple[int, int]) -> int:
    """Return the number of stages for frames of (height, width): the shorter side of the remaining grid is 4 to 8.

    Example:
        >>> stage_count((64, 64)), stage_count((128, 128)), stage_count((64, 96))
        (4, 5, 4)
    """
    return int(math.log2(min(size) // 4))


def stage_widths(width: int, stages: int) -> list[int]:
    """Return the channels of each stage: doubled three times at most."""
    return [width * 2 ** min(i, 3) for i in range(stages)]


class Encoder(nn.Module):
    """Map a frame to a vector, and keep the features of every stage for the decoder.

    ::

        s_i = Stage_i(s_i-1)                 s_0 is the frame; VGG halves the sides of s_i-1 first
        h   = tanh(BN(Conv(s_n)))            a kernel as large as the grid

    Args:
        backbone: ``dcgan``: one 4x4 convolution with stride 2 per stage. ``vgg``: 3x3 convolutions and max pooling.
        channels: Channels of a frame.
        widths: Channels of each stage.
        features: Length of the vector.
        grid: Height and width that remain after all stages.
    """

    def __init__(
        self, backbone: Backbone, channels: int, widths: Sequence[int], features: int, grid: tuple[int, int]
    ) -> None:
        super().__init__()
        pairs = list(pairwise([channels, *widths]))
        if backbone == "dcgan":
            stages = [_layer(nn.Conv2d(n, m, 4, 2, 1)) for n, m in pairs]
        else:
            stages = [_convolutions([n, *[m] * _depth(i)]) for i, (n, m) in enumerate(pairs)]
        self.stages = nn.ModuleList(stages)
        self.pool = nn.MaxPool2d(2) if backbone == "vgg" else nn.Identity()
        self.head = nn.Sequential(nn.Conv2d(widths[-1], features, grid), nn.BatchNorm2d(features), nn.Tanh())

    def forward(self, frame: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b g"], Pyramid]:
        """Return the vector and the features of the stages."""
        x, pyramid = frame, []
        for stage in self.stages:
            x = stage(x)
            pyramid.append(x)
            x = self.pool(x)
        return self.head(x).flatten(1), pyramid


class Decoder(nn.Module):
    """Map a vector and the features of another frame to a frame in [0,1]: the mirror image of :class:`Encoder`.

    ::

        d_n   = LeakyReLU(BN(ConvTranspose(h)))
        d_i-1 = Stage_i([d_i, s_i])          VGG doubles the sides of d_i first
        x     = sigmoid(d_0)
    """

    def __init__(
        self, backbone: Backbone, channels: int, widths: Sequence[int], features: int, grid: tuple[int, int]
    ) -> None:
        super().__init__()
        self.root = _layer(nn.ConvTranspose2d(features, widths[-1], grid))
        stages = []
        for i in reversed(range(1, len(widths))):
            n, m = widths[i], widths[i - 1]
            if backbone == "dcgan":
                stages.append(_layer(nn.ConvTranspose2d(2 * n, m, 4, 2, 1)))
            else:
                stages.append(_convolutions([2 * n, *[n] * (_depth(i) - 1), m]))
        n = widths[0]
        if backbone == "dcgan":
            stages.append(nn.Sequential(nn.ConvTranspose2d(2 * n, channels, 4, 2, 1)))
        else:
            stages.append(nn.Sequential(*_convolutions([2 * n, n]), nn.ConvTranspose2d(n, channels, 3, 1, 1)))
        self.stages = nn.ModuleList(stages)
        self.up = nn.UpsamplingNearest2d(scale_factor=2) if backbone == "vgg" else nn.Identity()

    def forward(self, h: Float[Tensor, "b g"], pyramid: Pyramid) -> Float[Tensor, "b c h w"]:
        """Return the frame."""
        x = self.root(h[..., None, None])
        for stage, skip in zip(self.stages, reversed(pyramid), strict=True):
            x = stage(torch.cat([self.up(x), skip], dim=1))
        return x.sigmoid()


def _depth(stage: int) -> int:
    return _DEPTHS[min(stage, len(_DEPTHS) - 1)]


def _layer(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.LeakyReLU(0.2, inplace=True))


def _convolutions(widths: Sequence[int]) -> nn.Sequential:
    """Return 3x3 convolutions from each width to the next."""
    return nn.Sequential(*(_layer(nn.Conv2d(n, m, 3, 1, 1)) for n, m in pairwise(widths)))
