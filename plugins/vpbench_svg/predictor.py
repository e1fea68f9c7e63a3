"""SVG as a predictor: its options, presets and samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Final, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vpbench.errors import PredictorError
from vpbench.plugin.clip import Context, Prediction
from vpbench.plugin.predictor import PredictorInfo
from vpbench.plugin.training import Recipe
from vpbench.toolkit.channels import to_channels, to_rgb
from vpbench.toolkit.padding import padded, tell_padding
from vpbench_svg.autoencoder import Backbone
from vpbench_svg.network import Network, Noise, Prior

Side = Annotated[int, Field(ge=8)]


class Options(BaseModel):
    """Options of the network, its loss and its training. The defaults are the preset ``paper``: BAIR's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: Backbone = Field(default="vgg", description="convolutions of encoder and decoder")
    size: tuple[Side, Side] = Field(default=(64, 64), description="height and width of the frames that the weights fit")
    channels: Literal[1, 3] = Field(default=3, description="channels of a frame: 1 for grey, 3 for colour")
    width: int = Field(default=64, ge=1, description="channels of the encoder's first stage; deeper ones have up to 8x")
    features: int = Field(default=128, ge=1, description="length of a frame's vector")
    latent: int = Field(default=64, ge=1, description="number of latent variables per step")
    hidden: int = Field(default=256, ge=1, description="width of the LSTMs")
    layers: int = Field(default=2, ge=1, description="layers of the LSTM that predicts")
    prior: Prior = Field(
        default="learned",
        description="learned: SVG-LP; fixed: N(0, I), SVG-FP; none: no latent variables",
    )
    last_frame_skip: bool = Field(
        default=False, description="skip connections from the frame before, not from the last context frame"
    )
    initial_std: float = Field(default=0.02, gt=0, description="standard deviation of the first weights")
    beta: float = Field(default=1e-4, ge=0, description="weight of the divergence of the posterior from the prior")
    recipe: Recipe = Recipe(epochs=300, batch_size=100, learning_rate=2e-3, epoch_clips=60_000, clip_frames=12)


_KTH: Final[Mapping[str, Any]] = {
    "channels": 1,
    "latent": 24,
    "beta": 1e-6,
    "recipe": {"epochs": 300, "batch_size": 100, "learning_rate": 8e-4, "epoch_clips": 60_000, "clip_frames": 20},
}
_DIGITS: Final[Mapping[str, Any]] = {
    "backbone": "dcgan",
    "channels": 1,
    "latent": 10,
    "recipe": {"epochs": 300, "batch_size": 100, "learning_rate": 2e-3, "epoch_clips": 60_000, "clip_frames": 15},
}
_TINY: Final[Mapping[str, Any]] = {
    "backbone": "dcgan",
    "width": 16,
    "features": 64,
    "latent": 8,
    "hidden": 64,
    "initial_std": 0.1,
    "beta": 1e-5,
    "recipe": {"steps": 1200, "batch_size": 4, "learning_rate": 2e-3, "clip": 1.0},
}
PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "tiny": _TINY,
    "paper": {},
    "paper-kth": _KTH,
    "paper-kth-128": {**_KTH, "size": (128, 128)},
    "paper-digits": _DIGITS,
    "fixed-prior": {"prior": "fixed"},
    "deterministic": {"prior": "none"},
}
"""``paper`` is BAIR's form. ``fixed-prior`` and ``deterministic`` are its variants."""


class SVG(nn.Module):
    """SVG: sample futures with an LSTM that reads latent variables.

    A sample draws the latent variables of a step from the prior, and those of the context's frames from the posterior.
    The weights fit one size of frames. Frames with sides that are not multiples of the stride are padded by repeating
    their border, and predictions are cropped. Padding emits a warning.
    """

    Options: ClassVar[type[Options]] = Options
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    training_only: Final = ("initial_std", "beta", "recipe")
    name: ClassVar = "svg"
    info = PredictorInfo(
        paper="Denton and Fergus: Stochastic Video Generation with a Learned Prior, ICML 2018, arXiv:1802.07687"
    )

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.info = replace(self.info, size=options.size, stochastic=options.prior != "none")
        self.network = Network(
            options.backbone,
            options.size,
            options.channels,
            width=options.width,
            features=options.features,
            latent=options.latent,
            hidden=options.hidden,
            layers=options.layers,
            prior=options.prior,
            last_frame_skip=options.last_frame_skip,
            initial_std=options.initial_std,
        )

    @classmethod
    def protocol_options(cls, protocol: Any) -> dict[str, tuple[int, int]]:
        """Return the size of the protocol's frames, which decides the shape of the weights."""
        return {} if protocol.size is None else {"size": protocol.size}

    def inference_parts(self) -> dict[str, nn.Module]:
        """Return the parts of the network by name. The posterior reads the context."""
        return dict(self.network.named_children())

    @torch.no_grad()
    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Draw one future of each clip. Memory beyond the predicted frames does not grow with the horizon.

        Raises:
            PredictorError: The weights do not fit the frames' size or colours.
        """
        past = self.images(context.frames, context.clips)
        tell_padding(self.name, context.frames, self.network.stride)
        height, width = context.frames.shape[-2:]
        frames = past.new_empty(len(past), horizon, 3, height, width)
        noise = self.noise(generators, past.device)
        for k, frame in enumerate(self.network.roll_out(past, horizon, noise)):
            frames[:, k] = to_rgb(frame[..., :height, :width])
        return Prediction(frames=frames)

    def images(self, frames: Float[Tensor, "b t 3 h w"], clips: Sequence[str]) -> Float[Tensor, "b t c i j"]:
        """Return frames with the network's channels, padded to its stride.

        Raises:
            PredictorError: The weights do not fit the frames' size or colours.
        """
        size, (height, width) = self.options.size, frames.shape[-2:]
        if (height, width) != size:
            raise PredictorError(
                f"{self.name}: the weights fit frames of {size[0]}x{size[1]}, and these are {height}x{width}: "
                "choose a protocol of that size, or train with another one"
            )
        return padded(to_channels(frames, self.options.channels, self.name, clips), self.network.stride)

    def noise(self, generators: Sequence[torch.Generator], device: torch.device) -> Noise:
        """Return a source of noise that draws each clip's from its own generator, whatever the batch."""
        latent = self.network.latent
        return lambda: torch.stack([torch.randn(latent, generator=g) for g in generators]).to(device)
