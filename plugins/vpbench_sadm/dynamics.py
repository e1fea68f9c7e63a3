"""The semantic-aware dynamics: from past labels and flow to future ones (section 3.1, equations 1 to 5 and 8).

The networks of all classes run at once, as grouped convolutions (section 4). Channels are class-major everywhere: those
of class c are the c-th of equal blocks. No class reads another one but in the MLP of equation 2 and the fusion of
equation 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vpbench.toolkit.padding import padded
from vpbench_sadm.labels import one_hot
from vpbench_sadm.options import Options
from vpbench_sadm.recompute import recomputed
from vpbench_sadm.residuals import CERTAIN, carried_masks, last_flow

_WIDE = 32
"""Channels per class from which channels-last weights are faster on a CPU (``benchmarks/sadm.py``)."""


class State(NamedTuple):
    """The hidden state h and the cell state of every class."""

    hidden: Float[Tensor, "b d h w"]
    cell: Float[Tensor, "b d h w"]


class Widths(NamedTuple):
    """The number of groups, and the channels of each: a group per class, or one group for all classes."""

    groups: int
    inputs: int
    embed: tuple[int, int]
    hidden: int
    context: int
    head: tuple[int, int]
    masks: int
    """Mask logits that each group decodes."""

    @classmethod
    def of(cls, options: Options) -> Widths:
        """Read the options. With ``single_hidden``, every width grows in proportion to it."""
        hidden = options.single_hidden
        if hidden is None:
            return cls(options.classes, 3, options.embed, options.hidden, options.context_width, options.head, 1)

        def scaled(width: int) -> int:
            return max(1, round(width * hidden / options.hidden))

        embed, head = ((scaled(a), scaled(b)) for a, b in (options.embed, options.head))
        return cls(1, options.classes + 2, embed, hidden, scaled(options.context_width), head, options.classes)


def grouped(groups: int, inner: int, outer: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """Build a convolution from ``inner`` to ``outer`` channels within each group."""
    return nn.Conv2d(groups * inner, groups * outer, kernel, stride, kernel // 2, groups=groups)


class GroupedConvLSTM(nn.Module):
    """A convolutional LSTM per class: the recurrent unit of phi, psi and theta.

    ::

        i, f, o = sigma(Wx * x + Wh * h + b)    g = tanh(Wx * x + Wh * h + b)
        c' = f c + i g                          h' = o tanh(c')

    The gates are in the order i, f, o, g. The bias of the forget gate starts at 1. Wx and Wh are two convolutions:
    :meth:`read` computes ``Wx * x + b`` once for all steps (``benchmarks/sadm.py``: 1.3 times as fast).
    """

    def __init__(self, groups: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.groups, self.width = groups, hidden
        self.of_input = grouped(groups, channels, 4 * hidden)
        self.of_hidden = nn.Conv2d(groups * hidden, groups * 4 * hidden, 3, padding=1, groups=groups, bias=False)
        assert self.of_input.bias is not None
        with torch.no_grad():
            self.of_input.bias.view(groups, 4, hidden)[:, 1] += 1.0

    def read(self, x: Float[Tensor, "b m h w"]) -> Float[Tensor, "b g h w"]:
        """Return ``Wx * x + b``."""
        return self.of_input(x)

    def forward(self, read: Float[Tensor, "b g h w"], state: State | None) -> State:
        """Take a step from ``Wx * x + b`` and the state; None is a state of zeros."""
        gates = read if state is None else self.of_hidden(state.hidden).add_(read)
        i, f, o, g = gates.unflatten(1, (self.groups, 4, self.width)).unbind(2)
        cell = i.sigmoid() * g.tanh()
        if state is not None:
            cell = cell + f.sigmoid() * state.cell.unflatten(1, (self.groups, self.width))
        return State((o.sigmoid() * cell.tanh()).flatten(1, 2), cell.flatten(1, 2))


class Encoder(nn.Module):
    """``h_c^t = phi_c([m_c^t, f_c^t], h_c^(t-1))`` (equation 1), and theta of equation 8.

    Args:
        options: of the model.
        hidden: channels of each group's state; None for the decoder's.
    """

    def __init__(self, options: Options, hidden: int | None = None) -> None:
        super().__init__()
        widths = Widths.of(options)
        groups, (first, second) = widths.groups, widths.embed
        self.classes, self.single, self.stride = options.classes, groups == 1, options.latent_stride
        self.recompute = options.recompute
        self.embed = nn.Sequential(
            grouped(groups, widths.inputs, first, stride=2),
            nn.LeakyReLU(0.2),
            grouped(groups, first, second, stride=self.stride // 2),
            nn.LeakyReLU(0.2),
        )
        self.cell = GroupedConvLSTM(groups, second, hidden or widths.hidden)

    def forward(
        self, labels: Int64[Tensor, "b t h w"], flow: Float[Tensor, "b t 2 h w"], state: State | None = None
    ) -> State:
        """Return the state after the last frame; ``flow`` is in units of the flow scale."""
        for frame in recomputed(self.recompute, self._read, labels, flow).unbind(1):
            state = recomputed(self.recompute, self.cell, frame, state)
        assert state is not None
        return state

    def _read(self, labels: Int64[Tensor, "b t h w"], flow: Float[Tensor, "b t 2 h w"]) -> Float[Tensor, "b t g i j"]:
        inputs = padded(self.inputs(labels, flow).flatten(0, 1), self.stride)
        return self.cell.read(self.embed(inputs)).unflatten(0, labels.shape[:2])

    def inputs(self, labels: Int64[Tensor, "b t h w"], flow: Float[Tensor, "b t 2 h w"]) -> Float[Tensor, "b t d h w"]:
        """Return ``[m_c, m_c f]`` of every class; for a single group, all masks and the unmasked flow (figure 7)."""
        masks = one_hot(labels, self.classes)
        if self.single:
            return torch.cat([masks, flow], dim=2)
        return torch.cat([masks[:, :, :, None], masks[:, :, :, None] * flow[:, :, None]], dim=3).flatten(2, 3)


class SADMDynamics(nn.Module):
    """Encoder phi, context MLP, decoder psi with its two heads, and fusion: 8,580,332 parameters for 9 classes."""

    flow_scale: Float[Tensor, ""]
    """Pixels of flow that equal 1 in the network. Training measures it; it is 0 before, and part of the weights."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options, self.widths = options, Widths.of(options)
        groups, _, _, hidden, context, head, masks = self.widths
        self.register_buffer("flow_scale", torch.tensor(options.flow_scale or 0.0))
        self.encoder = Encoder(options)
        self.context = nn.Sequential(
            nn.Conv2d(groups * hidden, groups * context, 1), nn.ReLU(), grouped(groups, context, hidden, 1)
        )
        self.decoder = GroupedConvLSTM(groups, hidden, hidden)
        self.embed = nn.Sequential(grouped(groups, hidden, hidden), nn.LeakyReLU(0.2))
        self.mask_head = _head(groups, hidden, head, masks, options.latent_stride)
        self.flow_head = _head(groups, hidden, head, 2, options.latent_stride)
        self.fusion = nn.Sequential(
            nn.Conv2d(options.classes, options.fusion, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(options.fusion, options.fusion, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(options.fusion, options.classes, 3, padding=1),
        )
        if options.flow_residual != "none":
            _zero_last(self.flow_head)
        if options.mask_residual != "none":
            _zero_last(self.mask_head)
            _zero_last(self.fusion)
        if hidden >= _WIDE:
            self.to(memory_format=torch.channels_last)

    def forward(
        self,
        labels: Int64[Tensor, "b t h w"],
        flow: Float[Tensor, "b t-1 2 h w"],
        horizon: int,
        noise: Float[Tensor, "b d i j"] | None = None,
    ) -> tuple[Float[Tensor, "b k c h w"], Float[Tensor, "b k 2 h w"]]:
        """Predict the log-probabilities of the classes and the backward flow in pixels, for steps 1 to K.

        Args:
            labels: class ids of T frames; 255 is no class.
            flow: backward flow in pixels, from the second frame on.
            horizon: K.
            noise: added to H^T; see :meth:`noise_shape`.
        """
        return self.decode(self.encode(labels, flow), labels[:, -1], flow[:, -1], horizon, noise)

    def encode(self, labels: Int64[Tensor, "b t h w"], flow: Float[Tensor, "b t-1 2 h w"]) -> State:
        """Return the state after the context, H^T (equation 1)."""
        if self.options.first_pair == "drop":
            labels = labels[:, 1:]
        else:
            flow = torch.cat([torch.zeros_like(flow[:, :1]), flow], dim=1)
        return self.encoder(labels, flow / self.unit)

    def decode(
        self,
        state: State,
        labels: Int64[Tensor, "b h w"],
        flow: Float[Tensor, "b 2 h w"],
        horizon: int,
        noise: Float[Tensor, "b d i j"] | None = None,
    ) -> tuple[Float[Tensor, "b k c h w"], Float[Tensor, "b k 2 h w"]]:
        """Predict from H^T (equations 2 to 5); ``labels`` and ``flow`` belong to the last context frame."""
        context = state.hidden if noise is None else state.hidden + noise
        if self.options.noise_into == "both":
            state = State(context, state.cell)
        read = self.decoder.read(self.context(context))  # MLP(H^T) is the same at every step
        masks, base = one_hot(labels, self.options.classes).to(flow), last_flow(labels, flow, self.options)
        recompute, log_probabilities, flows = self.options.recompute, [], []
        for _ in range(horizon):
            state = recomputed(recompute, self.decoder, read, state)  # equation 2: h_c
            embedding = recomputed(recompute, self.embed, state.hidden)  # equation 2: e_c
            logits, class_flows = self._class_wise(embedding, labels.shape[-2:])  # equation 3
            class_flows = class_flows + base
            masks = carried_masks(masks, class_flows) if self.options.mask_residual == "carried" else masks
            log_probabilities.append(recomputed(recompute, self._fused, logits, masks))  # equation 4
            probabilities = log_probabilities[-1].exp()
            flows.append((probabilities[:, :, None] * class_flows).sum(dim=1))  # equation 5
        return torch.stack(log_probabilities, dim=1), torch.stack(flows, dim=1)

    def _class_wise(
        self, embedding: Float[Tensor, "b d i j"], size: torch.Size
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b g 2 h w"]]:
        """Decode the mask logits and the flow in pixels of each group (equation 3)."""
        height, width = size
        logits = recomputed(self.options.recompute, self.mask_head, embedding)[..., :height, :width]
        flows = recomputed(self.options.recompute, self.flow_head, embedding).unflatten(1, (-1, 2))
        return logits, flows[..., :height, :width] * self.unit

    def _fused(self, logits: Float[Tensor, "b c h w"], carried: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return ``log softmax(psi_cnn(masks))`` (equation 4), for ``mask_residual`` as a residual to carried masks."""
        if self.options.mask_residual == "none":
            return self.fusion(logits).log_softmax(dim=1)
        logits = logits + CERTAIN * carried
        return (logits + self.fusion(logits)).log_softmax(dim=1)

    @property
    def unit(self) -> Float[Tensor, ""]:
        """The flow scale, or 1 before it is measured."""
        return torch.where(self.flow_scale > 0, self.flow_scale, torch.ones_like(self.flow_scale))

    def noise_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the shape of the noise of a clip whose frames have this size: that of its hidden state."""
        stride = self.options.latent_stride
        return self.widths.groups * self.widths.hidden, -(-height // stride), -(-width // stride)


class Posterior(nn.Module):
    """``z_c^t = theta_c([m_c^t, f_c^t], z_c^(t-1)), z = [u, log v]`` over the true future (equation 8), for training.

    It starts at ``[h_c^T, 0]``: unit variance.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.groups, self.width = Widths.of(options).groups, Widths.of(options).hidden
        self.encoder = Encoder(options, hidden=2 * self.width)

    def forward(
        self, labels: Int64[Tensor, "b k h w"], flow: Float[Tensor, "b k 2 h w"], hidden: Float[Tensor, "b d i j"]
    ) -> tuple[Float[Tensor, "b d i j"], Float[Tensor, "b d i j"]]:
        """Return the mean u and the log-variance at step K.

        Args:
            labels: of steps 1 to K.
            flow: of these steps, in units of the flow scale.
            hidden: H^T.
        """
        means = hidden.unflatten(1, (self.groups, self.width))
        start = torch.cat([means, torch.zeros_like(means)], dim=2).flatten(1, 2)
        z = self.encoder(labels, flow, State(start, torch.zeros_like(start))).hidden
        mean, log_variance = z.unflatten(1, (self.groups, 2, self.width)).unbind(2)
        return mean.flatten(1, 2), log_variance.flatten(1, 2)


def prior(shape: tuple[int, int, int], generators: Sequence[torch.Generator]) -> Float[Tensor, "b d i j"]:
    """Draw noise from N(0, I), each clip's from its own generator."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def _head(groups: int, hidden: int, widths: tuple[int, int], outer: int, stride: int) -> nn.Sequential:
    """Build the layers from the embedding to maps of the frame's size.

    Stride 4 upsamples after each of the first two layers. Stride 2 upsamples last, because convolutions of few channels
    at full size dominate the time of a small model.
    """
    first, second = widths
    up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    layers = (
        [grouped(groups, hidden, first), nn.LeakyReLU(0.2)],
        [grouped(groups, first, second), nn.LeakyReLU(0.2)],
        [grouped(groups, second, outer)],
    )
    if stride == 4:
        return nn.Sequential(*layers[0], up, *layers[1], up, *layers[2])
    return nn.Sequential(*layers[0], *layers[1], *layers[2], up)


def _zero_last(layers: nn.Sequential) -> None:
    """Set the last convolution to zeros, so that an untrained model predicts only what it adds to."""
    last = [layer for layer in layers if isinstance(layer, nn.Conv2d)][-1]
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
