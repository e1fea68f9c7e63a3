"""The layers of CDNet's equations, and the state that both forms of its refine LSTM share."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

State = Float[Tensor, "b d t h w"]


class Conv(nn.Conv3d):
    """Convolve, and keep the size."""

    def __init__(self, inner: int, outer: int, kernel: int = 3) -> None:
        super().__init__(inner, outer, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve in the faster layout."""
        return convolve(x, self.weight, self.bias)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve with weights, and keep the size."""
    return functional.conv3d(channels_last(x), weight, bias, padding=weight.shape[-1] // 2)


def channels_last(x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n c t h w"]:
    """Use channels last on a CPU, where 3-D convolutions are faster with them (``benchmarks/cdnet.py``)."""
    return x.contiguous(memory_format=torch.channels_last_3d) if x.device.type == "cpu" else x


def lstm(past: State, gates: Float[Tensor, "b 3*d t h w"], forget_bias: float = 0.0) -> State:
    """Return ``sigma(f + bias) ∘ past + sigma(i) ∘ tanh(g)``."""
    i, f, g = gates.chunk(3, dim=1)
    return (f + forget_bias).sigmoid() * past + i.sigmoid() * g.tanh()


class RefineState(NamedTuple):
    """The state that crosses the iterations within a step: H, C, M and, with the mask, B."""

    hidden: State
    cell: State
    memory: State
    mask: State | None
