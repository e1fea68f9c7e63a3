"""Read rows fast: a unit that differs from a checked one in its values alone needs no other check.

Results of one protocol name the same clips, steps, metrics and data in the same order. So the text of a unit without
its values is mostly that of a unit of another result. ``benchmarks/report.py`` measures the effect.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from vpbench.files import UNIT
from vpbench.plugin.metric import Statistic
from vpbench.results.audit import audit_unit
from vpbench.results.reading import read_text
from vpbench.results.rows import Row
from vpbench.results.store import Store
from vpbench.results.summary import Tally, TallyPart

_PLAIN = {"clip", "context", "data", "metric", "sample", "status", "step", "value"}
"""Fields of a row that holds a value and nothing to count."""
_DIGITS = 10**18
_VARIANTS = 4
"""Layouts of one unit: predictors with and without labels, for example."""
_VALUE = ',"value":'
"""Precedes a value: the last field, since fields are sorted. Inside a text, its quotes have backslashes."""
_Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...], bool, int, int]


@dataclass(frozen=True)
class _Layout:
    """A checked unit: the text of each row up to its value, and where the values belong."""

    heads: Sequence[str]
    has_context: bool
    parts: Sequence[TallyPart]
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
        tally = Tally(())
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
                tally.add_parts(layout.parts, values)
                has_context = layout.has_context
        return tally

    def _match(self, key: _Key, text: str, has_context: bool | None) -> tuple[_Layout | None, list[Statistic]]:
        """Return the layout of a unit and its values; None if it is unknown, or a value is not plain."""
        layouts = self._layouts.get(key)
        if not layouts:
            return None, []
        heads, texts = _split(text)
        for layout in layouts:
            if layout.heads == heads and has_context in (None, layout.has_context):
                values = _values(texts, lists=layout.lists)
                return (layout, values) if values is not None else (None, [])
        return None, []

    def _learn(self, key: _Key, text: str, rows: Sequence[Row]) -> None:
        """Keep the layout of a checked unit if its rows are plain."""
        if not rows or not all(row.keys() <= _PLAIN for row in rows) or len(self._layouts[key]) >= _VARIANTS:
            return
        heads, texts = _split(text)
        lists = any(isinstance(row["value"], list) for row in rows)
        if len(heads) == len(rows) and _values(texts, lists=lists) == [row["value"] for row in rows]:
            self._layouts[key].append(_Layout(heads, "context" in rows[0], _parts(rows), lists))


def _key(store: Store, number: int) -> _Key:
    """Return what decides the order and the fields of a unit's rows."""
    run = store.run
    kinds = tuple((name, metric.kind) for name, metric in sorted(run.metrics.items()))
    return run.identity.manifest, kinds, run.stochastic, run.identity.samples, number


def _split(text: str) -> tuple[list[str], list[str]]:
    """Return the text of each row before its value, and of its value; nothing for text of another form."""
    pieces = text.replace("}\n", _VALUE).split(_VALUE)
    if pieces.pop() or len(pieces) % 2:
        return [], []
    return pieces[::2], pieces[1::2]


def _values(texts: Sequence[str], *, lists: bool) -> list[Statistic] | None:
    """Return the values of texts; None if one is not a finite float, or a list of whole numbers where lists may be."""
    joined = ",".join(texts)
    if "\n" in joined or (not lists and joined.count(",") != len(texts) - 1):
        return None
    try:
        values: list[Any] = [json.loads(text) for text in texts] if lists else json.loads(f"[{joined}]")
    except (ValueError, RecursionError):
        return None
    return values if all(map(_is_plain, values)) else None


def _is_plain(value: object) -> bool:
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is list and bool(value) and all(type(n) is int and -_DIGITS < n < _DIGITS for n in value)


def _parts(rows: Sequence[Row]) -> list[TallyPart]:
    """Return, for each metric and step, the clips and samples and the places of their rows."""
    places: dict[tuple[str, int], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[row["metric"], row["step"]].append(place)
    keys: dict[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]] = {}
    parts = []
    for (metric, step), chosen in places.items():
        frames = tuple((rows[place]["clip"], rows[place].get("sample", 0)) for place in chosen)
        data = {rows[place]["clip"]: rows[place]["data"] for place in chosen}
        context = {rows[place]["clip"]: rows[place]["context"] for place in chosen if "context" in rows[place]}
        parts.append(TallyPart(metric, step, keys.setdefault(frames, frames), chosen, data, context))
    return parts
