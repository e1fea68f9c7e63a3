"""Scores of single clips: rows of a clip, its mean over the steps, and which clips are worth looking at."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from vpbench.errors import ResultError, UsageError, did_you_mean
from vpbench.plugin.metric import Better, cost
from vpbench.protocol.units import UNIT_CLIPS
from vpbench.results.pictures import spread
from vpbench.results.result import Result
from vpbench.results.rows import Row

PLACES: Final = ("best", "median", "worst", "differ")
"""Words that name clips by their scores."""

ClipMeans = Mapping[str, float]
"""Mean over steps and samples by clip."""


def clip_rows(result: Result, clip: str) -> list[Row]:
    """Return the rows of one clip; none if its unit is not published.

    Raises:
        ResultError: the result has no such clip, or its unit was edited.
    """
    clips = [entry.clip for entry in result.run.manifest]
    if clip not in clips:
        raise ResultError(f"{result.path} has no clip {clip!r}{did_you_mean(clip, clips)}")
    number = clips.index(clip) // UNIT_CLIPS
    if number not in result.store.published():
        return []
    return [row for row in result.store.unit_rows(number) if row["clip"] == clip]


def clip_means(rows: Iterable[Row], metric: str) -> dict[str, float]:
    """Return the mean of a metric over steps and samples, by clip; clips without a number are left out."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["metric"] == metric and isinstance(row["value"], int | float):
            values[row["clip"]].append(row["value"])
    return {clip: math.fsum(numbers) / len(numbers) for clip, numbers in sorted(values.items())}


def first_metric(result: Result, metric: str = "") -> str:
    """Return the metric that orders clips: ``metric``, else the first that scores single frames.

    Raises:
        UsageError: the result has no such metric, or none at all.
    """
    names = [name for name, record in result.run.metrics.items() if record.kind == "frame"]
    if metric and metric not in names:
        raise UsageError(f"{result.path} has no scores of {metric!r} by clip{did_you_mean(metric, names)}")
    if not names:
        raise UsageError(f"{result.path} has no metric that scores clips, so none is best: name clips by their ids")
    return metric or names[0]


def place_clips(means: ClipMeans, better: Better) -> dict[str, str]:
    """Return the best, the median and the worst clip by these words; empty without scores."""
    ordered = sorted(means, key=lambda clip: (cost(means[clip], better), clip))
    if not ordered:
        return {}
    return {"best": ordered[0], "median": ordered[(len(ordered) - 1) // 2], "worst": ordered[-1]}


def differing_clips(means: Sequence[ClipMeans], count: int) -> list[str]:
    """Return the clips with the largest range of scores over several results, the largest first."""
    shared = set.intersection(*(set(scores) for scores in means)) if len(means) > 1 else set()

    def span(clip: str) -> float:
        scores = [result_means[clip] for result_means in means]
        return max(scores) - min(scores)

    return sorted(shared, key=lambda clip: (-span(clip), clip))[:count]


def choose_clips(results: Sequence[Result], words: Sequence[str], metric: str = "") -> list[str]:
    """Return the clips that words name, in the order of the manifest.

    Args:
        results: results of one list of clips.
        words: ids, numbers (that many, spread evenly), and ``PLACES`` by ``metric``, for each result.
        metric: orders clips; by default the first of each result.

    Raises:
        UsageError: ``differ`` with fewer than two results, or no such metric. ResultError: no such clip, or none.
    """
    clips = [entry.clip for entry in results[0].run.manifest]
    chosen: set[str] = set()
    for word in dict.fromkeys(words):
        if word in clips:
            chosen.add(word)
        elif word.isdecimal() and int(word) > 0:
            chosen.update(spread(clips, int(word)))
        elif word in PLACES:
            chosen.update(_placed_clips(results, word, metric))
        else:
            raise ResultError(f"{results[0].path} has no clip {word!r}{did_you_mean(word, [*clips, *PLACES])}")
    if not chosen:
        raise ResultError(f"{results[0].path} has no scores of clips for {', '.join(words)}: name clips by their ids")
    return [clip for clip in clips if clip in chosen]


def _placed_clips(results: Sequence[Result], word: str, metric: str) -> list[str]:
    """Return the clips that a word of ``PLACES`` names: one of each result, or one of all."""
    names = [first_metric(result, metric) for result in results]
    if word == "differ":
        if len(results) < 2 or len(set(names)) > 1:
            raise UsageError("clips that differ need several results with scores of one metric: name it")
        return differing_clips([clip_means(r.rows(), name) for r, name in zip(results, names, strict=True)], 1)
    placed = []
    for result, name in zip(results, names, strict=True):
        places = place_clips(clip_means(result.rows(), name), result.run.metrics[name].better)
        placed += [places[word]] if places else []
    return placed
