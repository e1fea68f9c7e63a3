"""Count the memory and the operations of trainable predictors, without a GPU and without computing.

    PYTHONPATH=plugins:datasets python benchmarks/costs.py [NAME:PRESET]... [-o NAME.OPTION=VALUE]... [--size H W]
        [--clip T K] [--batch-size N]
    PYTHONPATH=plugins:datasets python benchmarks/costs.py [--weights FILE... --budget BUDGET] --save COSTS.json

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
training's minutes are its clips times the processor time of a clip, forward and backward, on one thread. All trainings
of the file are measured again, in turns, since minutes of different days or machines cannot be compared. Without
--weights, nothing is added.
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
from vpbench.files import canonical, write_atomic
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
    options: Mapping[str, Any]
    size: tuple[int, int]
    """Height and width of the clips in training."""
    context: int
    horizon: int
    batch_size: int
    budgets: tuple[str, ...]
    seed: int
    steps: int
    clips: int
    operations: int
    """Operations for a predicted frame of the protocol's size."""
    minutes: float = 0.0
    """Minutes of one core: processor time of a clip times the clips."""

    @property
    def row(self) -> Row:
        """The predictor and the shape of clips of one training step."""
        name = self.predictor.partition(":")[0]
        return Row(name, tuple(self.size), self.context, self.horizon, self.options)


def describe(path: Path, budgets: Sequence[str], plugins: Plugins) -> tuple[str, Training]:
    """Return the sha256 of a file of weights, and its training on the clips of its protocol, without the minutes.

    Raises:
        VpbenchError: vpbench did not write the file, or the predictor has no count.
    """
    trained = open_trained(path)
    if trained.record is None or trained.record.protocol is None or len(trained.record.stages) != 1:
        raise UsageError(f"{path} was not trained by vpbench in one stage: name the weights of such a training")
    record, stage = trained.record, trained.record.stages[0]
    recipe = Recipe(**stage.recipe)
    protocol = Protocol.parse(trained.record.protocol.to_json(), str(path))
    if protocol.size is None:
        raise UsageError(f"{path}: its protocol {protocol.name} does not fix the size of frames")
    row = Row(record.predictor, protocol.size, protocol.sampling.context, protocol.steps[-1], record.options)
    return trained.sha256, Training(
        predictor=f"{record.predictor}:{record.preset}" if record.preset else record.predictor,
        options={name: value for name, value in record.options.items() if name != "recipe"},
        size=recipe.crop or recipe.size or row.size,
        context=row.context,
        horizon=min(row.horizon, recipe.clip_frames - row.context) if recipe.clip_frames else row.horizon,
        batch_size=recipe.batch_size,
        budgets=tuple(budgets),
        seed=record.seed,
        steps=stage.steps,
        clips=stage.steps * recipe.batch_size * recipe.accumulate,
        operations=count(row, 1, plugins).predict // row.horizon,
    )


def timed(trainings: Mapping[str, Training], rounds: int, plugins: Plugins) -> dict[str, Training]:
    """Return the trainings with their minutes, measured in turns; equal steps are measured once."""
    steps = {_step(training): training for training in trainings.values()}
    stages = {step: training.row.stage(plugins, training.row.choose(plugins)) for step, training in steps.items()}
    seconds: dict[str, list[float]] = {step: [] for step in steps}
    for _ in range(rounds + 1):
        for step, training in steps.items():
            seconds[step].append(_seconds(stages[step].train(), training.row.clips(training.batch_size, "cpu")))
    per_clip = {
        step: statistics.median(seconds[step][1:]) / steps[step].batch_size for step in steps
    }  # after a warm-up
    return {
        digest: replace(training, minutes=round(training.clips * per_clip[_step(training)] / 60, 1))
        for digest, training in trainings.items()
    }


def _step(training: Training) -> str:
    return canonical(asdict(replace(training, budgets=(), seed=0, steps=0, clips=0, minutes=0.0)))


def _seconds(stage: Any, batch: TrainingBatch) -> float:
    start = time.process_time()
    stage.training_step(batch, 0).backward()
    return time.process_time() - start


def read(path: Path) -> dict[str, Training]:
    """Return the trainings of the file by the sha256 of their weights; none if there is no file."""
    entries = json.loads(path.read_text()) if path.exists() else {}
    return {digest: Training(**entry) for digest, entry in entries.items()}


def save(path: Path, trainings: Mapping[str, Training]) -> None:
    """Write the trainings, a line each."""
    lines = [f'"{digest}": {json.dumps(asdict(training))}' for digest, training in sorted(trainings.items())]
    write_atomic(path, "{\n" + ",\n".join(lines) + "\n}\n")


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
    if bool(args.weights) != bool(args.budget) or (args.budget and not args.save) or (args.save and args.predictors):
        parser.error("--weights and --budget belong together, with --save and without predictors")
    plugins = load_plugins()
    row = Row("", tuple(args.size), *args.clip)
    if args.save:
        torch.set_num_threads(1)
        trainings = read(args.save) | dict(describe(path, args.budget, plugins) for path in args.weights)
        save(args.save, timed(trainings, args.rounds, plugins))
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
