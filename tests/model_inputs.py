"""Frames, training batches and random weights, for the tests of models."""

from __future__ import annotations

import torch

from vpbench.plugin.clip import Context, Future
from vpbench.plugin.training import TrainingBatch


def noise(*shape, seed=0):
    """Return values in [0,1)."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def randomised(module, seed=0, scale=0.3):
    """Return the module in eval mode, with parameters and running statistics large enough to show every mistake."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += scale * torch.randn_like(parameter)
        for name, buffer in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer += torch.rand_like(buffer)
    return module.eval()


def training_batch(frames, context, seeds=None):
    """Return clips [B,T,3,H,W] as a batch: the first ``context`` frames are the context."""
    clips = tuple(f"clip{i}@0" for i in range(len(frames)))
    past, future = frames[:, :context], frames[:, context:]
    return TrainingBatch(
        context=Context(frames=past, clips=clips),
        future=Future(frames=future, steps=tuple(range(1, future.shape[1] + 1)), clips=clips, last=past[:, -1]),
        generators=tuple(torch.Generator().manual_seed(seed) for seed in seeds or range(len(frames))),
        step=0,
    )
