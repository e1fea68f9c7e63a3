"""MIM (memory in memory): recurrent cells take the place of the forget gates of ST-LSTMs above the first layer.

Wang, Zhang, Zhu, Long, Wang, Yu: Memory In Memory: A Predictive Neural Network for Learning Higher-Order
Non-Stationarity from Spatiotemporal Dynamics, CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from vpbench.plugin.predictor import PredictorInfo
from vpbench.toolkit.st_lstm import STLSTM, STState, lstm, same_conv2d
from vpbench_recurrent import openstl
from vpbench_recurrent.cell import Cell, State
from vpbench_recurrent.head import Head
from vpbench_recurrent.options import OPENSTL, OPENSTL_GREY, TINY, Size, StackOptions
from vpbench_recurrent.predictor import RecurrentPredictor
from vpbench_recurrent.rollout import Hidden, Image, Recurrence

Norm = Callable[[int], nn.Module] | None


class MIMLayer(nn.Module):
    """Run one layer above the first for one step (equations 3 to 5, as the official code has them).

    ::

        D, N = MIM-N(H^l-1_t - H^l-1_t-1, D, N)          the non-stationary module; of layers above the second, D^l-1
        T, S = MIM-S(D, C, S)                            the stationary module: takes the place of f ∘ C
        g  = tanh(Wxg * X + Whg * H)     i  = sigma(Wxi * X + Whi * H)       X is H^l-1
        g' = tanh(Wxg * X + Wmg * M)     i' = sigma(Wxi * X + Wmi * M)       f' = sigma(Wxf * X + Wmf * M + 1)
        C <- T + i ∘ g                   M <- f' ∘ M + i' ∘ g'
        o  = sigma(Wxo * X + Who * H + Wmo * M)          H <- o ∘ tanh(W1x1 * [C, M])

    Both modules are ConvLSTM cells with peepholes and a forget bias of 1. MIM-S has C as its hidden state. The gates
    of X and M have their channels in the order i g f o, those of H in the order i g o.
    """

    def __init__(self, width: int, kernel: int, *, norm: Norm, grid: Size | None) -> None:
        super().__init__()
        self.non_stationary, self.stationary = (
            Cell(width, width, kernel, peepholes=True, bias=False, forget_bias=1.0, grid=grid, norm=norm)
            for _ in range(2)
        )
        self.of_features = same_conv2d(width, 4 * width, kernel, bias=False)
        self.of_hidden = same_conv2d(width, 3 * width, kernel, bias=False)
        self.of_memory = same_conv2d(width, 4 * width, kernel, bias=False)
        self.merge = same_conv2d(2 * width, width, 1, bias=False)
        norm = norm or (lambda channels: nn.Identity())
        self.norm_features, self.norm_hidden, self.norm_memory = norm(4 * width), norm(3 * width), norm(4 * width)

    def forward(self, x: Hidden, difference: Hidden, state: STState, stationary: Hidden) -> tuple[STState, Hidden]:
        """Return the state and S after reading ``x`` and D."""
        i, g, f, o = self.norm_features(self.of_features(x)).chunk(4, dim=1)
        i_hidden, g_hidden, o_hidden = self.norm_hidden(self.of_hidden(state.hidden)).chunk(3, dim=1)
        i_memory, g_memory, f_memory, o_memory = self.norm_memory(self.of_memory(state.memory)).chunk(4, dim=1)
        transient, stationary = self.stationary(difference, (state.cell, stationary))
        cell = transient + (i + i_hidden).sigmoid() * (g + g_hidden).tanh()
        memory = lstm(state.memory, torch.cat([i + i_memory, f + f_memory, g + g_memory], dim=1), 1.0)
        o = (o + o_hidden + o_memory).sigmoid()
        return STState(o * self.merge(torch.cat([cell, memory], dim=1)).tanh(), cell, memory), stationary


class MIMState(NamedTuple):
    """The state of a stack, all layers but the first with the states of their two modules."""

    layers: tuple[tuple[Hidden, Hidden], ...]
    memory: Hidden
    differences: tuple[State, ...] | None
    """D and N; None in the first step, which has no difference to read."""
    stationary: tuple[Hidden, ...]


class Network(Recurrence):
    """Predict the next image with an ST-LSTM, then layers of :class:`MIMLayer` (figure 4)."""

    def __init__(self, channels: int, options: StackOptions) -> None:
        super().__init__()
        self.width = options.hidden
        width, kernel, norm, grid = options.hidden, options.kernel, options.norm(), options.grid()
        self.first = STLSTM(channels, width, kernel, norm=norm)
        self.layers = nn.ModuleList(MIMLayer(width, kernel, norm=norm, grid=grid) for _ in range(options.layers - 1))
        self.head = Head(width, channels, residual=options.residual)

    def start(self, context: Float[Tensor, "b t c h w"]) -> MIMState:
        """Return states of zeros."""
        zeros = context.new_zeros(context.shape[0], self.width, *context.shape[-2:])
        layers = len(self.layers)
        return MIMState(((zeros, zeros),) * (layers + 1), zeros, None, (zeros,) * layers)

    def step(self, image: Image, state: MIMState) -> tuple[Image, MIMState]:
        """Return the next image and the state."""
        hidden, cell = state.layers[0]
        x, cell, memory = self.first(image, STState(hidden, cell, state.memory))
        layers, stationary = [(x, cell)], []
        differences = self._differences(x - hidden, state.differences)
        for layer, difference, (hidden, cell), past in zip(
            self.layers, differences, state.layers[1:], state.stationary, strict=True
        ):
            (x, cell, memory), past = layer(x, difference[0], STState(hidden, cell, memory), past)
            layers.append((x, cell))
            stationary.append(past)
        return self.head.predict(x, image), MIMState(tuple(layers), memory, differences, tuple(stationary))

    def _differences(self, x: Hidden, states: tuple[State, ...] | None) -> tuple[State, ...]:
        """Return D and N of all layers; each reads D of the layer below, the lowest the difference of H.

        In the first step, they are 0.
        """
        if states is None:
            zeros = torch.zeros_like(x)
            return ((zeros, zeros),) * len(self.layers)
        after = []
        for layer, state in zip(self.layers, states, strict=True):
            after.append(layer.non_stationary(x, state))
            x = after[-1][0]
        return tuple(after)


class Options(StackOptions):
    """Options of MIM. With ``size``, peepholes have a weight per place, as in the official code."""

    layers: int = Field(default=4, ge=2, description="layers of the stack")


class MIM(RecurrentPredictor):
    """MIM (Wang et al. 2019) on frames cut into patches."""

    name = "mim"
    Options = Options
    key_rules = openstl.MIM
    presets: Final[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "openstl": {**OPENSTL, "size": (256, 256)},
        "openstl-grey": {**OPENSTL_GREY, "size": (64, 64)},
        "tiny": {**TINY, "hidden": 24},
    }
    info = PredictorInfo(paper="Wang et al.: Memory In Memory, CVPR 2019, arXiv:1811.07490")

    def __init__(self, options: Options) -> None:
        super().__init__(options, Network(self.image_channels(options), options), options.size)
