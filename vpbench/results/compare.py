"""Two results on the same clips: paired differences per step, with intervals and p-values.

How hard a clip is decides most of its score under either. So differences are taken clip by clip, and chance is which
clips there are (the interval), and which of the two made which prediction of a clip (the test).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import ResultError, did_you_mean
from vpbench.plugin.metric import Metric, Statistic
from vpbench.results.result import Result
from vpbench.results.store import Row
from vpbench.results.summary import draw_clips

__all__ = ["EXCHANGES", "ClipDifference", "Comparison", "check_comparable", "compare_rows", "shared_metrics"]

EXCHANGES = 10_000
"""Random exchanges that a p-value is drawn from; of fewer clips than 14, all that there are."""
_SEED = 20_210_619
_BLOCK = 8_000_000  # indices drawn at a time: bounds the memory, not the result
_SLACK = 1e-12  # relative: sums of the same numbers in another order are as large

Pair: TypeAlias = tuple[list[Statistic], list[Statistic]]
"""What the two results have for one clip at one step: the statistics of all samples."""


@dataclass(frozen=True)
class ClipDifference:
    """One clip's scores, each the mean over its steps."""

    clip: str
    first: float
    second: float

    @property
    def difference(self) -> float:
        """The first less the second."""
        return self.first - self.second


@dataclass(frozen=True)
class Comparison:
    """One metric of two results, per step. Differences are the first less the second; None where undefined."""

    metric: str
    higher_is_better: bool
    steps: tuple[int, ...]
    first: tuple[float | None, ...]
    second: tuple[float | None, ...]
    difference: tuple[float | None, ...]
    ci95: tuple[tuple[float, float] | None, ...]
    """95 % percentile interval of the difference over resamples of clips, drawn for both alike."""
    p: tuple[float | None, ...]
    """Two-sided: how often the difference is as large when each clip's two predictions are exchanged at random."""
    clips: int
    undefined: Mapping[str, int]
    """Frames that either has no value for, by reason: left out of both."""
    worst: tuple[ClipDifference, ...]
    """The clips where the first does worst beside the second, worst first."""


def check_comparable(first: Result, second: Result) -> str:
    """Check that two results are of the same protocol and clips; return why they are partial ("" if they are not).

    Raises:
        ResultError: they are not, or one is not as it was published or has no summary yet.
    """
    for result in (first, second):
        result.check()
        result.summary  # noqa: B018  (raises where units are missing)
    for what in ("protocol", "manifest"):
        if first.run["identity"][what] != second.run["identity"][what]:
            names = [f"{r.run['protocol']['name']} v{r.run['protocol']['version']}" for r in (first, second)]
            same = "the same protocol, but of other clips" if what == "manifest" else " and ".join(names)
            raise ResultError(
                f"{first.path} and {second.path} cannot be compared: they are of {same}; run both on the same clips"
            )
    return "; ".join(dict.fromkeys(r.summary["partial_reason"] for r in (first, second) if r.summary["partial"]))


def shared_metrics(first: Result, second: Result, named: str | None) -> list[str]:
    """Return the metrics to compare: the named one, else all that both results measured.

    Raises:
        ResultError: one of them lacks it, they measured it with different revisions, or share none.
    """
    runs = first.run, second.run
    for result in (first, second) if named else ():
        if named not in result.run["metrics"]:
            assert named is not None
            why = result.run["skipped"].get(named)
            raise ResultError(
                f"{result.path} has no {named}" + (f": {why}" if why else did_you_mean(named, result.run["metrics"]))
            )
    names = [named] if named else [name for name in runs[0]["metrics"] if name in runs[1]["metrics"]]
    if not names:
        raise ResultError(f"{first.path} and {second.path} share no metric")
    for name in names:
        revisions = [run["metrics"][name]["revision"] for run in runs]
        if revisions[0] != revisions[1]:
            raise ResultError(
                f"{first.path} and {second.path}: {name} was measured with revisions {revisions[0]} and "
                f"{revisions[1]}; run the older one again"
            )
    return names


