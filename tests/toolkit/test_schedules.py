"""Shared parts of training stages: length and learning rate."""

from __future__ import annotations

from itertools import pairwise

import pytest

from vpbench.toolkit.schedules import cosine_with_warm_up


def test_the_learning_rate_rises_over_a_twentieth_and_falls_to_zero():
    rates = [cosine_with_warm_up(step, 199) for step in range(200)]
    assert rates[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert rates[9] == max(rates) == 1.0
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert rates[104] == pytest.approx(0.5)
    assert rates[199] == pytest.approx(0, abs=1e-12), "where one more step would follow"
    assert cosine_with_warm_up(300, 199) == rates[199]  # a training that goes on


@pytest.mark.parametrize("steps", [1, 2, 19, 20, 400])
def test_every_step_learns(steps):
    rates = [cosine_with_warm_up(step, steps) for step in range(steps)]
    assert min(rates) > 0 and max(rates) <= 1
