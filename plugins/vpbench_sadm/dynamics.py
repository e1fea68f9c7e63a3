"""The semantic-aware dynamics: from past labels and flow to those of the future (section 3.1, equations 1 to 5)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from vpbench.toolkit.padding import padded
from vpbench.toolkit.warp import grid
from vpbench_sadm.labels import one_hot
from vpbench_sadm.options import Options
from vpbench_sadm.recurrent import GroupedConvLSTM, State, grouped

__all__ = ["Encoder", "SADMDynamics", "Widths", "class_flow"]


_CERTAIN = 5.0
"""The logit of a class whose mask is carried to a pixel; of 19 classes it has then a probability of 0.89."""

_VALUES_AT_ONCE = 2**22
"""Of the states whose images are decoded together: more at once is faster, and takes memory in proportion."""
_WIDE = 32
"""Channels of a class from which weights lie channels last: on a CPU faster by 1.4 at 64 (``benchmarks/sadm.py``)."""


class Widths(NamedTuple):
    """Groups of channels, and the channels of each: one group per class, or one for all classes together."""

    groups: int
    inputs: int
    embed: tuple[int, int]
    hidden: int
    context: int
    head: tuple[int, int]
    masks: int
    """Mask logits that a group decodes; its flow is of 2 channels."""

    @classmethod
    def of(cls, options: Options) -> Widths:
        """Return those of the options; with ``single_hidden``, all in proportion to it."""
        hidden = options.single_hidden
        if hidden is None:
            return cls(options.classes, 3, options.embed, options.hidden, options.context_width, options.head, 1)

        def scaled(width: int) -> int:
            return max(1, round(width * hidden / options.hidden))

        embed, head = ((scaled(a), scaled(b)) for a, b in (options.embed, options.head))
        return cls(1, options.classes + 2, embed, hidden, scaled(options.context_width), head, options.classes)


class Encoder(nn.Module):
    """Labels and flow of one frame after the other to the state of each class (equation 1).

    Args:
        options: of the model.
        hidden: channels of a group's state, if other than the decoder's.
    """

    def __init__(self, options: Options, hidden: int | None = None) -> None:
        super().__init__()
        groups, inputs, (first, second), width, *_ = Widths.of(options)
        self.classes, self.single, self.stride = options.classes, groups == 1, options.latent_stride
        self.embed = nn.Sequential(
            grouped(groups, inputs, first, stride=2),
            nn.LeakyReLU(0.2),
            grouped(groups, first, second, stride=self.stride // 2),
            nn.LeakyReLU(0.2),
        )
        self.cell = GroupedConvLSTM(groups, second, hidden or width)

    def forward(
        self, labels: Int64[Tensor, "b t h w"], flow: Float[Tensor, "b t 2 h w"], state: State | None = None
    ) -> State:
        """Return the state after the last frame; ``flow`` is in units of the flow's scale.

        A group reads its class's mask and masked flow; a single one all masks, and the flow as it is (figure 7).
        """
        masks = one_hot(labels, self.classes)
        if self.single:
            inputs = torch.cat([masks, flow], dim=2)
        else:
            inputs = torch.cat([masks[:, :, :, None], masks[:, :, :, None] * flow[:, :, None]], dim=3).flatten(2, 3)
        read = self.cell.read(self.embed(padded(inputs.flatten(0, 1), self.stride)))
        for of_frame in read.unflatten(0, labels.shape[:2]).unbind(1):
            state = self.cell(of_frame, state)
        assert state is not None
        return state


class SADMDynamics(nn.Module):
    """The dynamics model. Its convolutions are grouped by class, but for the context MLP and the fusion."""

    flow_scale: Float[Tensor, ""]
    """Pixels of flow that are 1 to the network: part of the weights, measured when training begins; before, 0."""

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
        if options.flow_residual != "none":  # untrained, the flow is what is added to
            _zeroed(self.flow_head)
        if options.mask_residual != "none":
            _zeroed(self.mask_head)
            _zeroed(self.fusion)
        if hidden >= _WIDE:
            self.to(memory_format=torch.channels_last)

    def forward(
        self,
        labels: Int64[Tensor, "b t h w"],
        flow: Float[Tensor, "b t-1 2 h w"],
        horizon: int,
        noise: Float[Tensor, "b d i j"] | None = None,
    ) -> tuple[Float[Tensor, "b k c h w"], Float[Tensor, "b k 2 h w"]]:
        """Predict the logarithms of the class probabilities, and the backward flow in pixels, of steps 1 to K.

        Args:
            labels: class ids of T frames; 255 is no class.
            flow: backward flow in pixels of the frames from the second on.
            horizon: K.
            noise: added to what the MLP reads; see :meth:`noise_shape`.
        """
        return self.decode(self.encode(labels, flow), labels[:, -1], flow[:, -1], horizon, noise)

    @property
    def unit(self) -> Float[Tensor, ""]:
        """Return the scale of flow, 1 where none was measured."""
        return torch.where(self.flow_scale > 0, self.flow_scale, torch.ones_like(self.flow_scale))

    def encode(self, labels: Int64[Tensor, "b t h w"], flow: Float[Tensor, "b t-1 2 h w"]) -> State:
        """Return the state after the context (equation 1)."""
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
        """Predict from a state (equations 2 to 5); ``labels`` and ``flow`` are those of the last context frame."""
        height, width = labels.shape[-2:]
        hidden = state.hidden if noise is None else state.hidden + noise
        if self.options.noise_into == "both":
            state = State(hidden, state.cell)
        read = self.decoder.read(self.context(hidden))  # the same at every step
        base, masks = self._base(labels, flow)[:, None], one_hot(labels, self.options.classes).to(flow)
        every_log, every_flow = [], []
        for steps in self._together(horizon, len(labels) * height * width):
            hiddens = []
            for _ in range(steps):
                state = self.decoder(read, state)
                hiddens.append(state.hidden)
            embedded = self.embed(torch.stack(hiddens, dim=1).flatten(0, 1))
            logits = self.mask_head(embedded)[..., :height, :width]
            flows = self.flow_head(embedded).unflatten(1, (-1, 2))[..., :height, :width] * self.unit
            flows = flows.unflatten(0, (-1, steps)) + base
            if self.options.mask_residual == "carried":
                carried = []
                for of_step in flows.unbind(dim=1):
                    masks = _carried(masks, of_step)
                    carried.append(masks)
                logits = logits + _CERTAIN * torch.stack(carried, dim=1).flatten(0, 1)
                logits = logits + self.fusion(logits)
            else:
                logits = self.fusion(logits)
            every_log.append(logits.log_softmax(dim=1).unflatten(0, (-1, steps)))
            every_flow.append((every_log[-1].exp()[:, :, :, None] * flows).sum(dim=2))
        return torch.cat(every_log, dim=1), torch.cat(every_flow, dim=1)

    def _together(self, horizon: int, pixels: int) -> list[int]:
        """Return how many steps are decoded from their states at once: one after another where frames are large."""
        values = self.widths.groups * self.widths.hidden * pixels // self.options.latent_stride**2
        at_once = max(1, min(horizon, _VALUES_AT_ONCE // max(1, values)))
        return [min(at_once, horizon - k) for k in range(0, horizon, at_once)]

    def noise_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the shape of a clip's noise, for frames of that size: that of its state."""
        stride = self.options.latent_stride
        return self.widths.groups * self.widths.hidden, -(-height // stride), -(-width // stride)

    def _base(self, labels: Int64[Tensor, "b h w"], flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b _ 2 _ _"]:
        """Return what the decoded flow of each class is added to, in pixels."""
        if self.options.flow_residual == "none":
            return flow.new_zeros(len(flow), 1, 2, 1, 1)
        masks, means = class_flow(labels, flow, self.options.classes)
        return means if self.options.flow_residual == "class_mean" else torch.where(masks > 0, flow[:, None], means)


def class_flow(
    labels: Int64[Tensor, "b h w"], flow: Float[Tensor, "b 2 h w"], classes: int
) -> tuple[Float[Tensor, "b c 1 h w"], Float[Tensor, "b c 2 1 1"]]:
    """Return the mask of each class and the mean flow on it; of a class that is not there, the frame's."""
    masks = one_hot(labels, classes)[:, :, None]
    area = masks.sum(dim=(-2, -1), keepdim=True)
    means = (masks * flow[:, None]).sum(dim=(-2, -1), keepdim=True) / area.clamp(min=1)
    return masks, torch.where(area > 0, means, flow.mean(dim=(-2, -1), keepdim=True)[:, None])


def _carried(masks: Float[Tensor, "b c h w"], flows: Float[Tensor, "b _ 2 h w"]) -> Float[Tensor, "b c h w"]:
    """Return the masks, each warped along its class's flow; beyond the border, the border's."""
    shape = masks.shape
    flows = flows.expand(-1, shape[1], -1, -1, -1).flatten(0, 1)
    at = (grid(flows) + flows).movedim(1, -1)
    size = at.new_tensor([shape[-1] - 1, shape[-2] - 1]).clamp(min=1)
    return functional.grid_sample(
        masks.flatten(0, 1)[:, None], at * 2 / size - 1, padding_mode="border", align_corners=True
    ).view(shape)


def _head(groups: int, hidden: int, widths: tuple[int, int], outer: int, stride: int) -> nn.Sequential:
    """Return the layers from the embedding to images of frame size.

    At a stride of 4 each of the first two layers is followed by an upsampling, at 2 the last one is: convolutions of
    few channels per class are what a small model's time goes into.
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


def _zeroed(layers: nn.Sequential) -> None:
    """Let the last convolution begin with zeros."""
    last = [layer for layer in layers if isinstance(layer, nn.Conv2d)][-1]
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
