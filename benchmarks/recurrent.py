"""The recurrent family, SimVP and TAU: the time of a cell next to its textbook form, and the speed of each model.

    PYTHONPATH=plugins:datasets python benchmarks/recurrent.py [--rounds N] [--clips N] [--only TEXT] [--json]

One thread. The first table has the processor time of 4 steps of a layer in its textbook form, forward and backward, as
a ratio to the cell in the code. The textbook form convolves the concatenation of all that a gate reads, gate by gate.

The second table has the operations per second of a training step of each tiny model (4 frames of 64x96 to 4), as a
share of those of a product of two matrices of 1024x1024.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv3d
from torch.utils.flop_counter import FlopCounterMode

from vpbench.plugin.clip import Context
from vpbench.toolkit.st_lstm import STLSTM, STState
from vpbench_recurrent.cell import Cell
from vpbench_recurrent.convlstm import ConvLSTM
from vpbench_recurrent.crevnet import CrevNet, PredictiveModule
from vpbench_recurrent.mim import MIM, MIMLayer
from vpbench_recurrent.motionrnn import MotionGRU, MotionRNN
from vpbench_recurrent.phydnet import SIDE, PhyCell, PhyDNet
from vpbench_recurrent.predictor import RecurrentPredictor
from vpbench_recurrent.predrnn import PredRNN, PredRNNV2
from vpbench_simvp.losses import divergence
from vpbench_simvp.predictor import TAU, SimVP

SHAPES = {
    "tiny, 32 channels, 3x3, grid 16x24": (32, 3, 16, 24),
    "128 channels, 5x5, grid 16x16": (128, 5, 16, 16),
    "tiny, 24 channels, 3x3x3, grid 3x16x24": (24, 3, 3, 16, 24),
}
"""Channels, kernel, then the grid: height and width, for CrevNet also time."""
STEPS = 4
MODELS: Sequence[type[RecurrentPredictor] | type[SimVP]] = (
    ConvLSTM,
    PredRNN,
    PredRNNV2,
    MIM,
    MotionRNN,
    PhyDNet,
    CrevNet,
    SimVP,
    TAU,
)


def per_gate(
    reads: Sequence[Tensor], banks: Sequence[nn.Module], rows: Sequence[Sequence[int]], d: int
) -> list[Tensor]:
    """Convolve a concatenation per gate; ``rows`` has the place of each gate in each bank of weights."""
    gates, convolve = [], conv2d if reads[0].ndim == 4 else conv3d
    for places in rows:
        weights = [bank.weight[d * row : d * row + d] for bank, row in zip(banks, places, strict=True)]
        bias = None if banks[0].bias is None else banks[0].bias[d * places[0] : d * places[0] + d]
        gates.append(convolve(torch.cat(reads, dim=1), torch.cat(weights, dim=1), bias, padding="same"))
    return gates


def convlstm_textbook(layer: Cell, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Run ConvLSTM's cell with four convolutions."""
    banks, d = (layer.of_input, layer.of_hidden), len(layer.of_hidden.weight) // 4
    i, f, o, g = per_gate((x, state[0]), banks, [(n, n) for n in range(4)], d)
    cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def st_lstm_textbook(layer: STLSTM, x: Tensor, state: STState) -> STState:
    """Run the ST-LSTM with seven convolutions and the merge."""
    hidden, cell, memory = state
    d = hidden.shape[1]
    i, f, g = per_gate((x, hidden), (layer.of_features, layer.of_hidden), [(n, n) for n in range(3)], d)
    banks = (layer.of_features, layer.of_memory)
    i_m, f_m, g_m = per_gate((x, memory), banks, [(n + 3, n) for n in range(3)], d)
    cell = (f + 1).sigmoid() * cell + i.sigmoid() * g.tanh()
    memory = (f_m + 1).sigmoid() * memory + i_m.sigmoid() * g_m.tanh()
    states = torch.cat([cell, memory], dim=1)
    banks = (layer.of_features, layer.of_hidden, layer.of_states)
    weights = [layer.of_features.weight[6 * d :], layer.of_hidden.weight[3 * d :], layer.of_states.weight]
    o = conv2d(torch.cat([x, hidden, states], dim=1), torch.cat(weights, dim=1), padding="same")
    return STState(o.sigmoid() * layer.merge(states).tanh(), cell, memory)


def mim_textbook(
    layer: MIMLayer, x: Tensor, state: tuple[STState, Tensor, tuple[Tensor, Tensor]]
) -> tuple[STState, Tensor, tuple[Tensor, Tensor]]:
    """Run MIM's layer and its two modules with a convolution per gate."""
    (hidden, cell, memory), past, difference = state
    d = hidden.shape[1]
    difference = module_textbook(layer.non_stationary, x - hidden, difference)
    transient, past = module_textbook(layer.stationary, difference[0], (cell, past))
    i, g = per_gate((x, hidden), (layer.of_features, layer.of_hidden), [(0, 0), (1, 1)], d)
    i_m, g_m, f_m = per_gate((x, memory), (layer.of_features, layer.of_memory), [(0, 0), (1, 1), (2, 2)], d)
    banks = (layer.of_features, layer.of_hidden, layer.of_memory)
    (o,) = per_gate((x, hidden, memory), banks, [(3, 2, 3)], d)
    cell = transient + i.sigmoid() * g.tanh()
    memory = (f_m + 1).sigmoid() * memory + i_m.sigmoid() * g_m.tanh()
    merged = layer.merge(torch.cat([cell, memory], dim=1)).tanh()
    return STState(o.sigmoid() * merged, cell, memory), past, difference


