"""All rows of a result, read once and in any order: defined statistics in columns, the rest in dictionaries.

Results of one protocol have the same frames in their columns, so those frames are one object (:class:`Frames`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import chain, groupby
from operator import itemgetter
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpbench.plugin.metric import Statistic
from vpbench.results.rows import Row

_BLOCK = 4096
"""Rows that are in memory at a time, at least."""
Key: TypeAlias = tuple[str, int]
"""A predicted frame of one step: clip and sample."""
Values: TypeAlias = NDArray[np.float64] | Sequence[Statistic]
"""Statistics of frames: an array if all are floats."""


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of a column, each with its place."""

    keys: tuple[Key, ...]

    @cached_property
    def places(self) -> dict[Key, int]:
        """The place of each frame."""
        return {key: place for place, key in enumerate(self.keys)}

    @cached_property
    def clips(self) -> dict[str, int]:
        """Each clip with a number, in the order of the frames."""
        return {clip: number for number, clip in enumerate(dict.fromkeys(clip for clip, _ in self.keys))}

    @cached_property
    def clip_set(self) -> frozenset[str]:
        """The clips, to be compared with those of other frames."""
        return frozenset(self.clips)

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """The number of the clip of each frame, [frames]."""
        return np.fromiter((self.clips[clip] for clip, _ in self.keys), dtype=np.int64, count=len(self.keys))

    @cached_property
    def last_sample(self) -> int:
        """The largest number of a sample."""
        return max((sample for _, sample in self.keys), default=0)


@lru_cache(maxsize=64)
def _join(frames: tuple[Frames, ...]) -> Frames:
    """Return the frames of all units; one object for all columns that hold the same ones."""
    return frames[0] if len(frames) == 1 else Frames(tuple(chain.from_iterable(unit.keys for unit in frames)))


class Column(Mapping[Key, Statistic]):
    """The defined statistics of one metric and step, by frame."""

    def __init__(self, frames: Frames, values: Values) -> None:
        self.frames = frames
        self._values = values

    @property
    def statistics(self) -> Sequence[Statistic]:
        """The statistics in the order of the frames."""
        return self._values.tolist() if isinstance(self._values, np.ndarray) else self._values

    def to_array(self) -> NDArray[np.float64]:
        """Return the statistics, which must be numbers, as an array."""
        return np.asarray(self._values, dtype=np.float64)

    def __getitem__(self, key: Key) -> Statistic:
        """Return the statistic of a frame."""
        place = self.frames.places[key]
        return float(self._values[place]) if isinstance(self._values, np.ndarray) else self._values[place]

    def __iter__(self) -> Iterator[Key]:
        """Yield the frames."""
        return iter(self.frames.keys)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frames.keys)


