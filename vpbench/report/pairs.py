"""Pairs of predictors: who is better, from which step on, how often, and on which clips they differ most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from vpbench.pages.boards import Board
from vpbench.pages.candidates import Candidate
from vpbench.pages.curves import charted
from vpbench.pages.numbers import interval_text, number, percent
from vpbench.pages.standings import Line, cost_of
from vpbench.plugin.loader import Plugins
from vpbench.report.predictor import ClipRow, ClipTable
from vpbench.report.section import Section, unique_slugs
from vpbench.results.clip_arrays import score_tally
from vpbench.results.compare import Comparison, compare_all

_CLIPS = 5
"""Clips that each of two predictors wins by most."""

Pair: TypeAlias = tuple[int, int]
"""The places of two predictors in their section, the lower one first."""


@dataclass(frozen=True)
class Contest:
    """One metric of a section's charted predictors, each compared with each."""

    board: Board
    comparisons: Mapping[Pair, Comparison]


@dataclass(frozen=True)
class MatrixCell:
    """One predictor against another."""

    text: str
    lead: str
    """``better``, ``worse``, or "" for neither."""
    win_rate: str
    page: str
    label: str
    """The comparison in words, for a reader who does not see the table."""


@dataclass(frozen=True)
class Matrix:
    """Predictors by predictors."""

    title: str
    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[MatrixCell | None]]]


@dataclass(frozen=True)
class StepRow:
    """Two predictors at one step, or on the mean over the steps."""

    step: str
    texts: Sequence[str]
    """First score, second score, difference, interval, corrected p, win rate."""


@dataclass(frozen=True)
class PairTable:
    """Two predictors by one metric."""

    title: str
    verdict: str
    rows: Sequence[StepRow]


def make_contests(section: Section, plugins: Plugins) -> list[Contest]:
    """Compare the charted predictors by every metric that is a mean over clips; first seeds alone.

    Pooled metrics are left out: each resample of them is pooled again, which takes minutes for many pairs.

    Raises:
        VpbenchError: a metric fails on the scores of clips.
    """
    contests = []
    for board in section.boards:
        lines = [line for standing in charted(section.boards) if (line := board.line_of(standing))]
        if len(lines) > 1 and all(board.metric in line.candidates[0].clips.averages for line in lines):
            contests.append(_contest(section, board, lines, plugins))
    return contests


def _contest(section: Section, board: Board, lines: Sequence[Line], plugins: Plugins) -> Contest:
    metric = plugins.load("metric", board.metric)("cpu")
    tallies = [score_tally(line.candidates[0].clips, board.metric) for line in lines]
    compared = compare_all(tallies, metric, lines[0].result.summary.steps, section.recordings, worst=0)
    places = [next(i for i, standing in enumerate(section.standings) if standing is line.standing) for line in lines]
    return Contest(board, {(places[i], places[j]): comparison for (i, j), comparison in compared.items()})


def pairs_of(contests: Sequence[Contest]) -> list[Pair]:
    """Return the pairs that are compared by any metric."""
    return sorted({pair for contest in contests for pair in contest.comparisons})


def pair_pages(section: Section, contests: Sequence[Contest]) -> dict[Pair, str]:
    """Return the path of the page of each pair."""
    pairs = pairs_of(contests)
    names = unique_slugs([f"{section.seed_names[first]}--{section.seed_names[second]}" for first, second in pairs])
    return {pair: f"{section.folder}/pairs/{name}.html" for pair, name in zip(pairs, names, strict=True)}


def matrix(section: Section, contest: Contest, pages: Mapping[Pair, str]) -> Matrix:
    """Return the table of one metric: rows against columns."""
    places = sorted({place for pair in contest.comparisons for place in pair})
    rows = [
        (
            section.seed_names[row],
            [None if row == column else _cell(section, contest, row, column, pages) for column in places],
        )
        for row in places
    ]
    return Matrix(contest.board.title, [section.seed_names[place] for place in places], rows)


