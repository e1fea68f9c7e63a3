"""Shared parts of training stages: length and learning rate."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from vpbench.plugin.training import Recipe
from vpbench.toolkit.schedules import adam, cosine_with_warm_up


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


@pytest.mark.parametrize("steps", [1, 199])
def test_every_step_learns_at_the_recipes_rate_times_the_schedule(steps):
    layer, recipe, rates = torch.nn.Linear(2, 3), Recipe(steps=steps, learning_rate=0.5), []
    configured = adam(layer.parameters(), recipe, "cosine")
    assert configured["lr_scheduler"]["interval"] == "step"
    (group,) = configured["optimizer"].param_groups
    assert group["params"] == [layer.weight, layer.bias]
    for _ in range(steps):
        rates.append(group["lr"])
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
    assert rates == pytest.approx([0.5 * cosine_with_warm_up(k, steps) for k in range(steps)])


def test_a_constant_rate_has_no_schedule():
    optimizer = adam(torch.nn.Linear(2, 3).parameters(), Recipe(epochs=1, learning_rate=0.5), "constant")
    assert isinstance(optimizer, torch.optim.Adam) and optimizer.defaults["lr"] == 0.5
