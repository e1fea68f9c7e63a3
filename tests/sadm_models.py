"""Small SADM models and their inputs, for the tests of the plugin."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from vpbench.plugin.clip import Context, Future, LabelSpace
from vpbench.plugin.training import TrainingBatch
from vpbench_sadm.options import Options
from vpbench_sadm.predictor import SADM
from vpbench_sadm.training import Dynamics, Rendering

SMALL = {
    "space": "context",
    "classes": 3,
    "hidden": 4,
    "embed": (2, 3),
    "context_width": 5,
    "head": (4, 3),
    "fusion": 6,
    "inpainter_widths": (4, 6),
    "inpainter_kernels": (5, 3),
    "discriminator_widths": (4, 6),
    "perceptual": "pixel",
}
SPACE = LabelSpace("three", ("ground", "left", "right"), ((0, 0, 0), (255, 0, 0), (0, 0, 255)))
ROLLOUTS = ("iterative", "iterative_no_inpaint", "compose")


def options(**changes):
    return Options(**SMALL | changes)


def noise(*shape, seed=0):
    """Values in [0,1)."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def generators(batch=2, seed=0):
    return tuple(torch.Generator().manual_seed(seed + i) for i in range(batch))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def paints(inpainter):
    """Give an inpainter a last layer that is not zero."""
    nn.init.normal_(inpainter.residual.weight, std=0.1)
    return inpainter


def without_trainer(stage, steps=10, **recipe):
    """Give the second stage what a Lightning trainer would give it."""
    stage.recipe = dataclasses.replace(stage.recipe, steps=steps, **recipe)
    stage.setup("fit")
    optimisers, schedules = stage.configure_optimizers()
    stage.optimizers = lambda: optimisers if len(optimisers) > 1 else optimisers[0]
    stage.lr_schedulers = lambda: [schedule["scheduler"] for schedule in schedules]
    stage.manual_backward = lambda loss: loss.backward()
    stage.logged = {}
    stage.log_dict = stage.logged.update
    return stage


def moving(batch=3, frames=5, height=16, width=24, speed=2):
    """Labels and flow of two squares: class 1 moves left and class 2 moves right, over a ground at rest."""
    labels = torch.zeros(batch, frames, height, width, dtype=torch.int64)
    for b in range(batch):
        for t in range(frames):
            left, right = 14 + b - speed * t, 2 + b + speed * t
            labels[b, t, 1:6, max(left, 0) : left + 5] = 1
            labels[b, t, 9:14, right : right + 5] = 2
    x = torch.where(labels == 1, float(speed), torch.where(labels == 2, -float(speed), 0.0))
    return labels, torch.stack([x, torch.zeros_like(x)], dim=2)[:, 1:]


def training_batch(speed=2, past=3, step=1, scale=1.0):
    """Three frames and two to predict; the flow is ``scale`` times the true one."""
    labels, flow = moving(speed=speed)
    flow = scale * flow
    clips = tuple(f"clip{i}@0" for i in range(len(labels)))
    frames = torch.stack([labels / 2.0] * 3, dim=2)
    future = Future(
        frames=frames[:, past:],
        steps=(1, 2),
        clips=clips,
        last=frames[:, past - 1],
        semantics=labels[:, past:],
        flow=flow[:, past - 1 :],
        label_space=SPACE,
    )
    context = Context(frames[:, :past], clips, labels[:, :past], flow[:, : past - 1], SPACE)
    return TrainingBatch(context, future, generators(3), step)


def dynamics(steps=100, accumulate=1, **changes):
    torch.manual_seed(0)
    stage = Dynamics(SADM(options(**{"latent_stride": 2} | changes)).train())
    stage.recipe = dataclasses.replace(stage.recipe, steps=steps, accumulate=accumulate)
    return stage


def rendering(steps=10, clip=None, accumulate=1, **changes):
    torch.manual_seed(0)
    stage = Rendering(SADM(options(flow_scale=1.0, **changes))).train()
    return without_trainer(stage, steps, learning_rate=1e-2, clip=clip, accumulate=accumulate)
