"""Quality against cost: charts of the first metric against parameters, and against seconds on each machine.

Measured costs replace the times of runs, as everywhere: the two are of other conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from markupsafe import Markup

from vpbench.pages.boards import Board
from vpbench.pages.curves import chart_title, charted
from vpbench.pages.overview import machines_of, seconds_per_frame
from vpbench.pages.standings import Line, Standing
from vpbench.report.charts import Figure
from vpbench.report.scatter import Point, scatter_chart
from vpbench.report.section import Section
from vpbench.report.tables import distinct_name


def cost_figures(section: Section) -> list[Figure]:
    """Return the charts that have two predictors or more."""
    if not section.boards:
        return []
    board = section.boards[0]
    figures = [_figure(section, board, "parameters", lambda s: s.results[0].run.parameters or None, board.lines)]
    figures += _measured(section, board) if section.devices else _timed(section, board)
    return [figure for figure in figures if figure]


def _measured(section: Section, board: Board) -> list[Figure | None]:
    """Return a chart of measured latency per device."""
    by_standing = dict(zip(map(id, section.standings), section.costs, strict=True))

    def latency(device: str, standing: Standing) -> float | None:
        record = by_standing[id(standing)].get(device)
        return record.latency.seconds_per_frame if record else None

    title = "measured seconds per predicted frame on"
    return [
        _figure(section, board, f"{title} {device}", partial(latency, device), board.lines)
        for device in section.devices
    ]


def _timed(section: Section, board: Board) -> list[Figure | None]:
    """Return a chart of the times of runs per machine."""
    figures = []
    for machine in sorted({machine for standing in section.standings for machine in machines_of(standing.results)}):
        lines = [line for line in board.lines if machines_of(line.standing.results) == {machine}]
        title = f"seconds per predicted frame on {machine}" if machine else "seconds per predicted frame"
        figures.append(_figure(section, board, title, lambda s: seconds_per_frame(s.results), lines))
    return figures


def _figure(
    section: Section,
    board: Board,
    cost: str,
    measure: Callable[[Standing], float | None],
    lines: Iterable[Line],
) -> Figure | None:
    points = [point for line in lines if (point := _point(section, line, measure(line.standing)))]
    if len(points) < 2:
        return None
    title = f"{chart_title(board)}, against {cost}"
    return Figure(title, Markup(scatter_chart(title, cost, points)))


def _point(section: Section, line: Line, cost: float | None) -> Point | None:
    score = line.overall_score()
    if not cost or score.value is None:
        return None
    numbers = {id(standing): number for number, standing in enumerate(_named(section))}
    label = distinct_name(section, line.standing)
    return Point(label, cost, score.value, score.interval, numbers.get(id(line.standing)))


def _named(section: Section) -> Sequence[Standing]:
    return charted(section.boards)
