"""The spatiotemporal LSTM (ST-LSTM) of PredRNN, for pictures (2-D) and for windows of pictures (3-D).

Wang, Long, Wang, Gao, Yu: PredRNN: Recurrent Neural Networks for Predictive Learning using Spatiotemporal LSTMs,
NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

State = Float[Tensor, "b d ..."]


class STState(NamedTuple):
    """The hidden state H, the cell state C of a layer, and the memory M that the layers share."""

    hidden: State
    cell: State
    memory: State


class STUpdate(NamedTuple):
    """One step of a cell before H: H is ``output ∘ candidate``, unless a model blends it with something else."""

    cell: State
    memory: State
    output: State
    """The output gate o."""
    candidate: State
    """tanh of the merged C and M."""
    increments: tuple[State, State]
    """Both additions, ``i ∘ g`` to C and ``i' ∘ g'`` to M."""

    @property
    def state(self) -> STState:
        """Return the state with PredRNN's H."""
        return STState(self.output * self.candidate, self.cell, self.memory)


class Convolution(Protocol):
    """A class of convolutions that keep the size."""

    def __call__(self, inner: int, outer: int, kernel: int, *, bias: bool) -> nn.Module:
        """Return a convolution from ``inner`` to ``outer`` channels."""


def same_conv2d(inner: int, outer: int, kernel: int, *, bias: bool) -> nn.Conv2d:
    """Return a 2-D convolution that keeps the size. The side of its kernel is odd."""
    return nn.Conv2d(inner, outer, kernel, padding=kernel // 2, bias=bias)


class STLSTM(nn.Module):
    """Run one layer for one step (equation 3).

    ::

        g  = tanh(Wxg * X + Whg * H)     i  = sigma(Wxi * X + Whi * H)     f  = sigma(Wxf * X + Whf * H + 1)
        g' = tanh(W'xg * X + Wmg * M)    i' = sigma(W'xi * X + Wmi * M)    f' = sigma(W'xf * X + Wmf * M + 1)
        C <- f ∘ C + i ∘ g               M <- f' ∘ M + i' ∘ g'
        o  = sigma(Wxo * X + Who * H + Wco * [C, M])
        H <- o ∘ tanh(W1x1 * [C, M])

    All gates share one convolution per input. Their channels are i f g i' f' g' o of X, i f g o of H, i' f' g' of M.

    Args:
        features: Number of channels of X.
        width: Number of channels of each state.
        kernel: Side of the kernels; odd.
        convolution: Makes the convolutions: 2-D or 3-D.
        bias: True for convolutions with biases.
        norm: Makes a normalisation of that many channels, applied after each convolution but W1x1. None: none.
    """

    def __init__(
        self,
        features: int,
        width: int,
        kernel: int,
        *,
        convolution: Convolution = same_conv2d,
        bias: bool = False,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.of_features = convolution(features, 7 * width, kernel, bias=bias)
        self.of_hidden = convolution(width, 4 * width, kernel, bias=bias)
        self.of_memory = convolution(width, 3 * width, kernel, bias=bias)
        self.of_states = convolution(2 * width, width, kernel, bias=bias)
        self.merge = convolution(2 * width, width, 1, bias=bias)
        norm = norm or (lambda channels: nn.Identity())
        self.norm_features, self.norm_hidden = norm(7 * width), norm(4 * width)
        self.norm_memory, self.norm_states = norm(3 * width), norm(width)

    def forward(self, x: Float[Tensor, "b f ..."], state: STState) -> STState:
        """Return the state after reading ``x``."""
        return self.update(x, state).state

    def update(self, x: Float[Tensor, "b f ..."], state: STState) -> STUpdate:
        """Return both cell states after reading ``x``, and the parts of H."""
        d = state.hidden.shape[1]
        cell_gates, memory_gates, o = self.norm_features(self.of_features(x)).split([3 * d, 3 * d, d], dim=1)
        hidden_gates, o_hidden = self.norm_hidden(self.of_hidden(state.hidden)).split([3 * d, d], dim=1)
        retained, increment = lstm_terms(state.cell, cell_gates + hidden_gates, 1.0)
        of_memory = self.norm_memory(self.of_memory(state.memory))
        remembered, memorised = lstm_terms(state.memory, memory_gates + of_memory, 1.0)
        cell, memory = retained + increment, remembered + memorised
        states = torch.cat([cell, memory], dim=1)
        o = (o + o_hidden + self.norm_states(self.of_states(states))).sigmoid()
        return STUpdate(cell, memory, o, self.merge(states).tanh(), (increment, memorised))


def lstm_terms(past: State, gates: Float[Tensor, "b 3*d ..."], forget_bias: float = 0.0) -> tuple[State, State]:
    """Return both terms of an LSTM's cell state: ``sigma(f + bias) ∘ past`` and ``sigma(i) ∘ tanh(g)``.

    The channels of the gates are i f g.
    """
    i, f, g = gates.chunk(3, dim=1)
    return (f + forget_bias).sigmoid() * past, i.sigmoid() * g.tanh()


def lstm(past: State, gates: Float[Tensor, "b 3*d ..."], forget_bias: float = 0.0) -> State:
    """Return the sum of :func:`lstm_terms`."""
    retained, increment = lstm_terms(past, gates, forget_bias)
    return retained + increment
