"""The contract of a set metric: it compares all predicted clips with all true clips, as Frechet distances do.

A set metric maps each clip to a feature vector, and all vectors of a result to one score. Results keep the vectors, so
any sharding gives the same score, and anyone can compute it again without the data.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vpbench.plugin.metric import MetricMembers

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    from vpbench.plugin.clip import Comparison


@dataclass(frozen=True)
class FeatureSet:
    """The feature vectors of all clips of a result, as float32, in the order of the clips' ids."""

    predicted: NDArray[np.float32]
    """[clips, samples, D]; samples is 1 for a deterministic predictor."""
    true: NDArray[np.float32]
    """[clips, D]"""


class SetMetric(MetricMembers):
    """Score a set of clips; built as ``Class(device)``. A set metric must derive from this class.

    ``info`` is a :class:`MetricInfo`. A set metric has one score, without steps, interval or p-value, since the usual
    estimators are biased and resampling shifts them. Pages print the number of clips and samples next to it.
    :meth:`why_not` refuses runs that cannot be scored, by ``setting.context``, ``.steps``, ``.clips`` and ``.samples``.

    Example:
        >>> class MeanColour(vpbench.SetMetric):
        ...     info = vpbench.MetricInfo("mean-colour", revision=1, better="lower")
        ...     def features(self, comparison):
        ...         predicted, true = comparison.frames
        ...         return predicted.mean(dim=(1, 3, 4)), true.mean(dim=(1, 3, 4))
        ...     def score(self, features):
        ...         return float(abs(features.predicted.mean(axis=(0, 1)) - features.true.mean(axis=0)).sum())
    """

    @abstractmethod
    def features(self, comparison: Comparison) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
        """Return the features of the predicted and of the true clips: finite vectors of one length, kept as float32.

        The harness calls it once per batch and sample. ``comparison.frames`` holds every scored step, and
        ``comparison.context_frames`` the frames before them. Cache features of the truth with
        ``comparison.future.cached``: they serve all samples, all predictors, and other set metrics with the same key.
        Cache features of the prediction that several set metrics share with ``comparison.cached``.
        """

    @abstractmethod
    def score(self, features: FeatureSet) -> float | dict[str, float]:
        """Return the score of all clips; deterministic, in numpy, without torch and without the data.

        A dict has the key ``"score"`` and may add named details. NaN means undefined.
        """

    def caution(self, clips: int, samples: int) -> str:
        """Return why so few clips or samples give a doubtful score; "" if they are enough.

        A run warns with this text, and pages print it below the score.
        """
        return ""
