"""ConvLSTM: stacks of cells, the two networks made of them, and the predictor.

Shi, Chen, Wang, Yeung, Wong, Woo: Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting,
NeurIPS 2015.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from vpbench.plugin.predictor import PredictorInfo
from vpbench_recurrent import openstl
from vpbench_recurrent.cell import Cell, State
from vpbench_recurrent.options import OPENSTL, OPENSTL_GREY, FamilyOptions, Kernel
from vpbench_recurrent.patches import Order
from vpbench_recurrent.predictor import RecurrentPredictor
from vpbench_recurrent.rollout import Image, Recurrence


class Stack(nn.Module):
    """Run layers of cells; each reads the hidden state of the layer below."""

    def __init__(
        self, channels: int, hidden: Sequence[int], kernel: int, *, peepholes: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        sizes = zip((channels, *hidden[:-1]), hidden, strict=True)
        self.cells = nn.ModuleList(Cell(c, n, kernel, peepholes=peepholes, bias=bias) for c, n in sizes)

    def forward(self, x: Float[Tensor, "b c h w"] | None, states: Sequence[State | None]) -> list[State]:
        """Return the state of each layer, the lowest first, after reading ``x``."""
        after = []
        for cell, state in zip(self.cells, states, strict=True):
            after.append(cell(x, state))
            x = after[-1][0]
        return after


class StackState(NamedTuple):
    """The states of all layers, the last image of the context, and the number of its images that are not read yet."""

    layers: Sequence[State | None]
    last: Image
    unread: int


class Network(Recurrence):
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
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.encoder = Stack(channels, hidden, kernel, peepholes=peepholes, bias=bias)
        self.forecaster = Stack(0, hidden, kernel, peepholes=peepholes, bias=bias) if own_forecaster else None
        self.head = nn.Conv2d(sum(hidden) if own_forecaster else hidden[-1], channels, 1, bias=bias)
        if residual:
            for parameter in self.head.parameters():
                nn.init.zeros_(parameter)

    def start(self, context: Float[Tensor, "b t c h w"]) -> StackState:
        """Return states of zeros."""
        return StackState([None] * len(self.encoder.cells), context[:, -1], context.shape[1])

    def step(self, image: Image, state: StackState) -> tuple[Image, StackState]:
        """Return the next image and the state. The encoder of the paper's network makes none, and returns its input."""
        states, last, unread = state
        if self.forecaster is None:
            states = self.encoder(image, states)
            image = self.head(states[-1][0])
        else:
            if unread:
                states, unread = self.encoder(image, states), unread - 1
            if unread:
                return image, StackState(states, last, unread)
            states = self.forecaster(None, states)
            image = self.head(torch.cat([hidden for hidden, _ in states], dim=1))
        return image + last if self.residual else image, StackState(states, last, unread)


class Options(FamilyOptions):
    """Options of the network, its loss and its training. The defaults are the preset ``base``."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(128, 128, 128), min_length=1, description="channels of each layer"
    )
    kernel: Kernel = Field(default=5, description="side of all kernels of the cells, in patches")
    patch_order: Order = Field(default="colour", description="slower index of a patch's channels; pixel: as OpenSTL")
    peepholes: bool = Field(default=False, description="let the gates read the cell output")
    bias: bool = Field(default=True, description="give the gates and the last layer biases")
    own_forecaster: bool = Field(default=False, description="forecast with a second stack, as the paper does")
    residual: bool = Field(default=False, description="add the last context frame to each prediction")
    clamp: bool = Field(default=True, description="limit predictions to [0,1] before they are read again")
    supervise: Literal["future", "all"] = Field(
        default="future", description="steps in the loss; all: also the predictions of context frames"
    )

    @model_validator(mode="after")
    def _fit(self) -> Options:
        if self.own_forecaster and self.scheduled_sampling != 0:
            raise ValueError("scheduled_sampling must be 0: the second stack of own_forecaster reads no frames")
        if self.own_forecaster and (self.supervise == "all" or self.reverse_sampling):
            raise ValueError("supervise and reverse_sampling: the encoder of own_forecaster predicts no frames")
        if self.residual and (self.supervise == "all" or self.reverse_sampling):
            raise ValueError("residual adds the last context frame, which predictions within the context must not see")
        return self


_OPENSTL: Final = {
    "hidden": (128, 128, 128, 128),
    "bias": False,
    "patch_order": "pixel",
    "clamp": False,
    "supervise": "all",
    "scheduled_sampling": OPENSTL["scheduled_sampling"],
    "recipe": OPENSTL["recipe"],
}
_OPENSTL_GREY: Final = {name: OPENSTL_GREY[name] for name in ("channels", "scheduled_sampling", "recipe")}


class ConvLSTM(RecurrentPredictor):
    """The convolutional LSTM of Shi et al. 2015, on frames cut into patches.

    Any context, any horizon, frames of any size: the border is repeated up to whole patches, and cropped again.
    """

    name = "convlstm"
    Options = Options
    key_rules = openstl.CONVLSTM
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
        "openstl": _OPENSTL,
        "openstl-grey": {**_OPENSTL, **_OPENSTL_GREY},
        "scenes": {"weights": str(Path(__file__).with_name("weights") / "convlstm-scenes.safetensors")},
    }
    shipped: Final = {"scenes": "scenes", "scenes-1k": "scenes"}
    info = PredictorInfo(paper="Shi et al.: Convolutional LSTM Network, NeurIPS 2015, arXiv:1506.04214")

    def __init__(self, options: Options) -> None:
        network = Network(
            self.image_channels(options),
            options.hidden,
            options.kernel,
            peepholes=options.peepholes,
            own_forecaster=options.own_forecaster,
            residual=options.residual,
            bias=options.bias,
        )
        super().__init__(options, network)
