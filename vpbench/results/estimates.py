"""One estimator for scores, intervals and tests: what a metric makes of all frames of some recordings.

Windows of one recording, and samples of one window, are not independent. So the bootstrap draws recordings, and the
permutation test exchanges recordings. All drawing uses raw Philox bits, which are the same on every numpy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import MetricError
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.members import member
from vpbench.plugin.metric import MetricMembers, Statistic, StepMetric
from vpbench.plugin.set_metric import FeatureSet, SetMetric

RESAMPLES = 1000
EXCHANGES = 10_000
"""Random exchanges that a p-value is drawn from; of fewer than 14 recordings, all exchanges that there are."""
_SEED = 20_210_619
_BLOCK = 2_000_000  # indices drawn at a time: bounds the memory, not the result
_SLACK = 1e-12  # relative: sums of the same numbers in another order are as large
_SAME = 1e-9  # relative to the largest resampled score: how far `resample` may be from `finalise`

Recordings: TypeAlias = Sequence[Sequence[Statistic]]
"""[recording][frame]: the defined statistics of one step."""


def finalise(metric: StepMetric, statistics: Sequence[Statistic]) -> dict[str, float]:
    """Return the score of statistics under ``"score"``, and the details that the metric adds.

    Raises:
        MetricError: the metric fails on them; names it.
    """
    with plugin_errors(failed_as(MetricError, f"metric {metric.info.name!r} makes no score of its statistics")):
        return _named(metric.finalise(statistics))


def finalise_set(metric: SetMetric, features: FeatureSet) -> dict[str, float]:
    """Return the score of a set of clips under ``"score"``, and the details that the metric adds.

    Raises:
        MetricError: the metric fails on them; names it.
    """
    with plugin_errors(failed_as(MetricError, f"metric {metric.info.name!r} makes no score of its features")):
        return _named(metric.score(features))


def _named(value: float | dict[str, float]) -> dict[str, float]:
    named = dict(value) if isinstance(value, dict) else {"score": value}
    return {key: float(number) for key, number in named.items()} | {"score": float(named["score"])}


def group_frames(values: Mapping[tuple[str, int], Statistic], recordings: Mapping[str, str]) -> Recordings:
    """Group one step's statistics, by (clip, sample) in any order, by the recording of each clip."""
    groups: dict[str, list[Statistic]] = {}
    for clip, sample in sorted(values):
        groups.setdefault(recordings[clip], []).append(values[clip, sample])
    return [groups[name] for name in sorted(groups)]


