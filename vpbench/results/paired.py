"""Paired statistics of two results: bootstrap intervals and permutation tests of the difference of their scores.

Many pairings are resampled at once, with the same draws. Means need no call of the metric for that: a resample of a
mean is a ratio of two weighted sums over recordings, so one matrix product serves all pairings.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpbench.plugin.metric import MeanScore, StepMetric, cost
from vpbench.results.estimates import Recordings, draw_recordings, has_interval, percentiles, random_rows, resample

EXCHANGES = 10_000
"""Random exchanges that a p-value is drawn from; of fewer than 14 recordings, all exchanges that there are."""
_BLOCK = 2_000_000  # indices at a time: bounds the memory, not the result
_PAIRINGS = 512  # pairings at a time: bounds the memory, not the result
_SLACK = 1e-12  # relative: sums of the same numbers in another order are as large

Scores: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Pairing:
    """The recordings of two results at some steps; a score is the mean of the steps' scores."""

    first: Sequence[Recordings]
    second: Sequence[Recordings]
    """The same recordings of the same steps, as the second result has them."""

    @property
    def count(self) -> int:
        """The number of recordings."""
        return len(self.first[0])


def difference_intervals(
    metric: StepMetric, pairings: Sequence[Pairing], *, costs: bool = False
) -> list[tuple[float, float] | None]:
    """Return the interval of the first score less the second of each pairing, over the same resamples of both.

    Args:
        metric: makes the scores.
        pairings: what is compared.
        costs: subtract costs, which are lower for better scores, instead of scores.

    Returns:
        The 95 % percentile intervals; None for fewer than two recordings, or for a biased estimator.
    """
    better = metric.info.better if costs else "lower"

    def drawn(engine: _Engine) -> Scores:
        blocks = [engine.drawn(draws) for draws in draw_recordings(engine.count)]
        return np.concatenate([cost(first, better) - cost(second, better) for first, second in blocks], axis=1)

    intervals: list[tuple[float, float] | None] = [None] * len(pairings)
    for places, engine in _engines(metric, pairings if has_interval(metric) else ()):
        for place, differences in zip(places, drawn(engine), strict=True):
            intervals[place] = percentiles(differences)
    return intervals


def p_values(metric: StepMetric, pairings: Sequence[Pairing]) -> list[float | None]:
    """Return the two-sided p-value of a permutation test of each pairing; None for fewer than two recordings.

    The two results' statistics of a recording change sides together, at all steps, or stay. For a mean over clips of
    one recording each, this is the sign-flip test of the clips' differences. Pooled scores are pooled again in each
    exchange. The test compares costs: for a metric whose scores should be close to a value, their distances from it.
    """
    better = metric.info.better
    values: list[float | None] = [None] * len(pairings)
    for places, engine in _engines(metric, pairings):
        start = engine.exchanged(np.zeros((1, engine.count), dtype=np.int8))
        observed = np.abs(cost(start[0], better) - cost(start[1], better))
        blocks = [engine.exchanged(exchanged) for exchanged in exchanges(engine.count)]
        permuted = np.concatenate([np.abs(cost(a, better) - cost(b, better)) for a, b in blocks], axis=1)
        scale = np.maximum(*map(np.abs, start))
        for row, place in enumerate(places):
            values[place] = _p_value(float(observed[row, 0]), permuted[row], float(scale[row, 0]), engine.count)
    return values


def smallest_p(recordings: int) -> float:
    """Return the smallest p-value that the permutation test can reach with that many recordings."""
    return min(1.0, 2 / 2**recordings) if 2**recordings <= EXCHANGES else 1 / (EXCHANGES + 1)


