"""The cell of ConvLSTM, which other models of the family use, too."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vpbench.toolkit.st_lstm import same_conv2d

State = tuple[Float[Tensor, "b _ h w"], Float[Tensor, "b _ h w"]]
"""The hidden state H and the cell output C of a layer; None stands for zeros."""


class Cell(nn.Module):
    """Run one layer for one step (Shi et al. 2015, equation 3).

    ::

        i = sigma(Wxi * X + Whi * H + Wci ∘ C + bi)         C' = f ∘ C + i ∘ tanh(Wxc * X + Whc * H + bc)
        f = sigma(Wxf * X + Whf * H + Wcf ∘ C + bf)         H' = o ∘ tanh(C')
        o = sigma(Wxo * X + Who * H + Wco ∘ C' + bo)

    All gates share one convolution of the input and one of the hidden state, with channels in the order i, f, o,
    candidate. Without ``grid``, a peephole Wc is one weight per channel. A layer may have no input (``channels`` 0).
    Both follow from the parameter counts of the paper's Table 1.

    Args:
        channels: Number of channels of X.
        hidden: Number of channels of H and C.
        kernel: Side of the kernels.
        peepholes: True for gates that read C.
        bias: True for gates with biases. The forget gate's starts at 1.
        forget_bias: Constant to add to the forget gate.
        grid: Height and width of X, for a peephole weight per channel and place.
        norm: Makes a normalisation of that many channels, applied after each convolution. None: none.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        kernel: int,
        *,
        peepholes: bool = False,
        bias: bool = True,
        forget_bias: float = 0.0,
        grid: tuple[int, int] | None = None,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.of_input = same_conv2d(channels, 4 * hidden, kernel, bias=bias) if channels else None
        self.of_hidden = same_conv2d(hidden, 4 * hidden, kernel, bias=bias and not channels)
        self.peepholes = nn.Parameter(torch.zeros(3, hidden, *(grid or (1, 1)))) if peepholes else None
        self.forget_bias = forget_bias
        self.norm_input = norm(4 * hidden) if norm and channels else nn.Identity()
        self.norm_hidden = norm(4 * hidden) if norm else nn.Identity()
        biases = (self.of_input or self.of_hidden).bias
        if biases is not None:
            with torch.no_grad():
                biases.zero_()[hidden : 2 * hidden] = 1.0

    def forward(self, x: Float[Tensor, "b c h w"] | None, state: State | None) -> State:
        """Return the state after reading ``x``.

        ``x`` is None for a layer without input, ``state`` is None before the first step. One of them is a tensor.
        """
        gates = 0.0 if x is None else self.norm_input(self.of_input(x))
        if state is not None:
            gates = gates + self.norm_hidden(self.of_hidden(state[0]))
        i, f, o, candidate = gates.chunk(4, dim=1)
        if self.peepholes is not None and state is not None:
            i, f = i + self.peepholes[0] * state[1], f + self.peepholes[1] * state[1]
        cell = i.sigmoid() * candidate.tanh()
        if state is not None:
            cell = cell + (f + self.forget_bias).sigmoid() * state[1]
        if self.peepholes is not None:
            o = o + self.peepholes[2] * cell
        return o.sigmoid() * cell.tanh(), cell
