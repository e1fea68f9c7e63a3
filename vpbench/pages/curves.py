"""The curves of a page's charts: the same predictors in the same colours for every metric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vpbench.pages.boards import Board, result_name
from vpbench.pages.chart import MAX_CURVES, Curve
from vpbench.pages.overview import arrow, order_standings
from vpbench.pages.standings import Line, Standing
from vpbench.plugin.metric import better_text


def charted(boards: Sequence[Board]) -> list[Standing]:
    """Return the predictors that charts show: the first ones of the overview, and the reference."""
    standings = order_standings(boards, {})
    if len(standings) <= MAX_CURVES:
        return standings
    reference = boards[0].run.protocol.reference
    first, last = standings[:MAX_CURVES], standings[MAX_CURVES:]
    return [*first[:-1], next((standing for standing in last if standing.label == reference), first[-1])]


def board_curves(boards: Sequence[Board]) -> Iterator[tuple[Board, list[Curve]]]:
    """Yield each board that has several steps, with a curve for each charted predictor."""
    standings = charted(boards)
    results = [standing.results[0] for standing in standings]
    names = [result_name(result, results, seed=False) for result in results]
    for board in boards:
        steps = board.lines[0].result.summary.steps
        lines = [board.line_of(standing) for standing in standings]
        curves = [line_curve(name, line, steps) for name, line in zip(names, lines, strict=True)]
        if len(steps) > 1 and any(curve.values for curve in curves):
            yield board, curves


def chart_title(board: Board) -> str:
    """Return the title of a metric's chart: name, unit and direction."""
    unit = f" ({board.spec.unit})" if board.spec.unit else ""
    return f"{board.title}{unit}: {better_text(board.better)} {arrow(board.better)}"


def line_curve(name: str, line: Line | None, steps: Sequence[int]) -> Curve:
    """Return the scores of a row over the steps; an empty curve without a row."""
    scores = [line.at(step) for step in steps] if line else []
    dashed = bool(line and line.unranked_because)
    return Curve(name, [score.value for score in scores], [score.interval for score in scores], dashed)
