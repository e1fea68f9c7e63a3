"""From rows to scores: one per step, with a seeded bootstrap interval over recordings."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vpbench.plugin.metric import Metric, Statistic
from vpbench.results.estimates import finalise, group_frames, interval
from vpbench.results.store import SCHEMA, Row

__all__ = ["MetricTally", "Tally", "summarise"]


@dataclass
class MetricTally:
    """The rows of one metric, sorted by step and frame, and what is counted of them."""

    steps: dict[int, dict[tuple[str, int], Statistic]] = field(default_factory=lambda: defaultdict(dict))
    """Defined statistics by step, then by (clip, sample)."""
    undefined: dict[tuple[int, str, int], str] = field(default_factory=dict)
    """Why a frame has no value, by (step, clip, sample)."""
    notes: Counter[str] = field(default_factory=Counter)
    data: dict[str, str] = field(default_factory=dict)
    """Digest of what was scored, by clip."""

    @property
    def clips(self) -> set[str]:
        """The clips with a value at any step."""
        return {clip for frames in self.steps.values() for clip, _ in frames}

    @property
    def only_reason(self) -> str:
        """The reason why no frame has a value, if there is exactly one; else ""."""
        reasons = set(self.undefined.values())
        return reasons.pop() if len(reasons) == 1 and not self.clips else ""


class Tally:
    """All rows of a result, read once, in any order."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.metrics: dict[str, MetricTally] = defaultdict(MetricTally)
        self.clips: set[str] = set()
        self.context: dict[str, str] = {}
        """Digest of what the predictor was shown besides frames, by clip."""
        self.clamped: set[tuple[str, int, int]] = set()
        for row in rows:
            self._add(row)

    def _add(self, row: Row) -> None:
        clip, sample, metric = row["clip"], row.get("sample", 0), self.metrics[row["metric"]]
        self.clips.add(clip)
        metric.data[clip] = row["data"]
        if "context" in row:
            self.context[clip] = row["context"]
        if "clamped" in row:
            self.clamped.add((clip, sample, row["step"]))
        if row["status"] == "undefined":
            metric.undefined[row["step"], clip, sample] = row["reason"]
            return
        if "note" in row:
            metric.notes[row["note"]] += 1
        metric.steps[row["step"]][clip, sample] = row["value"]


def summarise(
    tally: Tally,
    metrics: Mapping[str, Metric | None],
    *,
    identity: str,
    steps: Sequence[int],
    cumulative: bool,
    skipped: Mapping[str, str],
    partial: str,
    recordings: Mapping[str, str],
    classes: Sequence[str] = (),
    intervals: bool = True,
) -> dict[str, Any]:
    """Return the content of ``summary.json``: natural values, in full precision.

    Args:
        tally: every row of the result.
        metrics: those to score, by name; of None, only rows are counted.
        identity: the identity's hash.
        steps: the scored steps.
        cumulative: whether a mean over steps 1 to k means anything (not for anchored sampling).
        skipped: metrics that could not apply at all, with the reason.
        partial: why this is not the whole protocol, or "".
        recordings: the recording that each clip was cut from.
        classes: names of the true labels, for details that a metric calls ``class <id>``.
        intervals: whether to compute ``ci95``, which takes most of the time.

    Returns:
        Per metric: ``per_step`` (at(k)), ``mean_to`` (mean over steps 1 to k), ``mean``, ``ci95`` per step, ``clips``,
        ``recordings`` (independent ones, with a value), ``undefined`` (frames without a value, by reason), ``notes``
        (counts), ``details`` per step, ``data`` (digest of what was scored). For the whole result: ``clips``,
        ``recordings``, ``data``, ``context`` (digest of what else the predictor was shown).

    Raises:
        MetricError: a metric makes no score of its statistics.
    """
    names = {f"class {i}": name for i, name in enumerate(classes)}
    scores: dict[str, Any] = {}
    unmeasured = dict(skipped)
    for name, metric in metrics.items():
        rows = tally.metrics[name]
        if rows.only_reason:
            unmeasured[name] = rows.only_reason
            continue
        scores[name] = {
            "data": _digest(rows.data.items()),
            "clips": len(rows.clips),
            "recordings": len({recordings[clip] for clip in rows.clips}),
            "undefined": dict(sorted(Counter(rows.undefined.values()).items())),
            "notes": dict(sorted(rows.notes.items())),
        }
        if metric is not None:
            scored = _score(metric, rows, steps, recordings, names, intervals=intervals, cumulative=cumulative)
            scores[name] = scored | scores[name]
    return {
        "schema": SCHEMA,
        "identity": identity,
        "steps": list(steps),
        "partial": bool(partial),
        "partial_reason": partial,
        "clips": len(tally.clips),
        "recordings": len({recordings[clip] for clip in tally.clips}),
        "data": _digest({pair for rows in tally.metrics.values() for pair in rows.data.items()}),
        "context": _digest(tally.context.items()) if tally.context else "",
        "clamped_frames": len(tally.clamped),
        "scores": scores,
        "skipped": dict(sorted(unmeasured.items())),
    }


def _digest(clips: Collection[tuple[str, str]]) -> str:
    lines = sorted(f"{clip} {digest}" for clip, digest in clips)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _score(
    metric: Metric,
    rows: MetricTally,
    steps: Sequence[int],
    recordings: Mapping[str, str],
    names: Mapping[str, str],
    *,
    cumulative: bool,
    intervals: bool,
) -> dict[str, Any]:
    per_step: list[float] = []
    ci95: list[list[float] | None] = []
    details: list[dict[str, float | None]] = []
    for step in steps:
        groups = group_frames(rows.steps.get(step, {}), recordings)
        score = finalise(metric, [statistic for frames in groups for statistic in frames])
        per_step.append(score.pop("score"))
        details.append({names.get(key, key): _plain(number) for key, number in score.items()})
        if intervals:
            ends = interval(metric, groups)
            ci95.append(None if ends is None else list(ends))
    means = [_mean(per_step[: k + 1]) for k in range(len(per_step))] if cumulative else []
    return {
        "per_step": [_plain(value) for value in per_step],
        **({"ci95": ci95} if intervals else {}),
        "mean_to": [_plain(value) for value in means],
        "mean": _plain(means[-1]) if means else None,
        "details": details if any(details) else [],
    }


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
