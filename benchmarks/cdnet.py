"""CDNet: how much fused gates, joint decoding, memory layout, recomputation and the convolution of a single clip save.

    PYTHONPATH=plugins:datasets python benchmarks/cdnet.py [--rounds N] [--only TEXT] [--json FILE]

Prints ratios of medians. Both sides run in turn in one process; peak memory is measured in one process per horizon.
``benchmarks/gpu.py`` measures how fast it predicts.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from common import medians
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from vpbench.plugin.clip import Context
from vpbench.toolkit import convolution, reversible
from vpbench.toolkit.reversible import Autoencoder, Statistics
from vpbench.toolkit.st_lstm import STState
from vpbench_cdnet import model
from vpbench_cdnet.model import Network, RefineCell
from vpbench_cdnet.options import PRESETS, Options
from vpbench_cdnet.predictor import CDNet
from vpbench_cdnet.refinement import FusedRefinement, RefineState
from vpbench_recurrent.convlstm import Network as ConvLSTM
from vpbench_recurrent.rollout import roll_out

HORIZONS = (4, 32)
DECODE = Network._decode


class Equations:
    """Iterate the refine cell by its equations; stands in for :class:`FusedRefinement`."""

    def __init__(self, cell: RefineCell, reference: Tensor | None) -> None:
        self.cell, self.reference = cell, reference

    def __call__(self, motion: Tensor, encoding: Tensor, state: RefineState, iterations: int) -> Iterator[RefineState]:
        """Yield the state after each iteration."""
        refined = motion
        for _ in range(iterations):
            state = self.cell(refined, encoding, motion if self.reference is None else self.reference, state)
            refined = state.hidden
            yield state


def backward(outputs: Tensor, module: torch.nn.Module) -> None:
    """Compute all gradients and drop them."""
    outputs.square().mean().backward()
    module.zero_grad()


def tiny(device: str) -> Network:
    """Return the network of ``tiny`` in training."""
    torch.manual_seed(0)
    return Network(Options(**PRESETS["tiny"])).to(device).train()


def refinement(preset: str, batch: int, height: int, width: int, rounds: int, device: str) -> dict[str, float]:
    """Time the refinement of one step, forward and backward: by the equations and fused."""
    options = Options(**PRESETS[preset])
    network = Network(options).to(device)
    d, f = 3 * options.hidden, network.autoencoder.channels
    grid = (3, height // network.stride, width // network.stride)
    encoding, reference, motion, *states = (
        torch.randn(batch, channels, *grid, device=device).requires_grad_() for channels in (f, d, d, d, d, d, d)
    )

    def run(form: type[Equations | FusedRefinement]) -> None:
        *_, last = form(network.refine, reference)(motion, encoding, RefineState(*states), options.iterations)
        backward(last.hidden, network.refine)

    return medians({"equations": lambda: run(Equations), "fused": lambda: run(FusedRefinement)}, rounds)


def decode_one_by_one(network: Network, features: Tensor, encoding: Tensor, statistics: Statistics) -> Tensor:
    """Decode the stages of a step separately."""
    return torch.cat([DECODE(network, stage[None], encoding, statistics) for stage in features])


def decoding(batch: int, height: int, width: int, rounds: int, device: str) -> dict[str, float]:
    """Time the decoding of all stages of a step of ``tiny``, forward and backward: one by one and together."""
    network = tiny(device)
    grid = (3, height // network.stride, width // network.stride)
    features = torch.randn(6, batch, 18, *grid, device=device).requires_grad_()
    encoding = torch.randn(batch, network.autoencoder.channels, *grid, device=device)
    return medians(
        {
            "one by one": lambda: backward(decode_one_by_one(network, features, encoding, {}), network),
            "together": lambda: backward(network._decode(features, encoding, {}), network),
        },
        rounds,
    )


def training_step(rounds: int, device: str) -> dict[str, float]:
    """Time a step of ``tiny`` on 2 clips of 64x96, 4 to 4: as the paper writes it, in torch's layout, and as it is."""
    network, clips = tiny(device), torch.rand(2, 4, 3, 64, 96, device=device)

    def step() -> None:
        backward(torch.stack(list(network(clips, 4, range(6)))), network)

    def as_written() -> None:
        with patch.object(model, "FusedRefinement", Equations), patch.object(Network, "_decode", decode_one_by_one):
            step()

    def contiguous() -> None:
        with (
            patch.object(convolution, "channels_last", lambda x: x),
            patch.object(reversible, "channels_last", lambda x: x),
        ):
            step()

    return medians({"as written": as_written, "contiguous": contiguous, "as it is": step}, rounds)