def interval(metric: StepMetric, recordings: Recordings) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of the score over resamples of recordings.

    Returns:
        The interval; None for fewer than two recordings, or for a biased estimator.

    Raises:
        MetricError: ``resample`` fails, or its score of all recordings is not that of ``finalise``.
    """
    if len(recordings) < 2 or not _has_interval(metric):
        return None
    scores = np.concatenate([_resample(metric, recordings, draws) for draws in draw_recordings(len(recordings))])
    _check_estimator(metric, recordings, scores)
    return _percentiles(scores)


def difference_interval(
    metric: StepMetric, first: Sequence[Recordings], second: Sequence[Recordings]
) -> tuple[float, float] | None:
    """Return the interval of the first score less the second, over the same resamples of both.

    Args:
        metric: makes the scores.
        first: recordings of each step; the score is the mean of the steps' scores.
        second: the same recordings of the same steps, as the other result has them.

    Returns:
        The 95 % percentile interval; None for fewer than two recordings, or for a biased estimator.
    """
    count = len(first[0])
    if count < 2 or not _has_interval(metric):
        return None
    differences = [
        np.mean(
            [_resample(metric, a, draws) - _resample(metric, b, draws) for a, b in zip(first, second, strict=True)], 0
        )
        for draws in draw_recordings(count)
    ]
    return _percentiles(np.concatenate(differences))


def _has_interval(metric: StepMetric) -> bool:
    return bool(member(metric, MetricMembers, "has_interval"))


def p_value(metric: StepMetric, first: Recordings, second: Recordings) -> float | None:
    """Return the two-sided p-value of a paired permutation test; None for fewer than two recordings.

    The two results' statistics of a recording change sides together, or stay. For a mean over clips of one recording
    each, this is the sign-flip test of the clips' differences. Pooled scores are pooled again in each exchange.
    """
    count = len(first)
    if count < 2:
        return None
    pooled = [*first, *second]
    places = np.arange(count)

    def differences(exchanged: NDArray[np.int64]) -> NDArray[np.float64]:
        before, after = places + count * exchanged, places + count * (1 - exchanged)
        return _resample(metric, pooled, before) - _resample(metric, pooled, after)

    sides = [float(_resample(metric, pooled, places[None] + side * count)[0]) for side in (0, 1)]
    observed = abs(sides[0] - sides[1])
    if not math.isfinite(observed):
        return None
    permuted = np.concatenate([np.abs(differences(exchanged)) for exchanged in exchanges(count)])
    permuted = permuted[np.isfinite(permuted)]
    as_large = int((permuted >= observed - _SLACK * max(map(abs, sides))).sum())
    exhaustive = 2**count <= EXCHANGES
    return as_large / len(permuted) if exhaustive else (as_large + 1) / (len(permuted) + 1)


def draw_recordings(count: int) -> Iterator[NDArray[np.int64]]:
    """Yield ``RESAMPLES`` rows of ``count`` indices of recordings, drawn with replacement, in blocks."""
    bits = np.random.Philox(key=_SEED)
    block = max(1, _BLOCK // count)
    for start in range(0, RESAMPLES, block):
        rows = min(block, RESAMPLES - start)
        raw = bits.random_raw(rows * count)
        yield (raw % np.uint64(count)).astype(np.int64).reshape(rows, count)


def exchanges(count: int) -> Iterator[NDArray[np.int64]]:
    """Yield rows of 0 (a recording's two stay) and 1 (they change sides): every row there is, if those are few."""
    if 2**count <= EXCHANGES:
        yield np.arange(2**count)[:, None] >> np.arange(count) & 1
        return
    bits = np.random.Philox(key=_SEED)
    block = max(1, _BLOCK // count)
    for start in range(0, EXCHANGES, block):
        rows = min(block, EXCHANGES - start)
        yield (bits.random_raw(rows * count) & np.uint64(1)).astype(np.int64).reshape(rows, count)


def _resample(metric: StepMetric, recordings: Recordings, draws: NDArray[np.int64]) -> NDArray[np.float64]:
    with plugin_errors(failed_as(MetricError, f"metric {metric.info.name!r} cannot be resampled")):
        scores = np.asarray(metric.resample(recordings, draws), dtype=np.float64)
    if scores.shape != (len(draws),):
        raise MetricError(
            f"metric {metric.info.name!r}: resample gave {list(scores.shape)} scores for {len(draws)} resamples"
        )
    return scores


def _check_estimator(metric: StepMetric, recordings: Recordings, resampled: NDArray[np.float64]) -> None:
    """Check that the bootstrap estimates the score itself: the resample of every recording once must equal it."""
    score = finalise(metric, [statistic for frames in recordings for statistic in frames])["score"]
    everything = float(_resample(metric, recordings, np.arange(len(recordings))[None])[0])
    sizes = [abs(number) for number in (score, *resampled.tolist()) if math.isfinite(number)]
    same = everything == score or abs(everything - score) <= _SAME * max(sizes, default=0.0)
    if not same and not (math.isnan(everything) and math.isnan(score)):
        raise MetricError(
            f"metric {metric.info.name!r}: resample gives {everything:g} for all recordings, finalise gives {score:g}; "
            f"both must be the same estimator"
        )


def _percentiles(scores: NDArray[np.float64]) -> tuple[float, float] | None:
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return None
    low, high = np.quantile(scores, [0.025, 0.975])
    return float(low), float(high)
