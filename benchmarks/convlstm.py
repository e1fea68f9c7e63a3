"""What the ConvLSTM cell costs, forward and backward, in the formulation that was chosen and in others.

    PYTHONPATH=plugins:datasets python benchmarks/convlstm.py [--json]

A layer reads a context of 4 steps. The formulations, all with the same weights and the same result:

- cell: the cell as it is, which does one of the last two
- one convolution: of the input and the hidden state concatenated, for all gates together
- per gate: one convolution of the input and one of the hidden state for each gate
- step by step: one convolution of the input and one of the hidden state, for all gates together
- inputs batched: the same, but the inputs of all steps are convolved beforehand, as one batch

A hidden state of zeros is convolved by none but "one convolution", which cannot leave it out. They are timed in one
thread, in an order that changes from round to round; the ratio to the cell is the median over rounds of both times in
one round (bar: none below 1, but for the noise that the formulation shows that the cell is the same as).
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
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
    return torch.stack([hidden for hidden, _ in layer.over(inputs.unbind(1))], 1)


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


def step_by_step(layer: Cell, inputs: Tensor) -> Tensor:
    """Two convolutions, one in the first step."""
    return recurrent(
        layer,
        inputs.unbind(1),
        lambda x, hidden: layer.of_input(x) if hidden is None else layer.of_input(x) + layer.of_hidden(hidden),
    )


def inputs_batched(layer: Cell, inputs: Tensor) -> Tensor:
    """One convolution of the inputs of all steps."""
    read = layer.of_input(inputs.transpose(0, 1).flatten(0, 1)).unflatten(0, (STEPS, len(inputs))).unbind(0)
    return recurrent(layer, read, lambda x, hidden: x if hidden is None else x + layer.of_hidden(hidden))


FORMULATIONS = {
    "cell": own,
    "one convolution": one_convolution,
    "per gate": per_gate,
    "step by step": step_by_step,
    "inputs batched": inputs_batched,
}


def measure(batch: int, channels: int, hidden: int, kernel: int, seconds: float) -> dict[str, list[float]]:
    """Return the time of each round, by formulation, after one round that checks that all give the same.

    There are as many rounds as fit into ``seconds``, and three at least.
    """
    torch.manual_seed(0)
    layer, inputs = Cell(channels, hidden, kernel), torch.rand(batch, STEPS, channels, *GRID, requires_grad=True)
    spent: dict[str, list[float]] = {name: [] for name in FORMULATIONS}
    expected, gradient = None, None
    end = time.perf_counter() + seconds
    turn = -1
    while turn < 3 or time.perf_counter() < end:
        for name in random.Random(turn).sample(list(FORMULATIONS), len(FORMULATIONS)):
            layer.zero_grad(set_to_none=True)
            inputs.grad = None
            start = time.perf_counter()
            made = FORMULATIONS[name](layer, inputs)
            made.square().sum().backward()
            if turn >= 0:
                spent[name].append(time.perf_counter() - start)
                continue
            expected = made.detach() if expected is None else expected
            gradient = layer.of_hidden.weight.grad if gradient is None else gradient
            torch.testing.assert_close(made.detach(), expected, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(layer.of_hidden.weight.grad, gradient, atol=1e-3, rtol=1e-3)
        turn += 1
    return spent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15, help="for each shape")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4], metavar="CLIPS", help="clips at a time")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = {}
    for clips, (shape, sizes) in itertools.product(args.batch, SHAPES.items()):
        spent = measure(clips, *sizes, args.seconds)
        medians = {name: statistics.median(times) for name, times in spent.items()}
        ratios = {
            name: statistics.median(t / c for t, c in zip(times, spent["cell"], strict=True))
            for name, times in spent.items()
        }
        name = f"{clips} clip{'s' if clips > 1 else ''}, {shape}"
        result[name] = {"seconds": medians, "ratio": ratios}
        if not args.json:
            print(name)
            for form in FORMULATIONS:
                print(f"  {form:16} {1000 * medians[form]:7.1f} ms, {ratios[form]:.2f} of the cell's")
    if args.json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
