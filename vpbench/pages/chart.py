"""Line charts as SVG: the same values give the same bytes.

Each curve has its own colour and its own marker, so that neither a colour-blind reader nor a grey print loses one. The
colours are those of Okabe and Ito. A panel behind the chart follows the reader's light or dark setting.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeVar

from vpbench.output import line

_T = TypeVar("_T")
MAX_CURVES = 8
"""Curves that a reader can still distinguish."""
_WIDTH, _HEIGHT = 760, 330
_LEFT, _TOP, _BOTTOM = 66, 42, 46
_ROW, _LETTER, _LONGEST = 22, 6.6, 30
_TICKS = 5
_SLACK = 1e-9  # a value this near to a tick lies on it
_COLOURS = {
    "#0072b2": "#58a6ff",
    "#d55e00": "#ff8c42",
    "#009e73": "#2ec4a0",
    "#cc79a7": "#e8a0c8",
    "#1f2328": "#e6edf3",
    "#e69f00": "#f2c14e",
    "#56b4e9": "#a5d8ff",
    "#7f7f7f": "#9aa4ad",
}
"""By colour on a light panel, the colour on a dark one."""
_MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "M-3.5 -3.5h7v7h-7z",
    "M0 -4.8L4.6 3.6H-4.6z",
    "M0 -5L5 0L0 5L-5 0z",
    "M0 4.8L4.6 -3.6H-4.6z",
    "M-4.5 -1.5h3v-3h3v3h3v3h-3v3h-3v-3h-3z",
    "M0 -5L4.8 -1.5L2.9 4H-2.9L-4.8 -1.5z",
    "M-5 -2.5h10v5h-10z",
)


@dataclass(frozen=True)
class Curve:
    """One predictor's scores over the steps; None where they are undefined."""

    label: str
    values: Sequence[float | None]
    intervals: Sequence[tuple[float, float] | None]
    dashed: bool = False


def line_chart(title: str, steps: Sequence[int], curves: Sequence[Curve]) -> str:
    """Return a chart of at most ``MAX_CURVES`` curves, with the 95 % intervals as bands.

    Args:
        title: metric, unit and direction.
        steps: the predicted steps.
        curves: scores, in the order of their colours.
    """
    legend = 46 + _LETTER * max(len(_short(curve.label)) for curve in curves)
    plot = _Plot(steps, _ticks(curves), _WIDTH - _LEFT - legend)
    heads = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" font-family="system-ui, DejaVu Sans, sans-serif" font-size="12">',
        f"<title>{_text(title)}</title>",
        f"<style>{_style()}</style>",
        f'<rect class="panel" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>',
        f'<text class="ink" x="16" y="24" font-size="14" font-weight="600">{_text(title)}</text>',
    ]
    bands = [element for i, curve in enumerate(curves) for element in plot.bands(curve, i)]
    lines = [element for i, curve in enumerate(curves) for element in plot.curve(curve, i)]
    return "\n".join([*heads, *plot.axes(), *bands, *lines, *plot.legend(curves), "</svg>"]) + "\n"


def _style() -> str:
    def rules(panel: str, ink: str, rule: str, colours: Sequence[str]) -> str:
        curves = (f".c{i}{{stroke:{colour};fill:{colour}}}" for i, colour in enumerate(colours))
        return f".panel{{fill:{panel}}}.ink{{fill:{ink}}}.rule{{stroke:{rule}}}{''.join(curves)}"

    light = rules("#ffffff", "#1f2328", "#d8dee4", [*_COLOURS])
    dark = rules("#0d1117", "#e6edf3", "#30363d", [*_COLOURS.values()])
    shapes = ".line{fill:none;stroke-width:2}.band{stroke:none;fill-opacity:.15}"
    return f"{light}{shapes}@media(prefers-color-scheme:dark){{{dark}{shapes}}}"


