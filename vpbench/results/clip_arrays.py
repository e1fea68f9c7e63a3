"""The scores of single clips of a result, as arrays: small enough to hold those of many results at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vpbench.plugin.metric import MeanScore, StepMetric
from vpbench.results.clip_scores import ClipScores, clip_scores, scores_means
from vpbench.results.estimates import draw_recordings, percentiles
from vpbench.results.records import RunRecord
from vpbench.results.tally import Frames, MetricTally, Tally


@dataclass(frozen=True)
class ClipArrays:
    """Scores of each clip at each step. A clip's score is what the metric makes of the clip's own samples."""

    clips: tuple[str, ...]
    """The clips, in the order of the manifest."""
    recordings: NDArray[np.int64]
    """The number of each clip's recording, in the order of their names."""
    steps: tuple[int, ...]
    scores: Mapping[str, ClipScores]
    """By metric."""
    averages: frozenset[str] = frozenset()
    """Metrics with scores that are means of the clips' scores."""


def clip_arrays(tally: Tally, metrics: Mapping[str, StepMetric], run: RunRecord) -> ClipArrays:
    """Return the scores of every clip that has rows.

    Raises:
        MetricError: a metric makes no score of a clip's statistics.
    """
    clips = tuple(entry.clip for entry in run.manifest if entry.clip in tally.clips)
    names = list(map(run.recordings.__getitem__, clips))
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    recordings = np.array([numbers[name] for name in names], dtype=np.int64)
    steps = run.protocol.steps
    scores = {name: clip_scores(metric, tally.metrics[name], clips, steps) for name, metric in metrics.items()}
    averages = {name for name, metric in metrics.items() if _is_average(metric, tally.metrics[name])}
    return ClipArrays(clips, recordings, steps, scores, frozenset(averages))


def score_tally(arrays: ClipArrays, metric: str) -> Tally:
    """Return the scores of clips by a metric of ``averages`` as rows, whose means are those of the result's rows."""
    tally = Tally()
    rows, values = tally.metrics[metric], arrays.scores[metric].values
    rows.data = dict.fromkeys(arrays.clips, "")
    for column, step in zip(values.T, arrays.steps, strict=True):
        defined = np.isfinite(column)
        clips = arrays.clips if defined.all() else tuple(arrays.clips[place] for place in np.flatnonzero(defined))
        rows.add(step, _frames(clips), column[defined])
    return tally


@lru_cache(maxsize=16)
def _frames(clips: tuple[str, ...]) -> Frames:
    """Return the frames of clips with one sample each; one object for the columns of many results."""
    return Frames(tuple((clip, 0) for clip in clips))


def mean_difference_interval(
    first: ClipArrays, second: ClipArrays, metric: str, steps: Sequence[int]
) -> tuple[float, float] | None:
    """Return the interval of the difference of two means over steps, of results of the same clips.

    For a metric of ``averages``, it is that of :func:`vpbench.results.compare.compare_means`, in a thousandth of the
    time (``benchmarks/report.py`` compares 60 results by 8 metrics).
    """
    columns = [first.steps.index(step) for step in steps]
    values = [clips.scores[metric].values[:, columns] for clips in (first, second)]
    differences = (values[0] - values[1]).mean(axis=1)
    defined = np.flatnonzero(np.isfinite(differences))
    numbers, groups = np.unique(first.recordings[defined], return_inverse=True)
    if len(numbers) < 2:
        return None
    weights, counts = _resamples(len(numbers)), np.bincount(groups).astype(np.float64)
    sums = weights @ np.bincount(groups, weights=differences[defined])
    equal = bool((counts == counts[0]).all())  # the usual case, in half the time
    return percentiles(sums / (counts[0] * len(numbers) if equal else weights @ counts))


@lru_cache(maxsize=2)
def _resamples(count: int) -> NDArray[np.float64]:
    """Return how often each resample draws each recording, [resamples, recordings]."""
    draws = (draw for block in draw_recordings(count) for draw in block)
    return np.array([np.bincount(draw, minlength=count) for draw in draws], dtype=np.float64)


def _is_average(metric: StepMetric, rows: MetricTally) -> bool:
    """Return whether a metric is a mean and every clip has as many samples as the others."""
    resamples_means = isinstance(metric, MeanScore) and type(metric).resample is MeanScore.resample
    return resamples_means and scores_means(metric) and (not rows.undefined or rows.samples == 1)
