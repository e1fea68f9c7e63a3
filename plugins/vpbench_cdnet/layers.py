"""The layers of CDNet's equations, and the state that both forms of its refine LSTM share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vpbench.toolkit.convolution import conv3d

State = Float[Tensor, "b d t h w"]


class Conv(nn.Conv3d):
    """Convolve, and keep the size or divide it by the stride."""

    def __init__(
        self, inner: int, outer: int, kernel: int = 3, stride: tuple[int, int, int] = (1, 1, 1), *, bias: bool = True
    ) -> None:
        super().__init__(inner, outer, kernel, stride, kernel // 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve in the faster layout."""
        return convolve(x, self.weight, self.bias, self.stride)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sequence[int] = (1, 1, 1)) -> Tensor:
    """Convolve with weights, and keep the size or divide it by the stride."""
    return conv3d(channels_last(x), weight, bias, stride, [side // 2 for side in weight.shape[2:]])


def channels_last(x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n c t h w"]:
    """Use channels last on a CPU, where 3-D convolutions are faster with them (``benchmarks/cdnet.py``)."""
    return x.contiguous(memory_format=torch.channels_last_3d) if x.device.type == "cpu" else x


class RefineState(NamedTuple):
    """The state that crosses the iterations within a step: H, C, M and, with the mask, B."""

    hidden: State
    cell: State
    memory: State
    mask: State | None