def _ticks(curves: Sequence[Curve]) -> list[float]:
    """Return round numbers, evenly spaced, that enclose every value and interval."""
    values = [value for curve in curves for value in curve.values if value is not None]
    values += [end for curve in curves for ends in curve.intervals if ends for end in ends]
    low, high = min(values, default=0.0), max(values, default=1.0)
    spread = high - low
    if spread <= _SLACK * max(abs(low), abs(high)):  # equal but for rounding
        spread = abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(spread / _TICKS))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power * _TICKS >= spread)
    first = math.floor(low / step + _SLACK)
    return [step * i for i in range(first, max(math.ceil(high / step - _SLACK), first + 1) + 1)]


@dataclass(frozen=True)
class _Plot:
    """Where steps and scores lie in the picture."""

    steps: Sequence[int]
    ticks: Sequence[float]
    width: float

    def x(self, step: int) -> float:
        first, last = self.steps[0], self.steps[-1]
        return _LEFT + 14 + (self.width - 28) * (step - first) / max(1, last - first)

    def y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * (value - low) / (high - low)

    def axes(self) -> Iterator[str]:
        """Draw a line and a number per tick, and a name per step."""
        right, base = _LEFT + self.width, _HEIGHT - _BOTTOM
        digits = max(0, 1 - math.floor(math.log10(self.ticks[1] - self.ticks[0]) + _SLACK))
        if all(f"{tick:.{digits}f}".endswith("0") for tick in self.ticks):
            digits = max(0, digits - 1)
        for tick in self.ticks:
            y = self.y(tick)
            yield f'<path class="rule" d="M{_LEFT} {y:.1f}H{right:.1f}"/>'
            number = f"{tick + 0.0:.{digits}f}"
            yield f'<text class="ink" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number}</text>'
        stride = -(-len(self.steps) // 12)
        for step in self.steps[::stride]:
            yield f'<text class="ink" x="{self.x(step):.1f}" y="{base + 18}" text-anchor="middle">t+{step}</text>'
        middle = _LEFT + self.width / 2
        yield f'<text class="ink" x="{middle:.1f}" y="{base + 36}" text-anchor="middle">predicted step</text>'

    def bands(self, curve: Curve, number: int) -> Iterator[str]:
        """Draw the intervals between neighbouring steps."""
        for run in _runs(curve.intervals):
            lower = [f"{self.x(self.steps[i]):.1f} {self.y(ends[0]):.1f}" for i, ends in run]
            upper = [f"{self.x(self.steps[i]):.1f} {self.y(ends[1]):.1f}" for i, ends in reversed(run)]
            yield f'<path class="c{number} band" d="M{"L".join([*lower, *upper])}z"/>'

    def curve(self, curve: Curve, number: int) -> Iterator[str]:
        """Draw a line through neighbouring steps, and a marker at each."""
        dash = ' stroke-dasharray="6 4"' if curve.dashed else ""
        for run in _runs(curve.values):
            points = [(self.x(self.steps[i]), self.y(value)) for i, value in run]
            yield f'<path class="c{number} line"{dash} d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>'
            for x, y in points:
                yield f'<path class="c{number}" transform="translate({x:.1f} {y:.1f})" d="{_MARKERS[number]}"/>'

    def legend(self, curves: Sequence[Curve]) -> Iterator[str]:
        """Draw a row per curve, in the order in which the curves end, the uppermost first."""

        def end(number: int) -> float:
            return next((-value for value in reversed(curves[number].values) if value is not None), math.inf)

        x = _LEFT + self.width + 14
        for row, number in enumerate(sorted(range(len(curves)), key=end)):
            label, y = curves[number].label, _TOP + 8 + _ROW * row
            dash = ' stroke-dasharray="6 4"' if curves[number].dashed else ""
            yield f'<path class="c{number} line"{dash} d="M{x:.1f} {y}h22"/>'
            yield f'<path class="c{number}" transform="translate({x + 11:.1f} {y})" d="{_MARKERS[number]}"/>'
            yield f'<text class="ink" x="{x + 28:.1f}" y="{y + 4}">{_text(_short(label))}</text>'


def _runs(values: Sequence[_T | None]) -> list[list[tuple[int, _T]]]:
    """Return the stretches of defined values, each with its place."""
    runs: list[list[tuple[int, _T]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((place, value))
    return [run for run in runs if run]


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"


def _text(text: str) -> str:
    return escape(line(text, 100))
