"""The network of SimVP and TAU: a spatial encoder, a translator over stacked frames, a spatial decoder.

- Gao, Tan, Wu, Li: SimVP: Simpler yet Better Video Prediction, CVPR 2022.
- Tan, Gao, Li, Li: SimVP: Towards Simple yet Powerful Spatiotemporal Predictive Learning, 2022 (gSTA).
- Tan, Gao, Wu, Xu, Xia, Li, Li: Temporal Attention Unit: Towards Efficient Spatiotemporal Predictive Learning, CVPR
  2023.

Where the papers leave a detail open, the network follows the authors' OpenSTL.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

LOCAL, DILATED, DILATION = 5, 7, 3
"""Kernels of the depthwise convolutions. Together they see a square of 23 pixels, for the paper's kernel of 21."""


class Layer(nn.Module):
    """Apply a convolution, group normalisation with two groups and SiLU.

    ``down`` halves height and width with a stride. ``up`` doubles them with a pixel shuffle before the normalisation.
    """

    def __init__(self, channels: int, width: int, *, down: bool = False, up: bool = False) -> None:
        super().__init__()
        self.up = up
        stride = 2 if down else 1
        self.conv = nn.Conv2d(channels, 4 * width if up else width, 3, stride=stride, padding=1)
        self.norm = nn.GroupNorm(2, width)
        nn.init.trunc_normal_(self.conv.weight, std=0.02)
        _zero_bias(self.conv)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """Return the features of the next layer."""
        x = self.conv(x)
        return functional.silu(self.norm(functional.pixel_shuffle(x, 2) if self.up else x))


