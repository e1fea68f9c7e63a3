"""Count the memory and the operations that CDNet needs at the paper's sizes, without a GPU and without computing.

    PYTHONPATH=plugins:datasets python benchmarks/cdnet_costs.py [--preset NAME]... [--size H W] [--batch-size N]

Without --preset, the table has the rows of the paper's tables 2, 4 and 5 on Human3.6M, and both protocols of UCF101.
Everything runs on torch's device ``meta``, which knows shapes only. Columns:

- predict, train: operations of convolutions for one clip, in 10^9. A multiplication and an addition are two.
- state: GiB of the weights, their gradients and Adam's two averages;
- kept: GiB that a forward pass leaves for its backward pass, with the clips;
- peak: the most GiB that are allocated at once during a step, with the clips, without the state.

Kernels may need workspace on top, and a GPU's allocator fragments.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from dataclasses import dataclass, replace
from unittest.mock import patch

import torch
from allocations import GIB, Allocations, Operations, state

from vpbench.plugin.clip import Context, Future
from vpbench.plugin.training import TrainingBatch
from vpbench_cdnet.options import PRESETS, Options
from vpbench_cdnet.predictor import CDNet
from vpbench_cdnet.training import Forecasting

ABLATIONS = (
    *("iterations-3", "iterations-4", "hidden-16", "hidden-64"),
    *("without-g", "without-mask", "l1-l2", "without-area-loss"),
)


@dataclass(frozen=True)
class Row:
    """A preset on clips of one shape."""

    preset: str
    size: tuple[int, int]
    context: int
    horizon: int
    recompute: bool = True

    @property
    def model(self) -> CDNet:
        """The predictor, on the device ``meta``."""
        options = {"context": self.context, **PRESETS[self.preset], "recompute": self.recompute}
        with torch.device("meta"):
            return CDNet(Options(**options))

    def clips(self, count: int) -> TrainingBatch:
        """Return clips without values."""
        names = tuple(map(str, range(count)))
        past, future = (
            torch.empty(count, steps, 3, *self.size, device="meta") for steps in (self.context, self.horizon)
        )
        coming = Future(future, tuple(range(1, self.horizon + 1)), names, past[:, -1])
        return TrainingBatch(Context(past, names), coming, tuple(torch.Generator() for _ in names), 0)


PAPER = (
    Row("paper", (128, 128), 4, 4),
    Row("paper", (128, 128), 4, 4, recompute=False),
    Row("paper", (64, 88), 10, 10),
    Row("paper", (120, 160), 4, 10),
    *(Row(preset, (128, 128), 4, 4) for preset in ABLATIONS),
)


@dataclass(frozen=True)
class Costs:
    """Operations for one clip, and bytes for a batch."""

    parameters: int
    predict: int
    train: int
    state: int
    graph: int
    peak: int


def count(row: Row, batch_size: int) -> Costs:
    """Count a prediction and a training step."""
    stage, clip, batch = Forecasting(row.model), row.clips(1), row.clips(batch_size)
    stage.recipe = replace(stage.recipe, steps=1)
    with Operations() as predicted, torch.no_grad():
        stage.eval()
        for _ in stage.predictor.network(clip.context.frames, row.horizon, [stage.predictor.options.iterations]):
            pass
    stage.train()
    for parameter in stage.parameters():
        parameter.grad = torch.zeros_like(parameter)  # which the state counts, not the peak
    clips = batch.context.frames.nbytes + batch.future.frames.nbytes
    with Operations() as trained, Allocations() as memory:
        loss = stage.training_step(batch, 0)
        graph = memory.bytes
        loss.backward()
    parameters = sum(parameter.numel() for parameter in stage.parameters())
    train = trained.count // batch_size
    return Costs(parameters, predicted.count, train, state(stage), clips + graph, clips + memory.peak)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", action="append", choices=PRESETS)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128), metavar=("H", "W"))
    parser.add_argument("--batch-size", type=int, default=8)
    args = parser.parse_args()
    rows = [Row(preset, tuple(args.size), 4, 4, mode) for preset in args.preset or () for mode in (True, False)]
    print(f"{args.batch_size} clips")
    columns = ("preset", "frames", "clips", "recompute", "parameters", "predict", "train", "state", "kept", "peak")
    print("{:17s}  {:7s}  {:8s} {:9s} {:>11s} {:>8s}  {:>8s}  {:>5s}  {:>5s}  {:>5s}  state + peak".format(*columns))
    for row in rows or PAPER:
        # Autocast does not know this device. CDNet only disables it.
        with patch.object(torch, "autocast", lambda *args, **kwargs: nullcontext()):
            costs = count(row, args.batch_size)
        frames, clips = f"{row.size[0]}x{row.size[1]}", f"{row.context} to {row.horizon}"
        fixed, graph, peak = (number / GIB for number in (costs.state, costs.graph, costs.peak))
        print(
            f"{row.preset:17s}  {frames:7s}  {clips:8s} {'on' if row.recompute else 'off':9s} {costs.parameters:11,d} "
            f"{costs.predict / 1e9:8.1f}  {costs.train / 1e9:8.1f}  {fixed:5.2f}  {graph:5.2f}  {peak:5.2f}  "
            f"{fixed + peak:12.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
