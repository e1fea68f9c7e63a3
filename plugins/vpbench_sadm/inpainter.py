"""The inpainter: a U-Net of partial convolutions that sees the predicted semantics (section 3.3, equation 12)."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from vpbench.toolkit.padding import padded
from vpbench_sadm.options import Options

__all__ = ["Inpainter", "PartialConv"]

_GREY = 0.5
"""What an untrained inpainter paints."""


class PartialConv(nn.Module):
    """``W (x m) n / sum(m) + b`` where a window of n pixels holds any valid one (m = 1), else exactly 0.

    Liu, Reda, Shih, Wang, Tao, Catanzaro: Image Inpainting for Irregular Holes Using Partial Convolutions, ECCV 2018,
    equations 1 and 2. What lies outside the image is not valid either.
    """

    window: Tensor

    def __init__(self, inner: int, outer: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, kernel, stride, padding=kernel // 2)
        self.register_buffer("window", torch.ones(1, 1, kernel, kernel), persistent=False)

    def forward(
        self, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b d i j"], Float[Tensor, "b 1 i j"]]:
        """Return the result, and where it is valid: 1 or 0."""
        count = functional.conv2d(valid, self.window, stride=self.conv.stride, padding=self.conv.padding)
        some = (count > 0).to(x.dtype)
        weighted = functional.conv2d(x * valid, self.conv.weight, stride=self.conv.stride, padding=self.conv.padding)
        scale = self.window.numel() / count.clamp(min=1)
        assert self.conv.bias is not None
        return (weighted * scale + self.conv.bias[:, None, None]) * some, some


class Inpainter(nn.Module):
    """Completes warped frames. By default 5,178,171 parameters for 9 classes (the paper: 5.18 M).

    The paper states that the U-Net's encoder has partial convolutions, whose masks are updated at each resolution, and
    that it sees the predicted semantics; the rest is chosen. Each level of the encoder halves the size: partial
    convolution, batch normalisation, ReLU. Each level of the decoder doubles it: nearest neighbour, then, beside the
    encoder's features of that size, the class probabilities averaged to it: convolution, batch normalisation, leaky
    ReLU. The semantics are for the decoder: beside the frame they would be blanked in the hole, where they matter. The
    last level sees the frame with its hole blanked, and the mask.

    The output is a residual to the frame, grey in the hole; it is 0 at first, so that what was visible is right from
    the beginning. With ``widths`` 72, 144, 288 and 576 and kernels 7, 5, 3 and 3 it has 1/2000 less than 5.18 M.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.classes = options.classes if options.semantic_conditioning else 0
        widths = options.inpainter_widths
        self.stride = 2 ** len(widths)
        self.encoder = nn.ModuleList(
            PartialConv(inner, outer, kernel, 2)
            for (inner, outer), kernel in zip(pairwise((3, *widths)), options.inpainter_kernels, strict=True)
        )
        self.encoder_norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        skips = (*widths[-2::-1], 3 + 1)
        outers = (*widths[-2::-1], widths[0])
        self.decoder = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inner + skip + self.classes, outer, 3, padding=1), nn.BatchNorm2d(outer), nn.LeakyReLU(0.2)
            )
            for inner, skip, outer in zip((widths[-1], *outers[:-1]), skips, outers, strict=True)
        )
        self.residual = nn.Conv2d(widths[0], 3, 3, padding=1)
        nn.init.zeros_(self.residual.weight)
        assert self.residual.bias is not None
        nn.init.zeros_(self.residual.bias)

    def forward(
        self,
        warped: Float[Tensor, "b 3 h w"],
        hole: Bool[Tensor, "b 1 h w"],
        probabilities: Float[Tensor, "b c h w"],
    ) -> Float[Tensor, "b 3 h w"]:
        """Return completed frames. Pixels of ``warped`` inside the hole are ignored.

        They are in [0,1], but while training they are not clamped: the gradient of a clamped value would be 0.
        Sizes that are no multiples of the stride are padded by repeating the border, and cut again.
        """
        height, width = warped.shape[-2:]
        warped, probabilities = padded(warped, self.stride), padded(probabilities, self.stride)
        hole = padded(hole.to(warped.dtype), self.stride) > 0
        given = torch.where(hole, _GREY, warped)
        completed = (given + self._residual(given, hole, probabilities))[..., :height, :width]
        return completed if self.training else completed.clamp(0.0, 1.0)

    def _residual(self, given: Tensor, hole: Tensor, probabilities: Tensor) -> Tensor:
        valid = (~hole).to(given.dtype)
        skips = [torch.cat([given, 1 - valid], dim=1)]
        x = given
        for convolve, norm in zip(self.encoder, self.encoder_norms, strict=True):
            x, valid = convolve(x, valid)
            x = functional.relu(norm(x))
            skips.append(x)
        x = skips.pop()
        while skips:
            skip, level = skips.pop(), self.decoder[len(self.decoder) - 1 - len(skips)]
            factor = given.shape[-1] // skip.shape[-1]
            seen = [functional.avg_pool2d(probabilities, factor)] if self.classes else []
            x = level(torch.cat([functional.interpolate(x, scale_factor=2.0), skip, *seen], dim=1))
        return self.residual(x)
