"""One estimator for scores and intervals: what a metric makes of all frames of some recordings.

Windows of one recording, and samples of one window, are not independent. So the bootstrap draws recordings. All drawing
uses raw Philox bits, which are the same on every numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import MetricError, VpbenchError
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.members import member
from vpbench.plugin.metric import MetricMembers, Statistic, StepMetric
from vpbench.plugin.set_metric import FeatureSet, SetMetric
from vpbench.results.tally import Column, Frames

RESAMPLES = 1000
_SEED = 20_210_619
_BLOCK = 2_000_000  # indices drawn at a time: bounds the memory, not the result
_SAME = 1e-9  # relative to the largest resampled score: how far `resample` may be from `finalise`

Recordings: TypeAlias = Sequence[Sequence[Statistic]]
"""[recording][frame]: the defined statistics of one step."""


def finalise(metric: StepMetric, statistics: Sequence[Statistic]) -> dict[str, float]:
    """Return the score of statistics under ``"score"``, and the details that the metric adds.

    Raises:
        MetricError: the metric fails on them; names it.
    """
    with plugin_errors(_no_score(metric)):
        return _named(metric.finalise(statistics))


def finalise_each(metric: StepMetric, groups: Iterable[Sequence[Statistic]]) -> list[float]:
    """Return the score of each group of statistics (raises as :func:`finalise`, ten times faster for many groups)."""
    with plugin_errors(_no_score(metric)):
        return [_named(metric.finalise(statistics))["score"] for statistics in groups]


def _no_score(metric: StepMetric) -> Callable[[BaseException], VpbenchError]:
    return failed_as(MetricError, f"metric {metric.info.name!r} makes no score of its statistics")


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


def group_frames(column: Column, recordings: Mapping[str, str], clips: Container[str] | None = None) -> Recordings:
    """Group one step's statistics by the recording of each clip; only those of ``clips``, if they are named."""
    statistics = column.statistics
    return [[statistics[place] for place in places] for places in group_places(column.frames, recordings, clips)]


def group_places(frames: Frames, recordings: Mapping[str, str], clips: Container[str] | None = None) -> list[list[int]]:
    """Return the places of the frames of each recording: recordings in the order of names, frames in theirs."""
    groups: dict[str, list[int]] = {}
    for (clip, _), place in sorted(frames.places.items()):
        if clips is None or clip in clips:
            groups.setdefault(recordings[clip], []).append(place)
    return [groups[name] for name in sorted(groups)]


def interval(metric: StepMetric, recordings: Recordings) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of the score over resamples of recordings.

    Returns:
        The interval; None for fewer than two recordings, or for a biased estimator.

    Raises:
        MetricError: ``resample`` fails, or its score of all recordings is not that of ``finalise``.
    """
    if len(recordings) < 2 or not has_interval(metric):
        return None
    scores = np.concatenate([resample(metric, recordings, draws) for draws in draw_recordings(len(recordings))])
    _check_estimator(metric, recordings, scores)
    return percentiles(scores)


def has_interval(metric: StepMetric) -> bool:
    """Return whether resampling estimates the metric's score without bias."""
    return bool(member(metric, MetricMembers, "has_interval"))


def draw_recordings(count: int) -> Iterator[NDArray[np.int64]]:
    """Yield ``RESAMPLES`` rows of ``count`` indices of recordings, drawn with replacement, in blocks."""
    for raw in random_rows(RESAMPLES, count, max(1, _BLOCK // count)):
        yield (raw % np.uint64(count)).astype(np.int64)


def random_rows(rows: int, columns: int, block: int) -> Iterator[NDArray[np.uint64]]:
    """Yield rows of random 64-bit words, at most ``block`` at a time; the words do not depend on ``block``."""
    bits = np.random.Philox(key=_SEED)
    for start in range(0, rows, block):
        size = min(block, rows - start)
        yield bits.random_raw(size * columns).reshape(size, columns)


def resample(metric: StepMetric, recordings: Recordings, draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the scores, [R], of R rows of indices of recordings.

    Raises:
        MetricError: the metric fails, or returns another number of scores; names it.
    """
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
    everything = float(resample(metric, recordings, np.arange(len(recordings))[None])[0])
    sizes = [abs(number) for number in (score, *resampled.tolist()) if math.isfinite(number)]
    same = everything == score or abs(everything - score) <= _SAME * max(sizes, default=0.0)
    if not same and not (math.isnan(everything) and math.isnan(score)):
        raise MetricError(
            f"metric {metric.info.name!r}: resample gives {everything:g} for all recordings, finalise gives {score:g}; "
            f"both must be the same estimator"
        )


def percentiles(scores: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of resampled scores; None if none is defined."""
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return None
    low, high = np.quantile(scores, [0.025, 0.975])
    return float(low), float(high)
