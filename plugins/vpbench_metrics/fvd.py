"""Frechet and kernel video distance: how far the clips of a model, as a set, are from the true ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vpbench.paths import weights_dirs
from vpbench.plugin.clip import Comparison
from vpbench.plugin.metric import MetricInfo, Setting
from vpbench.plugin.set_metric import FeatureSet, SetMetric
from vpbench.toolkit.weights import MissingWeightsError
from vpbench_metrics.distances import frechet_distance, kernel_distance
from vpbench_metrics.i3d import CLASSES, I3D, network_input
from vpbench_metrics.i3d_weights import I3D_NETWORK
from vpbench_metrics.precision import exact_float32

FEWEST_FRAMES = 10
FEWEST_CLIPS = CLASSES + 1
"""Clips from which on the covariance of the features is regular."""
_FVD = (
    "Unterthiner, van Steenkiste, Kurach, Marinier, Michalski, Gelly: "
    "Towards Accurate Generative Models of Video: A New Metric and Challenges, 2018, section 3"
)
_networks: dict[tuple[str | Path, ...], I3D] = {}


class I3DMetric(SetMetric):
    """Compare the logits of I3D, 400 per clip; all samples of a clip count as clips of their own (pooled)."""

    library = "torch"
    frames: ClassVar[int] = FEWEST_FRAMES
    """Frames that a clip must have."""
    with_context: ClassVar[bool] = False
    """True if a clip includes its context frames."""
    first: ClassVar[int | None] = None
    """Number of frames that are used; None uses all."""

    def why_not(self, setting: Setting) -> str:
        """Return what is lacking: modalities, frames, clips, or I3D's weights (which may have to be downloaded).

        Raises:
            DataError: the file of weights is broken.
        """
        if reason := super().why_not(setting) or self._too_few(setting):
            return reason
        try:
            self.network()
        except MissingWeightsError as error:
            return str(error)
        return ""

    def _too_few(self, setting: Setting) -> str:
        if setting.clips < 2:
            return f"needs 2 clips or more; this run has {setting.clips}"
        frames = setting.steps + (setting.context if self.with_context else 0)
        if frames >= self.frames:
            return ""
        if self.with_context:
            return (
                f"needs clips of {self.frames} frames or more; these have {setting.context} context and "
                f"{setting.steps} scored ones: take a protocol with a longer horizon"
            )
        helps = setting.steps + setting.context >= FEWEST_FRAMES
        return (
            f"needs {self.frames} scored frames or more; this protocol has {setting.steps}: take one with a horizon of "
            f"{self.frames} or more{', or fvd@context, which counts the context frames' if helps else ''}"
        )

    def obtain_weights(self) -> list[Path]:
        """Return I3D's file, which is downloaded if it is not here.

        Raises:
            DataError: it cannot be downloaded, or is broken.
        """
        return [I3D_NETWORK.obtain()]

    def network(self) -> I3D:
        """Return the network, one per device for all metrics (raises as :meth:`PublishedNetwork.load`)."""
        key = (self.device, *weights_dirs())
        if key not in _networks:
            with exact_float32("cpu"):
                _networks[key] = I3D_NETWORK.load().to(self.device)
        return _networks[key]

    def features(self, comparison: Comparison) -> tuple[Float[Tensor, "b 400"], Float[Tensor, "b 400"]]:
        """Return the logits of predicted and true clips."""
        predicted, true = comparison.frames
        key = f"vpbench_metrics.i3d.{'context' if self.with_context else 'future'}.{self.first}"
        context = comparison.context_frames if self.with_context else None
        return (
            comparison.cached(key, lambda: self._logits(context, predicted)),
            comparison.future.cached(key, lambda: self._logits(context, true)),
        )

    def _logits(self, context: Tensor | None, future: Float[Tensor, "b s 3 h w"]) -> Float[Tensor, "b 400"]:
        """Return the logits of clips, one after another: the result then does not depend on the batch."""
        clips = future if context is None else torch.cat([context.to(future.device), future], dim=1)
        with torch.no_grad(), exact_float32(self.device):
            network = self.network()
            logits = [network(network_input(clip[: self.first].to(self.device)))[0] for clip in clips]
        return torch.stack(logits)


class FVD(I3DMetric):
    """Frechet video distance of the future frames.

    It falls with the number of clips: compare only scores of as many clips and samples.
    """

    info = MetricInfo(
        name="fvd",
        revision=1,
        better="lower",
        decimals=1,
        summary="Frechet video distance of the future frames, I3D logits",
        source=_FVD,
    )

    def score(self, features: FeatureSet) -> dict[str, float]:
        """Return the distance of all samples together; ``trajectories`` is the mean over one sample per clip."""
        clips, samples, size = features.predicted.shape
        scores = {"score": frechet_distance(features.predicted.reshape(clips * samples, size), features.true)}
        if samples > 1:
            distances = [frechet_distance(features.predicted[:, i], features.true) for i in range(samples)]
            scores["trajectories"] = sum(distances) / samples
        return scores

    def caution(self, clips: int, samples: int) -> str:
        """Return a warning below 401 clips."""
        if clips >= FEWEST_CLIPS:
            return ""
        return (
            f"{clips} clips are fewer than the {FEWEST_CLIPS} that covariances of {CLASSES} features need: "
            f"{self.info.name} is biased upwards; compare it with scores of {clips} clips only, or use kvd"
        )


class ContextFVD(FVD):
    """Frechet video distance of context and future frames together; lower than ``fvd``, as the context is true."""

    info = replace(FVD.info, name="fvd@context", summary="Frechet video distance of context and future frames (MCVD)")
    with_context = True


class First16FVD(FVD):
    """Frechet video distance of the first 16 future frames."""

    info = replace(FVD.info, name="fvd@first16", summary="Frechet video distance of the first 16 future frames")
    frames = 16
    first = 16


class KVD(I3DMetric):
    """Kernel video distance of the future frames: unbiased, so it is usable with few clips; it may be below 0."""

    info = MetricInfo(
        name="kvd",
        revision=1,
        better="lower",
        summary="kernel video distance of the future frames, I3D logits, unbiased",
        source=_FVD + "; degree 3, gamma 1/400 and offset 1 as in Binkowski, Sutherland, Arbel, Gretton: Demystifying "
        "MMD GANs, ICLR 2018, section 4",
    )

    def score(self, features: FeatureSet) -> float:
        """Return the distance of all samples together."""
        clips, samples, size = features.predicted.shape
        return kernel_distance(features.predicted.reshape(clips * samples, size), features.true)
