"""The convolutional LSTM: its cell, a stack of cells, and the two networks made of stacks.

Shi, Chen, Wang, Yeung, Wong, Woo: Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting,
NeurIPS 2015.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

__all__ = ["Cell", "Network", "Stack", "State"]

State = tuple[Float[Tensor, "b _ h w"], Float[Tensor, "b _ h w"]]
"""The hidden state H and the cell output C of a layer; where a whole state may be None, it is zeros."""


class Cell(nn.Module):
    """One layer: equation 3 of the paper.

    ::

        i = sigma(Wxi * X + Whi * H + Wci ∘ C + bi)         C' = f ∘ C + i ∘ tanh(Wxc * X + Whc * H + bc)
        f = sigma(Wxf * X + Whf * H + Wcf ∘ C + bf)         H' = o ∘ tanh(C')
        o = sigma(Wxo * X + Who * H + Wco ∘ C' + bo)

    All gates share one convolution of the input and one of the hidden state, channels in the order i, f, o, candidate;
    a state of zeros is never convolved. The peepholes Wc are one weight per channel, and a layer may have no input
    (``channels`` 0), as the parameter counts of the paper's Table 1 say. The forget gate's bias begins at 1.
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
        """Return the state after reading ``x``; a layer without an input has None to read, and a state."""
        return self._gated(None if self.of_input is None else self.of_input(x), state)

    def over(self, inputs: Sequence[Float[Tensor, "b c h w"]]) -> list[State]:
        """Return the states after reading each of several inputs, all known beforehand; before them it is zeros.

        Where the weights outnumber the gates, the inputs are convolved as one batch: what a convolution does with its
        weights, and the gradient of these above all, is then done once. Where they do not, a batch is slower: what it
        makes leaves the processor's cache (``benchmarks/convlstm.py``).
        """
        assert self.of_input is not None
        places = inputs[0].shape[0] * inputs[0].shape[2] * inputs[0].shape[3]
        if self.of_input.weight[0].numel() < places:
            read: Iterable[Tensor] = map(self.of_input, inputs)
        else:
            read = self.of_input(torch.cat(tuple(inputs))).chunk(len(inputs))
        states: list[State] = []
        for gates in read:
            states.append(self._gated(gates, states[-1] if states else None))
        return states

    def _gated(self, gates: Float[Tensor, "b gates h w"] | None, state: State | None) -> State:
        """Return the state that follows from the convolved input."""
        if state is not None:
            gates = self.of_hidden(state[0]) if gates is None else gates + self.of_hidden(state[0])
        assert gates is not None
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
    """Layers of cells; each reads the hidden state of the one below."""

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

    def over(self, images: Float[Tensor, "b t c h w"]) -> list[State]:
        """Return the state of each layer after reading all ``images``, one layer after another."""
        inputs, last = images.unbind(dim=1), []
        for cell in self.cells:
            states = cell.over(inputs)
            inputs = tuple(hidden for hidden, _ in states)
            last.append(states[-1])
        return last


class Network(nn.Module):
    """Continues a sequence of images with C channels.

    With ``own_forecaster`` it is the paper's network (section 3.2, figure 3): an encoder reads the context; a
    forecaster with weights of its own and no input starts from the encoder's states; a 1x1 convolution makes each image
    of the hidden states of all the forecaster's layers.

    Without, it is what the field's tables call ConvLSTM: one stack reads the context and then what it predicted; a 1x1
    convolution makes each image of the top layer's hidden state.

    ``residual``: what is made is added to the last image of the context; untrained, the network repeats that.
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
        shown: Bool[Tensor, "b k-1"] | None = None,
    ) -> Iterator[Float[Tensor, "b c h w"]]:
        """Yield the images of steps 1 to ``horizon``, not clamped; those that are read again are clamped to [0,1].

        In training, the image before step k+1 is that of the ``truth`` for the clips that ``shown[:, k - 1]`` marks.
        """
        states = self.encoder.over(context)
        for k in range(horizon):
            if self.forecaster is not None:
                states = self.forecaster(None, states)
                made = self.head(torch.cat([hidden for hidden, _ in states], dim=1))
            else:
                if k > 0:
                    image = made.clamp(0.0, 1.0)
                    if truth is not None and shown is not None:
                        image = torch.where(shown[:, k - 1, None, None, None], truth[:, k - 1], image)
                    states = self.encoder(image, states)
                made = self.head(states[-1][0])
            if self.residual:
                made = made + context[:, -1]
            yield made
