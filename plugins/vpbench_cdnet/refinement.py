"""The state of CDNet's refine LSTM, and its fast form; :class:`vpbench_cdnet.model.RefineCell` has the equations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vpbench.toolkit.convolution import convolve
from vpbench.toolkit.st_lstm import lstm

if TYPE_CHECKING:
    from vpbench_cdnet.model import Features, RefineCell


State = Float[Tensor, "b d t h w"]


class RefineState(NamedTuple):
    """The state that crosses the iterations within a step: H, C, M and, with the mask, B."""

    hidden: State
    cell: State
    memory: State
    mask: State | None


class FusedRefinement:
    """Iterate a :class:`~vpbench_cdnet.model.RefineCell` on clips.

    The result is equal up to rounding, in about half the time (``benchmarks/cdnet.py``).

    Weights are grouped by the tensor that they read. F^enc is convolved once per step for all gates and iterations, and
    G once per clip. From the second iteration on F^ref is H, so the weights of both are added.

    Rows of the grouped weights are ``i f g o | i' f' g' | k``.
    """

    def __init__(self, cell: RefineCell, reference: State | None) -> None:
        self.cell = cell
        self.recalled = None if reference is None else self._recall(reference)
        d, x = cell.width, cell.appearance.in_channels - cell.width
        gates, merges = [cell.appearance, cell.output, cell.remember], [cell.merge]
        if cell.activation is not None:
            gates, merges = [*gates, cell.preserve], [*merges, cell.merge_mask]
        refined, encoding, states = zip(*(gate.weight.tensor_split([d, x], dim=1) for gate in gates), strict=True)
        self.encoding, self.bias = torch.cat(encoding), torch.cat([gate.bias for gate in gates])
        self.refined = torch.cat(refined)
        self.hidden = torch.cat([states[0], states[1][:, :d]])  # i f g o
        self.refined_hidden = torch.cat([self.refined[: 4 * d] + self.hidden, self.refined[4 * d :]])
        self.memory = states[2]
        self.mask = None if cell.activation is None else states[3][:, :d]
        self.states = torch.cat([weight[:, d:] for weight in states[1::2]])  # o k, of [C, M]
        self.merge, self.merge_bias = torch.cat([m.weight for m in merges]), torch.cat([m.bias for m in merges])

    def __call__(self, motion: State, encoding: Features, state: RefineState, iterations: int) -> Iterator[RefineState]:
        """Yield the state after each iteration of a step, which begins with F^ref = F^dyn."""
        recalled = self._recall(motion) if self.recalled is None else self.recalled
        encoded = convolve(encoding, self.encoding, self.bias)
        gates = encoded + convolve(motion, self.refined)
        h = 4 * self.cell.width
        gates = torch.cat([gates[:, :h] + convolve(state.hidden, self.hidden), gates[:, h:]], dim=1)
        for iteration in range(iterations):
            if iteration:
                gates = encoded + convolve(state.hidden, self.refined_hidden)
            state = self._iterate(gates, recalled, state)
            yield state

    def _recall(self, reference: State) -> State:
        """Apply the first layer of U to its second argument."""
        layer = self.cell.updater[0]
        return convolve(reference, layer.weight[:, self.cell.width :], layer.bias)

    def _iterate(self, gates: Tensor, recalled: State, state: RefineState) -> RefineState:
        d = self.cell.width
        cell_gates, o, memory_gates, k = gates.split([3 * d, d, 3 * d, gates.shape[1] - 7 * d], dim=1)
        first, second = self.cell.updater
        update = second(functional.relu(convolve(state.cell, first.weight[:, :d]) + recalled)).relu()
        cell = lstm(update, cell_gates)
        memory = lstm(state.memory, memory_gates + convolve(state.memory, self.memory))
        states = torch.cat([cell, memory], dim=1)
        of_states, merged = convolve(states, self.states), convolve(states, self.merge, self.merge_bias)
        candidate = (o + of_states[:, :d]).sigmoid() * merged[:, :d].tanh()
        if self.mask is None or state.mask is None:
            return RefineState(candidate, cell, memory, None)
        k = k + convolve(state.mask, self.mask) + of_states[:, d:]
        mask = k.sigmoid() * self.cell.close(merged[:, d:])
        return RefineState(state.hidden + mask * (candidate - state.hidden), cell, memory, mask)
