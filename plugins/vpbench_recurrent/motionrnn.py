"""MotionRNN on PredRNN: units between the layers of ST-LSTMs model transient motion and its trend.

Wu, Yao, Wang, Long: MotionRNN: A Flexible Model for Video Prediction with Spacetime-Varying Motions, CVPR 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from vpbench.plugin.predictor import PredictorInfo
from vpbench.toolkit.st_lstm import STLSTM, STState
from vpbench_recurrent.head import Head
from vpbench_recurrent.options import TINY, StackOptions
from vpbench_recurrent.predictor import RecurrentPredictor
from vpbench_recurrent.rollout import Hidden, Image, Recurrence

Offsets = Float[Tensor, "b 18 i j"]
"""The transient variation F or the trend D: a row, then a column, for each place of a 3x3 kernel."""
_SIDE = 3
_PLACES = _SIDE**2
_TREND = 0.5
"""alpha, the weight of the last variation in the trend."""


class Warp(nn.Module):
    """Convolve X at the nine places of a 3x3 kernel, each moved by its offset and weighed by a gate (equation 6).

    ::

        m = sigma(Whm * X)         X' = sum over places k of W_k (m_k ∘ X(p + k + offset_k))

    X is sampled bilinearly and is 0 beyond its border.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(channels, _PLACES, _SIDE, padding=1)
        self.filter = nn.Conv2d(channels, channels, _SIDE, bias=False)
        nn.init.zeros_(self.gate.weight)

    def forward(self, x: Float[Tensor, "b c i j"], offsets: Offsets) -> Float[Tensor, "b c i j"]:
        """Return X'."""
        samples = sample(x, offsets.unflatten(1, (2, _PLACES))) * self.gate(x).sigmoid()[:, None]
        return torch.einsum("bcnij,dcn->bdij", samples, self.filter.weight.flatten(2))


def sample(x: Float[Tensor, "b c i j"], offsets: Float[Tensor, "b 2 n i j"]) -> Float[Tensor, "b c n i j"]:
    """Sample X around each place of a 3x3 kernel at offsets (row, column), bilinearly; beyond the border, 0."""
    height, width = x.shape[-2:]
    near = torch.arange(-1, 2, device=x.device, dtype=x.dtype)
    rows = near.repeat_interleave(_SIDE)[:, None, None] + torch.arange(height, device=x.device)[:, None]
    columns = near.repeat(_SIDE)[:, None, None] + torch.arange(width, device=x.device)
    row, column = rows + offsets[:, 0], columns + offsets[:, 1]
    places = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], dim=-1)
    samples = functional.grid_sample(x, places.flatten(1, 2), align_corners=False)
    return samples.unflatten(2, (_PLACES, height))


