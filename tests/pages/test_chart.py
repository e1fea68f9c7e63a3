"""Charts: every curve can be distinguished, round ticks enclose the values, and equal values give equal bytes."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from vpbench.pages.chart import MAX_CURVES, Curve, line_chart

SVG = "{http://www.w3.org/2000/svg}"


def curve(values, label="net", spread=0.0, **settings):
    return Curve(label, values, [None if v is None else (v - spread, v + spread) for v in values], **settings)


def chart(*curves, steps=(1, 2, 3)):
    return ElementTree.fromstring(line_chart("mse: lower is better ↓", steps, curves))


def texts(svg):
    return [element.text for element in svg.iter(f"{SVG}text")]


def lines(svg, number=0):
    """The points of each line of a curve; the last line is the one in the legend."""
    paths = [path.get("d") for path in svg.iter(f"{SVG}path") if path.get("class") == f"c{number} line"]
    return [[tuple(map(float, point.split())) for point in re.split("[ML]", d) if point] for d in paths[:-1]]


def test_a_chart_names_the_metric_the_steps_and_the_curves():
    svg = chart(curve([0.1, 0.2, 0.3], "low"), curve([0.4, 0.5, 0.6], "high"))
    assert svg.find(f"{SVG}title").text == texts(svg)[0] == "mse: lower is better ↓"
    assert {"t+1", "t+2", "t+3", "predicted step"} <= set(texts(svg))
    assert texts(svg)[-2:] == ["high", "low"], "the legend has the order in which the curves end"


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.1, 0.2, 0.58], ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6"]),
        ([0.76, 0.81, 0.93], ["0.75", "0.80", "0.85", "0.90", "0.95"]),
        ([20.1, 24.0, 27.9], ["20", "22", "24", "26", "28"]),
        ([0.0021, 0.0022, 0.0023], ["0.00210", "0.00215", "0.00220", "0.00225", "0.00230"]),
        ([3.0, 3.0, 3.0], ["3", "4"]),
        ([1.0, 0.9999999999999998], ["1.0", "1.2"]),
        ([1.0, 0.9999999999999999, 1.0], ["1.0", "1.2"]),
        ([-0.1, 0.0, 0.1], ["-0.10", "-0.05", "0.00", "0.05", "0.10"]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(values, ticks):
    svg = chart(curve(values))
    assert [text for text in texts(svg) if re.fullmatch(r"-?[\d.]+", text)] == ticks
    heights = [float(path.get("d").split()[1].split("H")[0]) for path in svg.iter(f"{SVG}path")
               if path.get("class") == "rule"]  # fmt: skip
    (points,) = lines(svg)
    assert all(min(heights) <= y <= max(heights) for _, y in points)


@pytest.mark.parametrize("values", [[0.0, 5e-324, 0.0], [5e-324] * 3])
def test_the_smallest_numbers_have_ticks(values):
    assert [len(points) for points in lines(chart(curve(values)))] == [3]


def test_intervals_are_bands_inside_the_axes():
    svg = chart(curve([0.5, 0.5, 0.5], spread=0.4))
    (band,) = [path.get("d") for path in svg.iter(f"{SVG}path") if path.get("class") == "c0 band"]
    heights = {float(y) for y in re.findall(r" ([\d.]+)", band)}
    assert len(heights) == 2 and all(42 <= y <= 284 for y in heights)


def test_higher_scores_are_drawn_higher_and_later_steps_further_right():
    (points,) = lines(chart(curve([0.1, 0.2, 0.3]), steps=(1, 2, 4)))
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)
    (a, b, c) = (x for x, _ in points)
    assert c - b == pytest.approx(2 * (b - a), abs=0.2)


def test_an_undefined_score_breaks_the_line():
    svg = chart(curve([0.1, None, 0.3, 0.4]), steps=(1, 2, 3, 4))
    assert list(map(len, lines(svg))) == [1, 2]
    assert chart(curve([None, None, None])) is not None


def test_curves_have_their_own_colour_and_marker():
    names = [f"net{i}" for i in range(MAX_CURVES)]
    text = line_chart("mse", (1, 2), [curve([i, i + 1.0], name) for i, name in enumerate(names)])
    light, dark = text.partition("@media(prefers-color-scheme:dark)")[::2]
    for style in (light, dark):
        assert len(set(re.findall(r"\.c\d\{stroke:(#\w+)", style))) == MAX_CURVES
    markers = {path.get("d") for path in ElementTree.fromstring(text).iter(f"{SVG}path") if path.get("transform")}
    assert len(markers) == MAX_CURVES


def test_rows_without_a_rank_are_dashed():
    svg = chart(curve([1.0, 2.0, 3.0], dashed=True), curve([2.0, 3.0, 4.0]))
    dashed = {path.get("class") for path in svg.iter(f"{SVG}path") if path.get("stroke-dasharray")}
    assert dashed == {"c0 line"}


def test_long_labels_are_cut_and_many_steps_are_thinned():
    svg = chart(curve([0.1] * 30, "n" * 50 + "-second"), steps=range(1, 31))
    assert texts(svg)[-1] == "n" * 16 + "…" + "n" * 6 + "-second"
    assert [text for text in texts(svg) if text.startswith("t+")][:3] == ["t+1", "t+4", "t+7"]


def test_equal_values_give_equal_bytes():
    assert line_chart("a", (1, 2), [curve([1.0, 2.0])]) == line_chart("a", (1, 2), [curve([1.0, 2.0])])
