"""The reversible two-way autoencoder of CrevNet and CDNet, which encodes windows of frames.

Yu, Lu, Easterbrook, Fidler: Efficient and Information-Preserving Future Frame Prediction and Beyond, ICLR 2020. Its
blocks are those of i-RevNet (Jacobsen et al. 2018) in three dimensions.

Features keep all information of their frames. The decoder is the encoder run backwards and has no weights of its own.
Each block can be undone, so training need not store activations: :class:`_Recomputed` computes them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vpbench.errors import PredictorError
from vpbench.toolkit.convolution import Conv, channels_last

NormKind = Literal["batch", "group"]
Statistics = dict[nn.Module, tuple[Tensor, Tensor]]
"""Mean and variance that each batch normalisation of an encoding used; empty if there is nothing to keep."""
Halves = tuple[Float[Tensor, "n c t h w"], Float[Tensor, "n c t h w"]]


def squeeze(x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t i j"]:
    """Turn each 2x2 pixels of a frame into four times the channels, ordered by pixel first."""
    n, c, t, h, w = x.shape
    return x.reshape(n, c, t, h // 2, 2, w // 2, 2).permute(0, 4, 6, 1, 2, 3, 5).flatten(1, 3)


def unsqueeze(x: Float[Tensor, "n d t i j"]) -> Float[Tensor, "n c t h w"]:
    """Undo :func:`squeeze`."""
    n, d, t, i, j = x.shape
    return x.reshape(n, 2, 2, d // 4, t, i, j).permute(0, 3, 4, 5, 1, 6, 2).reshape(n, d // 4, t, 2 * i, 2 * j)


class Norm(nn.Module):
    """Apply batch normalisation that a decoder can run backwards, or group normalisation with one group.

    While training, an encoding uses the statistics of its batch and updates the running ones, as usual. A decoding
    uses the statistics of the encoding of the same step. So it undoes that encoding, and clips that are decoded
    together do not affect each other. If decodings used their own statistics, the loss in evaluation would be 2.5 to 4
    times that in training.
    """

    def __init__(self, channels: int, kind: NormKind) -> None:
        super().__init__()
        self.of = nn.BatchNorm3d(channels) if kind == "batch" else nn.GroupNorm(1, channels)

    def forward(
        self, x: Float[Tensor, "n c t h w"], statistics: Statistics | None, *, keep: bool = False
    ) -> Float[Tensor, "n c t h w"]:
        """Normalise features.

        The arguments only matter to batch normalisation while training.

        Args:
            x: Features.
            statistics: Statistics to normalise by. None: those of x, without updating the running ones.
            keep: Normalise by the statistics of x, store them in ``statistics`` and update the running ones.
        """
        if self.training and isinstance(self.of, nn.BatchNorm3d):
            weight, bias, eps = self.of.weight, self.of.bias, self.of.eps
            if statistics is None:
                return functional.batch_norm(x, None, None, weight, bias, training=True, eps=eps)
            if not keep:
                mean, variance = statistics[self]
                return functional.batch_norm(x, mean, variance, weight, bias, eps=eps)
            variance, mean = torch.var_mean(x.detach(), (0, 2, 3, 4), correction=0)
            statistics[self] = mean, variance
        normalised: Tensor = self.of(x)
        return normalised


class Block(nn.Module):
    """Map ``(x1, x2)`` to ``(S x2, S x1 + F(x2))``. S squeezes if the block has a stride; F is a bottleneck.

    F is three times (norm, ReLU, 3x3x3 convolution without bias). The very first block lacks the first norm and ReLU.
    """

    def __init__(self, inner: int, outer: int, norm: NormKind, *, first: bool) -> None:
        super().__init__()
        self.strided = outer != inner
        stride = (1, 2, 2) if self.strided else (1, 1, 1)
        middle = max(1, outer // 2)
        widths = (inner, middle, middle, outer)
        self.convs = nn.ModuleList(
            Conv(a, b, stride=stride if i == 0 else (1, 1, 1), bias=False) for i, (a, b) in enumerate(pairwise(widths))
        )
        self.norms = nn.ModuleList(Norm(channels, norm) for channels in widths[first:3])

    def residual(
        self, x: Float[Tensor, "n c t h w"], statistics: Statistics | None, *, keep: bool = False
    ) -> Float[Tensor, "n d t i j"]:
        """Return F(x)."""
        x, without_norm = channels_last(x), len(self.convs) - len(self.norms)
        for i, conv in enumerate(self.convs):
            if i >= without_norm:
                x = functional.relu(self.norms[i - without_norm](x, statistics, keep=keep))
            x = conv(x)
        return x

    def down(self, x: Tensor) -> Tensor:
        """Apply S."""
        return squeeze(x) if self.strided else x

    def up(self, x: Tensor) -> Tensor:
        """Undo S."""
        return unsqueeze(x) if self.strided else x

    def forward(self, x1: Tensor, x2: Tensor, statistics: Statistics) -> Halves:
        """Encode, and store the statistics."""
        return self.down(x2), self.down(x1) + self.residual(x2, statistics, keep=True)

    def inverse(self, y1: Tensor, y2: Tensor, statistics: Statistics) -> Halves:
        """Undo :meth:`forward`."""
        x2 = self.up(y1)
        return self.up(y2 - self.residual(x2, statistics)), x2


class Autoencoder(nn.Module):
    """Encode windows of frames as features, and decode them; the time axis is kept.

    The features are two halves, of ``channels / 2`` channels each.

    Args:
        blocks: Number of blocks in each stage. Every stage but the first halves height and width; so does the squeeze
            before the first.
        norm: Kind of normalisation.
        recompute: Compute activations again for the gradients instead of storing them. Encoding a window of 128x128
            then stores 24 times fewer bytes (``benchmarks/cdnet.py``).
        colours: Number of channels of a frame.

    Example:
        >>> autoencoder = Autoencoder((2, 2), "group", recompute=False)
        >>> features, statistics = autoencoder.encode(torch.rand(1, 3, 3, 16, 24))
        >>> features.shape
        torch.Size([1, 48, 3, 4, 6])
        >>> autoencoder.decode(features, statistics).shape
        torch.Size([1, 3, 3, 16, 24])
    """

    def __init__(self, blocks: Sequence[int], norm: NormKind, *, recompute: bool, colours: int = 3) -> None:
        super().__init__()
        self.recompute = recompute
        self.stride = 2 ** len(blocks)
        width = 2 * colours
        self.blocks = nn.ModuleList()
        for stage, number in enumerate(blocks):
            for i in range(number):
                inner, width = width, width * 4 if stage and i == 0 else width
                self.blocks.append(Block(inner, width, norm, first=not self.blocks))
        self.channels = 2 * width

    def encode(self, windows: Float[Tensor, "n c t h w"]) -> tuple[Float[Tensor, "n f t i j"], Statistics]:
        """Return the features F^enc, and the statistics by which to decode.

        Raises:
            PredictorError: Height or width is not a multiple of the stride.
        """
        height, width = windows.shape[-2:]
        if height % self.stride or width % self.stride:
            raise PredictorError(
                f"the autoencoder takes sides that are multiples of {self.stride}, not {height}x{width}: pad the frames"
            )
        statistics: Statistics = {}
        halves = self._run(squeeze(windows).chunk(2, dim=1), statistics, inverse=False)
        return torch.cat(halves, dim=1), statistics

    def decode(self, features: Float[Tensor, "n f t i j"], statistics: Statistics) -> Float[Tensor, "n c t h w"]:
        """Return the windows that have these features."""
        return unsqueeze(torch.cat(self._run(features.chunk(2, dim=1), statistics, inverse=True), dim=1))

    def _run(self, halves: Sequence[Tensor], statistics: Statistics, *, inverse: bool) -> Halves:
        with torch.autocast(halves[0].device.type, enabled=False):  # rounding to half precision cannot be undone
            x1, x2 = (x if x.dtype == torch.float64 else x.float() for x in halves)
            if self.recompute and torch.is_grad_enabled():
                halves = _Recomputed.apply(self.blocks, inverse, statistics, x1, x2, *self.blocks.parameters())
                return halves[0], halves[1]
            return _chain(self.blocks, inverse, statistics, x1, x2)


def _chain(blocks: Any, inverse: bool, statistics: Statistics, x1: Tensor, x2: Tensor) -> Halves:
    for block in reversed(blocks) if inverse else blocks:
        x1, x2 = block.inverse(x1, x2, statistics) if inverse else block(x1, x2, statistics)
    return x1, x2


class _Recomputed(torch.autograd.Function):
    """Run the chain of blocks, and store only its result for the gradients.

    Gomez, Ren, Urtasun, Grosse: The Reversible Residual Network: Backpropagation Without Storing Activations, NeurIPS
    2017, algorithm 1, in both directions. :class:`_FirstOrder` refuses second derivatives.
    """

    @staticmethod
    def forward(
        ctx: Any, blocks: Any, inverse: bool, statistics: Statistics, x1: Tensor, x2: Tensor, *parameters: Tensor
    ) -> Halves:
        y1, y2 = _chain(blocks, inverse, statistics, x1, x2)
        ctx.blocks, ctx.inverse, ctx.statistics = blocks, inverse, statistics
        ctx.save_for_backward(y1, y2)
        return y1, y2

    @staticmethod
    def backward(ctx: Any, g1: Tensor, g2: Tensor) -> tuple[Any, ...]:
        y1, y2 = saved = ctx.saved_tensors
        weight_gradients: dict[Tensor, Tensor] = {}
        second_order = torch.is_grad_enabled()  # as with create_graph=True
        with torch.no_grad(), torch.autocast(y1.device.type, enabled=False):
            for block in ctx.blocks if ctx.inverse else reversed(ctx.blocks):
                if ctx.inverse:
                    y1, y2, g1, g2 = _undo_decoding(block, (y1, y2), (g1, g2), ctx.statistics, weight_gradients)
                else:
                    y1, y2, g1, g2 = _undo_encoding(block, (y1, y2), (g1, g2), weight_gradients)
        gradients = g1, g2, *(weight_gradients.get(parameter) for parameter in ctx.blocks.parameters())
        return None, None, None, *(_FirstOrder.apply(*saved, *gradients) if second_order else gradients)


class _FirstOrder(torch.autograd.Function):
    """Return gradients unchanged, and refuse to be differentiated.

    ``torch.autograd.function.once_differentiable`` would return constants if the incoming gradient is constant, and so
    silently drop a gradient penalty.
    """

    @staticmethod
    def forward(ctx: Any, y1: Tensor, y2: Tensor, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return gradients

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise RuntimeError(
            "the autoencoder recomputes its activations and has no second derivatives: set recompute to false"
        )


def _undo_encoding(
    block: Block, halves: Halves, gradients: Halves, weight_gradients: dict[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return a block's input and its gradients from its output and their gradients; S is a permutation."""
    (y1, y2), (g1, g2) = halves, gradients
    x2 = block.up(y1)
    residual, g_x2 = _residual_and_gradient(block, x2, g2, None, weight_gradients)
    return block.up(y2 - residual), x2, block.up(g2), block.up(g1) + g_x2


def _undo_decoding(
    block: Block, halves: Halves, gradients: Halves, statistics: Statistics, weight_gradients: dict[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Do the same for :meth:`Block.inverse`, which returns ``(x1, x2)``."""
    (x1, x2), (g1, g2) = halves, gradients
    g_y2 = block.down(g1)
    residual, g_x2 = _residual_and_gradient(block, x2, -g_y2, statistics, weight_gradients)
    return block.down(x2), block.down(x1) + residual, block.down(g2 + g_x2), g_y2


def _residual_and_gradient(
    block: Block, x: Tensor, gradient: Tensor, statistics: Statistics | None, weight_gradients: dict[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return F(x) and the gradient of x through it; store the gradients of the block's weights."""
    weights = [weight for weight in block.parameters() if weight.requires_grad]
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        residual = block.residual(x, statistics)
    g_x, *g_weights = torch.autograd.grad(residual, (x, *weights), gradient)
    weight_gradients.update(zip(weights, g_weights, strict=True))
    return residual.detach(), g_x
