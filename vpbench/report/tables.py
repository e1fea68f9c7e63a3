"""Tables of a page as values: texts to show, numbers to sort by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vpbench.pages.boards import Board, result_name
from vpbench.pages.costs import cost_cells
from vpbench.pages.numbers import count_samples, interval_text, number
from vpbench.pages.overview import arrow, seconds_per_frame, training_data
from vpbench.pages.section import columns, skill
from vpbench.pages.set_tables import SetRow, best_rows
from vpbench.pages.standings import Line, Score, Standing, cost_of
from vpbench.plugin.metric import better_text
from vpbench.report.section import Section

_MILLION = 1_000_000
_SIZES = (("none", 0), ("up to 1 million", _MILLION), ("up to 10 million", 10 * _MILLION), ("more", 10**18))
"""Classes of numbers of parameters, each with its largest number."""


@dataclass(frozen=True)
class Head:
    """The head of a column."""

    text: str
    arrow: str = ""
    note: str = ""
    """The text below: a unit, or the number of samples."""
    page: str = ""
    direction: str = ""
    """Which scores are better, in words."""


@dataclass(frozen=True)
class Cell:
    """A number of a table."""

    text: str
    order: float | None = None
    """The number to sort by: the smallest first; None comes last."""
    best: bool = False
    tied: bool = False
    """True if the difference from the best score may be chance."""
    below: str = ""
    """The interval or the spread."""


@dataclass(frozen=True)
class Row:
    """A predictor."""

    name: str
    page: str
    note: str
    """Why it has no rank; "" where it has one."""
    cells: Sequence[Cell]
    training: str = ""
    size: str = ""
    """The class of its number of parameters."""
    stochastic: bool = False


@dataclass(frozen=True)
class Choices:
    """The values that the overview can be filtered by."""

    training: Sequence[str]
    sizes: Sequence[str]
    kinds: bool
    """Whether there are both deterministic and stochastic predictors."""


def overview_heads(section: Section) -> list[Head]:
    """Return the heads of the columns: metrics, set metrics, costs."""
    heads = [
        Head(board.title, arrow(board.better), board.spec.unit, page, better_text(board.better))
        for board, page in zip(section.boards, section.metric_pages, strict=True)
    ]
    for table, rows in section.sets.items():
        better = rows[0].spec.better
        heads.append(Head(table.metric, arrow(better), count_samples(table.samples), "", better_text(better)))
    times = [Head("seconds per frame", note=device) for device in section.devices]
    operations = Head("operations", note="10⁹ per frame")
    return [
        *heads,
        Head("parameters"),
        *([operations, *times] if times else [Head("seconds per frame")]),
        Head("trained on"),
    ]


def overview_rows(section: Section) -> list[Row]:
    """Return a row per predictor."""
    return [_row(section, place) for place in range(len(section.standings))]


def choices(rows: Sequence[Row]) -> Choices:
    """Return the values that rows can be filtered by; those that all rows share are left out."""
    sizes = {row.size for row in rows}
    training = sorted({row.training for row in rows})
    return Choices(
        training if len(training) > 1 else (),
        [text for text, _ in _SIZES if text in sizes] if len(sizes) > 1 else (),
        len({row.stochastic for row in rows}) > 1,
    )


def _row(section: Section, place: int) -> Row:
    standing = section.standings[place]
    run = standing.results[0].run
    parameters = run.parameters
    training = training_data(run) or "never"
    cells = [_score(section, board, standing) for board in section.boards]
    cells += [_set_score(rows, standing) for rows in section.sets.values()]
    cells.append(Cell(f"{parameters:,}" if parameters else "—", parameters))
    cells += _costs(section, place)
    size = next(text for text, largest in _SIZES if parameters <= largest)
    name, page = section.names[place], section.predictor_pages[place]
    return Row(name, page, standing.unranked_because, cells, training, size, run.stochastic)


def _costs(section: Section, place: int) -> list[Cell]:
    """Return the measured operations and times; where no predictor has any, the time of the runs."""
    devices, records = section.devices, section.costs[place]
    if not devices:
        seconds = seconds_per_frame(section.standings[place].results)
        return [Cell("—" if seconds is None else f"{seconds:.2g}", seconds)]
    operations = {record.operations for record in records.values()}
    orders: list[float | None] = [operations.pop() if len(operations) == 1 else None]
    orders += [records[name].latency.seconds_per_frame if name in records else None for name in devices]
    return [Cell(text, order) for text, order in zip(cost_cells(records, devices), orders, strict=True)]


def _score(section: Section, board: Board, standing: Standing) -> Cell:
    line = board.line_of(standing)
    if line is None:
        return Cell("—")
    text, order = number(line.overall, board.spec.decimals), cost_of(line.overall, board.better)
    return Cell(text, order, board.is_best(line, Line.overall_score), line in section.ties[board.title])


def _set_score(rows: Sequence[SetRow], standing: Standing) -> Cell:
    row = next((row for row in rows if row.standing is standing), None)
    if row is None:
        return Cell("—")
    value = row.score.value
    return Cell(number(value, row.spec.decimals), cost_of(value, row.spec.better), row in best_rows(rows))


def step_heads(board: Board) -> list[Head]:
    """Return the heads of a metric's table: the steps, the means, and the reference."""
    steps = board.run.protocol.report or board.lines[0].result.summary.steps
    heads = [Head(text) for text, _, _ in columns(board.metric, steps, board.run)]
    return [*heads, *([Head(f"against {board.run.protocol.reference}")] if board.reference else [])]


def step_rows(section: Section, board: Board) -> list[tuple[str, Row]]:
    """Return a row per predictor with its rank, or the reason why it has none."""
    steps = board.run.protocol.report or board.lines[0].result.summary.steps
    score_columns = columns(board.metric, steps, board.run)
    reference = board.reference
    pages = dict(zip(map(id, section.standings), zip(section.names, section.predictor_pages, strict=True), strict=True))
    rows = []
    for rank, line in board.ranked:
        cells = [_step_cell(board, line, score, factor) for _, score, factor in score_columns]
        if reference is not None:
            text = skill(line.overall, reference.overall, board.better)
            cells.append(Cell(text, cost_of(line.overall, board.better)))
        name, page = pages[id(line.standing)]
        rows.append((rank, Row(name, page, "", cells)))
    return rows


def _step_cell(board: Board, line: Line, score: Callable[[Line], Score], factor: float) -> Cell:
    """Return a number with its interval, or its spread over seeds, below."""
    value, decimals = score(line), board.spec.decimals
    text = number(None if value.value is None else value.value * factor, decimals)
    below = ""
    if value.interval is not None:
        below = interval_text(value.interval, decimals)
    if value.spread is not None:
        below = f"± {number(value.spread * factor, decimals)}"
    return Cell(text, cost_of(value.value, board.better), board.is_best(line, score), below=below)


def distinct_name(section: Section, standing: Standing) -> str:
    """Return a predictor's name with the settings that distinguish it, without the number of seeds."""
    return result_name(standing.results[0], [row.results[0] for row in section.standings], seed=False)
