"""The contract of a predictor that can be trained: its stages, what a stage is given, and how long it trains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, runtime_checkable

if TYPE_CHECKING:
    import torch

    from vpbench.plugin.clip import Context, Future

__all__ = ["Recipe", "Trainable", "TrainingBatch", "cosine_with_warm_up"]

Precision = Literal["32", "bf16-mixed"]
_WARM_UP = 0.05
"""The share of the steps over which :func:`cosine_with_warm_up` rises."""


@dataclass(frozen=True)
class TrainingBatch:
    """What a stage's ``training_step(batch, index)`` gets, on its device: B clips of the protocol's train split.

    ``context`` and ``future`` hold every modality that the predictor requires, uses or outputs and the data or an
    annotator have; ``future`` has all steps from 1 to the horizon.
    """

    context: Context
    future: Future
    generators: tuple[torch.Generator, ...]
    """One CPU generator per clip, seeded from (seed, stage, step, clip id). Draw augmentation, scheduled sampling and
    noise from these: then neither a stop nor the number of processes changes what is drawn. (torch's own generators are
    seeded anew for every batch and process, so that dropout survives a stop, too.)"""
    step: int
    """The number of batches that this stage was given before, over all epochs: what schedules count."""

    def to(self, device: torch.device) -> TrainingBatch:
        """Return the batch on a device: what Lightning calls."""
        return replace(self, context=_moved(self.context, device), future=_moved(self.future, device))


def _moved(value: Any, device: torch.device) -> Any:
    import torch

    own = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
    return replace(value, **{name: t.to(device) for name, t in own.items() if isinstance(t, torch.Tensor)})


@dataclass(frozen=True)
class Recipe:
    """How a stage trains. A preset carries the paper's values; ``vpbench train`` replaces what its user names."""

    epochs: int | None = None
    """Passes over the protocol's training clips; None where ``steps`` says how long."""
    steps: int | None = None
    """Optimiser steps (batches, where a stage optimises by hand); the sooner of both ends the stage. While a stage is
    fitted, this is the number of steps that it will take."""
    batch_size: int = 8
    """Clips per batch and device."""
    learning_rate: float = 1e-3
    """The stage's ``configure_optimizers`` reads it."""
    precision: Precision = "32"
    accumulate: int = 1
    """Batches per optimiser step."""
    clip: float | None = None
    """The largest norm of the gradient; None for no clipping. Stages that optimise by hand clip by hand."""

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            ValueError: names the field and what it must be.
        """
        for name in ("epochs", "steps", "batch_size", "accumulate"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be a number above 0, not {value}")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision must be one of {', '.join(get_args(Precision))}, not {self.precision}")


def cosine_with_warm_up(step: int, steps: int) -> float:
    """Return the factor of the learning rate, above 0 and at most 1, for step 0 to ``steps`` - 1 of a stage.

    It rises linearly over a twentieth of the steps, then falls along a cosine, to 0 where one more step would follow.
    """
    done = (step + 1) / (steps + 1)
    if done < _WARM_UP:
        return done / _WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (done - _WARM_UP) / (1.0 - _WARM_UP)))


@runtime_checkable
class Trainable(Protocol):
    """A predictor that is a ``torch.nn.Module`` and can be trained by ``vpbench train``.

    Each stage is a ``lightning.LightningModule`` that holds the predictor as a submodule and has an attribute
    ``recipe``: a :class:`Recipe`, which the harness replaces by its user's before the stage is fitted, and which
    ``configure_optimizers`` reads then. ``training_step`` takes a :class:`TrainingBatch` and returns the mean loss over
    its clips, a scalar (by hand: what it wants watched for NaN). What is kept in the end is the predictor's
    ``state_dict()``; validation calls its ``predict`` in inference mode, and the metrics of ``vpbench run``. So
    ``predict`` must not keep a tensor that ``training_step`` uses later (a grid, a mask): torch refuses one that was
    made in inference mode. Make it in ``__init__``, as a buffer.

    The harness loads weights by itself: the option ``weights`` is a file, not a field of ``Options``. Optional:
    ``training_only``, the names of options that do not change what trained weights predict (the kind of loss), and so
    may differ from those that the weights were trained with. ``adapt_state_dict(state_dict)``, which returns the
    predictor's own names and layouts for weights that another program wrote; vpbench's own are never adapted.
    """

    def training_stages(self, protocol: Any) -> Sequence[Any]:
        """Return the stages, run one after another, for a :class:`vpbench.Protocol`."""
