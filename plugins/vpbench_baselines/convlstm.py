"""ConvLSTM as a predictor: its options and presets, frames cut into patches, prediction of any length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional

from vpbench.plugin.clip import Context, Prediction
from vpbench.plugin.predictor import PredictorInfo
from vpbench.plugin.training import Recipe
from vpbench.toolkit.padding import padded
from vpbench_baselines.convlstm_cell import Network

__all__ = ["ConvLSTM", "Options", "from_patches", "to_patches"]


class Options(BaseModel):
    """The network, its loss, and how it trains. The defaults are the preset ``base``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(128, 128, 128), min_length=1, description="channels of each layer"
    )
    kernel: int = Field(default=5, ge=1, description="side of all kernels of the cells, in patches")
    patch: int = Field(default=4, ge=1, description="side of the patches that become channels, in pixels")
    peepholes: bool = Field(default=False, description="let the gates see the cell output")
    own_forecaster: bool = Field(default=False, description="forecast with a stack of its own, as the paper does")
    residual: bool = Field(default=False, description="predict what is added to the last context frame")
    l1: float = Field(default=0.0, ge=0, description="weight of the mean absolute error in the loss")
    l2: float = Field(default=1.0, ge=0, description="weight of the mean squared error")
    ssim: float = Field(default=0.0, ge=0, description="weight of 1 - SSIM")
    scheduled_sampling: float = Field(
        default=0.4, ge=0, le=1, description="part of the training in which true frames are read, ever fewer"
    )
    recipe: Recipe = Recipe(epochs=200, batch_size=16, learning_rate=5e-4)

    @field_validator("kernel")
    @classmethod
    def _has_a_middle(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError("must be odd: a kernel has a middle")
        return kernel

    @model_validator(mode="after")
    def _fit(self) -> Options:
        if not self.l1 + self.l2 + self.ssim > 0:
            raise ValueError("one of the loss's weights l1, l2 and ssim must be above 0")
        if self.own_forecaster and self.scheduled_sampling:
            raise ValueError("scheduled_sampling must be 0: a forecaster of its own reads no frames")
        return self


class ConvLSTM(nn.Module):
    """The convolutional LSTM of Shi et al. 2015, on frames cut into patches.

    Frames of any size (their border is repeated up to whole patches, and cut off again), any context, any horizon.
    """

    Options = Options
    presets: Final[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {
            "hidden": (64,),
            "kernel": 3,
            "residual": True,
            "l1": 1.0,
            "l2": 0.0,
            "ssim": 0.3,
            "scheduled_sampling": 0.0,
            "recipe": {"steps": 800, "batch_size": 4, "learning_rate": 2e-3, "clip": 1.0},
        },
        "base": {},
        "paper": {"hidden": (128, 64, 64), "peepholes": True, "own_forecaster": True, "scheduled_sampling": 0.0},
    }
    training_only: Final = ("l1", "l2", "ssim", "scheduled_sampling", "recipe")
    info = PredictorInfo(paper="Shi et al.: Convolutional LSTM Network, NeurIPS 2015, arXiv:1506.04214")

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.network = Network(
            3 * options.patch**2,
            options.hidden,
            options.kernel,
            peepholes=options.peepholes,
            own_forecaster=options.own_forecaster,
            residual=options.residual,
        )

    def inference_parts(self) -> dict[str, nn.Module]:
        """Return the parts of the network, by name."""
        return dict(self.network.named_children())

    @torch.no_grad()
    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Continue the clips. What is in memory beside the predicted frames does not grow with the horizon."""
        batch, _, channels, height, width = context.frames.shape
        frames = context.frames.new_empty(batch, horizon, channels, height, width)
        for k, image in enumerate(self.network(to_patches(context.frames, self.options.patch), horizon)):
            frames[:, k] = from_patches(image, (height, width)).clamp(0.0, 1.0)
        return Prediction(frames=frames)

    def training_stages(self, protocol: Any) -> Sequence[Any]:
        """Return the one stage in which it is trained."""
        from vpbench_baselines.convlstm_training import Forecasting

        return [Forecasting(self)]


def to_patches(frames: Float[Tensor, "b t 3 h w"], side: int) -> Float[Tensor, "b t c hp wp"]:
    """Turn patches of ``side`` x ``side`` pixels into 3 side^2 channels; the border is repeated up to whole patches."""
    return functional.pixel_unshuffle(padded(frames, side), side)


def from_patches(image: Float[Tensor, "b c hp wp"], size: tuple[int, int]) -> Float[Tensor, "b 3 h w"]:
    """Turn channels back into frames of ``size`` (height, width)."""
    side = math.isqrt(image.shape[1] // 3)
    return functional.pixel_shuffle(image, side)[..., : size[0], : size[1]]