@dataclass
class MetricTally:
    """The rows of one metric, and what is counted of them."""

    undefined: dict[tuple[int, str, int], str] = field(default_factory=dict)
    """Why a frame has no value, by (step, clip, sample)."""
    notes: Counter[str] = field(default_factory=Counter)
    data: dict[str, str] = field(default_factory=dict)
    """Digest of what was scored, by clip."""
    features: dict[Key, str] = field(default_factory=dict)
    """Digests of the features of a set metric by (clip, sample)."""
    true_features: dict[str, str] = field(default_factory=dict)
    """Digests of the features of the truth by clip."""
    _units: dict[int, list[tuple[Frames, Values]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, step: int, frames: Frames, values: Values) -> None:
        """Add defined statistics of a step, before the first use of :attr:`steps`."""
        self._units[step].append((frames, values))

    @cached_property
    def steps(self) -> dict[int, Column]:
        """Defined statistics by step."""
        return {step: _column(units) for step, units in self._units.items()}

    def column(self, step: int) -> Column:
        """Return the defined statistics of a step, which may be none."""
        return self.steps.get(step) or Column(Frames(()), ())

    @cached_property
    def clips(self) -> frozenset[str]:
        """The clips with a value at any step."""
        return frozenset().union(*(frames.clips for frames in self._frames))

    @property
    def samples(self) -> int:
        """The number of samples per clip."""
        defined = [frames.last_sample for frames in self._frames]
        return 1 + max([*defined, *(sample for _, _, sample in self.undefined)], default=0)

    @property
    def only_reason(self) -> str:
        """The reason why no frame has a value, if there is exactly one; else ""."""
        reasons = set(self.undefined.values())
        return reasons.pop() if len(reasons) == 1 and not self.clips else ""

    @property
    def _frames(self) -> set[Frames]:
        return {column.frames for column in self.steps.values()}


def _column(units: Sequence[tuple[Frames, Values]]) -> Column:
    frames = _join(tuple(frames for frames, _ in units))
    parts = [values for _, values in units]
    if all(isinstance(values, np.ndarray) for values in parts):
        return Column(frames, np.concatenate(parts))
    return Column(frames, list(chain.from_iterable(Column(*unit).statistics for unit in units)))


@dataclass(frozen=True)
class Group:
    """Rows of one metric and step, all with a value."""

    metric: str
    step: int
    frames: Frames
    places: NDArray[np.int64]
    """The places of the rows among all rows."""


def group_rows(rows: Sequence[Row]) -> list[Group]:
    """Group rows with a value by metric and step."""
    places: dict[tuple[str, int], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        if row["value"] is not None:
            places[row["metric"], row["step"]].append(place)
    shared: dict[tuple[Key, ...], Frames] = {}
    groups = []
    for (metric, step), chosen in places.items():
        keys = tuple((rows[place]["clip"], rows[place].get("sample", 0)) for place in chosen)
        groups.append(Group(metric, step, shared.setdefault(keys, Frames(keys)), np.array(chosen)))
    return groups


def _blocks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Divide rows, ordered by clip, so that few are in memory at a time; every row of a clip is in one block."""
    block: list[Row] = []
    for _, clip_rows in groupby(rows, key=itemgetter("clip")):
        block += clip_rows
        if len(block) >= _BLOCK:
            yield block
            block = []
    if block:
        yield block


class Tally:
    """All rows of a result."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.metrics: dict[str, MetricTally] = defaultdict(MetricTally)
        self.clips: set[str] = set()
        self.context: dict[str, str] = {}
        """Digest of the predictor's inputs besides frames, by clip."""
        self.clamped: set[tuple[str, int, int]] = set()
        for block in _blocks(rows):
            self.add_rows(block)

    def add_rows(self, rows: Sequence[Row]) -> None:
        """Add rows of any kind."""
        for row in rows:
            self._count(row)
        for group in group_rows(rows):
            statistics = [rows[place]["value"] for place in group.places.tolist()]
            numbers = set(map(type, statistics)) == {float}
            self.metrics[group.metric].add(group.step, group.frames, np.array(statistics) if numbers else statistics)

    def add_groups(self, groups: Sequence[Group], values: Values) -> None:
        """Add the values of rows that differ from rows of another result in their values alone."""
        for group in groups:
            if isinstance(values, np.ndarray):
                chosen: Values = values[group.places]
            else:
                chosen = [values[place] for place in group.places.tolist()]
            self.metrics[group.metric].add(group.step, group.frames, chosen)

    def add_digests(self, data: Mapping[str, Mapping[str, str]], context: Mapping[str, str]) -> None:
        """Add the digests of rows: of what each metric scored by clip, and of the predictor's other inputs by clip."""
        for metric, digests in data.items():
            self.metrics[metric].data.update(digests)
        self.clips.update(*data.values())
        self.context.update(context)

    def _count(self, row: Row) -> None:
        clip, sample, metric = row["clip"], row.get("sample", 0), self.metrics[row["metric"]]
        self.clips.add(clip)
        metric.data[clip] = row["data"]
        if "context" in row:
            self.context[clip] = row["context"]
        if "clamped" in row:
            self.clamped.add((clip, sample, row["step"]))
        if "features" in row:
            metric.features[clip, sample] = row["features"]
            if "true_features" in row:
                metric.true_features[clip] = row["true_features"]
        elif row["value"] is None:
            metric.undefined[row["step"], clip, sample] = row["reason"]
        if "note" in row:
            metric.notes[row["note"]] += 1
