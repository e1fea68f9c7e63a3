"""PredRNN's zigzag of memories, and the decoupling loss of PredRNN-V2."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from vpbench.toolkit.st_lstm import STState
from vpbench_recurrent.predrnn import DecoupledOptions, Network, StackOptions
from vpbench_recurrent.rollout import roll_out

SMALL = {"layers": 3, "hidden": 2, "kernel": 3}


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def make(options, decoupling=0.0):
    torch.manual_seed(0)
    network = Network(5, options, decoupling)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.4 * torch.randn_like(parameter)
    return network


def unrolled(network, images):
    """The images, and the increments of every cell: the memory goes up the layers, then on to the next step."""
    zeros = images.new_zeros(len(images), 2, *images.shape[-2:])
    hidden, cells, memory, predicted, increments = [zeros] * 3, [zeros] * 3, zeros, [], []
    for image in images.unbind(1):
        x = image
        for layer, cell in enumerate(network.cells):
            update = cell.update(x, STState(hidden[layer], cells[layer], memory))
            increments.append(update.increments)
            hidden[layer], cells[layer], memory = cell(x, STState(hidden[layer], cells[layer], memory))
            x = hidden[layer]
        predicted.append(functional.conv2d(x, network.head.weight))
    return predicted, increments


def test_the_memory_of_the_top_layer_enters_the_lowest_one_at_the_next_step():
    network, images = make(StackOptions(**SMALL)), noise(2, 4, 5, 4, 3)
    steps = [image for image, _ in roll_out(network, images, 1)]
    for value, expected in zip(steps, unrolled(network, images)[0], strict=True):
        torch.testing.assert_close(value, expected)


def test_the_penalty_is_the_mean_absolute_cosine_of_the_increments():
    network, images = make(DecoupledOptions(**SMALL), decoupling=0.3).train(), noise(2, 4, 5, 4, 3)
    *_, (_, state) = roll_out(network, images, 1)
    cosines = []
    for increments in unrolled(network, images)[1]:
        c, m = (functional.conv2d(increment, network.adapter.weight) for increment in increments)
        for clip in range(2):
            for channel in range(2):
                a, b = c[clip, channel].flatten(), m[clip, channel].flatten()
                cosines.append((a @ b / (a.norm() * b.norm())).abs())
    torch.testing.assert_close(network.penalty(state), 0.3 * torch.stack(cosines).mean())


def test_the_penalty_has_gradients_in_the_cells_and_the_adapter():
    network = make(DecoupledOptions(**SMALL), decoupling=0.3).train()
    *_, (_, state) = roll_out(network, noise(2, 3, 5, 4, 3), 1)
    network.penalty(state).backward()
    layers = [module for cell in network.cells for module in (cell.of_features, cell.of_hidden, cell.of_memory)]
    assert all(layer.weight.grad.any() for layer in (*layers, network.adapter))


@pytest.mark.parametrize("decoupling", [0.0, 0.3])
def test_predictions_cost_no_penalty(decoupling):
    network = make(DecoupledOptions(**SMALL), decoupling)
    network.train(mode=not decoupling)
    *_, (_, state) = roll_out(network, noise(1, 2, 5, 4, 3), 1)
    assert state.decoupling == () and network.penalty(state) is None


def test_a_residual_is_added_to_the_image_that_is_read():
    network, images = make(StackOptions(**SMALL, residual=True)), noise(2, 3, 5, 4, 3)
    with torch.no_grad():
        steps = zip(roll_out(network, images, 1), unrolled(network, images)[0], images.unbind(1), strict=True)
        for (value, _), expected, image in steps:
            torch.testing.assert_close(value, expected + image)
