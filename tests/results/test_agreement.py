"""Values that must follow from another metric's of the same frame."""

from __future__ import annotations

import math

import pytest
from scored_rows import row, undefined

from vpbench.plugin.loader import load_plugins
from vpbench.results.agreement import contradictions
from vpbench.results.tally import Tally


@pytest.mark.parametrize(("error", "expected"), [(0.5, []), (2.0, ["psnr of 1 of 2 frames does not follow from mse"])])
def test_a_psnr_may_differ_from_that_of_the_mse_by_a_millionth(error, expected):
    """Also where each metric lacks another frame, so that the frames of both have other places."""
    psnr = [-10 * math.log10(value) for value in (0.1, 0.01)]
    rows = [
        undefined("a", 1, "flat", "mse"),
        row("b", 1, 0.1, "mse"),
        row("c", 1, 0.01, "mse"),
        row("d", 1, 0.5, "mse"),
    ]
    rows += [row("a", 1, 3.0, "psnr"), row("b", 1, psnr[0], "psnr"), row("c", 1, psnr[1] * (1 + error * 1e-6), "psnr")]
    plugins = load_plugins([])
    metrics = {name: plugins.load("metric", name)("cpu") for name in ("mse", "psnr")}
    assert contradictions(Tally([*rows, undefined("d", 1, "flat", "psnr")]), metrics) == expected
