"""The inpainter varphi: a U-Net of partial convolutions that reads the predicted labels (section 3.3, equation 12)."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from vpbench.toolkit.fill import push_pull
from vpbench.toolkit.padding import padded
from vpbench_sadm.options import Options

_GREY = 0.5
"""The value of a hole that is not filled from visible pixels."""


class PartialConv(nn.Module):
    """``W (x m) n / sum(m) + b`` if a window of n pixels holds a valid pixel (m = 1), else exactly 0.

    Pixels outside the image are not valid. Source: Liu, Reda, Shih, Wang, Tao, Catanzaro: Image Inpainting for
    Irregular Holes Using Partial Convolutions, ECCV 2018, equations 1 and 2.
    """

    window: Tensor

    def __init__(self, inner: int, outer: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, kernel, stride, padding=kernel // 2)
        self.register_buffer("window", torch.ones(1, 1, kernel, kernel), persistent=False)

    def forward(
        self, x: Float[Tensor, "b c h w"], valid: Float[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b d i j"], Float[Tensor, "b 1 i j"]]:
        """Return the result and the new mask: 1 where a window held a valid pixel, else 0."""
        count = functional.conv2d(valid, self.window, stride=self.conv.stride, padding=self.conv.padding)
        mask = (count > 0).to(x.dtype)
        weighted = functional.conv2d(x * valid, self.conv.weight, stride=self.conv.stride, padding=self.conv.padding)
        scale = self.window.numel() / count.clamp(min=1)
        assert self.conv.bias is not None
        return (weighted * scale + self.conv.bias[:, None, None]) * mask, mask


class Inpainter(nn.Module):
    """``x~ = varphi(x^, Omega, m~)``; 5,178,171 parameters for 9 classes (the paper: 5.18 M).

    The paper states two things: partial convolutions in the encoder of a U-Net, with a mask at each resolution, and the
    predicted labels as an input. Everything else is chosen here:

    - An encoder level halves the size: partial convolution, batch normalisation, ReLU.
    - A decoder level doubles it: nearest-neighbour upsampling, the encoder's features and the averaged class
      probabilities of that size, convolution, batch normalisation, leaky ReLU.
    - Only the decoder reads the labels. In the encoder, the mask would blank them inside the hole.
    - The last level reads the frame with its hole filled, and the mask.
    - The output is a residual to that frame. The residual starts at 0, so visible pixels are right from the first step.
    - The hole is grey; with ``hole_filling = "push_pull"`` it continues the visible pixels nearby.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.classes = options.classes if options.semantic_conditioning else 0
        self.continues = options.hole_filling == "push_pull"
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
        """Return inpainted frames. Pixels of ``warped`` inside the hole are ignored.

        The frames are in [0,1], but in training they are not clamped: a clamped value would have no gradient.
        """
        height, width = warped.shape[-2:]
        filled = push_pull(warped, ~hole, _GREY) if self.continues else torch.where(hole, _GREY, warped)
        filled, probabilities = padded(filled, self.stride), padded(probabilities, self.stride)
        hole = padded(hole.to(warped.dtype), self.stride) > 0
        completed = (filled + self._residual(filled, hole, probabilities))[..., :height, :width]
        return completed if self.training else completed.clamp(0.0, 1.0)

    def _residual(
        self, filled: Float[Tensor, "b 3 h w"], hole: Bool[Tensor, "b 1 h w"], probabilities: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b 3 h w"]:
        x, valid = filled, (~hole).to(filled.dtype)
        skips = [torch.cat([x, 1 - valid], dim=1)]
        for convolve, norm in zip(self.encoder, self.encoder_norms, strict=True):
            x, valid = convolve(x, valid)
            x = functional.relu(norm(x))
            skips.append(x)
        x = skips.pop()
        for level, skip in zip(self.decoder, reversed(skips), strict=True):
            features = [functional.interpolate(x, scale_factor=2.0), skip]
            if self.classes:
                side = filled.shape[-1] // skip.shape[-1]
                features.append(functional.avg_pool2d(probabilities, side) if side > 1 else probabilities)
            x = level(torch.cat(features, dim=1))
        return self.residual(x)
