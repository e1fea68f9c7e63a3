"""From rows to scores: one per step, with a seeded bootstrap interval over clips."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import MetricError
from vpbench.plugin.metric import Metric, Statistic
from vpbench.results.store import SCHEMA, Row

__all__ = ["RESAMPLES", "draw_clips", "summarise"]

RESAMPLES = 1000
_BLOCK = 2_000_000  # indices drawn at a time: bounds the memory, not the result
_SEED = 20_210_619


def summarise(
    rows: Iterable[Row],
    metrics: Mapping[str, Metric],
    *,
    identity: str,
    steps: tuple[int, ...],
    cumulative: bool,
    skipped: Mapping[str, str],
    partial: str,
    classes: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the content of ``summary.json``: natural values, in full precision.

    Args:
        rows: every row of the result, in any order.
        metrics: those that were measured, by name.
        identity: the identity's hash.
        steps: the scored steps.
        cumulative: whether a mean over steps 1 to k means anything (not for anchored sampling).
        skipped: metrics that could not apply at all, with the reason.
        partial: why this is not the whole protocol, or "".
        classes: names of the true labels, for details that a metric calls ``class <id>``.

    Returns:
        Per metric: ``per_step`` (at(k)), ``mean_to`` (mean over steps 1 to k), ``mean``, ``ci95`` per step, ``clips``,
        ``undefined`` (frames without a value, by reason), ``notes`` (counts), ``details`` per step, ``data`` (digest of
        what was scored). For the whole result: ``data``, ``context`` (digest of what else the predictor was shown).
    """
    table: dict[str, dict[int, dict[str, list[Statistic]]]] = {name: {k: {} for k in steps} for name in metrics}
    undefined: dict[str, Counter[str]] = {name: Counter() for name in metrics}
    notes: dict[str, Counter[str]] = {name: Counter() for name in metrics}
    clips: set[str] = set()
    data: dict[str, set[str]] = {name: set() for name in metrics}
    context: set[str] = set()
    clamped: set[tuple[str, int, int]] = set()
    for row in rows:
        name, clip = row["metric"], row["clip"]
        clips.add(clip)
        data[name].add(f"{clip} {row['data']}")
        if "context" in row:
            context.add(f"{clip} {row['context']}")
        if "clamped" in row:
            clamped.add((clip, row.get("sample", 0), row["step"]))
        if row["status"] == "undefined":
            undefined[name][row["reason"]] += 1
            continue
        if "note" in row:
            notes[name][row["note"]] += 1
        table[name][row["step"]].setdefault(clip, []).append(row["value"])
    names = {f"class {i}": name for i, name in enumerate(classes)}
    scores: dict[str, Any] = {}
    out = dict(skipped)
    for name, metric in metrics.items():
        by_step = table[name]
        reasons = undefined[name]
        if len(reasons) == 1 and not any(by_step.values()):
            out[name] = next(iter(reasons))
            continue
        scores[name] = _score(metric, by_step, cumulative, names) | {
            "data": _digest(data[name]),
            "clips": len(set().union(*by_step.values())),
            "undefined": dict(sorted(reasons.items())),
            "notes": dict(sorted(notes[name].items())),
        }
    return {
        "schema": SCHEMA,
        "identity": identity,
        "steps": list(steps),
        "partial": bool(partial),
        "partial_reason": partial,
        "clips": len(clips),
        "data": _digest(set().union(*data.values())),
        "context": _digest(context) if context else "",
        "clamped_frames": len(clamped),
        "scores": scores,
        "skipped": dict(sorted(out.items())),
    }


def _digest(clips: Collection[str]) -> str:
    return hashlib.sha256("\n".join(sorted(clips)).encode()).hexdigest()[:16]


def _score(
    metric: Metric,
    by_step: Mapping[int, Mapping[str, list[Statistic]]],
    cumulative: bool,
    names: Mapping[str, str],
) -> dict[str, Any]:
    per_step: list[float] = []
    intervals: list[list[float] | None] = []
    details: list[dict[str, float | None]] = []
    for clips in by_step.values():
        ordered = [clips[clip] for clip in sorted(clips)]  # whatever the order of rows
        try:
            value = metric.finalise([statistic for samples in ordered for statistic in samples])
            named = dict(value) if isinstance(value, dict) else {"score": value}
            per_step.append(float(named.pop("score")))
            details.append({names.get(key, key): _plain(number) for key, number in named.items()})
            intervals.append(_interval(metric, ordered))
        except Exception as error:
            raise MetricError(
                f"metric {metric.info.name!r} makes no score of its statistics: {type(error).__name__}: {error}"
            ) from error
    means = [_mean(per_step[: k + 1]) for k in range(len(per_step))] if cumulative else []
    return {
        "per_step": [_plain(value) for value in per_step],
        "ci95": intervals,
        "mean_to": [_plain(value) for value in means],
        "mean": _plain(means[-1]) if means else None,
        "details": details if any(details) else [],
    }


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _interval(metric: Metric, statistics: list[list[Statistic]]) -> list[float] | None:
    """Return the 95 % percentile interval of the score over resamples of clips; None for fewer than two clips."""
    if len(statistics) < 2:
        return None
    parts = [(draws, metric.resample(statistics, draws)) for draws in draw_clips(len(statistics))]
    if wrong := [scores.shape for draws, scores in parts if scores.shape != (len(draws),)]:
        raise ValueError(f"resample gave {wrong[0]}, not one score per resample")
    scores = np.concatenate([scores for _, scores in parts])
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return None
    low, high = np.quantile(scores, [0.025, 0.975])
    return [float(low), float(high)]


def draw_clips(clips: int) -> Iterator[NDArray[np.int64]]:
    """Yield ``RESAMPLES`` rows of clip indices in blocks, from raw Philox bits: the same on every numpy."""
    bits = np.random.Philox(key=_SEED)
    block = max(1, _BLOCK // clips)
    for start in range(0, RESAMPLES, block):
        count = min(block, RESAMPLES - start)
        raw = bits.random_raw(count * clips)
        yield (raw % np.uint64(clips)).astype(np.int64).reshape(count, clips)


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
