"""Small SADM models and their inputs, for the tests of the plugin."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from vpbench.plugin.clip import LabelSpace
from vpbench_sadm.options import Options

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
    stage.recipe = replace(stage.recipe, steps=steps, **recipe)
    stage.setup("fit")
    optimisers, schedules = stage.configure_optimizers()
    stage.optimizers = lambda: optimisers if len(optimisers) > 1 else optimisers[0]
    stage.lr_schedulers = lambda: [schedule["scheduler"] for schedule in schedules]
    stage.manual_backward = lambda loss: loss.backward()
    stage.logged = {}
    stage.log_dict = stage.logged.update
    return stage
