"""Scores of the distribution that N samples of a clip stand for: CRPS, energy score, and the rank of the truth.

All are computed in float64. Sums over pixels run in numpy, so no value depends on the number of threads.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vpbench.plugin.metric import MetricInfo, Undefined
from vpbench.plugin.sample_metric import SampleComparison, SampleCounts, SampleMean

_GNEITING_RAFTERY = (
    "Gneiting and Raftery: Strictly Proper Scoring Rules, Prediction, and Estimation, Journal of the American "
    "Statistical Association 102, 2007"
)
_FERRO = "estimator: Ferro: Fair scores for ensemble forecasts, Quarterly Journal 140, 2014"


class CRPS(SampleMean):
    """Continuous ranked probability score of each value of a frame, averaged over the frame, in [0,1] units.

    For samples x_1 .. x_N and a true value y, the fair (unbiased) estimate is

        1/N sum_i |x_i - y| - 1/(2 N (N - 1)) sum_{i,j} |x_i - x_j|.

    Its expectation does not depend on N, and it may be below 0. One sample has no second term: the score is then the
    mean absolute error.
    """

    info = MetricInfo(
        name="crps",
        revision=1,
        better="lower",
        decimals=5,
        summary="continuous ranked probability score per value, fair estimator; MAE for one sample",
        source=f"{_GNEITING_RAFTERY}, equation 21; {_FERRO}",
    )
    library = "torch"

    def measure_samples(self, comparison: SampleComparison) -> list[float]:
        """Return the mean over the values of each frame."""
        samples, true = comparison.frames
        return [_mean(crps(samples[:, step].double(), true[step].double())) for step in range(len(true))]


class EnergyScore(SampleMean):
    """Energy score of whole frames: CRPS with the distance between two frames in place of two values.

    The distance d is the root mean square difference over the values of a frame, so sizes compare. For samples
    x_1 .. x_N and the true frame y, the fair (unbiased) estimate is

        1/N sum_i d(x_i, y) - 1/(2 N (N - 1)) sum_{i,j} d(x_i, x_j).

    One sample has no second term: the score is then the root mean square error.
    """

    info = MetricInfo(
        name="energy",
        revision=1,
        better="lower",
        summary="energy score of whole frames, fair estimator; RMSE for one sample",
        source=f"{_GNEITING_RAFTERY}, equation 22; {_FERRO}",
    )
    library = "torch"

    def measure_samples(self, comparison: SampleComparison) -> list[float]:
        """Return the score of each frame."""
        samples, true = comparison.frames
        return [energy_score(samples[:, step].double(), true[step].double()) for step in range(len(true))]


class TruthRank(SampleCounts):
    """Rank histogram of the truth among the samples (Talagrand diagram): flat for a calibrated predictor.

    Each value of the frame ranks the truth and the N samples; ties share the mean of their ranks. The rank of a true
    frame is the number of samples whose mean rank over all values is lower, 0 to N. Among equal mean ranks, a number
    from the clip's name and the step decides. The histogram is flat if truth and samples are exchangeable.

    The score is the reliability index: the sum over ranks of |fraction of frames - 1/(N + 1)|. It is above 0 for few
    frames, so compare only scores of equally many clips and samples. The details hold the histogram.
    """

    info = MetricInfo(
        name="truth-rank",
        revision=1,
        better="lower",
        summary="deviation of the truth's rank histogram from a flat one; details: the histogram",
        source="average rank: Thorarinsdottir, Scheuerer, Heinz: Assessing the Calibration of High-Dimensional "
        "Ensemble Forecasts Using Rank Histograms, 2016, section 3; reliability index: Delle Monache et al.: "
        "Probabilistic Aspects of Meteorological and Ozone Regional Ensemble Forecasts, 2006",
    )
    library = "torch"
    has_interval = False

    def measure_samples(self, comparison: SampleComparison) -> list[list[int] | Undefined]:
        """Return the histogram of each single frame: 1 at its rank, 0 elsewhere."""
        samples, true = comparison.frames
        clip, count = comparison.future.clips[0], len(samples)
        if count < 2:
            return [Undefined("a rank needs 2 samples or more per clip") for _ in true]
        histograms: list[list[int] | Undefined] = []
        for step, number in enumerate(comparison.future.steps):
            below, tied = ranks_of_truth(samples[:, step], true[step])
            rank = below + _draw(f"{clip}/{number}", tied + 1)
            histograms.append([int(rank == k) for k in range(count + 1)])
        return histograms

    def ratio(self, counts: NDArray[np.int64]) -> dict[str, float]:
        """Return the reliability index, and the fraction of frames with each rank."""
        fractions = counts / counts.sum()
        index = float(np.abs(fractions - 1 / len(counts)).sum())
        return {"score": index} | {f"rank {k}": float(fraction) for k, fraction in enumerate(fractions)}


def crps(samples: Float[Tensor, " n *shape"], true: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the fair CRPS of each value.

    With samples in ascending order, sum_{i<j} |x_i - x_j| = sum_k (2 k - N - 1) x_k, which takes N log N steps.
    """
    error, count = (samples - true).abs().mean(dim=0), len(samples)
    if count == 1:
        return error
    weights = torch.arange(1 - count, count, 2, dtype=samples.dtype, device=samples.device)
    ordered = samples.sort(dim=0).values
    spread = torch.tensordot(weights, ordered, dims=1)
    return error - spread / (count * (count - 1))


def energy_score(samples: Float[Tensor, " n *shape"], true: Float[Tensor, "*shape"]) -> float:
    """Return the fair energy score, with the root mean square difference as distance."""
    count = len(samples)
    frames = torch.cat([true[None], samples]).flatten(1)
    distances = torch.pdist(frames).cpu().numpy() / frames.shape[1] ** 0.5  # pairs with the truth come first
    error, between = float(distances[:count].mean()), float(distances[count:].sum())
    return error - between / (count * (count - 1)) if count > 1 else error


def ranks_of_truth(samples: Float[Tensor, " n *shape"], true: Float[Tensor, "*shape"]) -> tuple[int, int]:
    """Return how many samples have a lower mean rank than the truth, and how many have the same.

    Twice the mean of tied ranks is a whole number, so sums over values are exact.
    """
    values = torch.cat([true[None], samples]).flatten(1).T.contiguous()
    ordered = values.sort(dim=1).values
    doubled = sum(torch.searchsorted(ordered, values, right=right).sum(dim=0) for right in (False, True))
    assert isinstance(doubled, Tensor)
    truth, *ranks = doubled.tolist()
    return sum(rank < truth for rank in ranks), ranks.count(truth)


def _mean(values: Tensor) -> float:
    return float(values.cpu().numpy().mean())


def _draw(name: str, count: int) -> int:
    """Return a number from 0 to ``count - 1`` that follows from a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % count
