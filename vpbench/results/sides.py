"""Pairs of results: at each step, the recordings and the scores of the clips that both have a value for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache, cached_property, reduce

from vpbench.plugin.metric import StepMetric
from vpbench.results.clip_scores import ClipScores, clip_scores
from vpbench.results.estimates import Recordings, finalise, group_places
from vpbench.results.paired import Pairing
from vpbench.results.tally import Frames, MetricTally


class Groupings:
    """The recordings of columns: the places of their frames. Columns of many results share their frames."""

    def __init__(self, recordings: Mapping[str, str]) -> None:
        self.recordings = recordings
        self.places = cache(self._places)

    def _places(self, frames: Frames, clips: frozenset[str]) -> list[list[int]]:
        return group_places(frames, self.recordings, clips)


class Side:
    """The rows of one result, grouped by recording once for all partners that have values for the same clips."""

    def __init__(self, metric: StepMetric, rows: MetricTally, steps: Sequence[int], groupings: Groupings) -> None:
        self.rows = rows
        self.steps = tuple(steps)
        self.clips = [rows.column(step).frames.clip_set for step in steps]
        self.groups = cache(self._groups)
        self.score = cache(self._score)
        self._metric = metric
        self._groupings = groupings

    @cached_property
    def scores(self) -> ClipScores:
        """The scores of each clip at each step."""
        return clip_scores(self._metric, self.rows, tuple(sorted(self.rows.data)), self.steps)

    def _groups(self, place: int, clips: frozenset[str]) -> Recordings:
        """Return the recordings of some clips at the step of that place."""
        column = self.rows.column(self.steps[place])
        statistics = column.statistics
        return [[statistics[i] for i in places] for places in self._groupings.places(column.frames, clips)]

    def _score(self, place: int, clips: frozenset[str]) -> float | None:
        """Return the score of some clips at the step of that place; None where it is undefined."""
        statistics = [statistic for frames in self.groups(place, clips) for statistic in frames]
        score = finalise(self._metric, statistics)["score"]
        return score if math.isfinite(score) else None


class Pair:
    """Two results at each step, on the clips that both have a value for."""

    def __init__(self, first: Side, second: Side) -> None:
        self.sides = first, second
        self._clips = [_shared(a, b) for a, b in zip(first.clips, second.clips, strict=True)]
        self._lasting = reduce(_shared, self._clips)
        self.steps = [self._pairing([place], clips) for place, clips in enumerate(self._clips)]
        self.mean = self._pairing(range(len(self._clips)), self._lasting)

    @cached_property
    def clips(self) -> AbstractSet[str]:
        """The clips that both have a value for at some step."""
        return frozenset().union(*set(self._clips))

    def _pairing(self, places: Iterable[int], clips: frozenset[str]) -> Pairing:
        return Pairing(*([side.groups(place, clips) for place in places] for side in self.sides))

    def scores(self, side: Side) -> tuple[float | None, ...]:
        """Return the scores of one side at each step."""
        return tuple(side.score(place, clips) for place, clips in enumerate(self._clips))

    @property
    def means(self) -> tuple[float | None, float | None]:
        """The means over the steps of both."""
        return self._mean(self.sides[0]), self._mean(self.sides[1])

    def _mean(self, side: Side) -> float | None:
        scores = [side.score(place, self._lasting) for place in range(len(self._clips))]
        values = [score for score in scores if score is not None]
        return math.fsum(values) / len(values) if len(values) == len(scores) else None


def _shared(first: frozenset[str], second: frozenset[str]) -> frozenset[str]:
    """Return the clips that two sets share: one object if they are equal, which makes look-ups fast."""
    return first if first == second else first & second
