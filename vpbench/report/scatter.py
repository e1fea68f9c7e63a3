"""Quality against cost: a point per predictor, cost on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vpbench.pages.chart import MARKERS, Curve, round_ticks, short, spread_rows, svg_text, tick_texts

_WIDTH, _HEIGHT = 680, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 235, 14, 46
_FACTORS = (1, 2, 5)


@dataclass(frozen=True)
class Point:
    """One predictor."""

    label: str
    cost: float
    """Above 0."""
    score: float
    interval: tuple[float, float] | None
    number: int | None
    """The number of its colour; None for one that the charts do not name."""


def scatter_chart(title: str, axis: str, points: Sequence[Point]) -> str:
    """Return the chart; points without a number are grey and have their name as a tooltip.

    Args:
        title: metric and cost.
        axis: name of the cost, with its unit.
        points: one or more.
    """
    curves = [Curve("", [point.score], [point.interval]) for point in points]
    plot = _Plot(_log_ticks([point.cost for point in points]), round_ticks(curves))
    heads = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" class="chart">',
        f"<title>{svg_text(title)}</title>",
    ]
    marks = [mark for point in points for mark in plot.mark(point)]
    return "\n".join([*heads, *plot.axes(axis), *marks, *plot.names(points), "</svg>"]) + "\n"


def _log_ticks(costs: Sequence[float]) -> list[float]:
    """Return numbers of the form 1, 2 or 5 times a power of ten that enclose every cost: at most about seven."""
    low, high = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)) + 1e-9)
    ticks = [factor * 10.0**power for power in range(low, high + 1) for factor in _FACTORS]
    first = max(i for i, tick in enumerate(ticks) if tick <= min(costs) * (1 + 1e-9))
    last = min(i for i, tick in enumerate(ticks) if tick >= max(costs) * (1 - 1e-9))
    chosen = ticks[first : max(last, first + 1) + 1]
    if len(chosen) > 7:
        chosen = [10.0**power for power in range(low, high + 1)]
    return chosen


@dataclass(frozen=True)
class _Plot:
    costs: Sequence[float]
    scores: Sequence[float]

    def x(self, cost: float) -> float:
        low, high = math.log10(self.costs[0]), math.log10(self.costs[-1])
        return _LEFT + 14 + (_WIDTH - _LEFT - _RIGHT - 28) * (math.log10(cost) - low) / (high - low)

    def y(self, score: float) -> float:
        low, high = self.scores[0], self.scores[-1]
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * (score - low) / (high - low)

    def axes(self, axis: str) -> Iterator[str]:
        base, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        for tick, text in zip(self.scores, tick_texts(self.scores), strict=True):
            y = self.y(tick)
            yield f'<path class="rule" d="M{_LEFT} {y:.1f}H{right}"/>'
            yield f'<text class="ink" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
        for cost in self.costs:
            x = self.x(cost)
            yield f'<path class="rule" d="M{x:.1f} {_TOP}V{base}"/>'
            yield f'<text class="ink" x="{x:.1f}" y="{base + 18}" text-anchor="middle">{_cost_text(cost)}</text>'
        middle = (_LEFT + right) / 2
        yield f'<text class="ink" x="{middle:.1f}" y="{base + 36}" text-anchor="middle">{svg_text(axis)}</text>'

    def mark(self, point: Point) -> Iterator[str]:
        """Draw a point with its interval."""
        x, y = self.x(point.cost), self.y(point.score)
        colour = "unnamed" if point.number is None else f"c{point.number}"
        if point.interval:
            low, high = map(self.y, point.interval)
            yield f'<path class="{colour} line" d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
        shape = MARKERS[point.number or 0]
        yield (
            f'<path class="{colour}" transform="translate({x:.1f} {y:.1f})" d="{shape}">'
            f"<title>{svg_text(point.label)}</title></path>"
        )

    def names(self, points: Sequence[Point]) -> Iterator[str]:
        """Write the names at the right, each joined to its point."""
        named = sorted((point for point in points if point.number is not None), key=lambda point: self.y(point.score))
        heights = spread_rows([self.y(point.score) for point in named], _TOP, _HEIGHT - _BOTTOM)
        x = _WIDTH - _RIGHT + 14
        for point, y in zip(named, heights, strict=True):
            number = point.number or 0
            start = f"M{self.x(point.cost) + 7:.1f} {self.y(point.score):.1f}"
            yield f'<path class="c{number} lead" d="{start}L{x:.1f} {y:.1f}"/>'
            yield f'<path class="c{number}" transform="translate({x + 6:.1f} {y:.1f})" d="{MARKERS[number]}"/>'
            yield f'<text class="ink" x="{x + 17:.1f}" y="{y + 4:.1f}">{svg_text(short(point.label))}</text>'


def _cost_text(cost: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if cost >= size:
            return f"{cost / size:g} {unit}"
    return f"{cost:g}"
