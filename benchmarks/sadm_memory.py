"""Count the memory that SADM's two training stages need at the paper's size, without a GPU and without computing.

    python benchmarks/sadm_memory.py [--preset NAME] [--size H W]... [--batch-size N] [--frames N]

The training step runs on torch's device ``meta``, which knows shapes only. Columns, in GiB:

- state: weights, and for those that the stage trains also their gradients and Adam's two averages;
- kept: what a forward pass leaves for its backward pass, with the clips; the larger of two forward passes;
- peak: the most that is allocated at once during a step, without the state.

Kernels may need workspace on top, and a GPU's allocator fragments.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from allocations import GIB, Allocations, state
from torch import Tensor

from vpbench.plugin.clip import Context, Future, LabelSpace
from vpbench.plugin.training import TrainingBatch
from vpbench_sadm.options import PRESETS, Options
from vpbench_sadm.perceptual import VGGLoss, vgg_features
from vpbench_sadm.predictor import SADM
from vpbench_sadm.training import Dynamics, Rendering

CONTEXT = 4


class Unchecked(SADM):
    """SADM that trusts its input: tensors on the device ``meta`` have no values to check."""

    def inputs(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return the labels and the flow."""
        assert context.semantics is not None and context.flow is not None
        return context.semantics, context.flow

    def labels(self, labels: Tensor, source: LabelSpace | None, clips: Any) -> Tensor:
        """Return the labels."""
        return labels


def empty_clips(size: tuple[int, int], clips: int, frames: int) -> TrainingBatch:
    """Return clips without values."""
    names, future = tuple(map(str, range(clips))), frames - CONTEXT

    def arrays(steps: int) -> tuple[Tensor, Tensor, Tensor]:
        return (
            torch.empty(clips, steps, 3, *size),
            torch.empty(clips, steps, *size, dtype=torch.int64),
            torch.empty(clips, steps, 2, *size),
        )

    past, labels, flow = arrays(CONTEXT)
    coming, coming_labels, coming_flow = arrays(future)
    context = Context(past, names, labels, flow[:, 1:])
    steps = tuple(range(1, future + 1))
    return TrainingBatch(context, Future(coming, steps, names, past[:, -1], coming_labels, coming_flow), (), 1)


def dynamics(model: SADM, clips: Callable[[], TrainingBatch]) -> tuple[int, int, int]:
    """Return state, kept and peak bytes of a step of stage 1."""
    stage = Dynamics(model)
    stage.setup("fit")
    with Allocations() as memory:
        batch = clips()
        terms = stage.losses(batch)
        loss = terms["flow"] + terms["labels"]
        graph = memory.bytes
        loss.backward()
    return state(stage), graph, memory.peak


def rendering(model: SADM, clips: Callable[[], TrainingBatch]) -> tuple[int, int, int]:
    """Return state, kept and peak bytes of a step of stage 2, with its discriminators and VGG-19."""
    perceptual = model.options.perceptual
    model.options = model.options.model_copy(update={"perceptual": "none"})  # whose weights would be read
    stage = Rendering(model)
    stage.perceptual = VGGLoss(vgg_features()) if perceptual == "vgg19" else None
    stage.setup("fit")
    with Allocations() as memory:
        batch = clips()
        true = batch.future.frames
        rendered, condition = stage.rendered(batch)
        stage.judges.requires_grad_(False)
        loss = torch.stack(list(stage.losses(rendered, true, condition).values())).sum()
        graph = memory.bytes
        loss.backward()
        del loss
        stage.judges.requires_grad_(True)
        if stage.judges:
            loss = stage.judged(rendered.frames.detach(), true, condition)
            graph = max(graph, memory.bytes)
            loss.backward()
    return state(stage), graph, memory.peak


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="paper")
    parser.add_argument("--size", type=int, nargs=2, action="append", metavar=("H", "W"))
    parser.add_argument("--batch-size", type=int, default=6)
    parser.add_argument("--frames", type=int, default=10)
    args = parser.parse_args()
    print(f"{args.preset}, {args.batch_size} clips of {args.frames} frames, GiB")
    print("frames     stage  recompute  state   kept   peak  state + peak")
    for size in args.size or [(256, 512), (512, 1024)]:
        for number, stage in enumerate((dynamics, rendering), 1):
            for recompute in (False, True):
                options = Options(**PRESETS[args.preset] | {"recompute": recompute})
                with torch.device("meta"):
                    clips = partial(empty_clips, tuple(size), args.batch_size, args.frames)
                    fixed, graph, peak = (count / GIB for count in stage(Unchecked(options).train(), clips))
                name, mode = f"{size[0]}x{size[1]}", "on" if recompute else "off"
                print(
                    f"{name:9s}  {number:5d}  {mode:9s}  {fixed:5.2f}  {graph:5.2f}  {peak:5.2f}  {fixed + peak:12.2f}"
                )


if __name__ == "__main__":
    main()