def training_parts(rounds: int, device: str) -> dict[str, float]:
    """Time the parts of that step, forward and backward, as often as a step has them; the step comes last."""
    network = tiny(device)
    d, f = network.refine.width, network.autoencoder.channels
    frames = torch.rand(2, 4, 3, 64, 96, device=device)
    windows = model.windows_of(frames).flatten(0, 1)
    encoding, motion, reference, *states = (
        torch.randn(2, channels, 3, 16, 24, device=device).requires_grad_() for channels in (f, d, d, d, d, d, d)
    )
    features = torch.randn(6, 2, d, 3, 16, 24, device=device).requires_grad_()

    def refine() -> Tensor:
        steps = FusedRefinement(network.refine, reference)(motion, encoding, RefineState(*states), network.iterations)
        return torch.stack([after.hidden for after in steps])

    times = medians(
        {
            "encoding of the context": lambda: backward(network.autoencoder.encode(windows)[0], network),
            "encoding of a window": lambda: backward(network.autoencoder.encode(windows[:2])[0], network),
            "motion": lambda: backward(network.motion(encoding, STState(*states[:3])).hidden, network),
            "refinement": lambda: backward(refine(), network),
            "decoding": lambda: backward(network._decode(features, encoding, {}), network),
            "whole step": lambda: backward(torch.stack(list(network(frames, 4, range(6)))), network),
        },
        rounds,
    )
    uses = {"encoding of a window": 3, "motion": 7, "refinement": 4, "decoding": 4}
    return {part: seconds * uses.get(part, 1) for part, seconds in times.items()}


def operations() -> dict[str, float]:
    """Count the operations of convolutions for one clip, forward and backward: ConvLSTM of the same size, and CDNet."""
    network, convlstm = tiny("cpu"), ConvLSTM(48, [129], 3).train()
    runs = {
        "convlstm": lambda: torch.stack(
            [image for image, _ in roll_out(convlstm, torch.rand(1, 4, 48, 16, 24), 4)][3:]
        ),
        "cdnet": lambda: torch.stack(list(network(torch.rand(1, 4, 3, 64, 96), 4, range(6)))),
    }
    counts = {}
    for name, run in runs.items():
        with FlopCounterMode(display=False) as counter:
            run().sum().backward()
        counts[name] = float(counter.get_total_flops())
    return counts


def single_clip(preset: str, height: int, width: int, rounds: int) -> dict[str, float]:
    """Time the prediction of one clip on the CPU: with PyTorch's convolution, and with the toolkit's."""
    torch.manual_seed(0)
    cdnet = CDNet(Options(**PRESETS[preset])).eval()
    context = Context(torch.rand(1, 4, 3, height, width), ("clip@0",))

    def by_pytorch() -> None:
        with patch.object(convolution, "conv3d", functional.conv3d):
            cdnet.predict(context, 4, [])

    return medians({"pytorch": by_pytorch, "toolkit": lambda: cdnet.predict(context, 4, [])}, rounds)


def activations() -> dict[str, float]:
    """Count the bytes that the encoding of a window of 128x128 keeps for the gradients: stored and recomputed."""
    saved = {}
    for name, recompute in (("stored", False), ("recomputed", True)):
        sizes: dict[int, int] = {}

        def note(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        coder = Autoencoder(Options().blocks, "batch", recompute=recompute).train()
        weights = {p.untyped_storage().data_ptr() for p in coder.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            features, _ = coder.encode(torch.rand(1, 3, 3, 128, 128))
        saved[name] = float(sum(size for pointer, size in sizes.items() if pointer not in weights))
        del features
    return saved


def peak(horizon: int) -> int:
    """Predict in this process, and return its peak memory in bytes, less the predicted frames."""
    torch.manual_seed(0)
    cdnet = CDNet(Options(**PRESETS["tiny"])).eval()
    frames = cdnet.predict(Context(torch.rand(1, 4, 3, 128, 128), ("clip@0",)), horizon, []).frames
    assert frames is not None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - frames.nbytes


def main() -> None:
    """Run all, print the ratios, and write them if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", metavar="TEXT", help="measure only what has this text in its name")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        print(peak(args.peak))
        return
    device, rounds = "cuda" if torch.cuda.is_available() else "cpu", args.rounds
    runs: dict[str, Callable[[], dict[str, float]]] = {
        "refinement of a step, tiny, 4 clips of 64x96": lambda: refinement("tiny", 4, 64, 96, rounds, device),
        "refinement of a step, paper, 1 clip of 128x128": lambda: refinement("paper", 1, 128, 128, rounds, device),
        **{
            f"decoding all stages, tiny, {clips} clips of {height}x{width}": partial(
                decoding, clips, height, width, rounds, device
            )
            for clips, height, width in ((4, 32, 32), (1, 64, 96), (2, 64, 96), (4, 64, 96))
        },
        "training step, tiny, 2 clips of 64x96, 4 to 4": lambda: training_step(rounds, device),
        "parts of that training step": lambda: training_parts(rounds, device),
        "floating-point operations of training on a clip of 64x96, 4 to 4": operations,
        **{
            f"predicting a single clip of {height}x{width}, 4 to 4, {preset}": partial(
                single_clip, preset, height, width, rounds
            )
            for preset, height, width in (("tiny", 64, 96), ("paper", 128, 128))
        },
        "bytes that an encoding keeps, paper, 128x128": activations,
        "peak bytes of inference, tiny, 128x128, less the frames": lambda: {
            f"{horizon} steps": float(subprocess.check_output([sys.executable, __file__, "--peak", str(horizon)]))
            for horizon in HORIZONS
        },
    }
    figures = {}
    for name, run in runs.items():
        if args.only not in name:
            continue
        values = figures[name] = run()
        *_, current = values.values()
        text = ", ".join(f"{key} {value:.4g} (x {value / current:.2f})" for key, value in values.items())
        print(f"{name}: {text}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
