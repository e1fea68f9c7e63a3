"""Compare statistics that should agree: of two runs on two machines, and of two metrics of one frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vpbench.plugin.members import member
from vpbench.plugin.metric import MetricMembers, Statistic
from vpbench.plugin.sample_metric import AnyMetric
from vpbench.results.rows import Row
from vpbench.results.store import Store
from vpbench.results.tally import Column, MetricTally, Tally

TOLERANCE = 1e-6
"""How far a statistic may differ between machines: absolute for values up to 1, relative above."""


def difference(before: Statistic | None, after: Statistic | None) -> float:
    """Return the largest absolute difference of two statistics; infinite if only one of them is defined."""
    if before is None or after is None:
        return 0.0 if before is after else math.inf
    first, second = _values(before), _values(after)
    if len(first) != len(second):
        return math.inf
    return max((abs(a - b) for a, b in zip(first, second, strict=True)), default=0.0)


def scale(value: Statistic | None) -> float:
    """Return the number that a tolerance is multiplied by: the largest absolute value, at least 1."""
    return max(1.0, *map(abs, _values(value))) if value is not None else 1.0


def _values(value: Statistic) -> list[float]:
    return [value] if isinstance(value, int | float) else list(value)


def same_rows(first: Store, second: Store, unit: int) -> bool:
    """Return whether two results of one identity have the same statistics in a unit, up to the tolerance.

    Raises:
        ResultError: a unit cannot be read.
    """
    pairs = zip(first.unit_rows(unit), second.unit_rows(unit), strict=True)
    return all(_agree(before, after) for before, after in pairs)


def _agree(before: Row, after: Row) -> bool:
    if before["data"] != after["data"]:
        return False
    return difference(before["value"], after["value"]) <= TOLERANCE * scale(before["value"])


def contradictions(tally: Tally, metrics: Mapping[str, AnyMetric | None]) -> list[str]:
    """Return a text for each metric with values that do not follow from those of the metric that they derive from."""
    texts = []
    for name, metric in metrics.items():
        source = "" if metric is None else str(member(metric, MetricMembers, "derived_from"))
        if not source or metrics.get(source) is None:
            continue
        wrong, total = _underived(tally.metrics[name], tally.metrics[source], metric)
        if wrong:
            texts.append(f"{name} of {wrong} of {total} frames does not follow from {source}")
    return texts


def _underived(rows: MetricTally, source: MetricTally, metric: AnyMetric | None) -> tuple[int, int]:
    """Return how many values do not follow from the other metric's, and how many could be compared."""
    derive = member(metric, MetricMembers, "derive")
    wrong = total = 0
    for step, column in rows.steps.items():
        values, origins = _paired(column, source.column(step))
        expected = np.array([derive(origin) for origin in origins], dtype=np.float64)
        tolerances = TOLERANCE * np.maximum(1.0, np.abs(expected))
        wrong += int((np.abs(values - expected) > tolerances).sum())
        total += len(origins)
    return wrong, total


def _paired(column: Column, source: Column) -> tuple[NDArray[np.float64], Sequence[Statistic]]:
    """Return the values of both columns at the frames that both have."""
    if column.frames is source.frames:
        return column.to_array(), source.statistics
    shared = [frame for frame in column if frame in source]
    places = [column.frames.places[frame] for frame in shared]
    return column.to_array()[places], [source[frame] for frame in shared]
