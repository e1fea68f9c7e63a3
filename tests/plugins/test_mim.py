"""MIM's layer against the equations of its paper, and the differences that its stack reads."""

from __future__ import annotations

import pytest
import torch
from recurrent_parts import noise, randomised
from torch import nn
from torch.nn import functional

from vpbench.toolkit.st_lstm import STState
from vpbench_recurrent.mim import MIMLayer, Network, Options
from vpbench_recurrent.rollout import roll_out


def rows(layer, source, number, x):
    """The channels of one gate, of two: the convolution of ``of_SOURCE``, then ``norm_SOURCE``."""
    convolved = functional.conv2d(x, getattr(layer, f"of_{source}").weight, padding="same")
    return getattr(layer, f"norm_{source}")(convolved)[:, 2 * number : 2 * number + 2]


def layer_norm(channels):
    return nn.LayerNorm([channels, 4, 5])


def memory_cell(cell, x, hidden, past):
    """A module's equations: a ConvLSTM with peepholes, channels i f o and the candidate, and a forget bias of 1."""
    parts = [rows(cell, "hidden", gate, hidden) + rows(cell, "input", gate, x) for gate in range(4)]
    i = torch.sigmoid(parts[0] + cell.peepholes[0] * past)
    f = torch.sigmoid(parts[1] + cell.peepholes[1] * past + 1)
    after = f * past + i * torch.tanh(parts[3])
    return torch.sigmoid(parts[2] + cell.peepholes[2] * after) * torch.tanh(after), after


@pytest.mark.parametrize(("grid", "norm"), [(None, None), ((4, 5), None), ((4, 5), layer_norm)])
def test_a_layer_is_the_papers_equations(grid, norm):
    layer = randomised(MIMLayer(2, 3, norm=norm, grid=grid))
    x, difference, hidden, c, m, s = (noise(2, 2, 4, 5, seed=seed) for seed in range(6))
    (h_after, c_after, m_after), s_after = layer(x, difference, STState(hidden, c, m), s)
    transient, expected_s = memory_cell(layer.stationary, difference, c, s)
    i, g, f, o = (rows(layer, "features", gate, x) for gate in range(4))
    i_h, g_h, o_h = (rows(layer, "hidden", gate, hidden) for gate in range(3))
    i_m, g_m, f_m, o_m = (rows(layer, "memory", gate, m) for gate in range(4))
    expected_c = transient + torch.sigmoid(i + i_h) * torch.tanh(g + g_h)
    expected_m = torch.sigmoid(f + f_m + 1) * m + torch.sigmoid(i + i_m) * torch.tanh(g + g_m)
    merged = functional.conv2d(torch.cat([expected_c, expected_m], dim=1), layer.merge.weight)
    expected_h = torch.sigmoid(o + o_h + o_m) * torch.tanh(merged)
    for value, expected in zip(
        (h_after, c_after, m_after, s_after), (expected_h, expected_c, expected_m, expected_s), strict=True
    ):
        torch.testing.assert_close(value, expected)


def test_the_stack_reads_differences_of_neighbouring_states():
    """Layer by layer, step by step: the lowest module reads the change of H, the next ones D of the layer below."""
    network = randomised(Network(3, Options(layers=3, hidden=2, kernel=3)))
    images = noise(2, 4, 3, 4, 5)
    zeros = torch.zeros(2, 2, 4, 5)
    hidden, cells, stationary, memory = [zeros] * 3, [zeros] * 3, [zeros] * 2, zeros
    d, n, expected = [zeros] * 2, [zeros] * 2, []
    for t, image in enumerate(images.unbind(1)):
        before = hidden[0]
        hidden[0], cells[0], memory = network.first(image, STState(hidden[0], cells[0], memory))
        change = hidden[0] - before
        for above in range(2):
            if t > 0:
                d[above], n[above] = memory_cell(network.layers[above].non_stationary, change, d[above], n[above])
            change = d[above]
            state = STState(hidden[above + 1], cells[above + 1], memory)
            after, stationary[above] = network.layers[above](hidden[above], d[above], state, stationary[above])
            hidden[above + 1], cells[above + 1], memory = after
        expected.append(functional.conv2d(hidden[2], network.head.weight))
    for (value, _), reference in zip(roll_out(network, images, 1), expected, strict=True):
        torch.testing.assert_close(value, reference)


def test_gradients_go_through_the_state_of_the_stationary_module():
    layer, stationary = randomised(MIMLayer(2, 3, norm=None, grid=None)), noise(2, 2, 4, 5).requires_grad_()
    x, difference, *state = (noise(2, 2, 4, 5, seed=seed) for seed in range(1, 6))
    (hidden, _, _), after = layer(x, difference, STState(*state), stationary)
    for value in (hidden, after):
        (gradient,) = torch.autograd.grad(value.sum(), stationary, retain_graph=True)
        assert gradient.any()
