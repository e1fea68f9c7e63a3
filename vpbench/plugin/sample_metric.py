"""The contract of a sample metric: it sees all samples of a clip together with the truth, as CRPS and diversity do."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from vpbench.plugin.metric import MeanScore, Metric, MetricMembers, PooledScore, Statistic, StepMetric, Undefined, Value
from vpbench.plugin.set_metric import SetMetric

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    from vpbench.plugin.clip import Future, Prediction


@dataclass(frozen=True)
class SampleComparison:
    """All N samples of one clip, and its truth, at the S scored steps. The tensors are copies."""

    samples: Prediction
    """The predictions of the clip: the first axis of each tensor is the sample, so frames are [N,S,3,H,W]."""
    future: Future
    """The truth, a batch of one clip."""

    @property
    def frames(self) -> tuple[Float[Tensor, "n s 3 h w"], Float[Tensor, "s 3 h w"]]:
        """Return the frames of all samples and the true frames."""
        assert self.samples.frames is not None  # a metric of frames is not asked where none are predicted
        return self.samples.frames, self.future.frames[0]


class SampleMetric(MetricMembers):
    """Declare a metric that sees all samples of a clip; derive from :class:`SampleMean` or :class:`SampleCounts`.

    ``info`` is a :class:`MetricInfo`, and the class is built as ``Class(device)``. A deterministic predictor has one
    sample per clip.
    """

    @abstractmethod
    def measure_samples(self, comparison: SampleComparison) -> Sequence[Statistic | Value | Undefined]:
        """Return one statistic per scored step of the clip: JSON-able, finite.

        The harness calls it once per clip. Return :class:`Undefined` for a step that has no value, for example if the
        clip has a single sample.
        """

    @abstractmethod
    def finalise(self, statistics: Sequence[Statistic]) -> float | dict[str, float]:
        """Return the score of one step, as :meth:`StepMetric.finalise`."""

    @abstractmethod
    def resample(self, statistics: Sequence[Sequence[Statistic]], draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the scores of R resamples of recordings, as :meth:`StepMetric.resample`."""


class SampleMean(MeanScore, SampleMetric):
    """A float per clip and step; the score of a step is the mean over all clips that have one.

    Example:
        >>> class Spread(vpbench.SampleMean):
        ...     info = vpbench.MetricInfo("spread", revision=1, better="higher")
        ...     def measure_samples(self, comparison):
        ...         samples, _ = comparison.frames
        ...         return samples.var(dim=0, correction=0).mean(dim=(1, 2, 3)).tolist()
    """


class SampleCounts(PooledScore, SampleMetric):
    """Integers per clip and step that are summed over all clips before :meth:`ratio` makes them a score."""


AnyMetric: TypeAlias = Metric | SetMetric | SampleMetric


def frame_metrics(metrics: Mapping[str, AnyMetric]) -> dict[str, Metric]:
    """Return the metrics that score each predicted frame, by name."""
    return {name: metric for name, metric in metrics.items() if not isinstance(metric, SetMetric | SampleMetric)}


def sample_metrics(metrics: Mapping[str, AnyMetric]) -> dict[str, SampleMetric]:
    """Return the metrics that score all samples of a clip together, by name."""
    return {name: metric for name, metric in metrics.items() if isinstance(metric, SampleMetric)}


def set_metrics(metrics: Mapping[str, AnyMetric]) -> dict[str, SetMetric]:
    """Return the metrics that score a set of clips, by name."""
    return {name: metric for name, metric in metrics.items() if isinstance(metric, SetMetric)}


def step_metrics(metrics: Mapping[str, AnyMetric]) -> dict[str, StepMetric]:
    """Return the metrics that have a score per step, by name."""
    return {name: metric for name, metric in metrics.items() if not isinstance(metric, SetMetric)}
