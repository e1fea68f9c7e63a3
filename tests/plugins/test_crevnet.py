"""CrevNet: the predictive module's equations, and the windows that its network reads and decodes."""

from __future__ import annotations

import pytest
import torch
from recurrent_parts import noise, randomised
from torch.nn.functional import conv3d

from vpbench.plugin.clip import Context
from vpbench.toolkit.st_lstm import STState
from vpbench_recurrent.crevnet import CrevNet, Network, PredictiveModule
from vpbench_recurrent.rollout import roll_out

SMALL = {"layers": 2, "blocks": (2, 1), "norm": "group", "recompute": False}


def convolve(conv, x, rows=slice(None)):
    return conv3d(x, conv.weight[rows], conv.bias[rows], padding=conv.kernel_size[0] // 2)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("attention", [(1,), (1, 3)])
def test_a_module_is_its_equations_gate_by_gate(attention, residual):
    d, grid = 4, (2, 4, 3, 5, 4)
    module = randomised(PredictiveModule(d, attention, residual=residual)).double()
    x1, x2, h, c, m = (2 * noise(*grid, seed=seed).double() for seed in range(5))

    def gate(conv, number, *reads):
        return convolve(conv, torch.cat(reads, dim=1), slice(d * number, d * number + d))

    i = torch.sigmoid(gate(module.appearance, 0, x1, h, c))
    f = torch.sigmoid(gate(module.appearance, 1, x1, h, c))
    g = torch.tanh(gate(module.appearance, 2, x1, h, c))
    cell = f * c + i * g
    i = torch.sigmoid(gate(module.remember, 0, x1, m, cell))
    f = torch.sigmoid(gate(module.remember, 1, x1, m, cell))
    g = torch.tanh(gate(module.remember, 2, x1, m, cell))
    memory = f * m + i * g
    o = torch.sigmoid(gate(module.output, 0, x1, h, cell, memory))
    hidden = o * torch.tanh(gate(module.merge, 0, cell, memory))
    a = convolve(module.attention[0], hidden)
    if len(attention) == 2:
        a = convolve(module.attention[2], torch.relu(a))
    a = torch.sigmoid(a)
    expected = x2 + a * hidden if residual else (1 - a) * x2 + a * hidden
    new_x2, state = module(x1, x2, STState(h, c, m))
    torch.testing.assert_close(new_x2, expected)
    for value, by_equation in zip(state, (hidden, cell, memory), strict=True):
        torch.testing.assert_close(value, by_equation)
    assert len(module.attention) == 2 * len(attention) - 1


def network(**options):
    torch.manual_seed(0)
    return randomised(Network(CrevNet.Options(**SMALL | options)), scale=0.1)


def test_modules_change_both_halves_in_turn_and_pass_the_memory_on():
    """Written plainly for two modules: the second reads the half that the first changed."""
    model, frames = network().eval(), noise(2, 4, 3, 8, 12) + 0.5
    first, second = model.layers
    zeros = torch.zeros(2, 24, 3, 2, 3)
    h1 = c1 = h2 = c2 = m = zeros
    for t, (image, _) in enumerate(roll_out(model, frames, 1)):
        window = torch.stack([frames[:, max(0, t - 2)], frames[:, max(0, t - 1)], frames[:, t]], dim=2)
        features, statistics = model.autoencoder.encode(window)
        a, b = features[:, :24], features[:, 24:]
        b, (h1, c1, m) = first(a, b, STState(h1, c1, m))
        a, (h2, c2, m) = second(b, a, STState(h2, c2, m))
        decoded = model.autoencoder.decode(torch.cat([a, b], dim=1), statistics)
        torch.testing.assert_close(image, decoded[:, :, 2])


def test_a_prediction_joins_the_window_as_the_newest_frame():
    """With residual and untrained, each window is decoded as it was encoded, so the window itself shows."""
    torch.manual_seed(0)
    model, frames = Network(CrevNet.Options(**SMALL, residual=True)).eval(), noise(1, 3, 3, 8, 8)
    *_, (image, state) = roll_out(model, frames, 4, clamp=False)
    torch.testing.assert_close(image, frames[:, 2])
    torch.testing.assert_close(state.frames, frames[:, 2:, :].transpose(1, 2).expand(-1, -1, 2, -1, -1))
    *_, (_, state) = roll_out(model, frames, 1)
    assert torch.equal(state.frames, frames[:, 1:].transpose(1, 2))


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("training", [True, False])
def test_the_autoencoder_of_a_network_is_inverted_to_rounding(norm, training):
    model, windows = network(norm=norm).train(training).double(), noise(2, 3, 3, 8, 12).double()
    torch.testing.assert_close(model.autoencoder.decode(*model.autoencoder.encode(windows)), windows, atol=1e-9, rtol=0)


class TestReconstruction:
    def test_is_the_error_of_both_known_frames_over_all_steps(self):
        model, frames = network(reconstruction=3.0).train(), noise(2, 3, 3, 8, 8)
        decoded, decode = [], model.autoencoder.decode
        model.autoencoder.decode = lambda *features: decoded.append(decode(*features)) or decoded[-1]
        *_, (_, state) = roll_out(model, frames, 2, noise(2, 2, 3, 8, 8, seed=1), torch.ones(2, 1, dtype=torch.bool))
        read = torch.cat([frames[:, :1], frames, noise(2, 2, 3, 8, 8, seed=1)], dim=1)
        errors = [
            (window[:, :, :2].transpose(1, 2) - read[:, t : t + 2]).square().mean() for t, window in enumerate(decoded)
        ]
        assert len(errors) == 4
        torch.testing.assert_close(model.penalty(state), 3 * sum(errors) / 4)

    @pytest.mark.parametrize(("reconstruction", "training"), [(0.0, True), (2.0, False)])
    def test_is_no_penalty_without_weight_or_outside_training(self, reconstruction, training):
        model = network(reconstruction=reconstruction).train(training)
        *_, (_, state) = roll_out(model, noise(1, 2, 3, 8, 8), 1)
        assert model.penalty(state) is None

    def test_moves_the_decoded_frames_not_those_that_were_read(self):
        model, frames = network(reconstruction=1.0).train(), noise(1, 2, 3, 8, 8).requires_grad_()
        decoded, decode = [], model.autoencoder.decode
        model.autoencoder.decode = lambda *features: decoded.append(decode(*features)) or decoded[-1]
        *_, (_, state) = roll_out(model, frames, 1)
        error = (decoded[-1][:, :, :2] - frames.detach().transpose(1, 2)).square().mean()
        (expected,) = torch.autograd.grad(error, frames, retain_graph=True)
        torch.testing.assert_close(torch.autograd.grad(state.reconstruction[-1], frames)[0], expected)


def test_recomputed_activations_give_the_same_gradients():
    """In a rollout with batch normalisation, whose statistics change from window to window."""
    gradients = []
    for recompute in (False, True):
        model = network(norm="batch", recompute=recompute).double().train()
        steps = list(roll_out(model, noise(2, 3, 3, 8, 8).double(), 2))
        torch.stack([image for image, _ in steps]).square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for stored, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, stored)


def test_grey_frames_have_a_network_of_their_own():
    predictor = CrevNet(CrevNet.Options(**SMALL, channels=1)).eval()
    frames = noise(1, 2, 1, 7, 9).expand(-1, -1, 3, -1, -1) + 0.5
    predicted = predictor.predict(Context(frames=frames, clips=("a@0",)), 2, []).frames
    assert predicted.shape == (1, 2, 3, 7, 9)
    assert torch.equal(predicted[:, :, 0], predicted[:, :, 2])


def test_modules_come_in_pairs():
    with pytest.raises(ValueError, match="multiple of 2"):
        CrevNet.Options(layers=3)