def exchanges(count: int) -> Iterator[NDArray[np.int8]]:
    """Yield rows of 0 (a recording's two stay) and 1 (they change sides): every row there is, if those are few."""
    if 2**count <= EXCHANGES:
        yield (np.arange(2**count)[:, None] >> np.arange(count) & 1).astype(np.int8)
        return
    words = -(-count // 64)
    for raw in random_rows(EXCHANGES, words, max(1, _BLOCK // count)):
        octets = raw.astype("<u8").view(np.uint8)
        yield np.unpackbits(octets, axis=1, count=count).astype(np.int8)


def _p_value(observed: float, permuted: Scores, scale: float, count: int) -> float | None:
    permuted = permuted[np.isfinite(permuted)]
    if not math.isfinite(observed):
        return None
    slack = _SLACK * max(scale, float(permuted.max(initial=0.0)))
    as_large = int((permuted >= observed - slack).sum())
    exhaustive = 2**count <= EXCHANGES
    return as_large / len(permuted) if exhaustive else (as_large + 1) / (len(permuted) + 1)


class _Resampled:
    """Score resamples of pairings through the metric."""

    def __init__(self, metric: StepMetric, pairings: Sequence[Pairing]) -> None:
        self.count = pairings[0].count
        self._metric = metric
        self._pairings = pairings

    def drawn(self, draws: NDArray[np.int64]) -> tuple[Scores, Scores]:
        """Return the scores of both sides, [pairings, R], of R rows of drawn recordings."""
        sides = [[self._mean(pair.first, draws), self._mean(pair.second, draws)] for pair in self._pairings]
        first, second = np.moveaxis(np.array(sides), 1, 0)
        return first, second

    def exchanged(self, exchanged: NDArray[np.int8]) -> tuple[Scores, Scores]:
        """Return the scores of both sides, [pairings, R], of R rows of exchanges."""
        places = np.arange(self.count) + self.count * exchanged.astype(np.int64)
        opposite = (places + self.count) % (2 * self.count)
        pooled = [[[*a, *b] for a, b in zip(pair.first, pair.second, strict=True)] for pair in self._pairings]
        sides = [[self._mean(steps, places), self._mean(steps, opposite)] for steps in pooled]
        first, second = np.moveaxis(np.array(sides), 1, 0)
        return first, second

    def _mean(self, steps: Sequence[Recordings], draws: NDArray[np.int64]) -> Scores:
        return np.asarray(np.mean([resample(self._metric, recordings, draws) for recordings in steps], axis=0))


_Parts: TypeAlias = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Places of sums and counts: of the first result, of the second one, and of their differences."""


class _Means:
    """Score resamples of pairings of a mean: equal to :class:`_Resampled`, in a twentieth of the time.

    ``python benchmarks/comparisons.py`` measures both.
    """

    def __init__(self, pairings: Sequence[Pairing]) -> None:
        self.count = pairings[0].count
        self._vectors, self._differences = _Vectors(), _Vectors()
        self._places: dict[int, tuple[int, int]] = {}
        self._pairings = [[self._parts(*step) for step in zip(p.first, p.second, strict=True)] for p in pairings]
        self._totals = self._vectors.matrix().sum(axis=1)

    def _parts(self, first: Recordings, second: Recordings) -> _Parts:
        """Return the places of the sums and the counts of both, and of their differences."""
        sides = self._side(first), self._side(second)
        vectors = [[self._vectors[place] for place in side] for side in sides]
        sums, counts = (self._differences.place(b - a) for a, b in zip(*vectors, strict=True))
        return *sides, (sums, counts)

    def _side(self, recordings: Recordings) -> tuple[int, int]:
        """Return the places of the sums and the counts of a result, which many pairings share."""
        if id(recordings) not in self._places:
            vectors = _sums(recordings), _counts(recordings)
            self._places[id(recordings)] = self._vectors.place(vectors[0]), self._vectors.place(vectors[1])
        return self._places[id(recordings)]

    def drawn(self, draws: NDArray[np.int64]) -> tuple[Scores, Scores]:
        """Return the scores of both sides, [pairings, R], of R rows of drawn recordings."""
        weights = np.array([np.bincount(draw, minlength=self.count) for draw in draws], dtype=np.float64)
        drawn = self._vectors.matrix() @ weights.T

        def mean(steps: Sequence[tuple[int, int]]) -> Scores:
            return np.asarray(np.mean([drawn[sums] / drawn[counts] for sums, counts in steps], axis=0))

        first, second = (
            np.array([mean([parts[side] for parts in pair]) for pair in self._pairings]) for side in (0, 1)
        )
        return first, second

    def exchanged(self, exchanged: NDArray[np.int8]) -> tuple[Scores, Scores]:
        """Return the scores of both sides, [pairings, R], of R rows of exchanges."""
        gains = self._differences.matrix() @ exchanged.T.astype(np.float64)

        def mean(pair: Sequence[_Parts], side: int) -> Scores:
            sign = 1 - 2 * side
            steps = []
            for parts in pair:
                sums, counts = (
                    self._totals[place] + sign * gains[gain] for place, gain in zip(parts[side], parts[2], strict=True)
                )
                steps.append(sums / counts)
            return np.asarray(np.mean(steps, axis=0))

        first, second = (np.array([mean(pair, side) for pair in self._pairings]) for side in (0, 1))
        return first, second


_Engine: TypeAlias = _Resampled | _Means


class _Vectors:
    """Vectors over recordings, each different one once: many pairings share a result, and steps share counts."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._vectors: list[Scores] = []

    def place(self, vector: Scores) -> int:
        """Return the row of a vector in the matrix."""
        place = self._places.setdefault(vector.tobytes(), len(self._vectors))
        if place == len(self._vectors):
            self._vectors.append(vector)
        return place

    def __getitem__(self, place: int) -> Scores:
        """Return the vector of a row."""
        return self._vectors[place]

    def matrix(self) -> Scores:
        """Return all vectors, [vectors, recordings]."""
        return np.array(self._vectors)


def _sums(recordings: Recordings) -> Scores:
    return np.array([math.fsum(frames) for frames in recordings], dtype=np.float64)  # type: ignore[arg-type]


def _counts(recordings: Recordings) -> Scores:
    return np.array([len(frames) for frames in recordings], dtype=np.float64)


def _engines(metric: StepMetric, pairings: Sequence[Pairing]) -> Iterator[tuple[Sequence[int], _Engine]]:
    """Yield the places of pairings of equally many recordings, two or more, with what resamples them."""
    by_count: dict[int, list[int]] = defaultdict(list)
    for place, pairing in enumerate(pairings):
        by_count[pairing.count].append(place)
    is_mean = isinstance(metric, MeanScore) and type(metric).resample is MeanScore.resample
    for count, members in by_count.items():
        for start in range(0, len(members), _PAIRINGS) if count > 1 else ():
            places = members[start : start + _PAIRINGS]
            chosen = [pairings[place] for place in places]
            yield places, _Means(chosen) if is_mean else _Resampled(metric, chosen)
