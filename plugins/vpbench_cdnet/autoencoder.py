"""The reversible two-way autoencoder with 3-D kernels (section 3.1; Yu et al. 2020, after i-RevNet of 2018).

Nothing is lost from frames to features, and the decoder is the encoder run backwards: it has no weights of its own.
Because each block can be undone, training need not keep what is inside: :class:`_Reversible` computes it anew.
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
from vpbench_cdnet.cells import laid_out

__all__ = ["Autoencoder", "Norm", "Statistics", "squeeze", "unsqueeze"]

NormKind = Literal["batch", "group"]
Statistics = dict[nn.Module, tuple[Tensor, Tensor]]
"""Mean and variance of what each batch normalisation of an encoding read; empty where there is none to keep."""
Halves = tuple[Float[Tensor, "n c t h w"], Float[Tensor, "n c t h w"]]


def squeeze(x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t i j"]:
    """Turn each 2x2 pixels of a frame into four times the channels, the pixel's place first; time is left alone."""
    x = x.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2))  # n c t h 2 w 2
    return x.permute(0, 4, 6, 1, 2, 3, 5).flatten(1, 3)


def unsqueeze(x: Float[Tensor, "n d t i j"]) -> Float[Tensor, "n c t h w"]:
    """Undo :func:`squeeze`."""
    x = x.unflatten(1, (2, 2, -1))  # n 2 2 c t h w
    return x.permute(0, 3, 4, 5, 1, 6, 2).flatten(-2).flatten(-3, -2)


class Norm(nn.Module):
    """Batch normalisation that a decoder can run backwards, or group normalisation with one group.

    While training, batch normalisation of an encoding is by the statistics of the batch, as ever, and moves the running
    ones. A decoding is by the statistics that the encoding of the same step had: so that it undoes that encoding, as it
    does with running statistics later, and so that what is decoded together does not matter. By statistics of its own,
    a network's loss in evaluation was 2.5 to 4 times that in training.
    """

    def __init__(self, channels: int, kind: NormKind) -> None:
        super().__init__()
        self.of = nn.BatchNorm3d(channels) if kind == "batch" else nn.GroupNorm(1, channels)

    def forward(
        self, x: Float[Tensor, "n c t h w"], statistics: Statistics | None, *, keep: bool = False
    ) -> Float[Tensor, "n c t h w"]:
        """Normalise; in training, with batch normalisation, one of three ways.

        Args:
            x: what.
            statistics: of an encoding, to decode by; None: those of x, leaving the running ones alone.
            keep: this is an encoding, whose statistics are to be put there.
        """
        if isinstance(self.of, nn.GroupNorm) or not self.training:
            return self.of(x)
        if statistics is None:
            return functional.batch_norm(x, None, None, self.of.weight, self.of.bias, training=True, eps=self.of.eps)
        if keep:
            variance, mean = torch.var_mean(x.detach(), (0, 2, 3, 4), correction=0)
            statistics[self] = mean, variance
            return self.of(x)
        mean, variance = statistics[self]
        return functional.batch_norm(x, mean, variance, self.of.weight, self.of.bias, eps=self.of.eps)


