"""ConvLSTM: the cell, stacks of cells, the two networks made of them, and the predictor.

Shi, Chen, Wang, Yeung, Wong, Woo: Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting,
NeurIPS 2015.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional

from vpbench.plugin.clip import Context, Prediction
from vpbench.plugin.predictor import PredictorInfo
from vpbench.plugin.training import Recipe
from vpbench.toolkit.padding import padded

State = tuple[Float[Tensor, "b _ h w"], Float[Tensor, "b _ h w"]]
"""The hidden state H and the cell output C of a layer; None stands for zeros."""


class Cell(nn.Module):
    """Run one layer for one step (equation 3).

    ::

        i = sigma(Wxi * X + Whi * H + Wci ∘ C + bi)         C' = f ∘ C + i ∘ tanh(Wxc * X + Whc * H + bc)
        f = sigma(Wxf * X + Whf * H + Wcf ∘ C + bf)         H' = o ∘ tanh(C')
        o = sigma(Wxo * X + Who * H + Wco ∘ C' + bo)

    All gates share one convolution of the input and one of the hidden state, with channels in the order i, f, o,
    candidate. A peephole Wc is one weight per channel. A layer may have no input (``channels`` 0). Both follow from the
    parameter counts of the paper's Table 1. The bias of the forget gate starts at 1.
    """

    def __init__(self, channels: int, hidden: int, kernel: int, *, peepholes: bool = False) -> None:
        super().__init__()
        same = kernel // 2
        self.of_input = nn.Conv2d(channels, 4 * hidden, kernel, padding=same) if channels else None
        self.of_hidden = nn.Conv2d(hidden, 4 * hidden, kernel, padding=same, bias=not channels)
        self.peepholes = nn.Parameter(torch.zeros(3, hidden, 1, 1)) if peepholes else None
        bias = (self.of_input or self.of_hidden).bias
        assert bias is not None
        with torch.no_grad():
            bias.zero_()[hidden : 2 * hidden] = 1.0

    def forward(self, x: Float[Tensor, "b c h w"] | None, state: State | None) -> State:
        """Return the state after reading ``x``. A layer without an input reads None and needs a state."""
        gates = 0.0 if x is None else self.of_input(x)
        if state is not None:
            gates = gates + self.of_hidden(state[0])
        i, f, o, candidate = gates.chunk(4, dim=1)
        if self.peepholes is not None and state is not None:
            i, f = i + self.peepholes[0] * state[1], f + self.peepholes[1] * state[1]
        cell = i.sigmoid() * candidate.tanh()
        if state is not None:
            cell = cell + f.sigmoid() * state[1]
        if self.peepholes is not None:
            o = o + self.peepholes[2] * cell
        return o.sigmoid() * cell.tanh(), cell


class Stack(nn.Module):
    """Run layers of cells; each reads the hidden state of the layer below."""

    def __init__(self, channels: int, hidden: Sequence[int], kernel: int, *, peepholes: bool = False) -> None:
        super().__init__()
        inputs = (channels, *hidden[:-1])
        self.cells = nn.ModuleList(Cell(c, n, kernel, peepholes=peepholes) for c, n in zip(inputs, hidden, strict=True))

    def forward(self, x: Float[Tensor, "b c h w"] | None, states: Sequence[State | None]) -> list[State]:
        """Return the state of each layer, the lowest first, after reading ``x``."""
        after = []
        for cell, state in zip(self.cells, states, strict=True):
            after.append(cell(x, state))
            x = after[-1][0]
        return after


class Network(nn.Module):
    """Continue a sequence of images with C channels.

    With ``own_forecaster``, it is the paper's network (section 3.2, figure 3). An encoder reads the context. A
    forecaster with weights of its own and no input starts from the encoder's states. A 1x1 convolution of the hidden
    states of all its layers makes each image.

    Without, it is the ConvLSTM of the field's tables. One stack reads the context and then its own predictions. A 1x1
    convolution of the top layer's hidden state makes each image.

    ``residual`` adds the last image of the context to each prediction. Untrained, the network then repeats that image.
    """

    def __init__(
        self,
        channels: int,
        hidden: Sequence[int],
        kernel: int,
        *,
        peepholes: bool = False,
        own_forecaster: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.encoder = Stack(channels, hidden, kernel, peepholes=peepholes)
        self.forecaster = Stack(0, hidden, kernel, peepholes=peepholes) if own_forecaster else None
        self.head = nn.Conv2d(sum(hidden) if own_forecaster else hidden[-1], channels, 1)
        if residual:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def forward(
        self,
        context: Float[Tensor, "b t c h w"],
        horizon: int,
        truth: Float[Tensor, "b k c h w"] | None = None,
        use_truth: Bool[Tensor, "b k-1"] | None = None,
    ) -> Iterator[Float[Tensor, "b c h w"]]:
        """Yield the images of steps 1 to ``horizon``, not clamped. Images that are read again are clamped to [0,1].

        In training, ``use_truth`` marks the clips and steps whose true image is read next instead of the predicted one.
        """
        states: Sequence[State | None] = [None] * len(self.encoder.cells)
        for image in context.unbind(dim=1):
            states = self.encoder(image, states)
        for k in range(horizon):
            if self.forecaster is not None:
                states = self.forecaster(None, states)
                image = self.head(torch.cat([hidden for hidden, _ in states], dim=1))
            else:
                if k > 0:
                    image = image.clamp(0.0, 1.0)
                    if truth is not None and use_truth is not None:
                        image = torch.where(use_truth[:, k - 1, None, None, None], truth[:, k - 1], image)
                    states = self.encoder(image, states)
                image = self.head(states[-1][0])
            if self.residual:
                image = image + context[:, -1]
            yield image


class Options(BaseModel):
    """Options of the network, its loss and its training. The defaults are the preset ``base``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(128, 128, 128), min_length=1, description="channels of each layer"
    )
    kernel: int = Field(default=5, ge=1, description="side of all kernels of the cells, in patches")
    patch: int = Field(default=4, ge=1, description="side of the patches that become channels, in pixels")
    peepholes: bool = Field(default=False, description="let the gates read the cell output")
    own_forecaster: bool = Field(default=False, description="forecast with a second stack, as the paper does")
    residual: bool = Field(default=False, description="add the last context frame to each prediction")
    l1: float = Field(default=0.0, ge=0, description="weight of the mean absolute error in the loss")
    l2: float = Field(default=1.0, ge=0, description="weight of the mean squared error")
    ssim: float = Field(default=0.0, ge=0, description="weight of 1 - SSIM")
    scheduled_sampling: float = Field(
        default=0.4, ge=0, le=1, description="share of the training in which true frames are read, ever fewer"
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
            raise ValueError("scheduled_sampling must be 0: the second stack of own_forecaster reads no frames")
        return self


class ConvLSTM(nn.Module):
    """The convolutional LSTM of Shi et al. 2015, on frames cut into patches.

    Any context, any horizon, frames of any size: the border is repeated up to whole patches, and cropped again.
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
        "scenes": {"weights": str(Path(__file__).with_name("weights") / "convlstm-scenes.safetensors")},
    }
    shipped: Final = {"scenes": "scenes", "scenes-1k": "scenes"}
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
        """Return the parts of the network by name."""
        return dict(self.network.named_children())

    @torch.no_grad()
    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Continue the clips. Memory beyond the predicted frames does not grow with the horizon."""
        batch, _, channels, height, width = context.frames.shape
        frames = context.frames.new_empty(batch, horizon, channels, height, width)
        for k, image in enumerate(self.network(to_patches(context.frames, self.options.patch), horizon)):
            frames[:, k] = from_patches(image, (height, width)).clamp(0.0, 1.0)
        return Prediction(frames=frames)


def to_patches(frames: Float[Tensor, "b t 3 h w"], side: int) -> Float[Tensor, "b t c hp wp"]:
    """Turn patches of ``side`` x ``side`` pixels into 3 side^2 channels; the border is repeated up to whole patches."""
    return functional.pixel_unshuffle(padded(frames, side), side)


def from_patches(image: Float[Tensor, "b c hp wp"], size: tuple[int, int]) -> Float[Tensor, "b 3 h w"]:
    """Turn channels back into frames of ``size`` (height, width)."""
    side = math.isqrt(image.shape[1] // 3)
    return functional.pixel_shuffle(image, side)[..., : size[0], : size[1]]