def compare_rows(
    first: Iterable[Row], second: Iterable[Row], metric: Metric, steps: Sequence[int], worst: int = 5
) -> Comparison:
    """Compare the rows of two results by one metric.

    Args:
        first: rows of any metrics, in any order.
        second: rows of the same clips.
        metric: the metric.
        steps: the scored steps.
        worst: how many of the worst clips are named.

    Raises:
        ResultError: the rows are not of the same clips and steps.
    """
    tables = [_table(rows, metric.info.name) for rows in (first, second)]
    if other := sorted(clip for _, clip in tables[0].keys() ^ tables[1].keys()):
        raise ResultError(f"the results are not of the same clips: {other[0]}, for one, is in one of them only")
    undefined: Counter[str] = Counter()
    by_step: dict[int, dict[str, Pair]] = {step: {} for step in steps}
    for step, clip in sorted(tables[0]):  # whatever the order of rows
        values = [[row["value"] for row in table[step, clip] if row["status"] == "ok"] for table in tables]
        if all(values):
            by_step[step][clip] = values[0], values[1]
        else:
            undefined[next(r["reason"] for t in tables for r in t[step, clip] if r["status"] != "ok")] += 1
    columns = [list(pairs.values()) for pairs in by_step.values()]
    scores = [[_score(metric, pairs, side) for pairs in columns] for side in (0, 1)]
    return Comparison(
        metric=metric.info.name,
        higher_is_better=metric.info.higher_is_better,
        steps=tuple(steps),
        first=tuple(scores[0]),
        second=tuple(scores[1]),
        difference=tuple(None if a is None or b is None else a - b for a, b in zip(*scores, strict=True)),
        ci95=tuple(_interval(metric, pairs) for pairs in columns),
        p=tuple(_p_value(metric, pairs) for pairs in columns),
        clips=len(set().union(*by_step.values())),
        undefined=dict(sorted(undefined.items())),
        worst=_worst(metric, by_step)[:worst],
    )


def _table(rows: Iterable[Row], metric: str) -> dict[tuple[int, str], list[Row]]:
    table: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        if row["metric"] == metric:
            table.setdefault((row["step"], row["clip"]), []).append(row)
    return table


def _score(metric: Metric, pairs: Sequence[Pair], side: Literal[0, 1]) -> float | None:
    """Return the score of one of the two over all clips; None where it is undefined."""
    value = metric.finalise([statistic for pair in pairs for statistic in pair[side]])
    score = float(value["score"] if isinstance(value, dict) else value)
    return score if math.isfinite(score) else None


def _interval(metric: Metric, pairs: Sequence[Pair]) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of the difference, over the resamples that a summary's intervals are of."""
    if len(pairs) < 2:
        return None
    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    parts = [metric.resample(first, draws) - metric.resample(second, draws) for draws in draw_clips(len(pairs))]
    differences = np.concatenate(parts)
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        return None
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(low), float(high)


def _p_value(metric: Metric, pairs: Sequence[Pair]) -> float | None:
    """Return the two-sided p-value of a paired permutation test: each clip's two predictions change sides, or not.

    For a mean over clips, that is the sign-flip test of the clips' differences. Pooled scores are pooled anew.
    """
    if len(pairs) < 2:
        return None
    clips = len(pairs)
    both = [pair[0] for pair in pairs] + [pair[1] for pair in pairs]
    own = np.arange(clips)

    def differences(exchanged: NDArray[np.int64]) -> NDArray[np.float64]:
        one, other = own + clips * exchanged, own + clips * (1 - exchanged)
        return metric.resample(both, one) - metric.resample(both, other)

    still = np.zeros((1, clips), dtype=np.int64)
    largest = max(abs(float(metric.resample(both, own[None] + side * clips)[0])) for side in (0, 1))
    (observed,) = np.abs(differences(still))
    if not math.isfinite(observed):
        return None
    parts = np.concatenate([np.abs(differences(exchanged)) for exchanged in _exchanges(clips)])
    parts = parts[np.isfinite(parts)]
    as_large = int((parts >= observed - _SLACK * largest).sum())
    every = 2**clips <= EXCHANGES
    return as_large / len(parts) if every else (as_large + 1) / (len(parts) + 1)


def _exchanges(clips: int) -> Iterator[NDArray[np.int64]]:
    """Yield rows of 0 (a clip's two stay) and 1 (they change sides): every row there is, if those are few."""
    if 2**clips <= EXCHANGES:
        yield np.arange(2**clips)[:, None] >> np.arange(clips) & 1
        return
    bits = np.random.Philox(key=_SEED)  # raw bits are the same on every numpy
    block = max(1, _BLOCK // clips)
    for start in range(0, EXCHANGES, block):
        count = min(block, EXCHANGES - start)
        yield (bits.random_raw(count * clips) & np.uint64(1)).astype(np.int64).reshape(count, clips)


def _worst(metric: Metric, by_step: Mapping[int, Mapping[str, Pair]]) -> tuple[ClipDifference, ...]:
    """Return the clips that the first does worse on, worst first: by the mean over steps of each clip's own scores."""
    scores: dict[str, list[tuple[float, float]]] = {}
    for pairs in by_step.values():
        for clip, pair in pairs.items():
            first, second = _score(metric, [pair], 0), _score(metric, [pair], 1)
            if first is not None and second is not None:
                scores.setdefault(clip, []).append((first, second))
    clips = [
        ClipDifference(
            clip, math.fsum(a for a, _ in values) / len(values), math.fsum(b for _, b in values) / len(values)
        )
        for clip, values in scores.items()
    ]
    sign = -1 if metric.info.higher_is_better else 1
    worse = [one for one in clips if sign * one.difference > 0]
    return tuple(sorted(worse, key=lambda one: (-sign * one.difference, one.clip)))
