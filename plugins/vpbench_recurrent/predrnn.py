"""PredRNN and PredRNN-V2: stacked ST-LSTMs with a memory that runs through all layers.

Wang, Long, Wang, Gao, Yu: PredRNN: Recurrent Neural Networks for Predictive Learning using Spatiotemporal LSTMs,
NeurIPS 2017. Wang, Wu, Zhang, Gao, Wang, Yu, Long: PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive
Learning, IEEE TPAMI 2022 (V2).
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
from vpbench.plugin.training import Recipe
from vpbench.toolkit.st_lstm import STLSTM, STState
from vpbench_recurrent import openstl
from vpbench_recurrent.head import Head
from vpbench_recurrent.options import OPENSTL, OPENSTL_GREY, TINY, TRAINING_ONLY, StackOptions
from vpbench_recurrent.predictor import RecurrentPredictor
from vpbench_recurrent.rollout import Hidden, Image, Recurrence


class ZigzagState(NamedTuple):
    """The state of a stack: H and C of each layer, M of the top layer, and the decoupling terms so far."""

    layers: tuple[tuple[Hidden, Hidden], ...]
    memory: Hidden
    decoupling: tuple[Float[Tensor, ""], ...]


class Network(Recurrence):
    """Predict the next image with a stack of ST-LSTMs (PredRNN, figure 2).

    ::

        H^l, C^l, M^l = ST-LSTM(H^l-1, H^l, C^l, M^l-1)      H^0 is the image, M^0 is M of the top layer one step before
        image         = W1x1 * H^L

    With ``decoupling``, training has PredRNN-V2's penalty: the mean absolute cosine, over channels, layers and steps,
    between the increments of C and M. Both pass one 1x1 convolution first (V2, section 4.2).
    """

    def __init__(self, channels: int, options: StackOptions, decoupling: float = 0.0) -> None:
        super().__init__()
        width, sizes = options.hidden, (channels, *[options.hidden] * (options.layers - 1))
        self.decoupling, self.width = decoupling, width
        self.cells = nn.ModuleList(STLSTM(size, width, options.kernel, norm=options.norm()) for size in sizes)
        self.head = Head(width, channels, residual=options.residual)
        self.adapter = nn.Conv2d(width, width, 1, bias=False) if decoupling else None

    def start(self, context: Float[Tensor, "b t c h w"]) -> ZigzagState:
        """Return states of zeros."""
        zeros = context.new_zeros(context.shape[0], self.width, *context.shape[-2:])
        return ZigzagState(((zeros, zeros),) * len(self.cells), zeros, ())

    def step(self, image: Image, state: ZigzagState) -> tuple[Image, ZigzagState]:
        """Return the next image and the state."""
        x, memory, layers, decoupling = image, state.memory, [], state.decoupling
        for cell, (hidden, past) in zip(self.cells, state.layers, strict=True):
            update = cell.update(x, STState(hidden, past, memory))
            x, past, memory = update.state
            layers.append((x, past))
            if self.training and self.adapter is not None:
                increments = [self.adapter(increment).flatten(2) for increment in update.increments]
                decoupling += (functional.cosine_similarity(*increments, dim=2).abs().mean(),)
        return self.head.predict(x, image), ZigzagState(tuple(layers), memory, decoupling)

    def penalty(self, state: ZigzagState) -> Tensor | None:
        """Return the weighted decoupling loss; None without it."""
        return self.decoupling * torch.stack(state.decoupling).mean() if state.decoupling else None


_PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "paper": {},
    "openstl": OPENSTL,
    "openstl-grey": OPENSTL_GREY,
    "tiny": TINY,
}


class PredRNN(RecurrentPredictor):
    """PredRNN (Wang et al. 2017) on frames cut into patches."""

    name = "predrnn"
    Options = StackOptions
    key_rules = openstl.PREDRNN
    presets: Final = _PRESETS
    info = PredictorInfo(paper="Wang et al.: PredRNN, NeurIPS 2017")

    def __init__(self, options: StackOptions) -> None:
        super().__init__(
            options, Network(self.image_channels(options), options), options.size if options.layer_norm else None
        )


class DecoupledOptions(StackOptions):
    """Options of PredRNN-V2."""

    decoupling: float = Field(default=0.1, gt=0, description="weight of the decoupling loss")
    recipe: Recipe = Recipe(steps=80_000, batch_size=8, learning_rate=1e-4)
    reverse_sampling: bool = Field(
        default=True, description="reverse scheduled sampling: predictions are read within the context, ever fewer"
    )


class PredRNNV2(RecurrentPredictor):
    """PredRNN-V2 (Wang et al. 2022): PredRNN with the decoupling loss and reverse scheduled sampling."""

    name = "predrnn-v2"
    Options = DecoupledOptions
    key_rules = openstl.PREDRNN
    training_only = (*TRAINING_ONLY, "decoupling")
    presets: Final = {**_PRESETS, "tiny": {**TINY, "scheduled_sampling": 0.5}}
    info = PredictorInfo(paper="Wang et al.: PredRNN, IEEE TPAMI 2022, arXiv:2103.09504")

    def __init__(self, options: DecoupledOptions) -> None:
        network = Network(self.image_channels(options), options, options.decoupling)
        super().__init__(options, network, options.size if options.layer_norm else None)
