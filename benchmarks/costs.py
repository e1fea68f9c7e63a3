"""Count the memory and the operations of trainable predictors, without a GPU and without computing.

    PYTHONPATH=plugins:datasets python benchmarks/costs.py [NAME:PRESET]... [-o NAME.OPTION=VALUE]... [--size H W]
        [--clip T K] [--batch-size N]
    PYTHONPATH=plugins:datasets python benchmarks/costs.py --weights FILE... --budget BUDGET --save COSTS.json

Without predictors, the table has the rows of CDNet's tables 2, 4 and 5 on Human3.6M, and both protocols of UCF101.
Everything runs on torch's device ``meta``, which knows shapes only. Columns:

- predict, train: operations of convolutions and products for one clip, in 10^9. A multiplication and an addition are
  two. torch's formula for the backward pass of a grouped convolution ignores the groups, so train is too large for
  SimVP and TAU;
- state: GiB of the weights, their gradients and Adam's two averages;
- kept: GiB that a forward pass leaves for its backward pass, with the clips;
- peak: the most GiB that are allocated at once during a step, with the clips, without the state.

Kernels may need workspace on top, and a GPU's allocator fragments.

With --save, the costs of trained weights are added to a file, from which ``docs/comparison.py`` makes its page. A
training's minutes are its clips times the processor time of a clip, forward and backward, measured here on one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from allocations import GIB, Allocations, Operations, state

from vpbench.errors import UsageError, VpbenchError
from vpbench.evaluation.operations import count_operations, without_values
from vpbench.files import write_atomic
from vpbench.plugin.clip import Context, Future
from vpbench.plugin.loader import Plugins, load_plugins
from vpbench.plugin.training import Recipe, TrainingBatch
from vpbench.protocol.protocol import Protocol
from vpbench.select.component import Component, choose_predictor
from vpbench.select.options import parse_assignments
from vpbench.select.trained import open_trained

BUDGETS = ("clips", "time", "hour")
ABLATIONS = (
    *("iterations-3", "iterations-4", "hidden-16", "hidden-64"),
    *("without-g", "without-mask", "l1-l2", "without-area-loss"),
)


@dataclass(frozen=True)
class Row:
    """A predictor on clips of one shape."""

    predictor: str
    size: tuple[int, int]
    context: int
    horizon: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def protocol(self) -> Protocol:
        """A protocol with such clips."""
        sampling = {"kind": "first", "context": self.context, "horizon": self.horizon}
        value = {"schema": 1, "name": "costs", "version": 1, "summary": "", "dataset": {"name": "none"}}
        return Protocol.parse({**value, "sampling": sampling, "reference": "repeat"}, "costs")

    def choose(self, plugins: Plugins) -> Component:
        """Build the predictor."""
        name = self.predictor.partition(":")[0]
        return choose_predictor(plugins, self.predictor, {name: self.options}, self.protocol)

    def stage(self, plugins: Plugins, component: Component) -> Any:
        """Return the first stage of the predictor's training."""
        stage = next(iter(plugins.entry("predictor", component.name).load_trainer()(component.value, self.protocol)))
        stage.recipe = replace(stage.recipe, steps=1)
        return stage

    def clips(self, count: int, device: str) -> TrainingBatch:
        """Return clips of random values."""
        names = tuple(map(str, range(count)))
        past, future = (
            torch.rand(count, steps, 3, *self.size, device=device) for steps in (self.context, self.horizon)
        )
        coming = Future(future, tuple(range(1, self.horizon + 1)), names, past[:, -1])
        return TrainingBatch(Context(past, names), coming, tuple(torch.Generator() for _ in names), 0)


