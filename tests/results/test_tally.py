"""Rows in columns, whatever their number."""

from __future__ import annotations

import weakref

import folders
import numpy as np
import pytest

from vpbench.results import tally as tallies
from vpbench.results.result import load
from vpbench.results.summarise import metrics_of, summary_of
from vpbench.results.tally import Tally


class Row(dict):
    """A row that can be watched."""

    __hash__ = object.__hash__


@pytest.mark.parametrize("block", [1, 10**6])
def test_rows_read_in_any_blocks_give_the_same_summary(tmp_path, monkeypatch, block):
    store = load(folders.make_result(tmp_path, "net", {"mse": [0.1, 0.2], "psnr": [20.0, None]})).store
    metrics = metrics_of(store, folders.plugins())
    expected = summary_of(store, Tally(store.rows()), metrics)
    monkeypatch.setattr(tallies, "_BLOCK", block)
    assert summary_of(store, Tally(store.rows()), metrics) == expected


def test_few_rows_are_in_memory_at_a_time(monkeypatch):
    monkeypatch.setattr(tallies, "_BLOCK", 10)
    alive: weakref.WeakSet[Row] = weakref.WeakSet()
    peak = 0

    def rows():
        nonlocal peak
        for clip in range(200):
            for step in (1, 2):
                row = Row(clip=f"clip {clip}", step=step, metric="mse", value=float(clip), status="ok", data="0" * 16)
                alive.add(row)
                peak = max(peak, len(alive))
                yield row
                del row

    tally = Tally(rows())
    assert peak <= 25
    column = tally.metrics["mse"].steps[2]
    assert np.array_equal(column.to_array(), np.arange(200.0)) and column["clip 7", 0] == 7.0
    assert column.frames is tally.metrics["mse"].steps[1].frames, "steps share their frames"
