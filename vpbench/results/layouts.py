"""Read rows fast: a unit that differs from a checked one in its values alone needs no other check.

Results of one protocol name the same clips, steps, metrics and data in the same order. So the text of a unit without
its values is mostly that of a unit of another result. ``benchmarks/report.py`` measures the effect.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from vpbench.files import UNIT
from vpbench.results.audit import audit_unit
from vpbench.results.reading import read_text
from vpbench.results.rows import Row
from vpbench.results.store import Store
from vpbench.results.tally import Group, Tally, Values, group_rows

_PLAIN = {"clip", "context", "data", "metric", "sample", "status", "step", "value"}
"""Fields of a row that holds a value and nothing to count."""
_DIGITS = 10**18
_VARIANTS = 4
"""Layouts of one unit: predictors with and without labels, for example."""
_VALUE = ',"value":'
"""Precedes a value: the last field, since fields are sorted. Inside a text, its quotes have backslashes."""
_END = "}\n"
"""Follows a value."""
_Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...], bool, int, int]


@dataclass(frozen=True)
class _Layout:
    """A checked unit: the text of each row up to its value, and where the values belong."""

    heads: Sequence[str]
    length: int
    """Characters of all heads."""
    has_context: bool
    groups: Sequence[Group]
    data: Mapping[str, Mapping[str, str]]
    """Digest of what was scored, by metric and clip."""
    context: Mapping[str, str]
    """Digest of the predictor's inputs besides frames, by clip."""
    lists: bool
    """Whether values may be lists."""


class Layouts:
    """The layouts of the units that were read, to be shared by all results that are read together."""

    def __init__(self) -> None:
        self._layouts: dict[_Key, list[_Layout]] = defaultdict(list)

    def tally(self, store: Store) -> Tally:
        """Return the rows of a result, each unit checked as by :func:`vpbench.results.audit.audited_rows`.

        Raises:
            ResultError: names the first line that contradicts the others or ``run.json``.
        """
        tally = Tally()
        has_context: bool | None = None
        for number in store.published():
            text = read_text(store.unit_path(number), UNIT)
            key = _key(store, number)
            layout, values = self._match(key, text, has_context)
            if layout is None:
                rows = audit_unit(store, number, has_context=has_context)
                tally.add_rows(rows)
                self._learn(key, text, rows)
                has_context = "context" in rows[0]
            else:
                tally.add_groups(layout.groups, values)
                tally.add_digests(layout.data, layout.context)
                has_context = layout.has_context
        return tally

    def _match(self, key: _Key, text: str, has_context: bool | None) -> tuple[_Layout | None, Values]:
        """Return the layout of a unit and its values; None if it is unknown, or a value is not plain."""
        layouts = self._layouts.get(key)
        if not layouts:
            return None, []
        lines = text.split(_END)
        for layout in layouts:
            if has_context in (None, layout.has_context) and (texts := _value_texts(lines, layout)):
                values = _values(texts, lists=layout.lists)
                return (layout, values) if values is not None else (None, [])
        return None, []

    def _learn(self, key: _Key, text: str, rows: Sequence[Row]) -> None:
        """Keep the layout of a checked unit if its rows are plain."""
        if not rows or not all(row.keys() <= _PLAIN for row in rows) or len(self._layouts[key]) >= _VARIANTS:
            return
        lists = any(isinstance(row["value"], list) for row in rows)
        pairs = [line.rpartition(_VALUE) for line in text.split(_END)[:-1]]
        values = _values([value for _, _, value in pairs], lists=lists)
        if values is not None and list(values) == [row["value"] for row in rows]:
            heads = [head + mark for head, mark, _ in pairs]
            self._layouts[key].append(_layout(heads, rows, lists=lists))


def _layout(heads: Sequence[str], rows: Sequence[Row], *, lists: bool) -> _Layout:
    tally = Tally(rows)
    data = {metric: metric_tally.data for metric, metric_tally in tally.metrics.items()}
    length = sum(map(len, heads))
    return _Layout(heads, length, bool(tally.context), group_rows(rows), data, tally.context, lists)


def _key(store: Store, number: int) -> _Key:
    """Return what decides the order and the fields of a unit's rows."""
    run = store.run
    kinds = tuple((name, metric.kind) for name, metric in sorted(run.metrics.items()))
    return run.identity.manifest, kinds, run.stochastic, run.identity.samples, number


def _value_texts(lines: Sequence[str], layout: _Layout) -> list[str]:
    """Return the text of each value, of lines without their ends; nothing if a line has another head than its row."""
    *lines, after = lines
    if after or len(lines) != len(layout.heads):
        return []
    texts = list(map(str.removeprefix, lines, layout.heads))
    return texts if sum(map(len, lines)) == layout.length + sum(map(len, texts)) else []


def _values(texts: Sequence[str], *, lists: bool) -> Values | None:
    """Return the values of texts; None if one is not a finite float, or a list of whole numbers where lists may be."""
    joined = ",".join(texts)
    if "\n" in joined or (not lists and joined.count(",") != len(texts) - 1):
        return None
    try:
        values: list[Any] = [json.loads(text) for text in texts] if lists else json.loads(f"[{joined}]")
    except (ValueError, RecursionError):
        return None
    if set(map(type, values)) == {float}:
        array = np.array(values)
        return array if np.isfinite(array).all() else None
    return values if all(map(_is_plain, values)) else None


def _is_plain(value: object) -> bool:
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is list and bool(value) and all(type(n) is int and -_DIGITS < n < _DIGITS for n in value)