class MotionGRU(nn.Module):
    """Run one motion unit for one step (equations 2 to 6), at half the layer's resolution.

    ::

        X = Enc(H)
        u = sigma(Wu * [X, F])     r = sigma(Wr * [X, F])     z = tanh(Wz * [X, r ∘ F])
        F' = u ∘ z + (1 - u) ∘ F                             the transient variation
        D <- D + alpha (F - D)                               the trend: an exponential average
        F <- F' + D                                          offsets of the warp
        g = sigma(Wg * [Dec(X'), H])    H <- g ∘ Dec(X') + (1 - g) ∘ H         X' is X, warped

    The convolutions of X and of F are grouped. Those of X have their channels in the order u, r, z. At first, F is the
    trend: the weights of its gates start at 0.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        inner, offsets = max(1, width // 4), 2 * _PLACES
        self.encode = nn.Conv2d(width, inner, kernel, stride=2, padding=kernel // 2)
        self.of_input = nn.Conv2d(inner, 3 * offsets, _SIDE, padding=1)
        self.of_offsets = nn.Conv2d(offsets, 2 * offsets, _SIDE, padding=1, bias=False)
        self.of_reset = nn.Conv2d(offsets, offsets, _SIDE, padding=1, bias=False)
        self.warp = Warp(inner)
        self.decode = nn.ConvTranspose2d(inner, width, 4, stride=2, padding=1)
        self.blend = nn.Conv2d(2 * width, width, kernel, padding=kernel // 2)
        for layer in (self.of_input, self.of_offsets, self.of_reset):
            nn.init.zeros_(layer.weight)

    def forward(self, hidden: Hidden, offsets: Offsets, trend: Offsets) -> tuple[Hidden, Offsets, Offsets]:
        """Return H, F and D."""
        x = self.encode(hidden)
        update, reset, candidate = self.of_input(x).chunk(3, dim=1)
        update_offsets, reset_offsets = self.of_offsets(offsets).chunk(2, dim=1)
        u, r = (update + update_offsets).sigmoid(), (reset + reset_offsets).sigmoid()
        variation = torch.lerp(offsets, (candidate + self.of_reset(r * offsets)).tanh(), u)
        trend = torch.lerp(trend, offsets, _TREND)
        offsets = variation + trend
        moved = self.decode(self.warp(x, offsets))
        gate = self.blend(torch.cat([moved, hidden], dim=1)).sigmoid()
        return torch.lerp(hidden, moved, gate), offsets, trend


class MotionState(NamedTuple):
    """The state of a stack: H and C of each layer, M of the top layer, F and D of each motion unit."""

    layers: tuple[tuple[Hidden, Hidden], ...]
    memory: Hidden
    motions: tuple[tuple[Offsets, Offsets], ...]


class Network(Recurrence):
    """Predict the next image with ST-LSTMs and motion units between them (figure 2).

    ::

        H, C, M = ST-LSTM(X, H, C, M), but H = o ∘ tanh(W1x1 * [C, M]) + (1 - o) ∘ V        V is the motion highway
        V = H                                     of the layer below; below the lowest, a 1x1 convolution of the image
        X = H = MotionGRU(H)                      not in the top layer

    All states start at 0. The official code draws them from a normal distribution, also at test time.
    """

    stride = 2

    def __init__(self, channels: int, options: StackOptions) -> None:
        super().__init__()
        width, sizes = options.hidden, (channels, *[options.hidden] * (options.layers - 1))
        norm = options.norm(self.stride)
        self.width = width
        self.cells = nn.ModuleList(STLSTM(size, width, options.kernel, norm=norm) for size in sizes)
        self.motions = nn.ModuleList(MotionGRU(width, options.kernel) for _ in sizes[1:])
        self.highway = nn.Conv2d(channels, width, 1, bias=False)
        self.head = Head(width, channels, residual=options.residual)

    def start(self, context: Float[Tensor, "b t c h w"]) -> MotionState:
        """Return states of zeros."""
        height, width = context.shape[-2:]
        zeros = context.new_zeros(context.shape[0], self.width, height, width)
        offsets = context.new_zeros(context.shape[0], 2 * _PLACES, height // 2, width // 2)
        layers = len(self.cells)
        return MotionState(((zeros, zeros),) * layers, zeros, ((offsets, offsets),) * (layers - 1))

    def step(self, image: Image, state: MotionState) -> tuple[Image, MotionState]:
        """Return the next image and the state."""
        x, memory, highway, layers, motions = image, state.memory, self.highway(image), [], []
        for i, (cell, (hidden, past)) in enumerate(zip(self.cells, state.layers, strict=True)):
            update = cell.update(x, STState(hidden, past, memory))
            x = highway = torch.lerp(highway, update.candidate, update.output)
            memory = update.memory
            if i < len(self.motions):
                x, *motion = self.motions[i](x, *state.motions[i])
                motions.append(tuple(motion))
            layers.append((x, update.cell))
        return self.head.predict(x, image), MotionState(tuple(layers), memory, tuple(motions))


class Options(StackOptions):
    """Options of MotionRNN."""

    layers: int = Field(default=4, ge=2, description="layers of the stack; motion units are between them")


class MotionRNN(RecurrentPredictor):
    """MotionRNN (Wu et al. 2021) on PredRNN, on frames cut into patches."""

    name = "motionrnn"
    Options = Options
    presets: Final[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "tiny": {**TINY, "recipe": {**TINY["recipe"], "steps": 650}},
    }
    info = PredictorInfo(paper="Wu et al.: MotionRNN, CVPR 2021, arXiv:2103.02243")

    def __init__(self, options: Options) -> None:
        super().__init__(
            options, Network(self.image_channels(options), options), options.size if options.layer_norm else None
        )