def module_textbook(layer: Cell, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Run a module of MIM, a ConvLSTM cell with peepholes, with four convolutions."""
    banks, d = (layer.of_input, layer.of_hidden), len(layer.of_hidden.weight) // 4
    i, f, o, g = per_gate((x, state[0]), banks, [(n, n) for n in range(4)], d)
    i, f = i + layer.peepholes[0] * state[1], f + layer.peepholes[1] * state[1]
    cell = (f + 1).sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return (o + layer.peepholes[2] * cell).sigmoid() * cell.tanh(), cell


def mim_cell(
    layer: MIMLayer, x: Tensor, state: tuple[STState, Tensor, tuple[Tensor, Tensor]]
) -> tuple[STState, Tensor, tuple[Tensor, Tensor]]:
    """Run MIM's layer and its two modules as the model does."""
    difference = layer.non_stationary(x - state[0].hidden, state[2])
    return *layer(x, difference[0], state[0], state[1]), difference


def crevnet_textbook(layer: PredictiveModule, x: Tensor, state: tuple[Tensor, STState]) -> tuple[Tensor, STState]:
    """Run CrevNet's module with seven convolutions, the merge and the attention gate."""
    x2, (hidden, cell, memory) = state
    d = hidden.shape[1]
    i, f, g = per_gate((x, hidden, cell), [layer.appearance], [(n,) for n in range(3)], d)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    i, f, g = per_gate((x, memory, cell), [layer.remember], [(n,) for n in range(3)], d)
    memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
    (o,) = per_gate((x, hidden, cell, memory), [layer.output], [(0,)], d)
    (merged,) = per_gate((cell, memory), [layer.merge], [(0,)], d)
    hidden = o.sigmoid() * merged.tanh()
    gate = layer.attention(hidden).sigmoid()
    return (1 - gate) * x2 + gate * hidden, STState(hidden, cell, memory)


def phycell_textbook(layer: PhyCell, x: Tensor, state: Tensor) -> Tensor:
    """Run PhyCell with a convolution for each derivative, and a convolution of a concatenation for the gate."""
    derivatives = [
        conv2d(state, weight[None], bias[None], padding=SIDE // 2)
        for weight, bias in zip(layer.derivatives.weight, layer.derivatives.bias, strict=True)
    ]
    predicted = state + layer.combine(layer.norm(torch.cat(derivatives, dim=1)))
    gain = layer.gate(torch.cat([x, state], dim=1)).sigmoid()
    return predicted + gain * (x - predicted)


def motion_textbook(layer: MotionGRU, x: Tensor, state: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Run MotionRNN's unit with a convolution of a concatenation per gate."""
    _, offsets, trend = state
    encoded, d = layer.encode(x), offsets.shape[1]
    update, reset = per_gate((encoded, offsets), (layer.of_input, layer.of_offsets), [(0, 0), (1, 1)], d)
    read = (encoded, reset.sigmoid() * offsets)
    (candidate,) = per_gate(read, (layer.of_input, layer.of_reset), [(2, 0)], d)
    variation = torch.lerp(offsets, candidate.tanh(), update.sigmoid())
    trend = torch.lerp(trend, offsets, 0.5)
    moved = layer.decode(layer.warp(encoded, variation + trend))
    gate = layer.blend(torch.cat([moved, x], dim=1)).sigmoid()
    return torch.lerp(x, moved, gate), variation + trend, trend


Step = Callable[[nn.Module, Tensor, object], object]


def cells(d: int, kernel: int, zeros: Tensor) -> dict[str, tuple[nn.Module, object, Step, Step]]:
    """Return each cell, its first state, its form in the code and its textbook form."""
    pair, triple = (zeros, zeros), STState(zeros, zeros, zeros)
    if zeros.ndim == 5:
        module = PredictiveModule(d, (1,), residual=False)
        return {"CrevNet": (module, (zeros, triple), lambda layer, x, state: layer(x, *state), crevnet_textbook)}
    mim = MIMLayer(d, kernel, norm=None, grid=None)
    still = zeros.new_zeros(len(zeros), 18, *(side // 2 for side in zeros.shape[-2:]))
    return {
        "ConvLSTM": (Cell(d, d, kernel), pair, lambda layer, x, state: layer(x, state), convlstm_textbook),
        "ST-LSTM": (STLSTM(d, d, kernel), triple, lambda layer, x, state: layer(x, state), st_lstm_textbook),
        "MIM": (mim, (triple, zeros, pair), mim_cell, mim_textbook),
        "PhyCell": (PhyCell(d), zeros, lambda layer, x, state: layer(x, state), phycell_textbook),
        "MotionGRU": (
            MotionGRU(d, kernel),
            (zeros, still, still),
            lambda layer, x, state: layer(x, *state[1:]),
            motion_textbook,
        ),
    }


def run(layer: nn.Module, step: Step, state: object, inputs: Tensor) -> Tensor:
    """Run some steps of a layer, forward and backward; return the last hidden state, of CrevNet x2."""
    layer.zero_grad()
    for x in inputs.unbind(1):
        state = step(layer, x, state)
    hidden = state
    while not isinstance(hidden, Tensor):
        hidden = hidden[0]
    hidden.square().sum().backward()
    return hidden.detach()


def cpu_seconds(call: Callable[[], object]) -> float:
    """Return the processor time of a call, user and system, which other processes hardly change."""
    start = time.process_time()
    call()
    return time.process_time() - start


def measure_cells(clips: int, rounds: int, only: str = "") -> dict[str, dict[str, float]]:
    """Return the median ratio of the textbook form's time to the cell's, after checking that both are equal."""
    ratios: dict[str, dict[str, float]] = {}
    for shape, (d, kernel, *grid) in SHAPES.items():
        torch.manual_seed(0)
        inputs = torch.rand(clips, STEPS, d, *grid) - 0.5
        for name, (layer, state, step, textbook) in cells(d, kernel, inputs.new_zeros(inputs[:, 0].shape)).items():
            if only not in name.lower():
                continue
            expected = run(layer, step, state, inputs)
            torch.testing.assert_close(run(layer, textbook, state, inputs), expected, atol=1e-4, rtol=1e-3)
            quotients = []
            for _ in range(rounds):
                own_form = cpu_seconds(lambda: run(layer, step, state, inputs))  # noqa: B023
                quotients.append(cpu_seconds(lambda: run(layer, textbook, state, inputs)) / own_form)  # noqa: B023
            ratios.setdefault(shape, {})[name] = statistics.median(quotients)
    return ratios


def product_rate(rounds: int, side: int = 1024) -> float:
    """Return the operations per second of a product of two square matrices."""
    a, b = torch.rand(side, side), torch.rand(side, side)
    return 2 * side**3 / min(cpu_seconds(lambda: a @ b) for _ in range(rounds + 1))


def recurrent_loss(predictor: RecurrentPredictor, frames: Tensor) -> Tensor:
    """Return the squared error of all predictions against black, with the model's penalty."""
    clips = tuple(f"clip{i}@0" for i in range(len(frames)))
    steps = list(predictor.roll_out(Context(frames=frames[:, :4], clips=clips), 4, frames[:, 4:]))
    loss = torch.stack([frame for frame, _ in steps]).square().mean()
    penalty = predictor.network.penalty(steps[-1][1])
    return loss if penalty is None else loss + penalty


def simvp_loss(predictor: SimVP, frames: Tensor) -> Tensor:
    """Return the squared error of the future against black, with TAU's divergence."""
    predicted, options = torch.cat(list(predictor.network.roll_out(frames[:, :4], 4)), dim=1), predictor.options
    loss = predicted.square().mean()
    if options.divergence:
        loss = loss + options.divergence * divergence(predicted, frames[:, 4:], options.temperature)
    return loss


def measure_models(clips: int, rounds: int, only: str = "") -> dict[str, dict[str, float]]:
    """Return parameters, giga-operations and the rate of a training step of each tiny model."""
    peak, figures = product_rate(rounds), {}
    for model in (model for model in MODELS if only in model.name):
        torch.manual_seed(0)
        predictor = model(model.Options(**model.presets["tiny"])).train()
        frames = torch.rand(clips, 8, 3, 64, 96)

        def train(predictor: RecurrentPredictor | SimVP = predictor, frames: Tensor = frames) -> None:
            is_simvp = isinstance(predictor, SimVP)
            (simvp_loss(predictor, frames) if is_simvp else recurrent_loss(predictor, frames)).backward()

        with FlopCounterMode(display=False) as counter:
            train()
        seconds = statistics.median(cpu_seconds(train) for _ in range(rounds))
        operations = counter.get_total_flops()
        figures[f"{model.name}:tiny"] = {
            "parameters": sum(p.numel() for p in predictor.parameters()),
            "gflop": operations / 1e9,
            "seconds": seconds,
            "share": operations / seconds / peak,
        }
    return {"matrix product": {"gflop_per_second": peak / 1e9}, **figures}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each form and model")
    parser.add_argument("--clips", type=int, default=4, help="clips at a time")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cells and models with this in their names")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for part, measure in (("cells", measure_cells), ("models", measure_models)):
        figures[part] = measure(args.clips, args.rounds, args.only.lower())
        for name, values in figures[part].items() if not args.json else ():
            print(f"{name}: " + ", ".join(f"{key} {value:,.3g}" for key, value in values.items()), flush=True)
    if args.json:
        print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
