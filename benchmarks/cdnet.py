"""CDNet: what fusing, decoding together, and recomputing are worth, as ratios, and how fast it predicts.

    python benchmarks/cdnet.py [--rounds N] [--json FILE]

Both sides of a ratio run in turn, in one process, and what counts is the ratio of medians. Peak memory is measured in
a process of its own for each horizon. What needs a GPU is run where there is one.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from vpbench.plugin.clip import Context
from vpbench_cdnet.autoencoder import Statistics
from vpbench_cdnet.cells import MotionState, RefineCell, RefineState, convolve
from vpbench_cdnet.network import Network, _Clip
from vpbench_cdnet.options import PRESETS, Options
from vpbench_cdnet.predictor import CDNet

Run = Callable[[], object]
HORIZONS = (4, 32)


def medians(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Return the median seconds of each, all run in turn."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_:  # the first warms up
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def trained(outputs: Tensor, module: torch.nn.Module) -> None:
    """Go back through everything."""
    outputs.square().mean().backward()
    module.zero_grad()


def per_gate(cell: RefineCell, encoding: Tensor, reference: Tensor, state: RefineState, refined: Tensor) -> RefineState:
    """One iteration of the refine LSTM as one writes it from equations 4 to 6: a convolution for each gate."""

    def gate(bank: torch.nn.Conv3d, number: int, *read: Tensor) -> Tensor:
        rows = slice(cell.width * number, cell.width * (number + 1))
        return convolve(torch.cat(read, 1), bank.weight[rows], bank.bias[rows])

    h, c, m, b = state
    x = torch.cat([refined, encoding], 1)
    u = torch.relu(gate(cell.updater[1], 0, torch.relu(gate(cell.updater[0], 0, c, reference))))
    c = torch.sigmoid(gate(cell.appearance, 1, x, h)) * u + torch.sigmoid(gate(cell.appearance, 0, x, h)) * torch.tanh(
        gate(cell.appearance, 2, x, h)
    )
    m = torch.sigmoid(gate(cell.remember, 1, x, m)) * m + torch.sigmoid(gate(cell.remember, 0, x, m)) * torch.tanh(
        gate(cell.remember, 2, x, m)
    )
    new = torch.sigmoid(gate(cell.output, 0, x, h, c, m)) * torch.tanh(gate(cell.merge, 0, c, m))
    b = torch.sigmoid(gate(cell.preserve, 0, x, b, c, m)) * torch.tanh(gate(cell.merge_mask, 0, c, m))
    return RefineState(new * b + h * (1 - b), c, m, b)


def fusing(preset: str, batch: int, height: int, width: int, rounds: int, device: str) -> dict[str, float]:
    """Time the refinement of one step, forward and backward: per gate against fused."""
    options = Options(**PRESETS[preset])
    network = Network(options).to(device)
    cell, d, f = network.refine, 3 * options.hidden, network.autoencoder.channels
    grid = (3, height // network.stride, width // network.stride)
    made = [torch.randn(batch, n, *grid, device=device).requires_grad_() for n in (f, d, d, d, d, d, d)]
    encoding, reference, refined, *states = made

    def plain() -> None:
        state, read = RefineState(*states), refined
        for _ in range(options.iterations):
            state = per_gate(cell, encoding, reference, state, read)
            read = state.hidden
        trained(read, cell)

    def fused() -> None:
        state, kernels = RefineState(*states), cell.kernels()
        encoded, recalled = convolve(encoding, kernels.encoding, kernels.bias), cell.recall(reference)
        for iteration in range(options.iterations):
            state = cell(kernels, encoded, recalled, state, None if iteration else refined)
        trained(state.hidden, cell)

    return medians({"per gate": plain, "fused": fused}, rounds)


def decoding(batch: int, height: int, width: int, rounds: int, device: str) -> dict[str, float]:
    """Time the decoding of all stages of a step of ``tiny``, forward and backward: one by one against together."""
    network = Network(Options(**PRESETS["tiny"])).to(device).train()
    grid = (3, height // network.stride, width // network.stride)
    features = torch.randn(6, batch, 18, *grid, device=device).requires_grad_()
    encoding = torch.randn(batch, network.autoencoder.channels, *grid, device=device)

    def one_by_one() -> None:
        trained(torch.cat([network._decoded(one[None], encoding, {}) for one in features]), network)

    def together() -> None:
        trained(network._decoded(features, encoding, {}), network)

    return medians({"one by one": one_by_one, "together": together}, rounds)


def training_step(rounds: int, device: str) -> dict[str, float]:
    """Time a step of ``tiny`` on 2 clips of 64x96, 4 to 4: as one would write it from the paper, and as it is."""
    torch.manual_seed(0)
    network = Network(Options(**PRESETS["tiny"])).to(device).train()
    clips, together = torch.rand(2, 4, 3, 64, 96, device=device), network._decoded
    remembered: list[Tensor] = []
    network.integrator.register_forward_hook(lambda module, given, g: remembered.append(g))

    def gate_by_gate(encoding: Tensor, state: MotionState, clip: _Clip) -> Iterator[Tensor]:
        refining, refined = RefineState(clip.start[0], clip.start[1], state.memory, clip.start[2]), state.hidden
        for _ in range(network.iterations):
            refining = per_gate(network.refine, encoding, remembered[-1], refining, refined)
            refined = refining.hidden
            yield refined

    def one_by_one(features: Tensor, encoding: Tensor, statistics: Statistics) -> Tensor:
        return torch.cat([together(one[None], encoding, statistics) for one in features])

    def step() -> None:
        trained(torch.stack(list(network(clips, 4, range(6)))), network)

    def plain() -> None:
        with patch.object(network, "_refined", gate_by_gate), patch.object(network, "_decoded", one_by_one):
            step()

    return medians({"plain": plain, "as it is": step}, rounds)


def activations() -> dict[str, int]:
    """Count the bytes that one encoding of a 128x128 window keeps for the gradients, kept and recomputed."""
    kept = {}
    for name, recompute in (("kept", False), ("recomputed", True)):
        sizes: dict[int, int] = {}

        def note(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        autoencoder = Network(Options(recompute=recompute)).autoencoder.train()
        weights = {p.untyped_storage().data_ptr() for p in autoencoder.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            features, _ = autoencoder.encode(torch.rand(1, 3, 3, 128, 128))
        kept[name] = sum(size for pointer, size in sizes.items() if pointer not in weights)
        del features
    return kept


def peak(horizon: int) -> int:
    """Predict in this process, and return its peak memory in bytes, less the predicted frames."""
    torch.manual_seed(0)
    model = CDNet(Options(**PRESETS["tiny"])).eval()
    frames = model.predict(Context(torch.rand(1, 4, 3, 128, 128), ("clip@0",)), horizon, []).frames
    assert frames is not None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - frames.nbytes


def predicting(device: str, rounds: int) -> dict[str, float]:
    """Return predicted frames per second of ``paper`` at 128x128, 4 to 4."""
    batch = 16 if device == "cuda" else 1
    model = CDNet(Options()).to(device).eval()
    context = Context(torch.rand(batch, 4, 3, 128, 128, device=device), tuple(f"clip{i}@0" for i in range(batch)))

    def half() -> None:
        with torch.autocast(device, torch.bfloat16):
            model.predict(context, 4, [])

    runs: dict[str, Run] = {"fp32": lambda: model.predict(context, 4, [])}
    if device == "cuda":
        compiled = torch.compile(model.predict)
        runs |= {"bf16": half, "compiled": lambda: compiled(context, 4, [])}
    return {name: 4 * batch / seconds for name, seconds in medians(runs, rounds).items()}


def main() -> None:
    """Run all, print it, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peak:
        print(peak(asked.peak))
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found: dict[str, dict[str, float]] = {
        "refinement of a step, tiny, 4 clips of 64x96": fusing("tiny", 4, 64, 96, asked.rounds, device),
        "refinement of a step, paper, 1 clip of 128x128": fusing("paper", 1, 128, 128, asked.rounds, device),
        "decoding all stages, tiny, 4 clips of 32x32": decoding(4, 32, 32, asked.rounds, device),
        **{
            f"decoding all stages, tiny, {clips} clips of 64x96": decoding(clips, 64, 96, asked.rounds, device)
            for clips in (1, 2, 4)
        },
        "training step, tiny, 2 clips of 64x96, 4 to 4": training_step(asked.rounds, device),
        "bytes that an encoding keeps, paper, 128x128": {k: float(v) for k, v in activations().items()},
        "peak bytes of inference, tiny, 128x128, less the frames": {
            f"{horizon} steps": float(subprocess.check_output([sys.executable, __file__, "--peak", str(horizon)]))
            for horizon in HORIZONS
        },
    }
    for name, values in found.items():
        (first, a), (second, b) = values.items()
        print(f"{name}: {first} {a:.4g}, {second} {b:.4g}, ratio {a / b:.2f}")
    speeds = predicting(device, asked.rounds)
    print(f"predicted frames/s, paper, 128x128, {device}: " + ", ".join(f"{k} {v:.1f}" for k, v in speeds.items()))
    if asked.json:
        asked.json.write_text(json.dumps(found | {"frames per second": speeds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