def _cell(section: Section, contest: Contest, row: int, column: int, pages: Mapping[Pair, str]) -> MatrixCell:
    pair = (min(row, column), max(row, column))
    comparison, is_first = contest.comparisons[pair], row < column
    lead = comparison.lead_from
    rate = comparison.win_rate
    if rate is not None and not is_first:
        rate = 1 - rate
    text, word = "—", ""
    if lead:
        word = "better" if (lead.lead == "first") == is_first else "worse"
        text = f"{word} from t+{lead.step}" if lead.step != comparison.steps[0] else f"{word} at every step"
    label = f"{section.seed_names[row]} against {section.seed_names[column]}: {text if lead else 'no significant lead'}"
    return MatrixCell(text, word, percent(rate), pages[pair], label)


def pair_tables(section: Section, pair: Pair, contests: Sequence[Contest]) -> list[PairTable]:
    """Return the comparison of two predictors by each metric."""
    compared = [(contest.board, contest.comparisons[pair]) for contest in contests if pair in contest.comparisons]
    return [_pair_table(section, pair, board, comparison) for board, comparison in compared]


def _pair_table(section: Section, pair: Pair, board: Board, comparison: Comparison) -> PairTable:
    lead = comparison.lead_from
    verdict = "Neither is significantly better up to the last step."
    if lead:
        name = section.seed_names[pair[0] if lead.lead == "first" else pair[1]]
        start = "at every step" if lead.step == comparison.steps[0] else f"from t+{lead.step} on"
        verdict = f"{name} is significantly better {start}."
    return PairTable(board.title, verdict, list(_step_rows(board, comparison)))


def _step_rows(board: Board, comparison: Comparison) -> Iterator[StepRow]:
    columns = (
        comparison.first, comparison.second, comparison.difference, comparison.ci95, comparison.p_holm,
        comparison.step_win_rates,
    )  # fmt: skip
    for step, *values in zip(comparison.steps, *columns, strict=True):
        yield StepRow(f"t+{step}", _texts(board, *values))
    mean = comparison.mean
    if len(comparison.steps) > 1 and mean.difference is not None:
        values = [mean.first, mean.second, mean.difference, mean.ci95, mean.p_holm, comparison.win_rate]
        yield StepRow("mean", _texts(board, *values))


def _texts(
    board: Board,
    first: float | None,
    second: float | None,
    difference: float | None,
    ends: tuple[float, float] | None,
    p: float | None,
    win_rate: float | None,
) -> list[str]:
    decimals = board.spec.decimals
    return [
        *(number(value, decimals) for value in (first, second, difference)),
        interval_text(ends, decimals),
        number(p, 4),
        percent(win_rate),
    ]


def differing_clips(section: Section, pair: Pair) -> list[ClipTable]:
    """Return, for each metric, the clips that each of two predictors wins by most."""
    tables = []
    for board in section.boards:
        lines = [board.line_of(section.standings[place]) for place in pair]
        candidates = [line.candidates[0] for line in lines if line]
        if len(candidates) == 2 and all(board.metric in candidate.clips.scores for candidate in candidates):
            rows = _differing_rows(section, pair, board, candidates)
            tables += [ClipTable(board.title, rows)] if rows else []
    return tables


def _differing_rows(section: Section, pair: Pair, board: Board, candidates: Sequence[Candidate]) -> list[ClipRow]:
    clips = candidates[0].clips.clips
    if candidates[1].clips.clips != clips:
        return []
    means = np.array([candidate.clips.scores[board.metric].means for candidate in candidates])
    costs = np.array([[cost_of(float(mean), board.better) for mean in side] for side in means], dtype=np.float64)
    gains = costs[1] - costs[0]
    order = [place for place in np.argsort(-gains, kind="stable") if np.isfinite(gains[place])]
    winners = [(pair[0], place) for place in order[:_CLIPS] if gains[place] > 0]
    winners += [(pair[1], place) for place in order[: -_CLIPS - 1 : -1] if gains[place] < 0]
    return [
        ClipRow(
            f"{section.seed_names[winner]} better",
            clips[place],
            section.recordings[clips[place]],
            [
                number(float(mean), board.spec.decimals)
                for mean in (*means[:, place], means[0, place] - means[1, place])
            ],
            section.clips.get(clips[place], ""),
        )
        for winner, place in winners
    ]


def partners(section: Section, place: int, pages: Mapping[Pair, str]) -> list[tuple[str, str]]:
    """Return the predictors that one is compared with, each with the page of the pair."""
    return [
        (section.seed_names[second if first == place else first], page)
        for (first, second), page in sorted(pages.items())
        if place in (first, second)
    ]
