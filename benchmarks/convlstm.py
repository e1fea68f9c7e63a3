"""ConvLSTM: the time of the cell, forward and backward, next to other formulations with the same result.

    PYTHONPATH=plugins:datasets python benchmarks/convlstm.py [--rounds N] [--batch CLIPS ...] [--json]

A layer reads a context of 4 steps in one thread. Prints each formulation's time as a ratio to the cell's:

- one convolution: input and hidden state concatenated, for all gates together
- per gate: one convolution of the input and one of the hidden state for each gate
- inputs batched: as the cell, but the inputs of all steps are convolved first, as one batch
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Callable, Sequence

import torch
from common import interleave
from torch import Tensor
from torch.nn.functional import conv2d

from vpbench_recurrent.cell import Cell

SHAPES = {
    "tiny: 48 to 64 channels, 3x3": (48, 64, 3),
    "base, lowest layer: 48 to 128 channels, 5x5": (48, 128, 5),
    "base, other layers: 128 to 128 channels, 5x5": (128, 128, 5),
}
"""Channels, hidden channels, kernel."""
STEPS, GRID = 4, (16, 24)
"""Steps of context; grid of 4x4 patches in frames of 64x96."""


def current(layer: Cell, inputs: Tensor) -> Tensor:
    """Run the cell."""
    states = [layer(inputs[:, 0], None)]
    for x in inputs.unbind(1)[1:]:
        states.append(layer(x, states[-1]))
    return torch.stack([hidden for hidden, _ in states], 1)


def recurrent(layer: Cell, inputs: Sequence[Tensor], gates: Callable[[Tensor, Tensor | None], Tensor]) -> Tensor:
    """Run another form of the cell: ``gates`` maps an input and the hidden state (None: zeros) to the gates."""
    hidden, cell, outputs = None, inputs[0].new_zeros(len(inputs[0]), layer.of_hidden.in_channels, *GRID), []
    for x in inputs:
        i, f, o, candidate = gates(x, hidden).chunk(4, dim=1)
        cell = f.sigmoid() * cell + i.sigmoid() * candidate.tanh()
        hidden = o.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return torch.stack(outputs, 1)


def one_convolution(layer: Cell, inputs: Tensor) -> Tensor:
    """Convolve input and hidden state together, with zeros in the first step."""
    weight = torch.cat([layer.of_input.weight, layer.of_hidden.weight], dim=1)
    zeros = inputs.new_zeros(len(inputs), layer.of_hidden.in_channels, *GRID)

    def gates(x: Tensor, hidden: Tensor | None) -> Tensor:
        read = torch.cat([x, zeros if hidden is None else hidden], dim=1)
        return conv2d(read, weight, layer.of_input.bias, padding="same")

    return recurrent(layer, inputs.unbind(1), gates)


def per_gate(layer: Cell, inputs: Tensor) -> Tensor:
    """Convolve eight times, four times in the first step."""
    weights = [p.chunk(4) for p in (layer.of_input.weight, layer.of_input.bias, layer.of_hidden.weight)]

    def gates(x: Tensor, hidden: Tensor | None) -> Tensor:
        values = [conv2d(x, w, b, padding="same") for w, b in zip(weights[0], weights[1], strict=True)]
        if hidden is not None:
            values = [v + conv2d(hidden, w, padding="same") for v, w in zip(values, weights[2], strict=True)]
        return torch.cat(values, dim=1)

    return recurrent(layer, inputs.unbind(1), gates)


def inputs_batched(layer: Cell, inputs: Tensor) -> Tensor:
    """Convolve the inputs of all steps at once."""
    read = layer.of_input(inputs.transpose(0, 1).flatten(0, 1)).unflatten(0, (STEPS, len(inputs))).unbind(0)
    return recurrent(layer, read, lambda x, hidden: x if hidden is None else x + layer.of_hidden(hidden))


FORMS = {
    "cell": current,
    "one convolution": one_convolution,
    "per gate": per_gate,
    "inputs batched": inputs_batched,
}


def measure(batch: int, channels: int, hidden: int, kernel: int, rounds: int) -> dict[str, float]:
    """Return the median over rounds of each form's time as a ratio to the cell's, after checking that all are equal."""
    torch.manual_seed(0)
    layer, inputs = Cell(channels, hidden, kernel), torch.rand(batch, STEPS, channels, *GRID, requires_grad=True)

    def step(form: Callable[[Cell, Tensor], Tensor]) -> Tensor:
        layer.zero_grad()
        outputs = form(layer, inputs)
        outputs.square().sum().backward()
        return outputs.detach()

    expected = step(current)
    for form in FORMS.values():
        torch.testing.assert_close(step(form), expected, atol=1e-5, rtol=1e-4)
    times = interleave({name: lambda form=form: step(form) for name, form in FORMS.items()}, rounds)
    return {
        name: statistics.median(time / cell for time, cell in zip(times[name], times["cell"], strict=True))
        for name in FORMS
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="rounds of all forms for each shape")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4], metavar="CLIPS", help="clips at a time")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures = {}
    for clips, (shape, sizes) in itertools.product(args.batch, SHAPES.items()):
        name = f"{clips} clip{'s' if clips > 1 else ''}, {shape}"
        figures[name] = measure(clips, *sizes, args.rounds)
        if not args.json:
            print(f"{name}: " + ", ".join(f"{form} {ratio:.2f}" for form, ratio in figures[name].items()), flush=True)
    if args.json:
        print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
