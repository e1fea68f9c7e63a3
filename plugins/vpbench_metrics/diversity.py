"""Diversity: the mean distance between two samples of a clip, as MSE and as LPIPS.

Both distances are (weighted) squared differences. Their mean over all pairs of N samples is twice the sample variance,

    2/(N (N - 1)) sum_{i<j} (x_i - x_j)^2 = 2/(N - 1) sum_i (x_i - mean)^2,

so the cost grows with N, not with the number of pairs.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vpbench.plugin.metric import MetricInfo, Setting, Undefined
from vpbench.plugin.sample_metric import SampleComparison, SampleMean
from vpbench_metrics.frames import too_small
from vpbench_metrics.perceptual import LPIPS, unit_features
from vpbench_metrics.precision import exact_float32

_SINGLE = Undefined("a distance between samples needs 2 samples or more per clip")


class DiversityMSE(SampleMean):
    """Mean squared error between two samples of a clip, averaged over all pairs. It does not look at the truth."""

    info = MetricInfo(
        name="diversity-mse",
        revision=1,
        better="higher",
        decimals=5,
        summary="mean MSE between two samples of a clip",
    )
    library = "torch"

    def measure_samples(self, comparison: SampleComparison) -> list[float | Undefined]:
        """Return the mean over all pairs, per step."""
        samples, true = comparison.frames
        if len(samples) < 2:
            return [_SINGLE for _ in true]
        return [float(pair_mean(samples[:, step].double()).cpu().numpy().mean()) for step in range(len(true))]


class DiversityLPIPS(SampleMean):
    """LPIPS between two samples of a clip, averaged over all pairs. It does not look at the truth."""

    info = MetricInfo(
        name="diversity-lpips",
        revision=1,
        better="higher",
        summary="mean LPIPS between two samples of a clip",
        source="BicycleGAN: Zhu et al.: Toward Multimodal Image-to-Image Translation, 2017, section 5.1; "
        f"{LPIPS.info.source}",
    )
    library = "torch"

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        self._lpips = LPIPS(device)

    def why_not(self, setting: Setting) -> str:
        """Return what is lacking: modalities, pixels, or LPIPS's backbone (raises as :meth:`LPIPS.why_not`)."""
        return super().why_not(setting) or self._lpips.why_not(setting)

    def obtain_weights(self) -> list[Path]:
        """Return the backbone's file, downloaded if it is not here (raises as :meth:`LPIPS.obtain_weights`)."""
        return self._lpips.obtain_weights()

    def measure_samples(self, comparison: SampleComparison) -> list[float | Undefined]:
        """Return the mean over all pairs, per step.

        Raises:
            DataError: the backbone's file is missing or broken.
        """
        samples, true = comparison.frames
        if len(samples) < 2:
            return [_SINGLE for _ in true]
        height, width = true.shape[-2:]
        if reason := too_small((height, width), self._lpips.smallest):
            return [Undefined(reason) for _ in true]
        with torch.no_grad(), exact_float32(self.device):
            return [self._between(samples[:, step].to(self.device)) for step in range(len(true))]

    def _between(self, frames: Float[Tensor, "n 3 h w"]) -> float:
        network = self._lpips.network()
        layers = zip(network.weights, unit_features(network, frames, scaled=True), strict=True)
        return float(sum((pair_mean(layer).mean(dim=(1, 2)) @ weights).item() for weights, layer in layers))


def pair_mean(samples: Float[Tensor, " n *shape"]) -> Float[Tensor, "*shape"]:
    """Return the mean squared difference between two samples, over all pairs."""
    return 2 * samples.var(dim=0, correction=1)
