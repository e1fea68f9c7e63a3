"""Charts inside a page: curves over the steps, and small multiples of regions and classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from vpbench.pages.boards import Board
from vpbench.pages.chart import MARKERS, Curve, Layout, line_chart, round_ticks
from vpbench.pages.curves import board_curves, chart_title, charted, line_curve
from vpbench.pages.standings import Line, Standing
from vpbench.report.section import Section
from vpbench.report.tables import distinct_name

_WIDE = Layout(width=680, height=330, embedded=True)
_SMALL = Layout(width=320, height=210, embedded=True, named=False)
_MOST_PANELS = 32


@dataclass(frozen=True)
class Figure:
    """A chart with its caption."""

    title: str
    svg: Markup
    page: str = ""
    """The page with its numbers."""


@dataclass(frozen=True)
class Multiples:
    """Small charts of one metric on one scale: a panel per region or class."""

    title: str
    panels: Sequence[Figure]


def step_figures(section: Section) -> list[Figure]:
    """Return a chart per metric that has several steps."""
    pages = dict(zip(map(id, section.boards), section.metric_pages, strict=True))
    return [
        Figure(chart_title(board), _svg(board, curves, _WIDE), pages[id(board)])
        for board, curves in board_curves(section.boards)
    ]


def board_figure(section: Section, board: Board) -> Figure | None:
    """Return the chart of one metric; None if it has a single step."""
    return next((Figure(chart_title(b), _svg(b, curves, _WIDE)) for b, curves in board_curves(section.boards)
                 if b is board), None)  # fmt: skip


def predictor_figures(section: Section, standing: Standing) -> list[Figure]:
    """Return a chart per metric of one predictor, next to the best one and the reference."""
    figures = []
    for board, page in zip(section.boards, section.metric_pages, strict=True):
        steps = board.lines[0].result.summary.steps
        lines = _rivals(board, standing)
        if len(steps) > 1 and lines:
            curves = [line_curve(distinct_name(section, line.standing), line, steps) for line in lines]
            figures.append(Figure(chart_title(board), _svg(board, curves, _WIDE), page))
    return figures


def _rivals(board: Board, standing: Standing) -> list[Line]:
    """Return the row of a predictor, that of the best other one, and that of the reference; none without the first."""
    own_line = board.line_of(standing)
    if own_line is None:
        return []
    best = next((line for line in board.contenders if line is not own_line), None)
    lines = [own_line, best, board.reference]
    return list({id(line): line for line in lines if line is not None}.values())


def _svg(board: Board, curves: Sequence[Curve], layout: Layout) -> Markup:
    steps = board.lines[0].result.summary.steps
    return Markup(line_chart(chart_title(board), steps, curves, layout))


def region_multiples(section: Section) -> list[Multiples]:
    """Return the metrics that were measured on regions: a panel per region."""
    groups: dict[str, dict[str, Sequence[Curve]]] = defaultdict(dict)
    steps = section.run.protocol.steps
    for board, curves in board_curves(section.boards):
        base, slash, region = board.title.partition("/")
        if slash:
            groups[base][region] = curves
    return [_multiples(f"{base} by region", panels, steps) for base, panels in groups.items()]


def class_multiples(section: Section) -> list[Multiples]:
    """Return the metrics with named details, such as the IoU of each class: a panel per detail."""
    steps = section.run.protocol.steps
    multiples = []
    for board in section.boards:
        if board.spec.kind == "samples" or len(steps) < 2:
            continue
        lines = [line for standing in charted(section.boards) if (line := board.line_of(standing))]
        details = [line.result.summary.scores[board.metric].details for line in lines]
        values = [value for entries in details for entry in entries for value in entry.items()]
        scored = {name for name, value in values if value is not None}
        names = [name for name in dict.fromkeys(name for name, _ in values) if name in scored]
        if len(names) > 1:
            panels = {name: _detail_curves(section, board, name) for name in names[:_MOST_PANELS]}
            part = f", the first {len(panels)} of {len(names)}" if len(panels) < len(names) else ""
            multiples.append(_multiples(f"{board.title} by class{part}", panels, steps))
    return multiples


def _detail_curves(section: Section, board: Board, name: str) -> list[Curve]:
    """Return a curve per charted predictor; an empty one keeps the colours of the others."""
    curves = []
    for standing in charted(section.boards):
        line = board.line_of(standing)
        entries = line.result.summary.scores[board.metric].details if line else ()
        values = [entry.get(name) for entry in entries]
        curves.append(Curve(distinct_name(section, standing), values, [None] * len(values)))
    return curves


def _multiples(title: str, panels: Mapping[str, Sequence[Curve]], steps: Sequence[int]) -> Multiples:
    ticks = round_ticks([curve for curves in panels.values() for curve in curves])
    figures = [
        Figure(name, Markup(line_chart(f"{title}: {name}", steps, curves, _SMALL, ticks)))
        for name, curves in panels.items()
    ]
    return Multiples(title, figures)


def chart_key(section: Section) -> list[tuple[str, str]]:
    """Return the name of each charted predictor with the path of its marker, in the order of colours."""
    names = [distinct_name(section, standing) for standing in charted(section.boards)]
    return list(zip(names, MARKERS, strict=False))
