"""Activation checkpointing: the backward pass computes parts of the model again instead of keeping activations."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

T = TypeVar("T")


def recomputed(enabled: bool, part: Callable[..., T], *arguments: object) -> T:
    """Call a part; if enabled, autograd keeps its arguments only. The result and its gradients stay the same.

    Args:
        enabled: without gradients, this has no effect.
        part: draws no random numbers. If it is a module, its batch normalisation counts each batch once.
        arguments: of the part.
    """
    if not enabled or not torch.is_grad_enabled():
        return part(*arguments)

    def contexts() -> tuple[nullcontext[None], object]:
        return nullcontext(), _CountedOnce(part)

    result: T = checkpoint(part, *arguments, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
    return result


class _CountedOnce:
    """Normalise a batch again without another effect on the running statistics of batch normalisation.

    A graph that is kept is recomputed once per backward pass, each time in this context.
    """

    def __init__(self, part: object) -> None:
        modules = part.modules() if isinstance(part, nn.Module) else ()
        self.norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]

    def __enter__(self) -> None:
        self.before = [(norm.momentum, norm.num_batches_tracked) for norm in self.norms]
        for norm in self.norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None

    def __exit__(self, *error: object) -> None:
        for norm, (momentum, count) in zip(self.norms, self.before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
