"""PhyDNet: a cell of partial differential equations for the physics, ConvLSTMs for the rest.

Le Guen, Thome: Disentangling Physical Dynamics from Unknown Factors for Unsupervised Video Prediction, CVPR 2020.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from vpbench.plugin.predictor import PredictorInfo
from vpbench.plugin.training import Recipe
from vpbench_recurrent import openstl
from vpbench_recurrent.cell import Cell, State
from vpbench_recurrent.options import OPENSTL, TRAINING_ONLY, FamilyOptions, SamplingShare
from vpbench_recurrent.predictor import RecurrentPredictor
from vpbench_recurrent.rollout import Hidden, Image, Recurrence

SIDE: Final = 7
"""The side of the filters of PhyCell: there is one filter for each of their 49 moments."""


def moments(side: int) -> Float[Tensor, "s s"]:
    """Return M: the moments of a filter k are ``M k M^T``, the moment (i, j) is ``sum u^i v^j k[u, v] / (i! j!)``.

    The offsets u and v are relative to the middle of the filter.
    """
    offsets = torch.arange(side, dtype=torch.float64) - side // 2
    return torch.stack([offsets**i / math.factorial(i) for i in range(side)])


class PhyCell(nn.Module):
    """Predict by a partial differential equation, and correct by the input (equations 5 to 7, with the code's gate).

    ::

        H~ = H + Phi(H)                        Phi(H) = sum c_ij d^(i+j) H / dx^i dy^j = Conv1x1(GN(Conv7x7(H)))
        K  = sigma(Conv3x3([E, H]))
        H  <- H~ + K ∘ (E - H~)                E is the encoded image

    Filter number ``7 i + j`` stands for the derivative (i, j). Its filters start as exact finite differences, for which
    :meth:`moment_loss` is 0.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.derivatives = nn.Conv2d(width, SIDE**2, SIDE, padding=SIDE // 2)
        self.norm = nn.GroupNorm(SIDE, SIDE**2)
        self.combine = nn.Conv2d(SIDE**2, width, 1)
        self.gate = nn.Conv2d(2 * width, width, 3, padding=1)
        matrix = moments(SIDE)
        self.register_buffer("moments", matrix.float(), persistent=False)
        inverse = torch.linalg.inv(matrix)
        filters = torch.einsum("ui,vj->ijuv", inverse, inverse).flatten(0, 1)
        with torch.no_grad():
            self.derivatives.weight.copy_(filters[:, None].expand(-1, width, -1, -1))

    def forward(self, x: Hidden, hidden: Hidden) -> Hidden:
        """Return H after reading the encoded image."""
        predicted = hidden + self.combine(self.norm(self.derivatives(hidden)))
        gain = self.gate(torch.cat([x, hidden], dim=1)).sigmoid()
        return predicted + gain * (x - predicted)

    def moment_loss(self) -> Float[Tensor, ""]:
        """Return how far the filters are from derivatives: squared errors, summed over inputs, averaged otherwise."""
        weight = self.derivatives.weight
        target = torch.eye(SIDE**2, device=weight.device).unflatten(1, (SIDE, SIDE))[:, None]
        with torch.autocast(weight.device.type, enabled=False):
            errors = self.moments @ weight @ self.moments.T - target
            return errors.square().mean(dim=(0, 2, 3)).sum()


class PhyState(NamedTuple):
    """The state of PhyCell, and those of the ConvLSTMs."""

    physical: Hidden
    unknown: tuple[State | None, ...]


class Network(Recurrence):
    """Predict the next image from two branches (figure 2).

    ::

        E     = Encode(image)
        H     = PhyCell(Ep(E), H)           physics
        R     = ConvLSTMs(Er(E), R)         unknown factors
        image = sigma(Decode(Dp(H) + Dr(R)))

    With ``residual``, the decoder's output is added to the image, without the sigmoid.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        base, width, half = options.base, 2 * options.base, options.stride // 2
        self.stride, self.residual, self.width, self.moment = options.stride, options.residual, width, options.moment
        self.encoder = nn.Sequential(_down(options.channels, base, 2), _down(base, base, 1), _down(base, width, half))
        self.encode_physical, self.encode_unknown = (
            nn.Sequential(_down(width, width, 1), _down(width, width, 1)) for _ in range(2)
        )
        self.physical = PhyCell(width)
        sizes = (width, *options.hidden, width)
        self.unknown = nn.ModuleList(Cell(n, m, 3) for n, m in pairwise(sizes))
        self.decode_physical, self.decode_unknown = (
            nn.Sequential(_up(width, width, 1), _up(width, width, 1)) for _ in range(2)
        )
        self.decoder = nn.Sequential(_up(width, base, 2), _up(base, base, 1), _transposed(base, options.channels, half))
        if self.residual:
            for parameter in self.decoder[-1].parameters():
                nn.init.zeros_(parameter)

    def start(self, context: Float[Tensor, "b t c h w"]) -> PhyState:
        """Return states of zeros."""
        height, width = (side // self.stride for side in context.shape[-2:])
        physical = context.new_zeros(context.shape[0], self.width, height, width)
        return PhyState(physical, (None,) * len(self.unknown))

    def step(self, image: Image, state: PhyState) -> tuple[Image, PhyState]:
        """Return the next image and the state."""
        encoded = self.encoder(image)
        physical = self.physical(self.encode_physical(encoded), state.physical)
        x, unknown = self.encode_unknown(encoded), []
        for cell, past in zip(self.unknown, state.unknown, strict=True):
            unknown.append(cell(x, past))
            x = unknown[-1][0]
        decoded = self.decoder(self.decode_physical(physical) + self.decode_unknown(x))
        predicted = image + decoded if self.residual else decoded.sigmoid()
        return predicted, PhyState(physical, tuple(unknown))

    def penalty(self, state: PhyState) -> Tensor | None:
        """Return the weighted moment loss; None without it."""
        return self.moment * self.physical.moment_loss() if self.moment else None


def _down(inner: int, outer: int, stride: int) -> nn.Sequential:
    return _activated(nn.Conv2d(inner, outer, 3, stride=stride, padding=1), outer)


def _up(inner: int, outer: int, stride: int) -> nn.Sequential:
    return _activated(_transposed(inner, outer, stride), outer)


def _transposed(inner: int, outer: int, stride: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inner, outer, 3, stride=stride, padding=1, output_padding=stride - 1)


def _activated(conv: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(conv, nn.GroupNorm(math.gcd(16, channels), channels), nn.LeakyReLU(0.2))


class Options(FamilyOptions):
    """Options of PhyDNet. The defaults are the preset ``paper``.

    The authors add the moment loss to the sum of the frames' losses: 7 of them for 4 to 4 frames. They read true frames
    with a probability that falls by .003 per epoch.
    """

    base: int = Field(default=32, ge=1, description="channels of the outer layers; the inner ones have twice as many")
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(128, 128),
        description="channels of the ConvLSTMs below the top one, which is as wide as the inner layers",
    )
    stride: Literal[2, 4] = Field(default=4, description="factor by which the encoder reduces height and width")
    moment: float = Field(
        default=1 / 7, ge=0, description="weight of the moment loss, next to the mean loss of the predicted frames"
    )
    patch: Literal[1] = Field(default=1, description="side of the patches that become channels; frames stay whole")
    scheduled_sampling: SamplingShare = 5 / 3
    recipe: Recipe = Recipe(epochs=200, batch_size=16, learning_rate=1e-3)


class PhyDNet(RecurrentPredictor):
    """PhyDNet (Le Guen and Thome 2020). Sides that are not multiples of 4 are padded."""

    name = "phydnet"
    Options = Options
    key_rules = openstl.PHYDNET
    training_only = (*TRAINING_ONLY, "moment")
    presets: Final[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "openstl": {"scheduled_sampling": 20 / 3, "recipe": OPENSTL["recipe"]},
        "openstl-grey": {"channels": 1, "moment": 1 / 19},
        "tiny": {
            "base": 16,
            "hidden": (64,),
            "clamp": True,
            "residual": True,
            "l2": 10.0,
            "moment": 1.0,
            "supervise": "future",
            "scheduled_sampling": 0.0,
            "schedule": "cosine",
            "recipe": {"steps": 540, "batch_size": 4, "learning_rate": 2e-3, "clip": 1.0},
        },
    }
    info = PredictorInfo(paper="Le Guen, Thome: PhyDNet, CVPR 2020, arXiv:2003.01460")

    def __init__(self, options: Options) -> None:
        super().__init__(options, Network(options))
