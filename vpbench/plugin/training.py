"""The contract of training: a trainer, its stages, their recipes, and the batches that they receive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

if TYPE_CHECKING:
    import torch

    from vpbench.plugin.clip import Context, Future

Precision = Literal["32", "bf16-mixed"]


@dataclass(frozen=True)
class TrainingBatch:
    """B clips of the protocol's train split, on the stage's device: the argument of ``training_step(batch, index)``.

    ``context`` and ``future`` hold every modality that the predictor requires, uses or outputs, if the dataset or an
    annotator has it. ``future`` has all steps from 1 to the horizon, or to the end of the recipe's ``clip_frames``.
    """

    context: Context
    future: Future
    generators: tuple[torch.Generator, ...]
    """One CPU generator per clip, seeded from (seed, stage, step, clip id). Draw augmentation, scheduled sampling and
    noise from these, so that neither a resume nor the number of processes changes the draws. (torch's generators are
    seeded again for every batch and process, so a resume does not change dropout either.)"""
    step: int
    """The number of batches that this stage received before, over all epochs. Schedules count these."""

    def to(self, device: torch.device) -> TrainingBatch:
        """Return the batch on a device: what Lightning calls."""
        return replace(self, context=_moved(self.context, device), future=_moved(self.future, device))


def _moved(value: Any, device: torch.device) -> Any:
    import torch

    members = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
    return replace(value, **{name: t.to(device) for name, t in members.items() if isinstance(t, torch.Tensor)})


@dataclass(frozen=True)
class Recipe:
    """How a stage trains. A preset carries the paper's values; users override single fields."""

    epochs: int | None = None
    """Epochs, each of ``epoch_clips`` clips; None if ``steps`` limits the stage."""
    steps: int | None = None
    """Optimizer steps: every ``accumulate`` batches count as one. The stage ends at the limit that it reaches first.
    While a stage is fitted, this is the number of steps that it will take."""
    batch_size: int = 8
    """Clips per batch, divided among all processes."""
    learning_rate: float = 1e-3
    """The stage's ``configure_optimizers`` reads it."""
    precision: Precision = "32"
    accumulate: int = 1
    """Batches per optimizer step."""
    clip: float | None = None
    """The largest norm of the gradient; None for no clipping. Stages with manual optimization must clip themselves."""
    crop: tuple[int, int] | None = None
    """Height and width of the window of each clip that is trained on, at a place drawn per clip; None: whole frames."""
    clip_frames: int | None = None
    """Frames of each clip that is trained on: the protocol's context, then the future. None: the protocol's horizon."""
    epoch_clips: int | None = None
    """Clips of an epoch, so that epochs and schedules that count them mean the same on every dataset. None: the
    protocol's number, or as many clips as the training sequences hold side by side."""
    size: tuple[int, int] | None = None
    """Height and width to which clips are resized before they are cropped and trained on; None: the protocol's size."""

    def __post_init__(self) -> None:
        """Refuse values out of range; a list that TOML or JSON holds becomes a tuple.

        Raises:
            ValueError: names the field and what it must be.
        """
        for name in ("crop", "size"):
            sides = getattr(self, name)
            if isinstance(sides, list):
                object.__setattr__(self, name, tuple(sides))
            if sides is not None and not (len(sides) == 2 and all(type(n) is int and n >= 1 for n in sides)):
                raise ValueError(f"{name} must be a height and a width of 1 or more, not {sides!r}")
        for name in ("epochs", "steps", "batch_size", "accumulate", "clip_frames", "epoch_clips"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be a number above 0, not {value}")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision must be one of {', '.join(get_args(Precision))}, not {self.precision}")


class Stage(Protocol):
    """A ``lightning.LightningModule`` that trains a predictor, which it holds as a submodule.

    - ``training_step`` takes a :class:`TrainingBatch` and returns the mean loss over its clips, a scalar. With manual
      optimization, it returns the value to watch for NaN.
    - ``configure_optimizers`` reads ``self.recipe``.

    The weights that are kept are the predictor's ``state_dict()``. Validation calls its ``predict`` in inference mode.
    torch refuses tensors of inference mode in a later ``training_step``, so ``predict`` must not keep any: make grids
    and masks in ``__init__``, as buffers.
    """

    recipe: Recipe
    """How the stage trains. The harness replaces it by the user's recipe before the stage is fitted."""

    automatic_optimization: bool
    """Set by Lightning; False for a stage that steps its optimizers itself."""

    accumulates: bool
    """Optional: True if a stage with manual optimization steps its optimizers every ``recipe.accumulate`` batches.
    Without it, more than one batch per step is refused."""


class Trainer(Protocol):
    """The function of a predictor that can be trained: ``register(..., trainer="module:function")``.

    The predictor must be a ``torch.nn.Module``. Its option ``weights`` is a file that the harness loads; it is no field
    of ``Options``.

    Example:
        >>> def stages(predictor, protocol):
        ...     return [Forecasting(predictor)]
    """

    def __call__(self, predictor: Any, protocol: Any) -> Sequence[Stage]:
        """Return the stages that train a predictor on a :class:`vpbench.Protocol`, in their order."""
