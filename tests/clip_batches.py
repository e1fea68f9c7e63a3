"""A batch of small clips as an evaluation loads it."""

from __future__ import annotations

import torch

from vpbench.clips.batch import Batch
from vpbench.plugin.clip import Context, Future
from vpbench.protocol.sampling import ClipRef

CLIPS, STEPS = 3, 2


def batch():
    """Return clips of 3 context frames and 2 scored ones, 4x6."""
    frames = torch.rand(CLIPS, 3 + STEPS, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    refs = tuple(ClipRef(f"s{i}", (0, 1, 2, 3, 4), 3, (1, 2)) for i in range(CLIPS))
    clips = tuple(ref.id for ref in refs)
    context, future = frames[:, :3], frames[:, 3:]
    digests = tuple({"context frames": f"c{i}", "future frames": f"f{i}"} for i in range(CLIPS))
    return Batch(refs, Context(context, clips), Future(future, (1, 2), clips, context[:, -1]), STEPS, digests)
