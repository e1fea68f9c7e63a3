"""Fit tables into the columns of a terminal: choose steps, shorten names, draw curves as sparklines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from vpbench.output import plain_table

TableText: TypeAlias = tuple[list[list[str]], list[str]]
"""The rows and the heads of a table."""
BARS = "▁▂▃▄▅▆▇█"
NAME = 40
"""Characters of a name that a table with many columns shows."""
CURVE = 16
"""Characters of a sparkline."""


def spread_out(steps: Sequence[int], count: int) -> list[int]:
    """Return at most ``count`` steps: all, or the first, the last, and others at even distances."""
    if len(steps) <= count:
        return list(steps)
    if count == 1:
        return [steps[-1]]
    places = [round(k * (len(steps) - 1) / (count - 1)) for k in range(count)]
    return [steps[place] for place in places]


def fit(build: Callable[[Sequence[int]], TableText], steps: Sequence[int], limit: int) -> tuple[TableText, list[int]]:
    """Return a table with as many steps as fit into ``limit`` columns, and those steps; one step at least.

    Args:
        build: makes the table with the columns of some steps.
        steps: the steps to choose from.
        limit: the columns of the screen.
    """
    for count in range(len(steps), 1, -1):
        chosen = spread_out(steps, count)
        table = build(chosen)
        if table_width(table) <= limit:
            return table, chosen
    chosen = spread_out(steps, 1)
    return build(chosen), chosen


def table_width(table: TableText) -> int:
    """Return the columns that a table takes; a terminal's rules take as many as a pipe's blanks."""
    rows, heads = table
    return max(map(len, plain_table(rows, heads).splitlines()), default=0)


def shorten(names: Iterable[str], length: int = NAME) -> dict[str, str]:
    """Return each name in at most ``length`` characters: long ones lose their middle; equal ones get a number."""
    short: dict[str, str] = {}
    for name in dict.fromkeys(names):
        text, number = _without_middle(name, length), 1
        while text in short.values():
            number += 1
            text = f"{_without_middle(name, length - len(str(number)) - 1)}~{number}"
        short[name] = text
    return short


def _without_middle(name: str, length: int) -> str:
    if len(name) <= length:
        return name
    tail = (length - 1) // 2
    return f"{name[: length - 1 - tail]}…{name[len(name) - tail :]}"


def sparkline(values: Sequence[float | None], low: float, high: float) -> str:
    """Return a curve as bars between ``low`` and ``high``, at most 16 characters; a blank for no value."""
    chosen = [values[place] for place in spread_out(range(len(values)), CURVE)]
    return "".join(" " if value is None else BARS[_level(value, low, high)] for value in chosen).rstrip()


def bounds(curves: Iterable[Sequence[float | None]]) -> tuple[float, float]:
    """Return the lowest and the highest value of curves, for one scale of their sparklines."""
    values = [value for curve in curves for value in curve if value is not None and math.isfinite(value)]
    return (min(values), max(values)) if values else (0.0, 0.0)


def _level(value: float, low: float, high: float) -> int:
    if high <= low:
        return 3
    return min(len(BARS) - 1, int((value - low) / (high - low) * len(BARS)))
