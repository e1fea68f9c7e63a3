"""Options that all models of the family share: frames, loss, scheduled sampling and training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from torch import nn

from vpbench.plugin.training import Recipe
from vpbench.toolkit.options import LossWeights
from vpbench_recurrent.patches import Order


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError("must be odd: a kernel has a middle")
    return kernel


Kernel = Annotated[int, Field(ge=1), AfterValidator(_odd)]
"""The side of a kernel that keeps the size."""
Size = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
"""Height and width."""
SamplingShare = Annotated[
    Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["always"],
    Field(
        description="share of the training in which true frames are read, ever fewer; above 1: some until the end; "
        "always: in all steps"
    ),
]
"""How long training reads true frames."""


class FamilyOptions(LossWeights):
    """Options of frames, loss and training. A model derives its ``Options`` from it and adds those of its network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Literal[1, 3] = Field(default=3, description="3: the network reads RGB; 1: grey")
    patch: int = Field(default=4, ge=1, description="side of the patches that become channels, in pixels")
    patch_order: Order = Field(
        default="pixel", description="slower index of a patch's channels; pixel: as the official codes and OpenSTL"
    )
    clamp: bool = Field(default=False, description="limit predictions to [0,1] before they are read again")
    residual: bool = Field(default=False, description="predict the change of a frame; untrained, the last is repeated")
    supervise: Literal["future", "all"] = Field(
        default="all", description="steps in the loss; all: also the predictions of context frames"
    )
    scheduled_sampling: SamplingShare = 0.4
    sampling_decay: float = Field(
        default=1.0, gt=0, le=1, description="factor of the probability of true frames after every sampling_epochs"
    )
    sampling_epochs: int = Field(default=5, ge=1, description="epochs between two factors")
    reverse_sampling: bool = Field(
        default=False, description="reverse scheduled sampling: predictions are read within the context, ever fewer"
    )
    schedule: Literal["constant", "cosine"] = Field(
        default="cosine", description="learning rate; cosine: rises over a twentieth of the steps, then falls to 0"
    )
    recipe: Recipe = Recipe(epochs=200, batch_size=16, learning_rate=5e-4)

    @model_validator(mode="after")
    def _reverse_sampling_ends(self) -> FamilyOptions:
        if self.reverse_sampling and self.scheduled_sampling == "always":
            raise ValueError("reverse_sampling ends: set scheduled_sampling to a share of the training")
        return self


TRAINING_ONLY: Final = (
    *LossWeights.model_fields,
    "supervise",
    "scheduled_sampling",
    "sampling_decay",
    "sampling_epochs",
    "reverse_sampling",
    "schedule",
    "recipe",
)
"""Options that may differ from those used in training: they affect losses and schedules, not the network."""


class StackOptions(FamilyOptions):
    """Options of stacks of ST-LSTMs. The defaults are the preset ``paper``: the setting of MotionRNN on Human3.6M.

    That is the source of the values for PredRNN, MIM and MotionRNN in CDNet's tables.
    """

    layers: int = Field(default=4, ge=1, description="layers of the stack")
    hidden: int = Field(default=64, ge=1, description="channels of each state, in every layer")
    kernel: Kernel = Field(default=5, description="side of the cells' kernels, in patches")
    layer_norm: bool = Field(
        default=False, description="normalise the gates, with a weight per place, as the official code can; needs size"
    )
    size: Size | None = Field(
        default=None, description="height and width of the only frames that weights per place fit; None: any frames"
    )
    scheduled_sampling: SamplingShare = 0.625
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="learning rate; cosine: rises over a twentieth of the steps, then falls to 0"
    )
    recipe: Recipe = Recipe(steps=80_000, batch_size=8, learning_rate=3e-4)

    @model_validator(mode="after")
    def _norm_has_a_size(self) -> StackOptions:
        if self.layer_norm and self.size is None:
            raise ValueError("layer_norm has a weight per place: set size to the height and width of the frames")
        return self

    def grid(self, stride: int = 1) -> Size | None:
        """Return the height and width of ``size`` in patches, padded to multiples of ``stride``; None without it."""
        if self.size is None:
            return None
        height, width = (-(-side // (self.patch * stride)) * stride for side in self.size)
        return height, width

    def norm(self, stride: int = 1) -> Callable[[int], nn.Module] | None:
        """Return what makes the normalisation of that many channels, for a cell; None: none."""
        grid = self.grid(stride)
        return (lambda channels: nn.LayerNorm([channels, *grid])) if self.layer_norm and grid else None


OPENSTL: Final[Mapping[str, Any]] = {
    "hidden": 128,
    "scheduled_sampling": 0.218,
    "schedule": "cosine",
    "recipe": {"epochs": 50, "batch_size": 16, "learning_rate": 1e-4},
}
"""OpenSTL's setting on Human3.6M: sampling ends after 50,000 of 229,387 steps."""

OPENSTL_GREY: Final[Mapping[str, Any]] = {
    **OPENSTL,
    "channels": 1,
    "scheduled_sampling": 0.4,
    "recipe": {"epochs": 200, "batch_size": 16, "learning_rate": 5e-4},
}
"""OpenSTL's setting on Moving MNIST: sampling ends after 50,000 of 125,000 steps."""

TINY: Final[Mapping[str, Any]] = {
    "layers": 2,
    "hidden": 32,
    "kernel": 3,
    "clamp": True,
    "residual": True,
    "l2": 10.0,
    "supervise": "future",
    "scheduled_sampling": 0.0,
    "schedule": "cosine",
    "recipe": {"steps": 800, "batch_size": 4, "learning_rate": 2e-3, "clip": 1.0},
}
"""A stack that trains on a CPU in a quarter of an hour."""
