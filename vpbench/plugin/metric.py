"""The contract of a metric, and the two bases that cover nearly all of them.

A metric maps each predicted frame to a small *sufficient statistic* and a set of statistics to a score. Statistics are
kept, so any sharding gives the same score, intervals and paired tests come free, and anyone can audit the number.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Integral
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

from vpbench.errors import MetricError, PluginError
from vpbench.names import is_metric
from vpbench.plugin.modality import check_modalities

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from vpbench.plugin.clip import Comparison, LabelSpace, Modality

Better: TypeAlias = Literal["higher", "lower"] | float
"""Which scores are better: higher ones, lower ones, or those closer to a value (``1.0`` for a ratio)."""


Number = TypeVar("Number", float, "NDArray[np.float64]")


def cost(score: Number, better: Better) -> Number:
    """Return a number that is lower for the better of two scores; an array for an array."""
    if isinstance(better, str):
        return -score if better == "higher" else score
    return abs(score - better)


def better_text(better: Better) -> str:
    """Return a metric's direction as pages print it, for example "closer to 1 is better"."""
    return f"{better if isinstance(better, str) else f'closer to {better:g}'} is better"


@dataclass(frozen=True)
class Undefined:
    """The metric has no value for this frame; the reason is stored and counted."""

    reason: str


@dataclass(frozen=True)
class Value:
    """A value with a ``note`` (``"floored"``) that the summary counts."""

    value: float
    note: str


Statistic: TypeAlias = float | Sequence[float] | Sequence[int]
Measurements: TypeAlias = Sequence[Sequence[Statistic | Value | Undefined]]
"""[clip][scored step]"""


@dataclass(frozen=True)
class MetricInfo:
    """Describe a metric to the harness and its pages."""

    name: str
    revision: int
    """Raised whenever the same frames could give another statistic."""
    better: Better
    """``"higher"``, ``"lower"``, or the value that scores should be close to."""
    summary: str = ""
    unit: str = ""
    decimals: int = 4
    """Digits on the pages; files hold everything."""
    needs: tuple[Modality, ...] = ("frames",)
    """Modalities that both the prediction and the truth must have."""
    truth: tuple[Modality, ...] = ()
    """Further modalities of the truth alone."""
    source: str = ""

    def __post_init__(self) -> None:
        """Check what pages rely on.

        Raises:
            PluginError: names the field.
        """
        check_modalities(self, "needs", "truth")
        if not is_metric(self.name):
            raise PluginError(
                f"MetricInfo: the name {self.name[:100]!r}: a name holds letters, digits and _ . + = @ - only"
            )
        if not 0 <= self.decimals <= 15:
            raise PluginError(f"MetricInfo: decimals must be 0 to 15, not {self.decimals}")
        if self.better not in ("higher", "lower") and not _is_finite(self.better):
            raise PluginError(f'MetricInfo: better must be "higher", "lower" or a finite number, not {self.better!r}')
        if self.revision < 0:
            raise PluginError(f"MetricInfo: revision must be 0 or more, not {self.revision}")


@dataclass(frozen=True)
class Setting:
    """Facts about a run before it begins: (H, W) where the protocol fixes it, and who has which modality."""

    size: tuple[int, int] | None
    truth: frozenset[str]
    outputs: frozenset[str]
    label_space: LabelSpace | None = None
    label_size: tuple[int, int] | None = None
    """(H, W) of labels, true and predicted, where the protocol gives them another than the frames'."""
    context: int = 1
    """Context frames of a clip."""
    steps: int = 1
    """Scored steps of a clip."""
    clips: int = 1
    samples: int = 1
    """Predictions per clip."""


