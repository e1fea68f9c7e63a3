"""PhyDNet: the cell's equations, and the moments of its filters."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from vpbench_recurrent.phydnet import Network, PhyCell, PhyDNet


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


class TestMoments:
    def test_the_first_filters_are_exact_derivatives(self):
        """Filter (i, j) applied to the polynomial u^p v^q gives its derivative at 0: i! j! if (p, q) is (i, j)."""
        filters = PhyCell(2).derivatives.weight.detach().double()[:, 1]
        offsets = torch.arange(-3, 4).double()
        for i, j, p, q in [(0, 0, 0, 0), (1, 0, 1, 0), (2, 3, 2, 3), (2, 3, 3, 2), (6, 6, 6, 6), (1, 1, 2, 0)]:
            polynomial = offsets[:, None] ** p * offsets[None, :] ** q
            expected = math.factorial(i) * math.factorial(j) if (i, j) == (p, q) else 0
            value = (filters[7 * i + j] * polynomial).sum().item()
            assert value == pytest.approx(expected, abs=0.1 if i == 6 else 1e-2)

    def test_the_loss_is_0_at_first_then_the_squared_errors_of_all_moments(self):
        torch.manual_seed(0)
        cell = PhyCell(3)
        assert cell.moment_loss().item() < 1e-8
        with torch.no_grad():
            cell.derivatives.weight += 0.1 * torch.randn_like(cell.derivatives.weight)
        expected = 0.0
        offsets = torch.arange(-3, 4).double()
        for c in range(3):
            for number, k in enumerate(cell.derivatives.weight.detach().double()[:, c]):
                for i in range(7):
                    for j in range(7):
                        scale = math.factorial(i) * math.factorial(j)
                        moment = (offsets[:, None] ** i * offsets[None, :] ** j * k).sum() / scale
                        expected += (moment - int(number == 7 * i + j)).square().item() / 49**2
        assert cell.moment_loss().item() == pytest.approx(expected, rel=1e-4)

    def test_it_is_the_penalty_with_its_weight(self):
        for weight in (0.0, 2.0):
            network = Network(PhyDNet.Options(base=4, hidden=(3,), moment=weight))
            with torch.no_grad():
                network.physical.derivatives.weight[0] += 1
            penalty = network.penalty(network.start(torch.zeros(1, 1, 3, 4, 4)))
            assert penalty is None if not weight else torch.equal(penalty, 2 * network.physical.moment_loss())


def test_phycell_is_prediction_and_correction():
    torch.manual_seed(0)
    cell = PhyCell(4)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    x, h, values = noise(2, 4, 9, 8), noise(2, 4, 9, 8, seed=1), cell.state_dict()
    derivatives = functional.conv2d(h, values["derivatives.weight"], values["derivatives.bias"], padding=3)
    derivatives = functional.group_norm(derivatives, 7, values["norm.weight"], values["norm.bias"])
    predicted = h + functional.conv2d(derivatives, values["combine.weight"], values["combine.bias"])
    gates = functional.conv2d(torch.cat([x, h], 1), values["gate.weight"], values["gate.bias"], padding=1)
    k = torch.sigmoid(gates)
    torch.testing.assert_close(cell(x, h), (1 - k) * predicted + k * x)
