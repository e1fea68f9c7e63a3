"""LPIPS v0.1 with the AlexNet backbone, through the ``lpips`` package."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import lpips
import torch
from jaxtyping import Float
from torch import Tensor

from vpbench.errors import MetricError
from vpbench.plugin.clip import Comparison
from vpbench.plugin.metric import ClipMean, Measurements, MetricInfo, Setting, Undefined
from vpbench_metrics.backbone import find_or_download
from vpbench_metrics.frames import too_small

__all__ = ["LPIPS", "SMALLEST"]

SMALLEST = 31
"""Pixels per side below which AlexNet's second pooling has nothing left to pool."""
_PIXELS_AT_ONCE = 2**18
_CHECK = 0.51094  # the distance of _check_pair, with the backbone that gives the published example (0.722, 0.138)
Features = list[Tensor]
"""Of n frames, after each of the five ReLUs, [n,C,H',W'], of unit length along C."""


class LPIPS(ClipMean):
    """Learned perceptual image patch similarity, v0.1, AlexNet, non-spatial; frames are scaled from [0,1] to [-1,1].

    The true frames' features are computed once per batch, for all predictors (about 36 bytes per pixel of truth). The
    backbone is looked for, or downloaded, when it is first asked for: see :mod:`vpbench_metrics.backbone`.
    """

    info = MetricInfo(
        name="lpips",
        revision=1,
        higher_is_better=False,
        summary="LPIPS v0.1, AlexNet, RGB scaled to [-1,1]",
        source="Zhang, Isola, Efros, Shechtman, Wang: The Unreasonable Effectiveness of Deep Features as a Perceptual "
        "Metric, CVPR 2018, equation 1",
    )
    engine = "lpips"

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        self._found: lpips.LPIPS | str | None = None

    def why_not(self, setting: Setting) -> str:
        """Return what is lacking: modalities, pixels, or the backbone (asked for last: it may have to be downloaded).

        Raises:
            MetricError: a file with the backbone's name does not hold it.
        """
        if reason := super().why_not(setting) or too_small(setting.size, SMALLEST):
            return reason
        network = self._network()
        return network if isinstance(network, str) else ""

    def measure(self, comparison: Comparison) -> Measurements:
        """Return the LPIPS of each frame, 0 or more.

        Raises:
            MetricError: the backbone cannot be had, or a file with its name does not hold it.
        """
        predicted, true = comparison.frames
        if reason := too_small((predicted.shape[-2], predicted.shape[-1]), SMALLEST):
            return [[Undefined(reason)] * predicted.shape[1] for _ in predicted]
        network = self._network()
        if isinstance(network, str):
            raise MetricError(f"lpips: {network}")
        with torch.no_grad():
            truth = comparison.future.cached(
                "vpbench_metrics.lpips.features",
                lambda: [[_features(network, part) for part in self._parts(clip)] for clip in true],
            )
            return [
                torch.cat(
                    [
                        _distance(network, _features(network, part), known)
                        for part, known in zip(self._parts(clip), features, strict=True)
                    ]
                ).tolist()
                for clip, features in zip(predicted, truth, strict=True)
            ]

    def _parts(self, clip: Float[Tensor, "s 3 h w"]) -> Iterator[Float[Tensor, "n 3 h w"]]:
        """Yield a clip's frames in parts of bounded memory that do not depend on the batch, on the metric's device."""
        count = max(1, _PIXELS_AT_ONCE // (clip.shape[-2] * clip.shape[-1]))
        return (part.to(self.device) for part in clip.split(count))

    def _network(self) -> lpips.LPIPS | str:
        if self._found is None:
            found = find_or_download()
            self._found = found if isinstance(found, str) else _build(*found).to(self.device)
        return self._found


def _build(path: Path, backbone: Mapping[str, Tensor]) -> lpips.LPIPS:
    """Return the network with the backbone from ``path`` and the linear layers that ``lpips`` ships.

    Raises:
        MetricError: the file's tensors have the right shapes but are not the ImageNet AlexNet's.
    """
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # it draws 61 million weights that go unused
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False).eval().requires_grad_(False)
    convolutions = network.net.state_dict()
    for key in convolutions:  # "slice2.3.weight" is torchvision's "features.3.weight"
        convolutions[key] = backbone["features." + key.split(".", 1)[1]]
    network.net.load_state_dict(convolutions)
    one, other = (_features(network, image[None]) for image in _check_pair())
    distance = _distance(network, one, other).item()
    if not math.isclose(distance, _CHECK, rel_tol=1e-3):
        raise MetricError(
            f"{path}: LPIPS of a known pair is {distance:.4f} with it, not {_CHECK:.4f}, so it is not the ImageNet "
            f"AlexNet; replace or remove it"
        )
    return network


def _check_pair() -> Float[Tensor, "2 3 h w"]:
    ramp = torch.linspace(0.0, 1.0, 64).expand(3, 64, 64)
    return torch.stack([ramp, ramp.mT])


def _features(network: lpips.LPIPS, frames: Float[Tensor, "n 3 h w"]) -> Features:
    return [lpips.normalize_tensor(layer) for layer in network.net(network.scaling_layer(2.0 * frames - 1.0))]


def _distance(network: lpips.LPIPS, one: Features, other: Features) -> Float[Tensor, " n"]:
    """Return equation 1 of the paper: weighted squared differences, averaged over positions, summed over layers."""
    layers = zip(network.lins, one, other, strict=True)
    return torch.stack([weigh((a - b).square()).mean(dim=(1, 2, 3)) for weigh, a, b in layers]).sum(dim=0)
