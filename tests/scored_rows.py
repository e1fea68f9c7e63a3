"""Rows and metrics for tests of summaries and comparisons: nothing is measured."""

from __future__ import annotations

import math
from types import SimpleNamespace

from vpbench.plugin.metric import ClipMean, MetricInfo, PooledCounts
from vpbench.results.summary import summarise
from vpbench.results.tally import Tally


class Mean(ClipMean):
    info = MetricInfo("err", 1, "lower", needs=("frames", "semantics"), truth=("flow",))

    def measure(self, comparison):
        raise NotImplementedError


class Ratio(PooledCounts):
    """Hits of all."""

    info = MetricInfo("hits", 1, "higher")

    def measure(self, comparison):
        raise NotImplementedError

    def ratio(self, counts):
        hits, total = (int(c) for c in counts)
        return {"score": hits / total if total else math.nan, "total": float(total)}


def row(clip, step, value, metric="err", **fields):
    return {"clip": clip, "step": step, "metric": metric, "value": value, "status": "ok", "data": f"d{clip}", **fields}


def undefined(clip, step, reason, metric="err", **fields):
    return row(clip, step, None, metric, **fields) | {"status": "undefined", "reason": reason}


def table(values, metric="err"):
    """Rows of [clip][step]."""
    return [row(f"c{i:03d}", k, v, metric) for i, line in enumerate(values) for k, v in enumerate(line, 1)]


class OneEach(dict):
    """Recordings of one clip each, unless said otherwise."""

    def __missing__(self, clip):
        return clip


def summarised(rows, metrics=None, steps=(1, 2), cumulative=True, skipped=None, partial="", classes=(), recordings=()):
    """The summary of rows, without a folder."""
    run = SimpleNamespace(
        identity_hash="id", protocol=SimpleNamespace(steps=steps), cumulative=cumulative, skipped=skipped or {},
        classes=classes, recordings=OneEach(recordings),
    )  # fmt: skip
    return summarise(Tally(rows), metrics or {"err": Mean()}, run, partial=partial)