class StepMetric(Protocol):
    """Score each step from its statistics: members that metrics of frames and of samples share."""

    @property
    def info(self) -> MetricInfo:
        """Name, revision, direction (a class attribute does)."""

    def why_not(self, setting: Setting) -> str:
        """Return why it cannot apply at all ("needs 161 pixels or more per side"), or "" where it can."""

    def finalise(self, statistics: Sequence[Statistic]) -> float | dict[str, float]:
        """Return the score of one step from all its statistics; the order must not matter; no torch.

        A dict has the key ``"score"`` and may add named details; one called ``"class <id>"`` stands in the summary
        under the name that the dataset gives the class. NaN means undefined.
        """

    def resample(self, statistics: Sequence[Sequence[Statistic]], draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the scores of R resamples of recordings, for intervals and tests.

        The score of a resample is what :meth:`finalise` makes of all statistics of the recordings in it. The harness
        checks this on the resample that holds every recording once.

        Args:
            statistics: [recording][frame], of one step: all that the clips and samples of a recording have.
            draws: [R, n] indices of recordings; an index may occur several times.

        Returns:
            The scores, [R], float64; NaN where a score is undefined.
        """


@runtime_checkable
class Metric(StepMetric, Protocol):
    """Measure predictions: a class built as ``Class(device)``. :class:`BaseMetric` declares the optional members."""

    def measure(self, comparison: Comparison) -> Measurements:
        """Return one statistic per clip and scored step: JSON-able, finite."""


class MetricMembers(ABC):
    """Declare the optional members that metrics of every kind share."""

    info: MetricInfo
    library: str = ""
    """Name of the library that computes the statistics, such as ``torch``; results record it."""
    has_interval: ClassVar[bool] = True
    """False for a biased estimator: resampling shifts it, so its scores get no percentile interval."""
    engines: ClassVar[tuple[str, ...]] = ()
    """Ways to compute the statistics, the default first; the class is also built as ``Class(device, engine=NAME)``."""

    derived_from: ClassVar[str] = ""
    """Name of the metric that decides the value of each frame by :meth:`derive`, as MSE decides PSNR; "" if none does.
    Pages warn of results that contradict it."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def derive(self, value: float) -> float:
        """Return the value of a frame that follows from the frame's value of the metric ``derived_from``."""
        raise NotImplementedError

    def why_not(self, setting: Setting) -> str:
        """Return what prediction or truth lacks of ``info.needs`` and ``info.truth``."""
        for modality in (*self.info.needs, *self.info.truth):
            if modality not in setting.truth:
                return f"the dataset has no {modality}"
        for modality in self.info.needs:
            if modality not in setting.outputs:
                return f"the predictor gives no {modality}"
        return ""

    def obtain_weights(self) -> Sequence[Path]:
        """Download the weights that are not here yet, and return the files of all weights.

        Raises:
            DataError: weights cannot be downloaded, or are broken.
        """
        return ()


class BaseMetric(MetricMembers):
    """Declare the optional members of a metric; derive from :class:`ClipMean` or :class:`PooledCounts` if one fits.

    Example:
        >>> class Brightness(vpbench.ClipMean):
        ...     info = vpbench.MetricInfo("brightness", revision=1, better="lower")
        ...     def measure(self, comparison):
        ...         predicted, true = comparison.frames
        ...         return (predicted.mean(dim=(2, 3, 4)) - true.mean(dim=(2, 3, 4))).abs().tolist()
    """

    @abstractmethod
    def measure(self, comparison: Comparison) -> Measurements:
        """Return one statistic per clip and scored step."""


class MeanScore:
    """Score a step by the mean of its statistics, floats."""

    def finalise(self, statistics: Sequence[Statistic]) -> float:
        """Return the mean; exactly rounded, so the order of frames cannot matter."""
        return math.fsum(statistics) / len(statistics) if statistics else math.nan  # type: ignore[arg-type]

    def resample(self, statistics: Sequence[Sequence[Statistic]], draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the mean over all frames of each resample, [R]: the sum over recordings by the number of frames."""
        import numpy as np

        sums = np.array([math.fsum(recording) for recording in statistics], dtype=np.float64)  # type: ignore[arg-type]
        counts = np.array([len(recording) for recording in statistics], dtype=np.float64)
        equal = bool((counts == counts[0]).all())  # the usual case, in half the time
        frames = counts[0] * draws.shape[1] if equal else counts[draws].sum(axis=1)
        return np.asarray(sums[draws].sum(axis=1) / frames)


class PooledScore(ABC):
    """Score a step by the sum of its statistics, lists of integers, of which :meth:`ratio` makes a score."""

    info: MetricInfo

    @abstractmethod
    def ratio(self, counts: NDArray[np.int64]) -> dict[str, float]:
        """Return the score, under ``"score"``, and details from summed counts, [n] (NaN: undefined)."""

    def finalise(self, statistics: Sequence[Statistic]) -> dict[str, float]:
        """Return the score of the summed counts.

        Raises:
            MetricError: a statistic is not a list of integers, or not as long as the others.
        """
        if not statistics:
            return {"score": math.nan}
        return self.ratio(self._counts(statistics).sum(axis=0))

    def resample(self, statistics: Sequence[Sequence[Statistic]], draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the pooled score of each resample, [R]."""
        import numpy as np

        recordings = self._counts([self._counts(frames).sum(axis=0) for frames in statistics], draws.shape[1])
        return np.array([self.ratio(recordings[draw].sum(axis=0))["score"] for draw in draws], dtype=np.float64)

    def _counts(self, statistics: Sequence[Statistic], summands: int = 0) -> NDArray[np.int64]:
        """Return the counts, [statistics, n], if the sum of ``summands`` of them (default: of all) fits into 64 bits.

        Raises:
            MetricError: a statistic holds something else than integers, or another number of them; the sum overflows.
        """
        import numpy as np

        if not all(hasattr(counts, "__len__") for counts in statistics):
            raise self._refused("a number alone", "a list of integers")
        kinds = {kind for kind in map(type, chain.from_iterable(statistics)) if not _is_integer(kind)}  # type: ignore[arg-type]
        if kinds:
            names = " and ".join(sorted(kind.__name__ for kind in kinds))
            raise self._refused(f"values of type {names}", "integers (a mean of floats is a ClipMean)")
        lengths = sorted({len(counts) for counts in statistics})  # type: ignore[arg-type]
        if len(lengths) > 1:
            raise self._refused(f"{lengths[0]} counts for one frame, {lengths[-1]} for another", "as many for each")
        try:
            counts = np.array(statistics, dtype=np.int64)
        except OverflowError:
            raise self._refused("a count beyond 64 bits", "smaller counts") from None
        largest = max(int(counts.max(initial=0)), -int(counts.min(initial=0)))
        if largest * (summands or len(statistics)) >= 2**63:
            raise self._refused(f"counts up to {largest:.3g}, whose sum is beyond 64 bits", "smaller counts")
        return counts

    def _refused(self, problem: str, remedy: str) -> MetricError:
        return MetricError(f"metric {self.info.name!r} sums counts, but its statistics hold {problem}: return {remedy}")


class ClipMean(MeanScore, BaseMetric):
    """A float per frame; the score is the mean over all frames (of every clip and sample) that have one."""


class PooledCounts(PooledScore, BaseMetric):
    """Integers per frame that are summed over all frames before :meth:`ratio` makes them a score."""


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(kind: type) -> bool:
    return issubclass(kind, Integral) and not issubclass(kind, bool)  # numpy's integers too; its bool is none
