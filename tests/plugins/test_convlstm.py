"""ConvLSTM: the paper's equations and parameter counts, options, and the promises of every predictor."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vpbench.plugin.clip import Context
from vpbench_recurrent.cell import Cell
from vpbench_recurrent.convlstm import ConvLSTM, Network, Options
from vpbench_recurrent.rollout import roll_out

SMALL = {"hidden": (6, 5), "kernel": 3, "patch": 2}
FORMS = {
    "one stack": {},
    "peepholes": {"peepholes": True},
    "residual": {"residual": True},
    "own forecaster": {"own_forecaster": True, "peepholes": True, "scheduled_sampling": 0.0},
    "own forecaster, residual": {"own_forecaster": True, "residual": True, "scheduled_sampling": 0.0},
}


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def small_model(seed=0, scale=4.0, **options):
    """A small ConvLSTM with weights large enough to show every mistake, also in peepholes and head."""
    torch.manual_seed(seed)
    model = ConvLSTM(Options(**SMALL | options))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += scale * 0.1 * torch.randn_like(parameter)
    return model


def images(network, frames, horizon, *truth):
    """The images of steps 1 to ``horizon``."""
    return [image for image, _ in roll_out(network, frames, horizon, *truth)][-horizon:]


def predict(model, frames, horizon):
    clips = tuple(f"clip{i}@0" for i in range(len(frames)))
    return model.predict(Context(frames=frames, clips=clips), horizon, []).frames


def convolved(x, kernels):
    """Cross-correlate [c,h,w] with [n,c,k,k] and zeros around it, one sum per output."""
    n, _, k, _ = kernels.shape
    padded = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    out = np.zeros((n, *x.shape[1:]))
    for m in range(n):
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                out[m, i, j] = (kernels[m] * padded[:, i : i + k, j : j + k]).sum()
    return out


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def equation3(cell, x, hidden, previous):
    """Equation 3 of the paper, line by line, in float64."""
    n = cell.of_hidden.in_channels
    value = {name: p.detach().double().numpy() for name, p in cell.named_parameters()}
    wx, wh = value.get("of_input.weight"), value["of_hidden.weight"]
    bias = value.get("of_input.bias", value.get("of_hidden.bias"))
    peepholes = value.get("peepholes", np.zeros((3, n, 1, 1)))

    def convolutions(gate):
        rows = slice(gate * n, gate * n + n)
        read = 0 if x is None else convolved(x, wx[rows])
        return read + convolved(hidden, wh[rows]) + bias[rows, None, None]

    i = sigmoid(convolutions(0) + peepholes[0] * previous)
    f = sigmoid(convolutions(1) + peepholes[1] * previous)
    after = f * previous + i * np.tanh(convolutions(3))
    o = sigmoid(convolutions(2) + peepholes[2] * after)
    return o * np.tanh(after), after


def randomised(cell):
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter += torch.randn_like(parameter) * 0.3
    return cell


class TestCell:
    @pytest.mark.parametrize("peepholes", [False, True])
    @pytest.mark.parametrize("kernel", [1, 3, 5])
    @pytest.mark.parametrize("channels", [0, 2])
    def test_is_equation_3(self, channels, kernel, peepholes):
        torch.manual_seed(1)
        cell = randomised(Cell(channels, 3, kernel, peepholes=peepholes))
        x = noise(1, channels, 4, 5) if channels else None
        state = (noise(1, 3, 4, 5, seed=1) - 0.5, 2 * noise(1, 3, 4, 5, seed=2) - 1)
        expected = equation3(cell, None if x is None else x[0].numpy(), state[0][0].numpy(), state[1][0].numpy())
        for value, reference in zip(cell(x, state), expected, strict=True):
            np.testing.assert_allclose(value[0].detach(), reference, atol=1e-5)

    @pytest.mark.parametrize("peepholes", [False, True])
    def test_no_state_is_a_state_of_zeros(self, peepholes):
        cell, x = randomised(Cell(2, 3, 3, peepholes=peepholes)), noise(2, 2, 4, 5)
        zeros = torch.zeros(2, 3, 4, 5)
        for value, reference in zip(cell(x, None), cell(x, (zeros, zeros)), strict=True):
            torch.testing.assert_close(value, reference, atol=1e-6, rtol=0)

    @pytest.mark.parametrize("channels", [0, 2])
    def test_the_forget_gate_starts_at_1(self, channels):
        cell = Cell(channels, 3, 3, peepholes=True)
        bias = dict(cell.named_parameters())["of_input.bias" if channels else "of_hidden.bias"]
        assert bias.tolist() == [0] * 3 + [1] * 3 + [0] * 6
        assert not cell.peepholes.any()


class TestNetwork:
    @pytest.mark.parametrize(
        ("hidden", "count"),
        [((256,), 13_524_496), ((128, 128), 10_042_896), ((128, 64, 64), 7_585_296)],
    )
    def test_has_the_parameters_of_the_papers_table_1(self, hidden, count):
        """Moving MNIST in patches of 4x4 gray pixels: 16 channels; rows "ConvLSTM(5x5)-5x5-..."."""
        with torch.device("meta"):
            network = Network(16, hidden, 5, peepholes=True, own_forecaster=True)
        assert sum(p.numel() for p in network.parameters()) == count

    def test_the_forecaster_starts_from_the_encoders_states_and_reads_nothing(self):
        torch.manual_seed(0)
        network = randomised(Network(2, (3, 4), 3, peepholes=True, own_forecaster=True))
        frames = noise(1, 3, 2, 4, 5)
        states = [(np.zeros((n, 4, 5)), np.zeros((n, 4, 5))) for n in (3, 4)]
        reads = [frames[0, 0].numpy(), frames[0, 1].numpy(), frames[0, 2].numpy(), None, None]
        expected = []
        for step, x in enumerate(reads):
            for layer, cell in enumerate((network.forecaster if x is None else network.encoder).cells):
                states[layer] = equation3(cell, x, *states[layer])
                x = states[layer][0]
            if step >= 3:
                hidden = np.concatenate([hidden for hidden, _ in states])
                weight = network.head.weight.detach().double().numpy()
                expected.append(convolved(hidden, weight) + network.head.bias.detach().double().numpy()[:, None, None])
        for value, reference in zip(images(network, frames, 2), expected, strict=True):
            np.testing.assert_allclose(value[0].detach(), reference, atol=1e-5)

    def test_it_reads_its_own_clamped_images_as_if_they_were_context(self):
        torch.manual_seed(0)
        network = randomised(Network(2, (3, 4), 3))
        with torch.no_grad():
            network.head.weight *= 5
            network.head.bias += torch.tensor([0.5, -0.5])
        frames = noise(2, 3, 2, 4, 5)
        steps = torch.stack(images(network, frames, 4), dim=1)
        assert (steps.min() < 0) & (steps.max() > 1)  # there is something to clamp
        read = torch.cat([frames, steps[:, :3].clamp(0, 1)], dim=1)
        for k in range(4):
            torch.testing.assert_close(images(network, read[:, : 3 + k], 1)[0], steps[:, k], atol=1e-5, rtol=0)

    def test_residual_adds_the_last_image_of_the_context_to_every_step(self):
        frames = noise(2, 3, 2, 4, 5)
        for own_forecaster in (False, True):
            network = randomised(Network(2, (3, 4), 3, own_forecaster=own_forecaster, residual=True))
            steps = images(network, frames, 3)
            network.residual = False
            assert torch.equal(steps[0], images(network, frames, 1)[0] + frames[:, -1])
            if own_forecaster:
                assert all(
                    torch.equal(a, b + frames[:, -1]) for a, b in zip(steps, images(network, frames, 3), strict=True)
                )

    def test_marked_true_images_are_read_instead_of_predictions(self):
        torch.manual_seed(0)
        network = randomised(Network(2, (3, 4), 3))
        frames, truth = noise(2, 3, 2, 4, 5), noise(2, 4, 2, 4, 5, seed=1)
        use_truth = torch.tensor([[True, False, True], [False, False, True]])
        steps = torch.stack(images(network, frames, 4, truth, use_truth), dim=1)
        read = torch.where(use_truth[:, :, None, None, None], truth[:, :3], steps[:, :3].clamp(0, 1))
        steps_read = images(network, torch.cat([frames, read], dim=1), 1)
        torch.testing.assert_close(steps_read[0], steps[:, 3], atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", FORMS.values(), ids=list(FORMS))
class TestPredict:
    @given(height=st.integers(1, 11), width=st.integers(1, 11), length=st.integers(1, 4))
    def test_any_size_and_context_alone_or_in_a_batch_for_fewer_steps_or_more(self, options, height, width, length):
        model, frames = small_model(**options), noise(3, length, 3, height, width)
        predicted = predict(model, frames, 7)
        assert predicted.shape == (3, 7, 3, height, width)
        assert predicted.dtype == torch.float32
        assert ((predicted >= 0) & (predicted <= 1)).all()
        torch.testing.assert_close(predict(model, frames[1:2], 3), predicted[1:2, :3], atol=1e-5, rtol=0)

    def test_every_context_frame_and_their_order_matter(self, options):
        model, frames = small_model(scale=1.0, **options), noise(1, 4, 3, 8, 8)
        usual = predict(model, frames, 2)
        for index in range(4):
            changed = frames.clone()
            changed[:, index] = 1 - changed[:, index]
            assert not torch.allclose(predict(model, changed, 2), usual, atol=1e-4)
        assert not torch.allclose(predict(model, frames.flip(1), 2), usual, atol=1e-4)

    def test_values_beyond_the_range_are_clamped(self, options):
        model = small_model(**options)
        with torch.no_grad():
            model.network.head.bias[::2] += 50
            model.network.head.bias[1::2] -= 50
        frames = predict(model, noise(1, 2, 3, 6, 6), 3)
        assert {0.0, 1.0} == set(frames.flatten().tolist())

    def test_a_clip_with_nan_spoils_only_itself(self, options):
        model, frames = small_model(**options), noise(2, 3, 3, 6, 6)
        expected = predict(model, frames, 4)[1]
        frames[0, 1, 2, 3, 3] = float("nan")
        predicted = predict(model, frames, 4)
        torch.testing.assert_close(predicted[1], expected, atol=1e-5, rtol=0)
        assert predicted[0].isnan().any()

    def test_memory_does_not_grow_with_the_horizon(self, options):
        """At most the states of two layers before and after a step are alive; none keeps gradients.

        When the paper's network turns from the context to the forecast, both of its stacks run in one step.
        """
        model, states, alive = small_model(**options), [], []

        def watch(cell, args, state):
            states.append(weakref.ref(state[1]))
            alive.append(sum(ref() is not None for ref in states))

        for cell in model.modules():
            if isinstance(cell, Cell):
                cell.register_forward_hook(watch)
        frames = predict(model, noise(1, 2, 3, 6, 6), 20)
        assert not frames.requires_grad
        assert len(states) == 2 * (2 + 20 - (not options.get("own_forecaster", False)))
        assert max(alive) <= 4 + 2 * options.get("own_forecaster", False)


def test_untrained_with_residual_it_repeats_the_last_frame():
    frames = noise(2, 3, 3, 7, 9)
    assert torch.equal(
        predict(ConvLSTM(Options(**SMALL, residual=True)), frames, 3), frames[:, -1:].expand(-1, 3, -1, -1, -1)
    )


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("tiny", {"encoder": 4 * 64 * ((48 + 64) * 9 + 1), "head": 65 * 48}),
        ("base", {"encoder": 512 * (176 * 25 + 1) + 2 * 512 * (256 * 25 + 1), "head": 129 * 48}),
        ("openstl", {"encoder": 512 * (176 * 25) + 3 * 512 * (256 * 25), "head": 128 * 48}),
        ("openstl-grey", {"encoder": 11_675_648 - 128 * 16, "head": 128 * 16}),
        ("paper", {"encoder": 3_892_992 + (48 - 16) * 512 * 25, "forecaster": 3_688_192, "head": 257 * 48}),
    ],
)
def test_parts_of_the_presets_have_the_parameters_of_the_formula(preset, expected):
    with torch.device("meta"):
        model = ConvLSTM(Options(**ConvLSTM.presets[preset]))
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in model.inference_parts().items()}
    assert counts == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": 4}, "must be odd"),
        ({"hidden": []}, "at least 1 item"),
        ({"l2": 0}, "one of the loss's weights l1, l2 and ssim must be above 0"),
        ({"own_forecaster": True}, "scheduled_sampling must be 0"),
        ({"own_forecaster": True, "scheduled_sampling": 0.0, "supervise": "all"}, "predicts no frames"),
        ({"residual": True, "reverse_sampling": True}, "predictions within the context must not see"),
        ({"layers": 3}, "Extra inputs"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        Options(**options)