PAPER = (
    Row("cdnet:paper", (128, 128), 4, 4),
    Row("cdnet:paper", (128, 128), 4, 4, {"recompute": False}),
    Row("cdnet:paper", (64, 88), 10, 10),
    Row("cdnet:paper", (120, 160), 4, 10),
    *(Row(f"cdnet:{preset}", (128, 128), 4, 4) for preset in ABLATIONS),
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


def count(row: Row, batch_size: int, plugins: Plugins) -> Costs:
    """Count a prediction and a training step.

    Raises:
        VpbenchError: The predictor cannot be built, or its prediction depends on values.
    """
    component = row.choose(plugins)
    stage = row.stage(plugins, component).to("meta")
    clip, batch = row.clips(1, "meta"), row.clips(batch_size, "meta")
    stage.eval()
    predicted = count_operations(component.value, clip.context, row.horizon)
    try:
        with without_values():
            stage.train()
            for parameter in stage.parameters():
                parameter.grad = torch.zeros_like(parameter)  # which the state counts, not the peak
            clips = batch.context.frames.nbytes + batch.future.frames.nbytes
            with Operations() as trained, Allocations() as memory:
                loss = stage.training_step(batch, 0)
                graph = memory.bytes
                loss.backward()
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        raise UsageError(f"{row.predictor} depends on values or needs more than frames, so it has no count") from error
    parameters = sum(parameter.numel() for parameter in stage.parameters())
    train = trained.count // batch_size
    return Costs(parameters, predicted, train, state(stage), clips + graph, clips + memory.peak)


@dataclass(frozen=True)
class Training:
    """The costs of trained weights, as they stand in the file."""

    predictor: str
    budgets: tuple[str, ...]
    seed: int
    steps: int
    clips: int
    minutes: float
    """Minutes of one core: processor time of a clip times the clips."""
    operations: int
    """Operations for a predicted frame."""


def measure(path: Path, budgets: Sequence[str], rounds: int, plugins: Plugins) -> tuple[str, Training]:
    """Return the sha256 of a file of weights, and the costs of its training on the clips of its protocol.

    Raises:
        VpbenchError: vpbench did not write the file, or the predictor has no count.
    """
    trained = open_trained(path)
    if trained.record is None or trained.record.protocol is None or len(trained.record.stages) != 1:
        raise UsageError(f"{path} was not trained by vpbench in one stage: name the weights of such a training")
    record, stage = trained.record, trained.record.stages[0]
    recipe = Recipe(**stage.recipe)
    label = f"{record.predictor}:{record.preset}" if record.preset else record.predictor
    protocol = Protocol.parse(trained.record.protocol.to_json(), str(path))
    if protocol.size is None:
        raise UsageError(f"{path}: its protocol {protocol.name} does not fix the size of frames")
    row = Row(record.predictor, protocol.size, protocol.sampling.context, protocol.steps[-1], {"weights": path})
    clips = stage.steps * recipe.batch_size * recipe.accumulate
    minutes = clips * seconds_per_clip(_trained_row(row, recipe), recipe.batch_size, rounds, plugins) / 60
    operations = count(row, 1, plugins).predict // row.horizon
    return trained.sha256, Training(
        label, tuple(budgets), record.seed, stage.steps, clips, round(minutes, 1), operations
    )


def _trained_row(row: Row, recipe: Recipe) -> Row:
    """Return the row with the size and the horizon of the clips that training saw."""
    horizon = min(row.horizon, recipe.clip_frames - row.context) if recipe.clip_frames else row.horizon
    return replace(row, size=recipe.crop or recipe.size or row.size, horizon=horizon)


def seconds_per_clip(row: Row, batch_size: int, rounds: int, plugins: Plugins) -> float:
    """Return the processor time of training on one clip: the median over rounds, after one of warm-up."""
    stage = row.stage(plugins, row.choose(plugins)).train()
    seconds = []
    for _ in range(rounds + 1):
        batch, start = row.clips(batch_size, "cpu"), time.process_time()
        stage.training_step(batch, 0).backward()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds[1:]) / batch_size


def save(path: Path, trainings: Mapping[str, Training]) -> None:
    """Add trainings to the file; those of the same weights are replaced."""
    entries = json.loads(path.read_text()) if path.exists() else {}
    entries |= {digest: asdict(training) for digest, training in trainings.items()}
    write_atomic(path, json.dumps(entries, indent=1, sort_keys=True) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or save the costs of trainings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictors", nargs="*", metavar="NAME:PRESET")
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="NAME.OPTION=VALUE")
    parser.add_argument("--size", type=int, nargs=2, default=(64, 96), metavar=("H", "W"))
    parser.add_argument("--clip", type=int, nargs=2, default=(4, 4), metavar=("T", "K"))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--weights", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--budget", action="append", choices=BUDGETS, help="table of these weights; repeat for several")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each training")
    parser.add_argument("--save", type=Path)
    args = parser.parse_args(arguments)
    if bool(args.weights) != bool(args.save and args.budget) or (args.weights and args.predictors):
        parser.error("--weights, --budget and --save belong together, without predictors")
    plugins = load_plugins()
    row = Row("", tuple(args.size), *args.clip)
    if args.weights:
        torch.set_num_threads(1)
        save(args.save, dict(measure(path, args.budget, args.rounds, plugins) for path in args.weights))
        return
    options = parse_assignments(args.options, "-o")
    rows = [replace(row, predictor=text, options=options.get(text.partition(":")[0], {})) for text in args.predictors]
    print_table(rows or PAPER, args.batch_size, plugins)


def print_table(rows: Sequence[Row], batch_size: int, plugins: Plugins) -> None:
    """Print a line per row, as soon as it is counted."""
    columns = ("predictor", "frames", "clips", "options", "parameters", "predict", "train", "state", "kept", "peak")
    print(f"{batch_size} clips")
    print("{:24s}  {:7s}  {:8s} {:16s} {:>11s} {:>8s}  {:>8s}  {:>5s}  {:>5s}  {:>5s}  state + peak".format(*columns))
    for row in rows:
        costs = count(row, batch_size, plugins)
        frames, clips = f"{row.size[0]}x{row.size[1]}", f"{row.context} to {row.horizon}"
        options = ",".join(f"{name}={value}" for name, value in row.options.items()) or "-"
        fixed, graph, peak = (number / GIB for number in (costs.state, costs.graph, costs.peak))
        print(
            f"{row.predictor:24s}  {frames:7s}  {clips:8s} {options:16s} {costs.parameters:11,d} "
            f"{costs.predict / 1e9:8.1f}  {costs.train / 1e9:8.1f}  {fixed:5.2f}  {graph:5.2f}  {peak:5.2f}  "
            f"{fixed + peak:12.2f}",
            flush=True,
        )


if __name__ == "__main__":
    try:
        main()
    except VpbenchError as error:
        sys.exit(f"costs: {error}")