class Block(nn.Module):
    """``(x1, x2) -> (S x2, S x1 + F(x2))``: S squeezes where the block has a stride, F is a bottleneck.

    F is three times (norm, ReLU, 3x3x3 convolution without bias); the very first block lacks the first norm and ReLU.
    """

    def __init__(self, inner: int, outer: int, norm: NormKind, *, first: bool) -> None:
        super().__init__()
        self.strided = outer != inner
        stride = (1, 2, 2) if self.strided else 1
        middle = max(1, outer // 2)
        widths = (inner, middle, middle, outer)
        self.convs = nn.ModuleList(
            nn.Conv3d(a, b, 3, stride if i == 0 else 1, padding=1, bias=False)
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.norms = nn.ModuleList(Norm(channels, norm) for channels in widths[first:3])

    def residual(
        self, x: Float[Tensor, "n c t h w"], statistics: Statistics | None, *, keep: bool = False
    ) -> Float[Tensor, "n d t i j"]:
        """Return F(x)."""
        x, unnormed = laid_out(x), len(self.convs) - len(self.norms)
        for i, conv in enumerate(self.convs):
            if i >= unnormed:
                x = functional.relu(self.norms[i - unnormed](x, statistics, keep=keep))
            x = conv(x)
        return x

    def down(self, x: Tensor) -> Tensor:
        """Apply S."""
        return squeeze(x) if self.strided else x

    def up(self, x: Tensor) -> Tensor:
        """Undo S."""
        return unsqueeze(x) if self.strided else x

    def forward(self, x1: Tensor, x2: Tensor, statistics: Statistics) -> Halves:
        """Encode, and put the statistics there."""
        return self.down(x2), self.down(x1) + self.residual(x2, statistics, keep=True)

    def backwards(self, y1: Tensor, y2: Tensor, statistics: Statistics) -> Halves:
        """Undo :meth:`forward`."""
        x2 = self.up(y1)
        return self.up(y2 - self.residual(x2, statistics)), x2


class Autoencoder(nn.Module):
    """Windows of three RGB frames to features and back; nothing changes along time.

    Args:
        blocks: number of blocks in each stage. Every stage but the first halves height and width; so does the squeeze
            before them.
        norm: ``"batch"`` or ``"group"``.
        recompute: whether training keeps nothing of what is inside, and computes it again for the gradients.
    """

    def __init__(self, blocks: Sequence[int], norm: NormKind, *, recompute: bool) -> None:
        super().__init__()
        self.norm, self.recompute = norm, recompute
        self.stride = 2 ** len(blocks)
        inner, made = 6, []
        for stage, number in enumerate(blocks):
            for i in range(number):
                outer = inner * 4 if stage and i == 0 else inner
                made.append(Block(inner, outer, norm, first=not made))
                inner = outer
        self.blocks = nn.ModuleList(made)
        self.channels = 2 * inner

    def encode(self, windows: Float[Tensor, "n 3 t h w"]) -> tuple[Float[Tensor, "n f t i j"], Statistics]:
        """Return the features F^enc, and the statistics by which to decode.

        Raises:
            PredictorError: height or width is not a multiple of the stride.
        """
        height, width = windows.shape[-2:]
        if height % self.stride or width % self.stride:
            raise PredictorError(
                f"the autoencoder takes sides that are multiples of {self.stride}, not {height}x{width}: pad the frames"
            )
        statistics: Statistics = {}
        halves = self._run(squeeze(windows).chunk(2, dim=1), statistics, inverse=False)
        return torch.cat(halves, dim=1), statistics

    def decode(self, features: Float[Tensor, "n f t i j"], statistics: Statistics) -> Float[Tensor, "n 3 t h w"]:
        """Return the windows that have these features."""
        return unsqueeze(torch.cat(self._run(features.chunk(2, dim=1), statistics, inverse=True), dim=1))

    def _run(self, halves: Sequence[Tensor], statistics: Statistics, *, inverse: bool) -> Halves:
        with torch.autocast(halves[0].device.type, enabled=False):  # half precision would not be undone by its inverse
            x1, x2 = (x if x.dtype == torch.float64 else x.float() for x in halves)
            if self.recompute and torch.is_grad_enabled():
                return _Reversible.apply(self.blocks, inverse, statistics, x1, x2, *self.blocks.parameters())
            return _chain(self.blocks, inverse, statistics, x1, x2)


def _chain(blocks: Any, inverse: bool, statistics: Statistics, x1: Tensor, x2: Tensor) -> Halves:
    for block in reversed(blocks) if inverse else blocks:
        x1, x2 = block.backwards(x1, x2, statistics) if inverse else block(x1, x2, statistics)
    return x1, x2


class _Reversible(torch.autograd.Function):
    """The chain of blocks, of which only the result is kept for the gradients.

    Gomez, Ren, Urtasun, Grosse: The Reversible Residual Network: Backpropagation Without Storing Activations, NeurIPS
    2017, algorithm 1; here in both directions. Its gradients have no gradients: :class:`_FirstOrder` refuses them.
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
        found: dict[Tensor, Tensor] = {}
        second_order = torch.is_grad_enabled()  # as with create_graph=True
        with torch.no_grad(), torch.autocast(y1.device.type, enabled=False):
            for block in ctx.blocks if ctx.inverse else reversed(ctx.blocks):
                if ctx.inverse:
                    y1, y2, g1, g2 = _undo_decoding(block, (y1, y2), (g1, g2), ctx.statistics, found)
                else:
                    y1, y2, g1, g2 = _undo_encoding(block, (y1, y2), (g1, g2), found)
        gradients = g1, g2, *(found.get(parameter) for parameter in ctx.blocks.parameters())
        return None, None, None, *(_FirstOrder.apply(*saved, *gradients) if second_order else gradients)


class _FirstOrder(torch.autograd.Function):
    """Return gradients unchanged, and refuse to be differentiated.

    ``torch.autograd.function.once_differentiable`` returns constants where the incoming gradient is one: a gradient
    penalty would silently be left out.
    """

    @staticmethod
    def forward(ctx: Any, y1: Tensor, y2: Tensor, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return gradients

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise RuntimeError(
            "CDNet's autoencoder recomputes its activations and has no second derivatives: set cdnet.recompute=false"
        )


def _undo_encoding(
    block: Block, halves: Halves, gradients: Halves, found: dict[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the block's input and its gradients from the output and its gradients; S is a permutation."""
    (y1, y2), (g1, g2) = halves, gradients
    x2 = block.up(y1)
    residual, through = _residual_and_gradient(block, x2, g2, None, found)
    return block.up(y2 - residual), x2, block.up(g2), block.up(g1) + through


def _undo_decoding(
    block: Block, halves: Halves, gradients: Halves, statistics: Statistics, found: dict[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same for :meth:`Block.backwards`, whose output is ``(x1, x2)``."""
    (x1, x2), (g1, g2) = halves, gradients
    g_y2 = block.down(g1)
    residual, through = _residual_and_gradient(block, x2, -g_y2, statistics, found)
    return block.down(x2), block.down(x1) + residual, block.down(g2 + through), g_y2


def _residual_and_gradient(
    block: Block, x: Tensor, gradient: Tensor, statistics: Statistics | None, found: dict[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return F(x), and the gradient that reaches x through it; put those of the weights into ``found``."""
    weights = [weight for weight in block.parameters() if weight.requires_grad]
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        residual = block.residual(x, statistics)
    through, *of_weights = torch.autograd.grad(residual, (x, *weights), gradient)
    found.update(zip(weights, of_weights, strict=True))
    return residual.detach(), through
