"""LPIPS v0.1, in an order that suits caches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vpbench.paths import weights_dirs
from vpbench.plugin.clip import Comparison
from vpbench.plugin.metric import ClipMean, Measurements, MetricInfo, Setting, Undefined
from vpbench.toolkit.lpips_network import EPSILON, NETWORKS, BackboneName, LPIPSNetwork, lpips_network
from vpbench.toolkit.weights import MissingWeightsError
from vpbench_metrics.frames import everywhere, too_small
from vpbench_metrics.precision import exact_float32

_PIXELS_AT_ONCE = 2**19  # 32 frames of 128x128: fewer would wait for the weights, more would leave the cache
_BYTES_KEPT = 512 << 20
_networks: dict[tuple[str | Path, ...], LPIPSNetwork] = {}
Features = list[Tensor]
"""Features of n frames after each of the five ReLUs, [n,C,H',W'], of unit length along C."""
Maps = list[Tensor]
"""Weighted squared distances of n frames' features in each layer, [n,H',W']."""


class LPIPS(ClipMean):
    """Learned perceptual image patch similarity, v0.1, AlexNet, non-spatial; frames are scaled from [0,1] to [-1,1].

    The true frames' features are computed once per batch, for all predictors (36 bytes per pixel; at most 512 MiB are
    kept, beyond that they are computed for each). The backbone is looked for, or downloaded, when it is first asked
    for: see :mod:`vpbench.toolkit.lpips_network`.
    """

    info = MetricInfo(
        name="lpips",
        revision=1,
        better="lower",
        summary="LPIPS v0.1, AlexNet, RGB scaled to [-1,1]",
        source="Zhang, Isola, Efros, Shechtman, Wang: The Unreasonable Effectiveness of Deep Features as a Perceptual "
        "Metric, CVPR 2018, equation 1",
    )
    library = "torch"
    scaled: ClassVar[bool] = True
    """Whether frames are scaled to [-1,1] first."""
    backbone: ClassVar[BackboneName] = "alex"
    smallest: ClassVar[int] = 31
    """Pixels per side below which a pooling of the backbone has nothing left to pool."""

    def why_not(self, setting: Setting) -> str:
        """Return what is lacking: modalities, pixels, or the backbone (asked for last: it may have to be downloaded).

        Raises:
            DataError: the backbone's file is broken.
        """
        if reason := super().why_not(setting) or too_small(setting.size, self.smallest):
            return reason
        try:
            self.network()
        except MissingWeightsError as error:
            return str(error)
        return ""

    def obtain_weights(self) -> list[Path]:
        """Return the backbone's file, which is downloaded if it is not here.

        Raises:
            DataError: it cannot be downloaded, or is broken.
        """
        self.network()
        return [NETWORKS[self.backbone].obtain()]

    def measure(self, comparison: Comparison) -> Measurements:
        """Return the LPIPS of each frame, 0 or more.

        Raises:
            DataError: the backbone's file is missing or broken.
        """
        clips, steps, _, height, width = comparison.future.frames.shape
        if reason := too_small((height, width), self.smallest):
            return everywhere(comparison, Undefined(reason))
        means = [torch.stack([layer.mean(dim=(1, 2)) for layer in maps]).sum(dim=0) for maps in self.maps(comparison)]
        return torch.cat(means).reshape(clips, steps).tolist()

    def spatial(self, comparison: Comparison) -> Iterator[Float[Tensor, "h w"]]:
        """Yield LPIPS of each pixel, frame by frame, clip by clip: what ``lpips`` gives with ``spatial=True``."""
        size = tuple(comparison.future.frames.shape[-2:])
        for maps in self.maps(comparison):
            yield from (_enlarge([layer[i] for layer in maps], size) for i in range(len(maps[0])))

    def maps(self, comparison: Comparison) -> list[Maps]:
        """Return the maps of all frames, in parts of one or more frames; computed once per prediction.

        Raises:
            DataError: the backbone's file is missing or broken.
        """
        network = self.network()
        key = f"vpbench_metrics.lpips.{self.backbone}.{'scaled' if self.scaled else 'unscaled'}"
        return comparison.cached(
            key, lambda: self._maps(network, comparison, comparison.future.cached(key, _FeatureCache))
        )

    def network(self) -> LPIPSNetwork:
        """Return the network, one per device for all metrics (raises as :func:`lpips_network`)."""
        key = (self.backbone, self.device, *weights_dirs())
        if key not in _networks:
            with exact_float32("cpu"):
                _networks[key] = lpips_network(self.backbone).to(self.device, memory_format=torch.channels_last)
        return _networks[key]

    def _maps(self, network: LPIPSNetwork, comparison: Comparison, cache: _FeatureCache) -> list[Maps]:
        predicted, true = comparison.frames
        clips, steps, _, height, width = true.shape
        count, at_once = clips * steps, max(1, _PIXELS_AT_ONCE // (height * width))

        def take(frames: Tensor, start: int) -> Float[Tensor, "n 3 h w"]:
            part = [frames[i // steps, i % steps] for i in range(start, min(start + at_once, count))]
            return torch.stack(part).to(self.device)

        maps = []
        with torch.no_grad(), exact_float32(self.device):
            for start in range(0, count, at_once):
                features = cache.get(start, lambda start=start: unit_features(network, take(true, start), self.scaled))
                maps.append(_differences(network, take(predicted, start), features, self.scaled))
        return maps


class PredRNNLPIPS(LPIPS):
    """LPIPS of predrnn-pytorch, which feeds frames in [0,1] to a network that was made for [-1,1]."""

    info = MetricInfo(
        name="lpips@predrnn",
        revision=1,
        better="lower",
        summary="LPIPS v0.1, AlexNet, fed [0,1] unscaled, as predrnn-pytorch prints it",
        source="predrnn-pytorch, core/trainer.py",
    )
    scaled = False


class VGGLPIPS(LPIPS):
    """LPIPS v0.1 with the VGG-16 backbone, which costs about ten times as much (488 bytes of features per pixel)."""

    info = MetricInfo(
        name="lpips@vgg",
        revision=1,
        better="lower",
        summary="LPIPS v0.1, VGG-16, RGB scaled to [-1,1]",
        source="Zhang, Isola, Efros, Shechtman, Wang: The Unreasonable Effectiveness of Deep Features as a Perceptual "
        "Metric, CVPR 2018, equation 1; the package lpips with net='vgg'",
    )
    backbone = "vgg"
    smallest = 16


@dataclass
class _FeatureCache:
    """Features of true frames, kept for the next predictor while they fit into a bounded memory."""

    features: dict[int, Features] = field(default_factory=dict)
    size: int = 0

    def get(self, key: int, make: Callable[[], Features]) -> Features:
        if key in self.features:
            return self.features[key]
        features = make()
        size = sum(layer.nbytes for layer in features)
        if self.size + size <= _BYTES_KEPT:
            self.features[key] = features
            self.size += size
        return features


def _layers(network: LPIPSNetwork, frames: Float[Tensor, "n 3 h w"], scaled: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what leaves each ReLU, [n,C,H',W'], and its length along C, [n,1,H',W']."""
    shift, scale = network.shift, network.scale
    offset, gain = ((-1.0 - shift) / scale, 2.0 / scale) if scaled else (-shift / scale, 1.0 / scale)
    inputs = torch.addcmul(offset, frames.contiguous(memory_format=torch.channels_last), gain)
    for layer in network.net(inputs):
        yield layer, torch.linalg.vector_norm(layer, dim=1, keepdim=True).add_(EPSILON)


def unit_features(network: LPIPSNetwork, frames: Float[Tensor, "n 3 h w"], scaled: bool) -> Features:
    """Return the features of frames after each ReLU, of unit length along the channels."""
    return [layer.div_(length) for layer, length in _layers(network, frames, scaled)]


def _differences(network: LPIPSNetwork, frames: Float[Tensor, "n 3 h w"], features: Features, scaled: bool) -> Maps:
    """Return equation 1 of the paper before its mean over positions: weighted squared differences of each layer."""
    layers = zip(network.weights, _layers(network, frames, scaled), features, strict=True)
    return [
        _weigh(torch.addcdiv(truth, layer, length, value=-1), weights) for weights, (layer, length), truth in layers
    ]


def _weigh(difference: Float[Tensor, "n c h w"], weights: Float[Tensor, " c"]) -> Float[Tensor, "n h w"]:
    return difference.square_().permute(0, 2, 3, 1) @ weights


def _enlarge(maps: Maps, size: tuple[int, int]) -> Float[Tensor, "h w"]:
    """Return the sum of one frame's maps, each enlarged to the frame's size as ``lpips`` does it."""
    enlarged = [F.interpolate(m[None, None], size, mode="bilinear", align_corners=False) for m in maps]
    return torch.stack(enlarged).sum(dim=0)[0, 0]
