"""A table for a paper: a row per predictor, a column per metric and step, with the boards' rules for ranks and ties."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from vpbench.errors import ResultError, UsageError, did_you_mean
from vpbench.pages.boards import Board, make_boards, mean_of, result_name
from vpbench.pages.candidates import Candidate
from vpbench.pages.numbers import count_clips, count_samples
from vpbench.pages.overview import order_standings
from vpbench.pages.set_tables import SetRow, SetTable, make_set_tables
from vpbench.pages.standings import (
    Line,
    Score,
    Standing,
    cost_of,
    equal,
    group_standings,
    make_tables,
    table_of,
)
from vpbench.pages.ties import Ties
from vpbench.plugin.loader import Plugins
from vpbench.results.records import MetricRecord, RunRecord
from vpbench.results.seeds import seeds_of

TIE = "≈"


@dataclass(frozen=True)
class PaperCell:
    """One score of one predictor, in full precision."""

    score: Score
    mark: str = ""
    """``best``, ``second``, or "" for any other score."""
    tied: bool = False
    """Whether its difference from the best score may be chance."""


@dataclass(frozen=True)
class PaperColumn:
    """A metric at one step, or over all steps; a cell per row."""

    title: str
    head: str
    """``t+1``, ``mean``, or the size of the set for a set metric."""
    spec: MetricRecord
    cells: Sequence[PaperCell]


@dataclass(frozen=True)
class PaperRow:
    """A predictor; its results of several seeds are joined."""

    name: str
    seeds: int
    remark: str
    """Why it has no rank; "" if it has one."""
    partial: bool
    """Whether clips of the protocol are missing."""

    @property
    def label(self) -> str:
        """The name, with the number of seeds."""
        return self.name + mean_of(self.seeds)


@dataclass(frozen=True)
class PaperTable:
    """A whole table; ``paper_formats`` writes it."""

    run: RunRecord
    clips: int
    recordings: int
    rows: Sequence[PaperRow]
    columns: Sequence[PaperColumn]

    @property
    def caption(self) -> list[str]:
        """Sentences on what was evaluated, and on the marks in the table."""
        protocol, identity = self.run.protocol, self.run.identity
        clips = count_clips(self.clips, self.recordings)
        sentences = [
            f"{protocol.name}, version {protocol.version}: {clips} (protocol {identity.protocol[:12]}, clips "
            f"{identity.manifest[:12]})."
        ]
        cells = [cell for column in self.columns for cell in column.cells]
        marks = {cell.mark for cell in cells}
        legend = (["best in bold"] if "best" in marks else []) + (["second underlined"] if "second" in marks else [])
        if legend:
            sentences.append(f"{', '.join(legend)}.".capitalize())
        if any(cell.tied for cell in cells):
            sentences.append(f"{TIE}: the 95 % interval of the paired difference from the best covers zero.")
        if any(cell.score.spread is not None for cell in cells):
            sentences.append("±: standard deviation over seeds.")
        if any(row.remark for row in self.rows):
            sentences.append("Rows with a remark have no rank.")
        return sentences


@dataclass(frozen=True)
class Choice:
    """The columns that a table shows."""

    metrics: Sequence[str] = ()
    """Names of metrics, in this order; by default every metric of the results."""
    steps: Sequence[int] = ()
    """Steps, in this order; without steps and mean, the score that decides the rank."""
    mean: bool = False
    """Whether the mean over all steps has a column."""


def make_paper_table(candidates: Sequence[Candidate], plugins: Plugins, choice: Choice) -> PaperTable:
    """Make the table of one protocol.

    Raises:
        ResultError: the results are of several protocols or lists of clips, or two that must agree do not.
        UsageError: no result has a metric or a step, or the protocol has no mean over steps.
    """
    standings = group_standings(candidates)
    complete = [standing for standing in standings if standing.candidates[0].complete]
    _check_one_protocol(standings, complete)
    boards = make_boards(complete) if complete else [_unranked_board(name, standings) for name in _metrics(standings)]
    sets = make_set_tables(complete or standings)
    _check_choice(choice, boards, sets, standings[0])
    names = choice.metrics or list(dict.fromkeys([*(b.metric for b in boards), *(table.metric for table in sets)]))
    boards = [board for name in names for board in boards if board.metric == name]
    sets = {table: sets[table] for name in names for table in sets if table.metric == name}
    order = order_standings(boards, sets)
    order += [standing for standing in [*complete, *standings] if standing not in order]
    columns: list[PaperColumn] = []
    ties = Ties(plugins)
    for name in names:
        for board in (board for board in boards if board.metric == name):
            columns += _step_columns(board, order, ties, choice)
        columns += [_set_column(table, rows, order) for table, rows in sets.items() if table.metric == name]
    measured = [
        place for place in range(len(order)) if any(c.cells[place].score.value is not None for c in columns)
    ]  # a predictor without any of the chosen metrics has no row
    columns = [_of_rows(column, measured) for column in columns]
    rows = [_row(order[place], standings, names) for place in measured]
    first = (complete or standings)[0].results[0]
    return PaperTable(first.run, first.summary.clips, first.summary.recordings, rows, columns)


def _of_rows(column: PaperColumn, places: Sequence[int]) -> PaperColumn:
    return PaperColumn(column.title, column.head, column.spec, [column.cells[place] for place in places])


def _check_one_protocol(standings: Sequence[Standing], complete: Sequence[Standing]) -> None:
    runs = [standing.results[0].run for standing in standings]
    protocols = sorted({(run.protocol.name, run.protocol.version, run.identity.protocol[:8]) for run in runs})
    if len(protocols) > 1:
        names = ", ".join(f"{name} version {version} ({digest})" for name, version, digest in protocols)
        raise ResultError(f"these results are of several protocols: {names}; name the results of one of them")
    manifests = sorted({standing.results[0].run.identity.manifest[:8] for standing in complete})
    if len(manifests) > 1:
        raise ResultError(
            f"these results are of several lists of clips ({', '.join(manifests)}), so their scores do not compare; "
            f"name the results of one of them"
        )


def _metrics(standings: Sequence[Standing]) -> list[str]:
    results = [result for standing in standings for result in standing.results]
    return list(dict.fromkeys(metric for result in results for metric in result.summary.scores))


def _unranked_board(metric: str, standings: Sequence[Standing]) -> Board:
    """Return a board of partial results, which may be of other clips each: no row competes with another one."""
    lines = [next(iter(tables.values()))[0] for s in standings if (tables := make_tables(metric, [s]))]
    return Board(metric, metric, "", lines)


def _check_choice(
    choice: Choice, boards: Sequence[Board], sets: dict[SetTable, list[SetRow]], standing: Standing
) -> None:
    measured = {board.metric for board in boards} | {table.metric for table in sets}
    if unknown := [name for name in choice.metrics if name not in measured]:
        raise UsageError(f"these results have no metric {unknown[0]!r}{did_you_mean(unknown[0], measured)}")
    result = standing.results[0]
    scored = result.summary.steps
    if missing := [step for step in choice.steps if step not in scored]:
        raise UsageError(f"{result.run.protocol.name} has no step {missing[0]}: scored are {list(scored)}")
    if choice.mean and not result.run.cumulative:
        raise UsageError(f"{result.run.protocol.name} has no mean over steps: its steps are scored on other clips each")


def _step_columns(board: Board, order: Sequence[Standing], ties: Ties, choice: Choice) -> Iterator[PaperColumn]:
    for step in choice.steps:
        yield _column(board, f"t+{step}", partial(Line.at, step=step), (step,), order, ties)
    if choice.mean or not choice.steps:
        head = "mean" if board.run.cumulative else f"t+{board.steps[-1]}"
        yield _column(board, head, Line.overall_score, board.steps, order, ties)


def _column(
    board: Board,
    head: str,
    score: Callable[[Line], Score],
    steps: Sequence[int],
    order: Sequence[Standing],
    ties: Ties,
) -> PaperColumn:
    lines = [_line(board, standing) for standing in order]
    ranked = [line for line in board.contenders if line.standing.candidates[0].complete]
    costs = [(cost_of(score(line).value, board.better), line) for line in ranked]
    marks = _marks([(cost, line.standing) for cost, line in costs if cost is not None])
    tied = [line.standing for line in ties.lines(board, score, steps)] if ranked else []
    cells = []
    for standing, line in zip(order, lines, strict=True):
        mark = next((mark for marked, mark in marks if marked is standing), "")
        is_tied = mark != "best" and any(rival is standing for rival in tied)
        cells.append(PaperCell(score(line) if line else Score(None), mark, is_tied))
    return PaperColumn(board.title, head, board.spec, cells)


def _marks(costs: Sequence[tuple[float, Standing]]) -> list[tuple[Standing, str]]:
    """Return the best rows, and the second if one row alone is best: ranks are 1, 2, 2 or 1, 1, 3."""
    best = min((cost for cost, _ in costs), default=None)
    first = [standing for cost, standing in costs if equal(cost, best)]
    rivals = [(cost, standing) for cost, standing in costs if not equal(cost, best)]
    second = min((cost for cost, _ in rivals), default=None) if len(first) == 1 else None
    return [(s, "best") for s in first] + [(s, "second") for cost, s in rivals if equal(cost, second)]


def _line(board: Board, standing: Standing) -> Line | None:
    """Return a predictor's row of a board; for a partial result, the scores of the same definition of the metric."""
    if line := board.line_of(standing):
        return line
    if standing.candidates[0].complete:
        return None
    table = table_of(board.lines[0].result, board.metric)
    definition = table.revision, table.code
    tables = make_tables(board.metric, [standing])
    return next((lines[0] for table, lines in tables.items() if (table.revision, table.code) == definition), None)


def _set_column(table: SetTable, rows: Sequence[SetRow], order: Sequence[Standing]) -> PaperColumn:
    costs = [(row.cost, row.standing) for row in rows if row.cost is not None and row.standing.candidates[0].complete]
    marks = _marks(costs)
    cells = []
    for standing in order:
        score = next((row.score for row in rows if row.standing is standing), Score(None))
        cells.append(PaperCell(score, next((mark for marked, mark in marks if marked is standing), "")))
    return PaperColumn(table.metric, count_samples(table.samples), rows[0].spec, cells)


def _row(standing: Standing, standings: Sequence[Standing], metrics: Sequence[str]) -> PaperRow:
    summary = standing.results[0].summary
    remarks = [standing.unranked_because] if standing.unranked_because else []
    doubts = {metric for candidate in standing.candidates for metric in candidate.doubts}
    remarks += [f"{metric} not recomputed" for metric in metrics if metric in doubts]
    remarks += [f"partial, {summary.clips} clips: {summary.partial_reason}"] if summary.partial else []
    name = result_name(standing.results[0], [row.results[0] for row in standings], seed=False)
    seeds = len({seeds_of(result) for result in standing.results})
    return PaperRow(name, seeds, "; ".join(remarks), summary.partial)
