"""Numbers for people."""

from __future__ import annotations

import pytest

from vpbench.pages.numbers import number


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (None, 4, "—"),
        (0.0, 4, "0.0000"),
        (0, 2, "0.00"),
        (0.12345, 4, "0.1235"),
        (22.345, 2, "22.34"),
        (-0.5, 1, "-0.5"),
        (0.0001, 4, "0.0001"),
        (0.00009999, 4, "1.0e-04"),
        (0.00001234, 4, "1.2e-05"),
        (-0.00001234, 4, "-1.2e-05"),
        (1e6, 2, "1000000.00"),
    ],
)
def test_numbers_are_rounded_and_small_ones_stay_visible(value, decimals, text):
    assert number(value, decimals) == text
