"""The motion LSTM, the refine LSTM cell, and the global information G (sections 3.1 and 3.2, equations 1 to 6).

All states are features of D channels over the autoencoder's grid of time, height and width; all kernels are 3x3x3
where nothing else is said. Weights are stored gate by gate as the equations list them. They are applied by what they
read: all that read one tensor are one convolution, and what reads a tensor that stays is convolved once.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Integrator", "Kernels", "MotionCell", "MotionState", "RefineCell", "RefineState", "convolve", "laid_out"]

State = Float[Tensor, "b d t h w"]
Encoding = Float[Tensor, "b f t h w"]


def laid_out(x: Tensor) -> Tensor:
    """Return it with channels last on a CPU, whose 3-D convolutions of few channels are up to twice as fast so."""
    return x.contiguous(memory_format=torch.channels_last_3d) if x.device.type == "cpu" else x


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve with given weights, the size kept."""
    return functional.conv3d(laid_out(x), weight, bias, padding=weight.shape[-1] // 2)


class _Conv(nn.Conv3d):
    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias)


def conv(inner: int, outer: int, kernel: int = 3) -> nn.Conv3d:
    """Return a convolution that keeps the size."""
    return _Conv(inner, outer, kernel, padding=kernel // 2)


class MotionState(NamedTuple):
    """What crosses time: the hidden state H, the cell state C, the spatiotemporal memory M."""

    hidden: State
    cell: State
    memory: State


class MotionCell(nn.Module):
    """One step of the motion LSTM (equation 1): PredRNN's ST-LSTM (Wang et al. 2017, equation 3) in one layer.

    ::

        g  = tanh(Wxg * F + Whg * H)     i  = sigma(Wxi * F + Whi * H)     f  = sigma(Wxf * F + Whf * H + 1)
        g' = tanh(W'xg * F + Wmg * M)    i' = sigma(W'xi * F + Wmi * M)    f' = sigma(W'xf * F + Wmf * M + 1)
        C <- f ∘ C + i ∘ g               M <- f' ∘ M + i' ∘ g'
        o  = sigma(Wxo * F + Who * H + Wco * [C, M])
        H <- o ∘ tanh(W1x1 * [C, M])     and the motion features F^dyn are H
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.of_features = conv(features, 7 * width)  # i f g, i' f' g', o
        self.of_hidden = conv(width, 4 * width)  # i f g, o
        self.of_memory = conv(width, 3 * width)  # i' f' g'
        self.of_states = conv(2 * width, width)  # o
        self.merge = conv(2 * width, width, 1)

    def forward(self, encoding: Encoding, state: MotionState) -> MotionState:
        """Return the state after reading the features of a window."""
        width = state.hidden.shape[1]
        appearance, memory, o = self.of_features(encoding).split([3 * width, 3 * width, width], dim=1)
        of_hidden, o_hidden = self.of_hidden(state.hidden).split([3 * width, width], dim=1)
        cell = _lstm(state.cell, appearance + of_hidden, 1.0)
        memory = _lstm(state.memory, memory + self.of_memory(state.memory), 1.0)
        states = torch.cat([cell, memory], dim=1)
        o = (o + o_hidden + self.of_states(states)).sigmoid()
        return MotionState(o * self.merge(states).tanh(), cell, memory)


def _lstm(before: State, gates: Float[Tensor, "b 3*d t h w"], forget: float) -> State:
    """Return ``f ∘ before + i ∘ g``; ``forget`` is added to f."""
    i, f, g = gates.chunk(3, dim=1)
    return (f + forget).sigmoid() * before + i.sigmoid() * g.tanh()


class RefineState(NamedTuple):
    """What crosses the iterations at one step in time: H, C, M and, with the mask, B."""

    hidden: State
    cell: State
    memory: State
    mask: State | None


class Kernels(NamedTuple):
    """The refine cell's weights, gathered by what they read; their rows: ``i f g o | i' f' g' | k``."""

    encoding: Tensor
    bias: Tensor
    refined: Tensor
    hidden: Tensor
    """Rows ``i f g o`` alone."""
    refined_hidden: Tensor
    """Where F^ref is H."""
    memory: Tensor
    mask: Tensor | None
    states: Tensor
    """Of [C, M]; rows ``o k``."""
    merge: Tensor
    merge_bias: Tensor


class RefineCell(nn.Module):
    """One iteration of the refine LSTM (equations 2 and 4 to 6); all iterations share one cell.

    ::

        x^l-1 = [F^ref,l-1, F^enc]
        g,  i,  f  = tanh, sigma, sigma (W  * [x, H] + b)       C^l = f  ∘ U([C, G]) + i  ∘ g       (4)
        g', i', f' = tanh, sigma, sigma (W' * [x, M] + b')      M^l = f' ∘ M         + i' ∘ g'
        H^  = sigma(Wo * [x, H, C^l, M^l] + bo) ∘ tanh(W1x1 * [C^l, M^l])                           (5)
        B^l = sigma(Wk * [x, B, C^l, M^l] + bk) ∘ tanh(W1x1' * [C^l, M^l])
        H^l = H^ ∘ B^l + H ∘ (1 - B^l)                          F^ref,l = H^l                       (6)

    The paper prints some weights twice (Wg, Wi, Wf in 4, W1x1 in 5); all are taken to be separate. That x holds F^enc
    is from equation 2: 4 and 5 do not show it. Without the mask H^l is H^ (table 2).

    What the speed rests on: F^enc stays over the iterations, G over all steps, and from the second iteration on F^ref
    is H, so that the weights of both add up.

    Args:
        features: channels of F^enc.
        width: D, channels of each state.
        mask: the activation that closes B: ``"tanh"`` as in (5), where B is between -1 and 1; ``"sigmoid"``, with which
            (6) is a blend; or None, no mask.
    """

    def __init__(self, features: int, width: int, mask: Literal["tanh", "sigmoid"] | None) -> None:
        super().__init__()
        x = width + features
        self.width, self.activation = width, mask
        self.appearance = conv(x + width, 3 * width)  # i f g of [F^ref, F^enc, H]
        self.remember = conv(x + width, 3 * width)  # i' f' g' of [F^ref, F^enc, M]
        self.output = conv(x + 3 * width, width)  # o_h of [F^ref, F^enc, H, C, M]
        self.merge = conv(2 * width, width, 1)
        if mask is not None:
            self.preserve = conv(x + 3 * width, width)  # o_k of [F^ref, F^enc, B, C, M]
            self.merge_mask = conv(2 * width, width, 1)
        self.updater = nn.ModuleList([conv(2 * width, width), conv(width, width)])

    def kernels(self) -> Kernels:
        """Gather the weights: once for all uses of the cell on some clips."""
        d, x = self.width, self.appearance.in_channels - self.width
        gates = [self.appearance, self.output, self.remember]
        merges = [self.merge]
        if self.activation is not None:
            gates, merges = [*gates, self.preserve], [*merges, self.merge_mask]
        refined, encoding, own = zip(
            *(gate.weight.split([d, x - d, gate.in_channels - x], dim=1) for gate in gates), strict=True
        )
        hidden = torch.cat([own[0], own[1][:, :d]])
        every = torch.cat(refined)
        return Kernels(
            encoding=torch.cat(encoding),
            bias=torch.cat([gate.bias for gate in gates]),
            refined=every,
            hidden=hidden,
            refined_hidden=torch.cat([every[: 4 * d] + hidden, every[4 * d :]]),
            memory=own[2],
            mask=own[3][:, :d] if self.activation is not None else None,
            states=torch.cat([each[:, d:] for each in own[1::2]]),
            merge=torch.cat([merge.weight for merge in merges]),
            merge_bias=torch.cat([merge.bias for merge in merges]),
        )

    def recall(self, reference: State) -> State:
        """Return what U makes of its second argument: of G or, without it (table 2), of F^dyn."""
        first = self.updater[0]
        return convolve(reference, first.weight[:, self.width :], first.bias)

    def forward(
        self,
        kernels: Kernels,
        encoded: Float[Tensor, "b n t h w"],
        recalled: State,
        state: RefineState,
        refined: State | None = None,
    ) -> RefineState:
        """Return the state after one iteration.

        Args:
            kernels: from :meth:`kernels`.
            encoded: F^enc convolved with ``kernels.encoding`` and ``kernels.bias``.
            recalled: from :meth:`recall`.
            state: of the iteration before.
            refined: F^ref of the iteration before; None where it is that state's H.
        """
        d = self.width
        if refined is None:
            gates = encoded + convolve(state.hidden, kernels.refined_hidden)
        else:
            gates = encoded + convolve(refined, kernels.refined)
            gates = torch.cat([gates[:, : 4 * d] + convolve(state.hidden, kernels.hidden), gates[:, 4 * d :]], dim=1)
        appearance, o, remember, k = gates.split([3 * d, d, 3 * d, gates.shape[1] - 7 * d], dim=1)
        cell = _lstm(self._updated(state.cell, recalled), appearance, 0.0)
        memory = _lstm(state.memory, remember + convolve(state.memory, kernels.memory), 0.0)
        states = torch.cat([cell, memory], dim=1)
        of_states = convolve(states, kernels.states)
        merged = convolve(states, kernels.merge, kernels.merge_bias)
        hidden = (o + of_states[:, :d]).sigmoid() * merged[:, :d].tanh()
        if kernels.mask is None or state.mask is None:
            return RefineState(hidden, cell, memory, None)
        k = (k + convolve(state.mask, kernels.mask) + of_states[:, d:]).sigmoid()
        mask = k * (merged[:, d:].tanh() if self.activation == "tanh" else merged[:, d:].sigmoid())
        return RefineState(state.hidden + mask * (hidden - state.hidden), cell, memory, mask)

    def _updated(self, cell: State, recalled: State) -> State:
        """Return U([C, G]): two convolutions, ReLU after each."""
        first = convolve(cell, self.updater[0].weight[:, : self.width])
        return self.updater[1](functional.relu(first + recalled)).relu()


class Integrator(nn.Sequential):
    """Global information G from the features of all context windows (equation 3, figure 7).

    Four convolutions, 1x1x1 and 3x3x3 in turn, ReLU after each, on the features side by side: so the weights depend on
    the number of windows.
    """

    def __init__(self, channels: int, widths: tuple[int, int], width: int) -> None:
        first, second = widths
        sizes = ((channels, first, 1), (first, first, 3), (first, second, 1), (second, width, 3))
        super().__init__(
            *(layer for inner, outer, kernel in sizes for layer in (conv(inner, outer, kernel), nn.ReLU()))
        )
