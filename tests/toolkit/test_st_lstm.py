"""The ST-LSTM against PredRNN's equation 3, gate by gate, in two and three dimensions."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from vpbench.toolkit.st_lstm import STLSTM, STState

SIZES = {2: (4, 5), 3: (3, 4, 5)}
CONVOLVE = {2: functional.conv2d, 3: functional.conv3d}


def same_conv3d(inner, outer, kernel, *, bias):
    return nn.Conv3d(inner, outer, kernel, padding=kernel // 2, bias=bias)


def noise(channels, dims, seed):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(2, channels, *SIZES[dims], generator=generator, dtype=torch.float64) - 1


def make(dims, **settings):
    torch.manual_seed(0)
    cell = STLSTM(3, 2, 3, **settings, **({"convolution": same_conv3d} if dims == 3 else {})).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter += 0.4 * torch.randn_like(parameter)
    return cell


def equation_3(cell, dims, x, hidden, c, m):
    """PredRNN's equation 3, one gate after another."""

    def gate(number, features, bank, norm):
        convolved = CONVOLVE[dims](features, bank.weight, bank.bias, padding=bank.kernel_size[0] // 2)
        return norm(convolved)[:, 2 * number : 2 * number + 2]

    def of_x(number):
        return gate(number, x, cell.of_features, cell.norm_features)

    def of_h(number):
        return gate(number, hidden, cell.of_hidden, cell.norm_hidden)

    def of_m(number):
        return gate(number, m, cell.of_memory, cell.norm_memory)

    g, i, f = torch.tanh(of_x(2) + of_h(2)), torch.sigmoid(of_x(0) + of_h(0)), torch.sigmoid(of_x(1) + of_h(1) + 1)
    g_m, i_m, f_m = (
        torch.tanh(of_x(5) + of_m(2)),
        torch.sigmoid(of_x(3) + of_m(0)),
        torch.sigmoid(of_x(4) + of_m(1) + 1),
    )
    c, m = f * c + i * g, f_m * m + i_m * g_m
    states = torch.cat([c, m], dim=1)
    o = torch.sigmoid(of_x(6) + of_h(3) + gate(0, states, cell.of_states, cell.norm_states))
    return o * torch.tanh(gate(0, states, cell.merge, nn.Identity())), c, m, i * g, i_m * g_m


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_is_equation_3(dims, bias, norm):
    cell = make(dims, bias=bias, norm=(lambda channels: nn.LayerNorm([channels, *SIZES[dims]])) if norm else None)
    x, state = noise(3, dims, 1), STState(*(noise(2, dims, seed) for seed in (2, 3, 4)))
    update = cell.update(x, state)
    values = (*cell(x, state), *update.increments)
    for value, expected in zip(values, equation_3(cell, dims, x, *state), strict=True):
        torch.testing.assert_close(value, expected)
    assert [torch.equal(a, b) for a, b in zip(update.state, cell(x, state), strict=True)] == [True] * 3


def test_the_parameters_are_those_of_the_formula():
    """Seven gates of X, four of H, three of M, one of both cell states, and the 1x1 merge; without biases and norms."""
    count = sum(p.numel() for p in STLSTM(5, 3, 3).parameters())
    assert count == 9 * (5 * 21 + 3 * 12 + 3 * 9 + 6 * 3) + 6 * 3
