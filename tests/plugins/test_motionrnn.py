"""MotionRNN's unit against the equations of its paper: the offsets, their trend, the warp, and the highway."""

from __future__ import annotations

import pytest
import torch
from recurrent_parts import noise, randomised
from torch.nn import functional
from torchvision.ops import deform_conv2d

from vpbench.toolkit.st_lstm import STState
from vpbench_recurrent.motionrnn import MotionGRU, Network, Options, Warp, sample
from vpbench_recurrent.rollout import roll_out


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (0, -2), (3, 1)])
def test_samples_are_pixels_at_whole_offsets_and_0_beyond_the_border(shift):
    x = noise(1, 2, 4, 5)
    offsets = torch.tensor(shift, dtype=torch.float32).view(1, 2, 1, 1, 1).expand(1, 2, 9, 4, 5)
    bordered = functional.pad(x, (5, 5, 5, 5))
    samples = sample(x, offsets)
    for place in range(9):
        row, column = 5 + place // 3 - 1 + shift[0], 5 + place % 3 - 1 + shift[1]
        expected = bordered[:, :, row : row + 4, column : column + 5]
        torch.testing.assert_close(samples[:, :, place], expected, atol=1e-5, rtol=1e-5)


def test_the_warp_is_a_modulated_deformable_convolution():
    warp, x, offsets = randomised(Warp(3)), noise(2, 3, 6, 5), 4 * noise(2, 18, 6, 5, seed=1)
    interleaved = offsets.unflatten(1, (2, 9)).transpose(1, 2).flatten(1, 2)  # torchvision: row and column by place
    expected = deform_conv2d(x, interleaved, warp.filter.weight, padding=1, mask=warp.gate(x).sigmoid())
    torch.testing.assert_close(warp(x, offsets), expected, atol=1e-5, rtol=1e-4)


def test_the_unit_is_the_papers_equations():
    unit = randomised(MotionGRU(8, 3))
    hidden, offsets, trend = noise(2, 8, 6, 4), noise(2, 18, 3, 2, seed=1), noise(2, 18, 3, 2, seed=2)
    x = functional.conv2d(hidden, unit.encode.weight, unit.encode.bias, stride=2, padding=1)
    bank, weights = unit.of_input, [*unit.of_offsets.weight.chunk(2), unit.of_reset.weight]

    def gate(number, read):
        weight = torch.cat([bank.weight[18 * number : 18 * number + 18], weights[number]], dim=1)
        return functional.conv2d(torch.cat([x, read], 1), weight, bank.bias[18 * number : 18 * number + 18], padding=1)

    u, r = torch.sigmoid(gate(0, offsets)), torch.sigmoid(gate(1, offsets))
    z = torch.tanh(gate(2, r * offsets))
    expected_trend = trend + 0.5 * (offsets - trend)
    expected_offsets = u * z + (1 - u) * offsets + expected_trend
    moved = unit.decode(unit.warp(x, expected_offsets))
    g = torch.sigmoid(unit.blend(torch.cat([moved, hidden], dim=1)))
    for value, expected in zip(
        unit(hidden, offsets, trend), (g * moved + (1 - g) * hidden, expected_offsets, expected_trend), strict=True
    ):
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-4)


def test_the_highway_carries_h_past_the_motion_units():
    network, images = randomised(Network(3, Options(layers=3, hidden=4, kernel=3))), noise(2, 3, 3, 4, 6)
    zeros, still = torch.zeros(2, 4, 4, 6), torch.zeros(2, 18, 2, 3)
    hidden, cells, memory, expected = [zeros] * 3, [zeros] * 3, zeros, []
    motions = [(still, still)] * 2
    for image in images.unbind(1):
        x, highway = image, functional.conv2d(image, network.highway.weight)
        for layer, cell in enumerate(network.cells):
            update = cell.update(x, STState(hidden[layer], cells[layer], memory))
            cells[layer], memory = update.cell, update.memory
            x = highway = update.output * update.candidate + (1 - update.output) * highway
            if layer < 2:
                x, *moved = network.motions[layer](x, *motions[layer])
                motions[layer] = tuple(moved)
            hidden[layer] = x
        expected.append(functional.conv2d(x, network.head.weight))
    for (value, _), reference in zip(roll_out(network, images, 1), expected, strict=True):
        torch.testing.assert_close(value, reference, atol=1e-5, rtol=1e-4)


def test_the_first_offsets_are_the_trend_and_the_first_gates_of_the_warp_are_equal():
    torch.manual_seed(0)
    unit = MotionGRU(8, 3)
    assert [name for name, p in unit.named_parameters() if name.endswith("weight") and not p.any()] == [
        "of_input.weight",
        "of_offsets.weight",
        "of_reset.weight",
        "warp.gate.weight",
    ]
