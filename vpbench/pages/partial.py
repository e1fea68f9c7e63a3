"""Rows of partial results: the same on a leaderboard and in the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vpbench.pages.boards import result_name
from vpbench.pages.numbers import number
from vpbench.pages.set_tables import make_set_tables
from vpbench.pages.standings import Standing, make_tables


@dataclass(frozen=True)
class PartialRow:
    """A predictor with results that lack clips."""

    name: str
    clips: int
    reason: str
    """Why clips are missing."""
    scores: Sequence[str]
    """Each metric with its score: the mean over the steps, or the score of the set."""


def partial_rows(standings: Sequence[Standing]) -> list[PartialRow]:
    """Return a row per predictor; names state the settings that distinguish rows of one label."""
    results = [standing.results[0] for standing in standings]
    return [
        PartialRow(
            result_name(result, results, seed=False),
            result.summary.clips,
            result.summary.partial_reason,
            _scores(standing),
        )
        for standing, result in zip(standings, results, strict=True)
    ]


def _scores(standing: Standing) -> list[str]:
    scores = []
    for metric in dict.fromkeys(name for result in standing.results for name in result.summary.scores):
        for line in (line for lines in make_tables(metric, [standing]).values() for line in lines):
            scores.append(f"{metric} {number(line.overall, line.result.run.metrics[metric].decimals)}")
    for table, (row,) in make_set_tables([standing]).items():
        scores.append(f"{table.metric} {number(row.score.value, row.spec.decimals)}")
    return scores
