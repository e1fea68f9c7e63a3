"""Steps, names and sparklines that fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpbench.pages.layout import bounds, fit, shorten, sparkline, spread_out


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [10]), (2, [1, 10]), (4, [1, 4, 7, 10]), (10, [*range(1, 11)]), (99, [*range(1, 11)])]
)
def test_steps_are_spread_out(count, expected):
    assert spread_out(range(1, 11), count) == expected


@given(st.integers(1, 60), st.integers(1, 60))
def test_chosen_steps_are_as_many_as_asked_in_order_with_both_ends(steps, count):
    chosen = spread_out(range(steps), count)
    assert len(chosen) == min(steps, count)
    assert chosen == sorted(set(chosen))
    assert chosen[-1] == steps - 1
    assert chosen[0] == 0 or count == 1


def build(steps):
    return [["x" * 10, *("0.123" for _ in steps)]], ["", *(f"t+{k}" for k in steps)]


@pytest.mark.parametrize(("limit", "count"), [(10 + 7 * 5, 5), (10 + 7 * 5 - 1, 4), (17, 1), (3, 1)])
def test_a_table_has_as_many_steps_as_fit_and_one_at_least(limit, count):
    (rows, heads), chosen = fit(build, range(1, 10), limit)
    assert len(chosen) == len(heads) - 1 == len(rows[0]) - 1 == count
    assert chosen[-1] == 9


def test_long_names_lose_their_middle():
    assert shorten(["short", "abcdefghij"], 6) == {"short": "short", "abcdefghij": "abc…ij"}


@given(st.lists(st.text("ab", min_size=1, max_size=12), unique=True, max_size=30), st.integers(6, 12))
def test_short_names_differ_if_the_names_do(names, length):
    short = shorten(names, length)
    assert list(short) == names
    assert len(set(short.values())) == len(names)
    assert all(len(text) <= length for text in short.values())


def test_a_sparkline_shows_levels_and_gaps():
    assert sparkline([0.0, None, 0.5, 1.0], 0.0, 1.0) == "▁ ▅█"
    assert sparkline([1.0, 1.0], 1.0, 1.0) == "▄▄", "no scale"
    assert sparkline([None, None], 0.0, 0.0) == ""
    assert sparkline([0.0, 1.0], *bounds([[0.0, 1.0], [7.0, None]])) == "▁▂"


def test_a_long_curve_keeps_its_ends():
    curve = sparkline([float(k) for k in range(40)], 0.0, 39.0)
    assert (len(curve), curve[0], curve[-1]) == (16, "▁", "█")


def test_bounds_of_nothing_are_zero():
    assert bounds([[None], []]) == (0.0, 0.0)
