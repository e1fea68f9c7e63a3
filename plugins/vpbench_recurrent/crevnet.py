"""CrevNet: a reversible autoencoder, whose features a stack of reversible predictive modules moves one frame on.

Yu, Lu, Easterbrook, Fidler: Efficient and Information-Preserving Future Frame Prediction and Beyond, ICLR 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from vpbench.plugin.predictor import PredictorInfo
from vpbench.plugin.training import Recipe
from vpbench.toolkit.convolution import Conv
from vpbench.toolkit.reversible import Autoencoder
from vpbench.toolkit.st_lstm import STState, lstm
from vpbench_recurrent.options import TRAINING_ONLY, FamilyOptions, Kernel, SamplingShare
from vpbench_recurrent.predictor import RecurrentPredictor
from vpbench_recurrent.rollout import Image, Recurrence

WINDOW: Final = 3
"""The number of frames that are encoded together: the newest and those before it."""
Half = Float[Tensor, "b d t h w"]


class PredictiveModule(nn.Module):
    """Run one reversible predictive module for one step: an ST-LSTM and an attention gate.

    ::

        i,  f,  g  = sigma, sigma, tanh (W  * [x1, H, C] + b)       C  <- f  ∘ C + i  ∘ g
        i', f', g' = sigma, sigma, tanh (W' * [x1, M, C] + b')      M  <- f' ∘ M + i' ∘ g'
        o          = sigma(Wo * [x1, H, C, M] + bo)                 H  <- o ∘ tanh(W1x1 * [C, M] + b1x1)
        a          = sigma(Attention(H))                            x2 <- (1 - a) ∘ x2 + a ∘ H

    PredRNN's gates of C and M do not read C. All states have as many channels as a half of the features. With
    ``residual``, x2 becomes ``x2 + a ∘ H``, and H starts as 0.

    Args:
        width: Number of channels of a half.
        attention: Sides of the kernels of Attention; its convolutions have ReLU between them.
        residual: Add to x2 instead of blending it with H.
    """

    def __init__(self, width: int, attention: Sequence[int], *, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.appearance = Conv(3 * width, 3 * width)  # i f g
        self.remember = Conv(3 * width, 3 * width)  # i' f' g'
        self.output = Conv(4 * width, width)
        self.merge = Conv(2 * width, width, 1)
        layers = [layer for kernel in attention for layer in (nn.ReLU(), Conv(width, width, kernel))]
        self.attention = nn.Sequential(*layers[1:])
        if residual:
            nn.init.zeros_(self.merge.weight)
            nn.init.zeros_(self.merge.bias)

    def forward(self, x1: Half, x2: Half, state: STState) -> tuple[Half, STState]:
        """Return the new x2, and the state after reading ``x1``."""
        hidden, cell, memory = state
        cell = lstm(cell, self.appearance(torch.cat([x1, hidden, cell], dim=1)))
        memory = lstm(memory, self.remember(torch.cat([x1, memory, cell], dim=1)))
        output = self.output(torch.cat([x1, hidden, cell, memory], dim=1)).sigmoid()
        hidden = output * self.merge(torch.cat([cell, memory], dim=1)).tanh()
        gate = self.attention(hidden).sigmoid()
        x2 = x2 + gate * (hidden if self.residual else hidden - x2)
        return x2, STState(hidden, cell, memory)


class CrevState(NamedTuple):
    """The frames before the next image, H and C of each module, M of the last one, and the errors so far."""

    frames: Float[Tensor, "b c 2 h w"]
    layers: tuple[tuple[Half, Half], ...]
    memory: Half
    reconstruction: tuple[Float[Tensor, ""], ...]


class Network(Recurrence):
    """Predict the next image by moving the features of the last three images one frame on.

    ::

        x1, x2 = Encode(images t-2, t-1, t)
        x2, M  = RPM^l(x1, x2, M)      x1 and x2 change places after each module; M runs through all, as in PredRNN
        images t-1, t, t+1 = Decode(x1, x2)

    Images t-1 and t are known. In training, the mean squared error of their reconstruction is the penalty.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.reconstruction = options.reconstruction
        self.autoencoder = Autoencoder(
            options.blocks, options.norm, recompute=options.recompute, colours=options.channels
        )
        self.stride, self.width = self.autoencoder.stride, self.autoencoder.channels // 2
        self.layers = nn.ModuleList(
            PredictiveModule(self.width, options.attention, residual=options.residual) for _ in range(options.layers)
        )

    def start(self, context: Float[Tensor, "b t c h w"]) -> CrevState:
        """Return states of zeros; the first image is repeated to make its window."""
        height, width = (side // self.stride for side in context.shape[-2:])
        zeros = context.new_zeros(context.shape[0], self.width, WINDOW, height, width)
        frames = context[:, 0, :, None].expand(-1, -1, WINDOW - 1, -1, -1)
        return CrevState(frames, ((zeros, zeros),) * len(self.layers), zeros, ())

    def step(self, image: Image, state: CrevState) -> tuple[Image, CrevState]:
        """Return the next image and the state."""
        window = torch.cat([state.frames, image[:, :, None]], dim=2)
        features, statistics = self.autoencoder.encode(window)
        x1, x2 = features.chunk(2, dim=1)
        memory, layers = state.memory, []
        for module, (hidden, cell) in zip(self.layers, state.layers, strict=True):
            x2, (hidden, cell, memory) = module(x1, x2, STState(hidden, cell, memory))
            x1, x2 = x2, x1
            layers.append((hidden, cell))
        decoded = self.autoencoder.decode(torch.cat([x1, x2], dim=1), statistics)
        frames, errors = window[:, :, 1:], state.reconstruction
        if self.training and self.reconstruction:
            errors += ((decoded[:, :, :-1] - frames.detach()).square().mean(),)
        return decoded[:, :, -1], CrevState(frames, tuple(layers), memory, errors)

    def penalty(self, state: CrevState) -> Tensor | None:
        """Return the weighted error of the reconstruction, as the mean over all steps; None without it."""
        return self.reconstruction * torch.stack(state.reconstruction).mean() if state.reconstruction else None


class Options(FamilyOptions):
    """Options of CrevNet. The defaults are the preset ``paper``."""

    layers: int = Field(default=8, ge=2, multiple_of=2, description="predictive modules; even: one for each half")
    blocks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(4, 5, 3), min_length=1, description="blocks in each stage of the autoencoder; its stride is 2^stages"
    )
    norm: Literal["batch", "group"] = Field(default="batch", description="normalisation in the autoencoder")
    attention: tuple[Kernel, ...] = Field(
        default=(1, 3), min_length=1, description="sides of the attention gate's kernels; ReLU between them"
    )
    reconstruction: float = Field(
        default=2.0, ge=0, description="weight of the squared error of a decoded window's two known frames"
    )
    recompute: bool = Field(
        default=True, description="save memory in training: compute the autoencoder's activations again"
    )
    patch: Literal[1] = Field(default=1, description="side of the patches that become channels; frames stay whole")
    scheduled_sampling: SamplingShare = "always"
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="learning rate; cosine: rises over a twentieth of the steps, then falls to 0"
    )
    recipe: Recipe = Recipe(epochs=60, epoch_clips=80_000, batch_size=16, learning_rate=5e-4)


class CrevNet(RecurrentPredictor):
    """CrevNet (Yu et al. 2020). Sides that are not multiples of the autoencoder's stride are padded."""

    name = "crevnet"
    Options = Options
    training_only = (*TRAINING_ONLY, "reconstruction", "recompute")
    presets: Final[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "openstl-grey": {"channels": 1, "attention": (1,)},
        "tiny": {
            "layers": 2,
            "blocks": (2, 2),
            "norm": "group",
            "attention": (1,),
            "reconstruction": 0.0,
            "recompute": False,
            "clamp": True,
            "residual": True,
            "l2": 10.0,
            "supervise": "future",
            "scheduled_sampling": 0.0,
            "schedule": "cosine",
            "recipe": {"steps": 500, "batch_size": 2, "learning_rate": 2e-3, "clip": 1.0},
        },
    }
    info = PredictorInfo(paper="Yu, Lu, Easterbrook, Fidler: CrevNet, ICLR 2020")

    def __init__(self, options: Options) -> None:
        super().__init__(options, Network(options))
