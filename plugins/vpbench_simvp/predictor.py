"""SimVP and TAU as predictors: their options, presets and rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final, Literal

import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from vpbench.errors import PredictorError
from vpbench.plugin.clip import Context, Prediction
from vpbench.plugin.predictor import PredictorInfo
from vpbench.plugin.training import Recipe
from vpbench.toolkit.channels import to_channels, to_rgb
from vpbench.toolkit.key_map import apply_rules
from vpbench.toolkit.options import LossWeights
from vpbench.toolkit.padding import padded, tell_padding
from vpbench_simvp.network import Network
from vpbench_simvp.openstl import RULES


class Options(LossWeights):
    """Options of the network, its loss and its training. The defaults are the preset ``paper`` of SimVP."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    context: int = Field(default=4, ge=1, description="number of context frames that the translator stacks")
    channels: Literal[1, 3] = Field(default=3, description="channels of a frame: 1 for grey, 3 for colour")
    spatial: int = Field(default=64, ge=2, multiple_of=2, description="channels of the encoder and the decoder")
    temporal: int = Field(default=256, ge=4, description="channels of the translator")
    spatial_layers: int = Field(
        default=4, ge=2, multiple_of=2, description="layers of the encoder; every second one halves height and width"
    )
    temporal_layers: int = Field(default=8, ge=2, description="blocks of the translator")
    mlp_ratio: float = Field(default=8.0, ge=1, description="width of a block's feed-forward network relative to it")
    drop_path: float = Field(default=0.1, ge=0, lt=1, description="probability that training skips the last block")
    residual: bool = Field(default=False, description="add the last context frame to each prediction")
    divergence: float = Field(
        default=0.0, ge=0, description="alpha: weight of TAU's differential divergence regularisation"
    )
    temperature: float = Field(default=0.1, gt=0, description="tau of the differential divergence regularisation")
    recipe: Recipe = Recipe(epochs=50, batch_size=16, learning_rate=1e-3)


class TAUOptions(Options):
    """Options of TAU. The defaults are its preset ``paper``."""

    temporal: int = Field(default=512, ge=4, description="channels of the translator")
    divergence: float = Field(
        default=0.1, ge=0, description="alpha: weight of the differential divergence regularisation"
    )


_TINY: Final[Mapping[str, Any]] = {
    "spatial": 24,
    "temporal": 96,
    "temporal_layers": 4,
    "mlp_ratio": 4.0,
    "drop_path": 0.0,
    "residual": True,
    "l2": 10.0,
    "recipe": {"steps": 700, "batch_size": 4, "learning_rate": 2e-3, "clip": 1.0},
}
_GREY: Final[Mapping[str, Any]] = {
    "context": 10,
    "channels": 1,
    "temporal": 512,
    "drop_path": 0.0,
    "recipe": {"epochs": 200, "batch_size": 16, "learning_rate": 1e-3},
}
PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "tiny": _TINY,
    "paper": {},
    "openstl": {"context": 4},
    "openstl-grey": _GREY,
}
"""``openstl`` is the setting of OpenSTL's table on Human3.6M, ``openstl-grey`` that on Moving MNIST."""


class SimVP(nn.Module):
    """SimVP with gated spatiotemporal attention (gSTA): predict as many frames as the context has, all at once.

    The number of context frames is fixed: the weights of the translator depend on it. A longer horizon is reached by
    reading the predicted frames, not clamped, as the next context. Frames with sides that are not multiples of the
    stride are padded by repeating their border, and predictions are cropped. Padding emits a warning.
    """

    Options: ClassVar[type[Options]] = Options
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    training_only: Final = ("drop_path", *LossWeights.model_fields, "divergence", "temperature", "recipe")
    name: ClassVar = "simvp"
    attention: ClassVar = "gsta"
    info = PredictorInfo(paper="Gao et al.: SimVP, CVPR 2022, arXiv:2206.05099; Tan et al. (gSTA), arXiv:2211.12509")

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.info = replace(self.info, context=options.context)
        self.network = Network(
            self.attention,
            options.context,
            options.channels,
            options.spatial,
            options.temporal,
            spatial_layers=options.spatial_layers,
            temporal_layers=options.temporal_layers,
            mlp_ratio=options.mlp_ratio,
            drop_path=options.drop_path,
            residual=options.residual,
        )

    @classmethod
    def protocol_options(cls, protocol: Any) -> dict[str, int]:
        """Return the number of context frames, which decides the shape of the translator's weights."""
        return {"context": protocol.sampling.context}

    def inference_parts(self) -> dict[str, nn.Module]:
        """Return the parts of the network by name."""
        return dict(self.network.named_children())

    def adapt_state_dict(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return OpenSTL's weights under the names of this class."""
        return apply_rules(state_dict, RULES)

    @torch.no_grad()
    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Continue the clips. Memory beyond the predicted frames does not grow with the horizon.

        Raises:
            PredictorError: The context has another number of frames than the weights, or the model reads grey frames,
                and a clip has colour.
        """
        if misfit := self.info.misfit(context.frames.shape[1], None):
            raise PredictorError(f"{self.name}: {misfit}: choose a protocol with that context, or train with another")
        past = to_channels(context.frames, self.options.channels, self.name, context.clips)
        tell_padding(self.name, past, self.network.stride)
        height, width = past.shape[-2:]
        frames = context.frames.new_empty(len(past), horizon, 3, height, width)
        first = 0
        for predicted in self.network.roll_out(padded(past, self.network.stride), horizon):
            steps = predicted.shape[1]
            frames[:, first : first + steps] = to_rgb(predicted[..., :height, :width].clamp(0.0, 1.0))
            first += steps
        return Prediction(frames=frames)


class TAU(SimVP):
    """SimVP with temporal attention units, trained with a penalty on the differences between frames."""

    Options = TAUOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    name: ClassVar = "tau"
    attention: ClassVar = "tau"
    info = PredictorInfo(paper="Tan et al.: Temporal Attention Unit, CVPR 2023, arXiv:2206.12126")
