"""Compute learning rates over a training."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch.nn import Parameter

from vpbench.plugin.training import Recipe

_WARM_UP = 0.05
"""The share of the steps over which the rate rises."""


def cosine_with_warm_up(step: int, steps: int) -> float:
    """Return the factor of the learning rate, above 0 and at most 1, for step 0 to ``steps`` - 1 of a stage.

    It rises linearly over a twentieth of the steps, then falls along a cosine that would reach 0 one step later.

    Example:
        >>> [round(cosine_with_warm_up(step, 4), 2) for step in range(4)]
        [0.94, 0.7, 0.38, 0.11]
    """
    progress = (step + 1) / (steps + 1)
    if progress < _WARM_UP:
        return progress / _WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (progress - _WARM_UP) / (1.0 - _WARM_UP)))


def adam(parameters: Iterable[Parameter], recipe: Recipe, schedule: Literal["constant", "cosine"]) -> Any:
    """Return Adam at the recipe's learning rate, in the form that ``configure_optimizers`` returns.

    With ``"cosine"``, the rate follows :func:`cosine_with_warm_up` over the steps of the recipe.
    """
    optimizer = torch.optim.Adam(parameters, lr=recipe.learning_rate)
    if schedule == "constant":
        return optimizer
    steps = recipe.steps
    assert steps is not None  # the harness sets it
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine_with_warm_up(step, steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rates, "interval": "step"}}
