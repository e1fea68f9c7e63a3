"""Best of n against n: the expected best sample of a random subset of the N samples of each clip."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vpbench.plugin.metric import Better, Statistic, cost
from vpbench.results.samples import sample_curve, sample_means, values_by_clip
from vpbench.results.scores import SampleCurve


def best_of_each(
    frames: Mapping[int, Mapping[tuple[str, int], Statistic]],
    steps: Sequence[int],
    samples: int,
    better: Better,
    *,
    cumulative: bool,
) -> tuple[SampleCurve, ...]:
    """Return the score of the best of n samples per clip, for n = 1 to N.

    The best sample has the best mean over the steps, as for best of N. The score is the expectation over all subsets of
    n samples, exact: with the samples of a clip in the order of their means, the k-th of N (from 0) is the best of
    C(N - 1 - k, n - 1) of the C(N, n) subsets.

    Args:
        frames: values of a metric whose score is their mean, by step, then by (clip, sample).
        steps: the scored steps.
        samples: N, the predictions per clip.
        better: which scores are better.
        cumulative: whether a mean over steps is defined.
    """
    ordered: dict[int, list[list[float]]] = {step: [] for step in steps}
    for _, values in sorted(values_by_clip(frames, samples, float).items()):  # type: ignore[arg-type]
        costs = [cost(mean, better) for mean in sample_means(values)]
        order = sorted(range(samples), key=costs.__getitem__)
        for step, scores in values.items():
            ordered[step].append([scores[sample] for sample in order])
    means = [_means(ordered[step], samples) for step in steps]
    curves = []
    for size in range(1, samples + 1):
        weights = _weights(size, samples)
        curves.append(sample_curve([float(weights @ mean) for mean in means], cumulative=cumulative))
    return tuple(curves)


def _means(rows: Sequence[Sequence[float]], samples: int) -> NDArray[np.float64]:
    """Return the mean over the clips of the best sample, of the second best, and so on; NaN without any clip."""
    if not rows:
        return np.full(samples, math.nan)
    return np.array([math.fsum(column) / len(rows) for column in zip(*rows, strict=True)])


def _weights(size: int, samples: int) -> NDArray[np.float64]:
    """Return how probably the k-th sample is the best of a subset, C(N-1-k, n-1) / C(N, n), by its recurrence."""
    places = np.arange(samples - 1)
    ratios = np.maximum(samples - size - places, 0) / (samples - 1 - places)
    return np.concatenate([[1.0], np.cumprod(ratios)]) * (size / samples)
