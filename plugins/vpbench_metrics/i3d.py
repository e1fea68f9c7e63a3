"""I3D, the network of the Frechet video distance: Inception v1 inflated to three dimensions, trained on Kinetics-400.

Carreira and Zisserman: Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset, CVPR 2017, figure 3. Layers
have the names of the authors' code. Padding is TensorFlow's SAME, which pads more at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SIDE = 224
"""Height and width of the frames that the network was trained on."""
CLASSES = 400
_EPSILON = 1e-3
Size: TypeAlias = tuple[int, int, int]
"""Frames, rows and columns of a kernel or a stride."""


class Unit3D(nn.Module):
    """Convolve, normalise with the statistics of the training data, and rectify."""

    def __init__(self, inner: int, outer: int, kernel: Size = (1, 1, 1), stride: Size = (1, 1, 1)) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv3d(inner, outer, kernel, stride, bias=False)
        self.norm = Norm(outer)

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d u i j"]:
        """Return relu(norm(conv(x))); the normalisation becomes part of the convolution, which saves two passes."""
        gain = (self.norm.running_var + _EPSILON).rsqrt()
        weight = self.conv.weight * gain.view(-1, 1, 1, 1, 1)
        x = _same(x, weight.shape[2:], self.stride)
        return F.conv3d(x, weight, self.norm.bias - self.norm.running_mean * gain, self.stride).relu_()


class Norm(nn.Module):
    """Hold a batch normalisation without a scale: y = (x - mean) / sqrt(var + 0.001) + bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean = nn.Buffer(torch.zeros(channels))
        self.running_var = nn.Buffer(torch.ones(channels))


class MaxPool(nn.Module):
    """Take maxima; the border counts as minus infinity."""

    def __init__(self, kernel: Size, stride: Size) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n c u i j"]:
        """Return the maxima."""
        return F.max_pool3d(_same(x, self.kernel, self.stride, float("-inf")), self.kernel, self.stride)


class Inception(nn.Module):
    """Concatenate four branches: 1x1x1; 1x1x1 and 3x3x3, twice; 3x3x3 maxima and 1x1x1 (figure 3, right)."""

    def __init__(self, inner: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        first, reduced, second, narrow, third, fourth = widths
        cube = (3, 3, 3)
        self.Branch_0 = _chain(Conv3d_0a_1x1=Unit3D(inner, first))
        self.Branch_1 = _chain(Conv3d_0a_1x1=Unit3D(inner, reduced), Conv3d_0b_3x3=Unit3D(reduced, second, cube))
        self.Branch_2 = _chain(Conv3d_0a_1x1=Unit3D(inner, narrow), Conv3d_0b_3x3=Unit3D(narrow, third, cube))
        self.Branch_3 = _chain(MaxPool3d_0a_3x3=MaxPool(cube, (1, 1, 1)), Conv3d_0b_1x1=Unit3D(inner, fourth))

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t h w"]:
        """Return the outputs of the branches along the channels."""
        return torch.cat([self.Branch_0(x), self.Branch_1(x), self.Branch_2(x), self.Branch_3(x)], dim=1)


class Logits(nn.Module):
    """Average over 2 frames and 7x7 positions, classify each position in time, and average over time."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.Conv3d_0c_1x1 = _chain(conv=nn.Conv3d(inner, CLASSES, 1))

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n k"]:
        """Return logits."""
        logits: Tensor = self.Conv3d_0c_1x1(F.avg_pool3d(x, (2, 7, 7), stride=1))
        return logits.mean(dim=(2, 3, 4))


class I3D(nn.Sequential):
    """Map clips in [-1,1] to the logits of 400 actions (figure 3, left)."""

    def __init__(self) -> None:
        super().__init__()
        layers = _chain(
            Conv3d_1a_7x7=Unit3D(3, 64, (7, 7, 7), (2, 2, 2)),
            MaxPool3d_2a_3x3=MaxPool((1, 3, 3), (1, 2, 2)),
            Conv3d_2b_1x1=Unit3D(64, 64),
            Conv3d_2c_3x3=Unit3D(64, 192, (3, 3, 3)),
            MaxPool3d_3a_3x3=MaxPool((1, 3, 3), (1, 2, 2)),
            Mixed_3b=Inception(192, (64, 96, 128, 16, 32, 32)),
            Mixed_3c=Inception(256, (128, 128, 192, 32, 96, 64)),
            MaxPool3d_4a_3x3=MaxPool((3, 3, 3), (2, 2, 2)),
            Mixed_4b=Inception(480, (192, 96, 208, 16, 48, 64)),
            Mixed_4c=Inception(512, (160, 112, 224, 24, 64, 64)),
            Mixed_4d=Inception(512, (128, 128, 256, 24, 64, 64)),
            Mixed_4e=Inception(512, (112, 144, 288, 32, 64, 64)),
            Mixed_4f=Inception(528, (256, 160, 320, 32, 128, 128)),
            MaxPool3d_5a_2x2=MaxPool((2, 2, 2), (2, 2, 2)),
            Mixed_5b=Inception(832, (256, 160, 320, 32, 128, 128)),
            Mixed_5c=Inception(832, (384, 192, 384, 48, 128, 128)),
            Logits=Logits(1024),
        )
        for name, layer in layers.named_children():
            self.add_module(name, layer)


def network_input(frames: Float[Tensor, "t 3 h w"]) -> Float[Tensor, "1 3 t 224 224"]:
    """Return a clip in [0,1] as the network reads it: 224x224 by bilinear interpolation, not antialiased, in [-1,1]."""
    frames = F.interpolate(frames, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=False)
    return (2 * frames - 1).transpose(0, 1)[None]


def _chain(**layers: nn.Module) -> nn.Sequential:
    sequence = nn.Sequential()
    for name, layer in layers.items():
        sequence.add_module(name, layer)
    return sequence


def _same(x: Float[Tensor, "n c t h w"], kernel: Sequence[int], stride: Size, value: float = 0.0) -> Tensor:
    """Pad so that each axis leaves with ceil(size / stride) positions."""
    pads: list[int] = []
    for size, width, step in zip(x.shape[2:], kernel, stride, strict=True):
        missing = max((-(-size // step) - 1) * step + width - size, 0)
        pads = [missing // 2, missing - missing // 2, *pads]  # torch names the last axis first
    return F.pad(x, pads, value=value) if any(pads) else x