class GatedAttention(nn.Module):
    """Gate features by large-kernel attention (gSTA).

    ::

        a    = Conv1x1(DWDConv(DWConv(z)))
        f, g = split(a)
        z'   = sigma(g) ∘ f
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.local = _depthwise(width, LOCAL)
        self.dilated = _depthwise(width, DILATED, DILATION)
        self.mix = nn.Conv2d(width, 2 * width, 1)

    def forward(self, z: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """Return the gated features."""
        f, g = self.mix(self.dilated(self.local(z))).chunk(2, dim=1)
        return g.sigmoid() * f


class TemporalAttention(nn.Module):
    """Weigh features by static and dynamical attention (TAU).

    ::

        SA = Conv1x1(DWDConv(DWConv(z)))        within a frame
        DA = sigma(FC(ReLU(FC(AvgPool(z)))))    between frames: their channels are stacked
        z' = (SA ∘ DA) ∘ z
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.local = _depthwise(width, LOCAL)
        self.dilated = _depthwise(width, DILATED, DILATION)
        self.mix = nn.Conv2d(width, width, 1)
        narrow = width // max(width // 16, 4)  # OpenSTL's: 16 channels from a width of 64 on
        self.squeeze = nn.Linear(width, narrow, bias=False)
        self.excite = nn.Linear(narrow, width, bias=False)

    def forward(self, z: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """Return the weighted features."""
        static = self.mix(self.dilated(self.local(z)))
        dynamical = self.excite(self.squeeze(z.mean(dim=(2, 3))).relu()).sigmoid()
        return static * dynamical[..., None, None] * z


ATTENTIONS = {"gsta": GatedAttention, "tau": TemporalAttention}
"""The attention of a translator, by its name."""


class Block(nn.Module):
    """Apply attention, then a convolutional feed-forward network, each scaled and added.

    ::

        z = z + l1 ∘ [Attend(BN(z))]     Attend(z) = z + Conv1x1(Attention(GELU(Conv1x1(z))))
        z = z + l2 ∘ MLP(BN(z))          MLP(z)    = Conv1x1(GELU(DWConv3x3(Conv1x1(z))))

    A 1x1 convolution follows if the next block has another width. In training, ``drop_path`` is the probability that a
    clip skips a sum.
    """

    def __init__(self, attention: str, width: int, next_width: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        inner = int(width * mlp_ratio)
        self.norm1 = nn.BatchNorm2d(width)
        self.inward = nn.Conv2d(width, width, 1)
        self.attention = ATTENTIONS[attention](width)
        self.outward = nn.Conv2d(width, width, 1)
        self.norm2 = nn.BatchNorm2d(width)
        self.widen = nn.Conv2d(width, inner, 1)
        self.blend = _depthwise(inner, 3)
        self.narrow = nn.Conv2d(inner, width, 1)
        self.scale1 = nn.Parameter(torch.full((width, 1, 1), 1e-2))
        self.scale2 = nn.Parameter(torch.full((width, 1, 1), 1e-2))
        self.reduction = nn.Conv2d(width, next_width, 1) if next_width != width else nn.Identity()
        for conv in (self.inward, self.attention.mix, self.outward, self.widen, self.narrow):
            _fan_out(conv)

    def forward(self, z: Float[Tensor, "b d h w"]) -> Float[Tensor, "b e h w"]:
        """Return the features of the next block."""
        x = self.norm1(z)
        z = z + self._scaled(self.scale1, x + self.outward(self.attention(functional.gelu(self.inward(x)))))
        x = self.norm2(z)
        z = z + self._scaled(self.scale2, self.narrow(functional.gelu(self.blend(self.widen(x)))))
        return self.reduction(z)

    def _scaled(self, scale: Tensor, x: Tensor) -> Tensor:
        """Return ``scale`` x, in training without the clips that skip it."""
        if not self.training or not self.drop_path:
            return scale * x
        keep = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop_path
        return scale * x * keep / (1.0 - self.drop_path)


class Network(nn.Module):
    """Map T frames to the T frames that follow.

    ::

        e_t, s_t = Encoder(x_t)           s_t: features of the first layer
        h        = Translator(e_1..e_T)   the channels of all frames are stacked
        y_t      = Decoder(h_t, s_t)

    Args:
        attention: ``gsta`` or ``tau``.
        context: T.
        channels: Channels of a frame.
        spatial: Channels of the encoder and the decoder.
        temporal: Channels of the translator.
        spatial_layers: Layers of the encoder and of the decoder. Every second one changes the size.
        temporal_layers: Blocks of the translator.
        mlp_ratio: Width of the feed-forward networks relative to their block.
        drop_path: Probability to skip the last block; it grows linearly from the first.
        residual: Add the last frame of the context to each prediction. Untrained, the network repeats that frame.
    """

    def __init__(
        self,
        attention: str,
        context: int,
        channels: int,
        spatial: int,
        temporal: int,
        *,
        spatial_layers: int,
        temporal_layers: int,
        mlp_ratio: float,
        drop_path: float = 0.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.residual = residual
        changes = [bool(i % 2) for i in range(spatial_layers)]
        self.stride = 2 ** sum(changes)
        inputs = [channels, *[spatial] * (spatial_layers - 1)]
        self.encoder = nn.ModuleList(Layer(n, spatial, down=s) for n, s in zip(inputs, changes, strict=True))
        self.decoder = nn.ModuleList(Layer(spatial, spatial, up=s) for s in reversed(changes))
        self.readout = nn.Conv2d(spatial, channels, 1)
        widths = [context * spatial, *[temporal] * (temporal_layers - 1), context * spatial]
        rates = [drop_path * i / (temporal_layers - 1) for i in range(temporal_layers)]
        self.translator = nn.Sequential(
            *(Block(attention, n, m, mlp_ratio, rate) for (n, m), rate in zip(pairwise(widths), rates, strict=True))
        )
        if residual:
            nn.init.zeros_(self.readout.weight)
            _zero_bias(self.readout)

    def forward(self, frames: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        """Return the T frames that follow, not clamped. Height and width are multiples of the stride."""
        batch, context = frames.shape[:2]
        x = skip = self.encoder[0](frames.flatten(0, 1))
        for layer in self.encoder[1:]:
            x = layer(x)
        x = self.translator(x.unflatten(0, (batch, context)).flatten(1, 2))
        x = x.unflatten(1, (context, -1)).flatten(0, 1)
        for layer in self.decoder[:-1]:
            x = layer(x)
        predicted = self.readout(self.decoder[-1](x + skip)).unflatten(0, (batch, context))
        return predicted + frames[:, -1:] if self.residual else predicted

    def roll_out(self, frames: Float[Tensor, "b t c h w"], horizon: int) -> Iterator[Float[Tensor, "b k c h w"]]:
        """Yield ``horizon`` frames in parts of T frames, not clamped. Each part is predicted from the one before."""
        for first in range(0, horizon, frames.shape[1]):
            frames = self(frames)
            yield frames[:, : horizon - first]


def _depthwise(width: int, kernel: int, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return _fan_out(nn.Conv2d(width, width, kernel, padding=padding, dilation=dilation, groups=width))


def _fan_out(conv: nn.Conv2d) -> nn.Conv2d:
    """Draw weights with the variance 2 / (outputs that read an input), and set the bias to 0."""
    fan_out = math.prod(conv.kernel_size) * conv.out_channels // conv.groups
    nn.init.normal_(conv.weight, std=math.sqrt(2.0 / fan_out))
    _zero_bias(conv)
    return conv


def _zero_bias(conv: nn.Conv2d) -> None:
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
