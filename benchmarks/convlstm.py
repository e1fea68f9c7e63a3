"""What the ConvLSTM cell costs, forward and backward, in the formulation that was chosen and in others.

    PYTHONPATH=plugins:datasets python benchmarks/convlstm.py [--json]

A layer reads a context of 4 steps. The formulations, all with the same weights and the same result:

- cell: the cell as it is: one convolution of the input and one of the hidden state, for all gates together
- one convolution: of the input and the hidden state concatenated, for all gates together
- per gate: one convolution of the input and one of the hidden state for each gate
- inputs batched: as cell, but the inputs of all steps are convolved beforehand, as one batch

A hidden state of zeros is convolved by none but "one convolution", which cannot leave it out. They are timed in turn,
in one thread; the ratio to the cell is the median over rounds of both times in one round (bar: none below 1).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from vpbench_baselines.convlstm_cell import Cell

SHAPES = {
    "tiny: 48 to 64 channels, 3x3": (48, 64, 3),
    "base, lowest layer: 48 to 128 channels, 5x5": (48, 128, 5),
    "base, other layers: 128 to 128 channels, 5x5": (128, 128, 5),
}
"""Channels, hidden channels, kernel."""
STEPS, GRID = 4, (16, 24)
"""Of the context; patches of 4x4 in frames of 64x96."""


def gated(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Return the hidden state and the cell output that follow from the four gates before their nonlinearities."""
    i, f, o, candidate = gates.chunk(4, dim=1)
    cell = f.sigmoid() * cell + i.sigmoid() * candidate.tanh()
    return o.sigmoid() * cell.tanh(), cell


def own(layer: Cell, inputs: Tensor) -> Tensor:
    """The cell as it is."""
    state, hidden = None, []
    for x in inputs.unbind(1):
        state = layer(x, state)
        hidden.append(state[0])
    return torch.stack(hidden, 1)


def recurrent(layer: Cell, inputs: Sequence[Tensor], gates: Callable[[Tensor, Tensor | None], Tensor]) -> Tensor:
    """Any other: ``gates`` maps an input and the hidden state (None: zeros) to the gates."""
    hidden, cell, every = None, inputs[0].new_zeros(len(inputs[0]), layer.of_hidden.in_channels, *GRID), []
    for x in inputs:
        hidden, cell = gated(gates(x, hidden), cell)
        every.append(hidden)
    return torch.stack(every, 1)


def one_convolution(layer: Cell, inputs: Tensor) -> Tensor:
    """Input and hidden state concatenated, zeros at first."""
    weight = torch.cat([layer.of_input.weight, layer.of_hidden.weight], dim=1)
    zeros = inputs.new_zeros(len(inputs), layer.of_hidden.in_channels, *GRID)

    def gates(x: Tensor, hidden: Tensor | None) -> Tensor:
        both = torch.cat([x, zeros if hidden is None else hidden], dim=1)
        return conv2d(both, weight, layer.of_input.bias, padding="same")

    return recurrent(layer, inputs.unbind(1), gates)


def per_gate(layer: Cell, inputs: Tensor) -> Tensor:
    """Eight convolutions, four in the first step."""
    weights = [p.chunk(4) for p in (layer.of_input.weight, layer.of_input.bias, layer.of_hidden.weight)]

    def gates(x: Tensor, hidden: Tensor | None) -> Tensor:
        made = [conv2d(x, w, b, padding="same") for w, b in zip(weights[0], weights[1], strict=True)]
        if hidden is not None:
            made = [m + conv2d(hidden, w, padding="same") for m, w in zip(made, weights[2], strict=True)]
        return torch.cat(made, dim=1)

    return recurrent(layer, inputs.unbind(1), gates)


def inputs_batched(layer: Cell, inputs: Tensor) -> Tensor:
    """One convolution of the inputs of all steps."""
    read = layer.of_input(inputs.transpose(0, 1).flatten(0, 1)).unflatten(0, (STEPS, len(inputs))).unbind(0)
    return recurrent(layer, read, lambda x, hidden: x if hidden is None else x + layer.of_hidden(hidden))


FORMULATIONS = {
    "cell": own,
    "one convolution": one_convolution,
    "per gate": per_gate,
    "inputs batched": inputs_batched,
}


def measure(batch: int, channels: int, hidden: int, kernel: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round, by formulation, after one round that checks that all give the same."""
    torch.manual_seed(0)
    layer, inputs = Cell(channels, hidden, kernel), torch.rand(batch, STEPS, channels, *GRID, requires_grad=True)
    spent: dict[str, list[float]] = {name: [] for name in FORMULATIONS}
    expected, gradient = None, None
    for turn in range(-1, rounds):
        for name, formulation in FORMULATIONS.items():
            layer.zero_grad(set_to_none=True)
            inputs.grad = None
            start = time.perf_counter()
            made = formulation(layer, inputs)
            made.square().sum().backward()
            if turn >= 0:
                spent[name].append(time.perf_counter() - start)
                continue
            expected = made.detach() if expected is None else expected
            gradient = layer.of_hidden.weight.grad if gradient is None else gradient
            torch.testing.assert_close(made.detach(), expected, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(layer.of_hidden.weight.grad, gradient, atol=1e-3, rtol=1e-3)
    return spent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=4, help="clips")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = {}
    for shape, sizes in SHAPES.items():
        spent = measure(args.batch, *sizes, args.rounds)
        medians = {name: statistics.median(times) for name, times in spent.items()}
        ratios = {
            name: statistics.median(t / c for t, c in zip(times, spent["cell"], strict=True))
            for name, times in spent.items()
        }
        result[shape] = {"seconds": medians, "ratio": ratios}
        if not args.json:
            print(shape)
            for name in FORMULATIONS:
                print(f"  {name:16} {1000 * medians[name]:7.1f} ms, {ratios[name]:.2f} of the cell's")
    if args.json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
