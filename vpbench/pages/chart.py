"""Line charts as SVG: the same values give the same bytes.

Each curve has its own colour and its own marker, so that neither a colour-blind reader nor a grey print loses one. Its
name stands where it ends. The colours are those of Okabe and Ito. A file has a panel behind the chart that follows the
reader's light or dark setting; a chart inside a page takes its colours from the page.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeVar

from vpbench.output import line

_T = TypeVar("_T")
MAX_CURVES = 8
"""Curves that a reader can still distinguish."""
_LEFT, _TOP, _BOTTOM = 66, 42, 46
_EMBEDDED_TOP = 14
_ROW, _LETTER, _LONGEST, _END = 18, 6.6, 30, 13
_TICKS = 5
_SLACK = 1e-9  # a value this near to a tick lies on it
COLOURS = {
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
MARKERS = (
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


@dataclass(frozen=True)
class Layout:
    """Size of a chart in units of its view box, and what stands around the curves."""

    width: int = 760
    height: int = 330
    embedded: bool = False
    """Whether it stands inside a page, which has its own heading and style."""
    named: bool = True
    """Whether the curves have their names next to them."""


def line_chart(
    title: str,
    steps: Sequence[int],
    curves: Sequence[Curve],
    layout: Layout = Layout(),
    ticks: Sequence[float] = (),
) -> str:
    """Return a chart of at most ``MAX_CURVES`` curves, with the 95 % intervals as bands.

    Args:
        title: metric, unit and direction.
        steps: the predicted steps.
        curves: scores, in the order of their colours.
        layout: size and surroundings.
        ticks: of the vertical axis; by default those of the curves.
    """
    longest = max((len(short(curve.label)) for curve in curves), default=0)
    margin = 46 + _LETTER * longest if layout.named else 12
    top = _EMBEDDED_TOP if layout.embedded else _TOP
    plot = _Plot(steps, ticks or round_ticks(curves), layout.width - _LEFT - margin, layout.height - _BOTTOM, top)
    bands = [element for i, curve in enumerate(curves) for element in plot.bands(curve, i)]
    lines = [element for i, curve in enumerate(curves) for element in plot.curve(curve, i)]
    names = plot.names(curves) if layout.named else ()
    return "\n".join([*_heads(title, layout), *plot.axes(), *bands, *lines, *names, "</svg>"]) + "\n"


def _heads(title: str, layout: Layout) -> list[str]:
    box = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {layout.width} {layout.height}"'
    text = f"<title>{svg_text(title)}</title>"
    if layout.embedded:
        return [f'{box} role="img" class="chart">', text]
    return [
        f'{box} width="{layout.width}" height="{layout.height}" role="img" '
        f'font-family="system-ui, DejaVu Sans, sans-serif" font-size="12">',
        text,
        f"<style>{_style()}</style>",
        f'<rect class="panel" width="{layout.width}" height="{layout.height}" rx="6"/>',
        f'<text class="ink" x="16" y="24" font-size="14" font-weight="600">{svg_text(title)}</text>',
    ]


def _style() -> str:
    def rules(panel: str, ink: str, rule: str, colours: Sequence[str]) -> str:
        curves = (f".c{i}{{stroke:{colour};fill:{colour}}}" for i, colour in enumerate(colours))
        return f".panel{{fill:{panel}}}.ink{{fill:{ink}}}.rule{{stroke:{rule}}}{''.join(curves)}"

    light = rules("#ffffff", "#1f2328", "#d8dee4", [*COLOURS])
    dark = rules("#0d1117", "#e6edf3", "#30363d", [*COLOURS.values()])
    shapes = ".line{fill:none;stroke-width:2}.band{stroke:none;fill-opacity:.15}.lead{fill:none;stroke-opacity:.5}"
    return f"{light}{shapes}@media(prefers-color-scheme:dark){{{dark}{shapes}}}"


def round_ticks(curves: Sequence[Curve]) -> list[float]:
    """Return round numbers, evenly spaced, that enclose every value and interval."""
    values = [value for curve in curves for value in curve.values if value is not None]
    values += [end for curve in curves for ends in curve.intervals if ends for end in ends]
    low, high = min(values, default=0.0), max(values, default=1.0)
    spread = high - low
    if spread <= _SLACK * max(abs(low), abs(high)):  # equal but for rounding
        spread = abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(max(spread / _TICKS, sys.float_info.min)))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power * _TICKS >= spread)
    first = math.floor(low / step + _SLACK)
    return [step * i for i in range(first, max(math.ceil(high / step - _SLACK), first + 1) + 1)]


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """Return evenly spaced ticks with as many decimals as they need."""
    digits = max(0, 1 - math.floor(math.log10(ticks[1] - ticks[0]) + _SLACK))
    if all(f"{tick:.{digits}f}".endswith("0") for tick in ticks):
        digits = max(0, digits - 1)
    return [f"{tick + 0.0:.{digits}f}" for tick in ticks]


@dataclass(frozen=True)
class _Plot:
    """Where steps and scores lie in the picture."""

    steps: Sequence[int]
    ticks: Sequence[float]
    width: float
    base: float
    top: float

    def x(self, step: int) -> float:
        first, last = self.steps[0], self.steps[-1]
        return _LEFT + 14 + (self.width - 28) * (step - first) / max(1, last - first)

    def y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return self.base - (self.base - self.top) * (value - low) / (high - low)

    def axes(self) -> Iterator[str]:
        """Draw a line and a number per tick, and a name per step."""
        right, base = _LEFT + self.width, self.base
        for tick, number in zip(self.ticks, tick_texts(self.ticks), strict=True):
            y = self.y(tick)
            yield f'<path class="rule" d="M{_LEFT} {y:.1f}H{right:.1f}"/>'
            yield f'<text class="ink" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number}</text>'
        stride = -(-len(self.steps) // max(2, min(12, int(self.width // 34))))
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
                yield f'<path class="c{number}" transform="translate({x:.1f} {y:.1f})" d="{MARKERS[number]}"/>'

    def names(self, curves: Sequence[Curve]) -> Iterator[str]:
        """Write each curve's name at the height where it ends, moved as far as the names need."""
        ends = [self._end(curve) for curve in curves]
        order = sorted(range(len(curves)), key=lambda number: ends[number][1])
        heights = spread_rows([ends[number][1] for number in order], self.top, self.base)
        x = _LEFT + self.width + 14
        for number, y in zip(order, heights, strict=True):
            dash = ' stroke-dasharray="6 4"' if curves[number].dashed else ""
            if curves[number].values:
                start = f"M{ends[number][0] + 5:.1f} {ends[number][1]:.1f}"
                yield f'<path class="c{number} lead" d="{start}L{x:.1f} {y:.1f}"/>'
            yield f'<path class="c{number} line"{dash} d="M{x:.1f} {y:.1f}h22"/>'
            yield f'<path class="c{number}" transform="translate({x + 11:.1f} {y:.1f})" d="{MARKERS[number]}"/>'
            yield f'<text class="ink" x="{x + 28:.1f}" y="{y + 4:.1f}">{svg_text(short(curves[number].label))}</text>'

    def _end(self, curve: Curve) -> tuple[float, float]:
        """Return the place of a curve's last defined score; the lower corner if it has none."""
        for step, value in zip(reversed(self.steps[: len(curve.values)]), reversed(curve.values), strict=True):
            if value is not None:
                return self.x(step), self.y(value)
        return _LEFT + self.width, self.base


def spread_rows(heights: Sequence[float], top: float, base: float) -> list[float]:
    """Move ascending heights so far that neighbours are a row away from each other, and none lies below the base."""
    places: list[float] = []
    for height in heights:
        places.append(max(height, places[-1] + _ROW if places else top))
    limit = base
    for number in reversed(range(len(places))):
        places[number] = min(places[number], limit)
        limit = places[number] - _ROW
    return places


def _runs(values: Sequence[_T | None]) -> list[list[tuple[int, _T]]]:
    """Return the stretches of defined values, each with its place."""
    runs: list[list[tuple[int, _T]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((place, value))
    return [run for run in runs if run]


def short(label: str) -> str:
    """Return a name that fits next to a curve: without its middle, since names of variants differ at their ends."""
    if len(label) <= _LONGEST:
        return label
    return f"{label[: _LONGEST - _END - 1]}…{label[-_END:]}"


def svg_text(text: str) -> str:
    """Return a text as one line that SVG and HTML show as it is."""
    return escape(line(text, 100))
