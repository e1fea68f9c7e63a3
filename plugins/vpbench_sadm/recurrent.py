"""Convolutional LSTMs of all classes at once: no class reads another's channels (section 3.1, equations 1 and 2).

Channels are class-major everywhere: those of class c are the c-th of equal blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["GroupedConvLSTM", "State", "grouped"]


class State(NamedTuple):
    """The hidden state h and the cell state c of every class."""

    hidden: Float[Tensor, "b d h w"]
    cell: Float[Tensor, "b d h w"]


def grouped(groups: int, inner: int, outer: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """Return a convolution from ``inner`` to ``outer`` channels of each group."""
    return nn.Conv2d(groups * inner, groups * outer, kernel, stride, kernel // 2, groups=groups)


class GroupedConvLSTM(nn.Module):
    """One cell for each class: the grouped convolution of [50] in section 4.

    ::

        i, f, o = sigma(Wx * x + Wh * h + b)    g = tanh(Wx * x + Wh * h + b)
        c' = f c + i g                          h' = o tanh(c')

    Gates are in the order i, f, o, g; the forget gate's bias begins at 1. What reads the input and what reads the state
    are two convolutions, so that an input that stays, or is known for all steps, is convolved once (:meth:`read`), and
    a state of zeros is not.
    """

    def __init__(self, groups: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.groups, self.width = groups, hidden
        self.of_input = grouped(groups, channels, 4 * hidden)
        self.of_hidden = nn.Conv2d(groups * hidden, groups * 4 * hidden, 3, padding=1, groups=groups, bias=False)
        assert self.of_input.bias is not None
        with torch.no_grad():
            self.of_input.bias.view(groups, 4, hidden)[:, 1] += 1.0

    def read(self, x: Float[Tensor, "b m h w"]) -> Float[Tensor, "b g h w"]:
        """Return what the input adds to the gates."""
        return self.of_input(x)

    def forward(self, read: Float[Tensor, "b g h w"], state: State | None) -> State:
        """Return the next state; None before the first."""
        gates = read if state is None else read + self.of_hidden(state.hidden)
        i, f, o, g = gates.unflatten(1, (self.groups, 4, self.width)).unbind(2)
        cell = i.sigmoid() * g.tanh()
        if state is not None:
            cell = cell + f.sigmoid() * state.cell.unflatten(1, (self.groups, self.width))
        return State((o.sigmoid() * cell.tanh()).flatten(1, 2), cell.flatten(1, 2))
