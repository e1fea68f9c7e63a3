"""ConvLSTM as a network: the paper's equations and parameter counts, patches, and what every predictor must keep."""

from __future__ import annotations

import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vpbench.errors import UsageError
from vpbench.plugin.clip import Context
from vpbench.plugin.loader import load_plugins
from vpbench.select.component import choose_predictor
from vpbench.select.parts import count_parts
from vpbench_baselines import convlstm_cell
from vpbench_baselines.convlstm import ConvLSTM, Options, from_patches, to_patches
from vpbench_baselines.convlstm_cell import Cell, Network

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


def context(frames):
    return Context(frames=frames, clips=tuple(f"clip{i}@0" for i in range(len(frames))))


def built(seed=0, scale=4.0, **options):
    """A small ConvLSTM with weights large enough to show every mistake, peepholes and head included."""
    torch.manual_seed(seed)
    model = ConvLSTM(Options(**SMALL | options))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += scale * 0.1 * torch.randn_like(parameter)
    return model


def predict(model, frames, horizon):
    return model.predict(context(frames), horizon, []).frames


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


def equation3(cell, x, hidden, before):
    """Equation 3 of the paper, line by line, in float64."""
    n = cell.of_hidden.in_channels
    value = {name: p.detach().double().numpy() for name, p in cell.named_parameters()}
    wx, wh = value.get("of_input.weight"), value["of_hidden.weight"]
    bias = value.get("of_input.bias", value.get("of_hidden.bias"))
    peepholes = value.get("peepholes", np.zeros((3, n, 1, 1)))

    def convolutions(gate):
        part = slice(gate * n, gate * n + n)
        seen = 0 if x is None else convolved(x, wx[part])
        return seen + convolved(hidden, wh[part]) + bias[part, None, None]

    i = sigmoid(convolutions(0) + peepholes[0] * before)
    f = sigmoid(convolutions(1) + peepholes[1] * before)
    after = f * before + i * np.tanh(convolutions(3))
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
        for ours, theirs in zip(cell(x, state), expected, strict=True):
            np.testing.assert_allclose(ours[0].detach(), theirs, atol=1e-5)

    @pytest.mark.parametrize("peepholes", [False, True])
    def test_no_state_is_a_state_of_zeros(self, peepholes):
        cell, x = randomised(Cell(2, 3, 3, peepholes=peepholes)), noise(2, 2, 4, 5)
        zeros = torch.zeros(2, 3, 4, 5)
        for ours, theirs in zip(cell(x, None), cell(x, (zeros, zeros)), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)

    @pytest.mark.parametrize("peepholes", [False, True])
    @pytest.mark.parametrize("size", [(2, 2), (6, 7)], ids=["in one batch", "one after another"])
    def test_inputs_known_beforehand_give_what_they_give_one_by_one(self, size, peepholes, monkeypatch):
        """To rounding, states and gradients; which way is taken follows from the sizes."""
        torch.manual_seed(2)
        cell, inputs = randomised(Cell(2, 3, 3, peepholes=peepholes)), noise(2, 4, 2, *size).unbind(1)
        convolutions, forward = [], torch.nn.Conv2d.forward
        monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda s, x: convolutions.append(s) or forward(s, x))
        known = cell.over(inputs)
        assert convolutions.count(cell.of_input) == (1 if size == (2, 2) else 4)
        single = [cell(inputs[0], None)]
        for x in inputs[1:]:
            single.append(cell(x, single[-1]))
        gradients = []
        for states in (known, single):
            cell.zero_grad()
            sum((hidden * after).sum() for hidden, after in states).backward()
            gradients.append([p.grad for p in cell.parameters()])
        for a, b in zip([t for s in known for t in s], [t for s in single for t in s], strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
        for a, b in zip(*gradients, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)

    @pytest.mark.parametrize("channels", [0, 2])
    def test_it_begins_by_remembering(self, channels):
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

    @settings(max_examples=15, deadline=None)
    @given(
        channels=st.integers(1, 5),
        hidden=st.lists(st.integers(1, 6), min_size=1, max_size=3),
        kernel=st.sampled_from([1, 3, 5]),
        peepholes=st.booleans(),
    )
    def test_one_stack_has_the_parameters_of_the_formula(self, channels, hidden, kernel, peepholes):
        network = Network(channels, hidden, kernel, peepholes=peepholes)
        inputs = [channels, *hidden[:-1]]
        cells = sum(4 * n * ((c + n) * kernel**2 + 1) + 3 * n * peepholes for c, n in zip(inputs, hidden, strict=True))
        assert sum(p.numel() for p in network.parameters()) == cells + (hidden[-1] + 1) * channels

    def test_the_forecaster_starts_from_the_encoders_states_and_reads_nothing(self):
        torch.manual_seed(0)
        network = randomised(Network(2, (3, 4), 3, peepholes=True, own_forecaster=True))
        frames = noise(1, 3, 2, 4, 5)
        states = [(np.zeros((n, 4, 5)), np.zeros((n, 4, 5))) for n in (3, 4)]
        reads = [frames[0, 0].numpy(), frames[0, 1].numpy(), frames[0, 2].numpy(), None, None]
        images = []
        for step, x in enumerate(reads):
            for layer, cell in enumerate((network.forecaster if x is None else network.encoder).cells):
                states[layer] = equation3(cell, x, *states[layer])
                x = states[layer][0]
            if step >= 3:
                seen = np.concatenate([hidden for hidden, _ in states])
                weight = network.head.weight.detach().double().numpy()
                images.append(convolved(seen, weight) + network.head.bias.detach().double().numpy()[:, None, None])
        for ours, theirs in zip(network(frames, 2), images, strict=True):
            np.testing.assert_allclose(ours[0].detach(), theirs, atol=1e-5)

    def test_it_reads_its_own_clamped_images_as_if_they_were_context(self):
        torch.manual_seed(0)
        network = randomised(Network(2, (3, 4), 3))
        with torch.no_grad():
            network.head.weight *= 5
            network.head.bias += torch.tensor([0.5, -0.5])
        frames = noise(2, 3, 2, 4, 5)
        steps = torch.stack(list(network(frames, 4)), dim=1)
        assert (steps.min() < 0) & (steps.max() > 1)  # there is something to clamp
        read = torch.cat([frames, steps[:, :3].clamp(0, 1)], dim=1)
        for k in range(4):
            torch.testing.assert_close(next(network(read[:, : 3 + k], 1)), steps[:, k], atol=1e-5, rtol=0)

    def test_residual_adds_the_last_image_of_the_context_to_every_step(self):
        frames = noise(2, 3, 2, 4, 5)
        for own_forecaster in (False, True):
            network = randomised(Network(2, (3, 4), 3, own_forecaster=own_forecaster, residual=True))
            whole = list(network(frames, 3))
            network.residual = False
            assert torch.equal(whole[0], next(network(frames, 1)) + frames[:, -1])
            if own_forecaster:
                assert all(torch.equal(a, b + frames[:, -1]) for a, b in zip(whole, network(frames, 3), strict=True))

    def test_shown_truth_is_read_in_place_of_its_own_image(self):
        torch.manual_seed(0)
        network = randomised(Network(2, (3, 4), 3))
        frames, truth = noise(2, 3, 2, 4, 5), noise(2, 4, 2, 4, 5, seed=1)
        shown = torch.tensor([[True, False, True], [False, False, True]])
        steps = torch.stack(list(network(frames, 4, truth, shown)), dim=1)
        read = torch.where(shown[:, :, None, None, None], truth[:, :3], steps[:, :3].clamp(0, 1))
        alone = network(torch.cat([frames, read], dim=1), 1)
        torch.testing.assert_close(next(alone), steps[:, 3], atol=1e-5, rtol=0)
        nothing = network(frames, 4, truth, torch.zeros_like(shown))
        assert torch.equal(torch.stack(list(nothing)), torch.stack(list(network(frames, 4))))


class TestPatches:
    def test_a_patch_is_a_place_and_its_pixels_are_channels(self):
        frames = noise(1, 1, 3, 4, 6)
        patches = to_patches(frames, 2)
        assert patches.shape == (1, 1, 12, 2, 3)
        for row, column in np.ndindex(2, 3):
            own = frames[0, 0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.equal(patches[0, 0, :, row, column], own.flatten())

    @settings(max_examples=20, deadline=None)
    @given(side=st.integers(1, 5), height=st.integers(1, 9), width=st.integers(1, 9))
    def test_there_and_back_and_the_border_is_repeated(self, side, height, width):
        frames = noise(2, 3, 3, height, width)
        patches = to_patches(frames, side)
        assert patches.shape == (2, 3, 3 * side**2, -(-height // side), -(-width // side))
        assert torch.equal(from_patches(patches[:, 1], (height, width)), frames[:, 1])
        whole = from_patches(patches[:, 1], (-(-height // side) * side, -(-width // side) * side))
        assert torch.equal(whole[..., -1, -1], frames[:, 1, :, -1, -1])


@pytest.mark.parametrize("options", FORMS.values(), ids=list(FORMS))
class TestPredict:
    @settings(max_examples=5, deadline=None)
    @given(height=st.integers(1, 11), width=st.integers(1, 11), given_frames=st.integers(1, 4))
    def test_any_size_and_context_alone_or_in_a_batch_for_fewer_steps_or_more(
        self, options, height, width, given_frames
    ):
        model, frames = built(**options), noise(3, given_frames, 3, height, width)
        whole = predict(model, frames, 7)
        assert whole.shape == (3, 7, 3, height, width)
        assert whole.dtype == torch.float32
        assert ((whole >= 0) & (whole <= 1)).all()
        torch.testing.assert_close(predict(model, frames[1:2], 3), whole[1:2, :3], atol=1e-5, rtol=0)

    def test_every_context_frame_and_their_order_matter(self, options):
        model, frames = built(scale=1.0, **options), noise(1, 4, 3, 8, 8)
        usual = predict(model, frames, 2)
        for index in range(4):
            changed = frames.clone()
            changed[:, index] = 1 - changed[:, index]
            assert not torch.allclose(predict(model, changed, 2), usual, atol=1e-4)
        assert not torch.allclose(predict(model, frames.flip(1), 2), usual, atol=1e-4)

    def test_values_beyond_the_range_are_clamped(self, options):
        model = built(**options)
        with torch.no_grad():
            model.network.head.bias[::2] += 50
            model.network.head.bias[1::2] -= 50
        frames = predict(model, noise(1, 2, 3, 6, 6), 3)
        assert {0.0, 1.0} == set(frames.flatten().tolist())

    def test_a_clip_that_is_not_a_number_spoils_itself_alone(self, options):
        model, frames = built(**options), noise(2, 3, 3, 6, 6)
        expected = predict(model, frames, 4)[1]
        frames[0, 1, 2, 3, 3] = float("nan")
        predicted = predict(model, frames, 4)
        torch.testing.assert_close(predicted[1], expected, atol=1e-5, rtol=0)
        assert predicted[0].isnan().any()

    def test_it_keeps_neither_gradients_nor_what_led_to_a_step(self, options, monkeypatch):
        model, alive, most = built(**options), [], []
        gated = convlstm_cell.Cell._gated

        def watched(self, gates, before):
            hidden, cell = gated(self, gates, before)
            alive.append(weakref.ref(cell))
            most.append(sum(ref() is not None for ref in alive))
            return hidden, cell

        monkeypatch.setattr(convlstm_cell.Cell, "_gated", watched)
        frames = predict(model, noise(1, 2, 3, 6, 6), 20)
        assert not frames.requires_grad
        assert len(alive) == 2 * (2 + 20 - (not options.get("own_forecaster", False)))
        assert max(most) <= 4  # two layers, before and after

    def test_its_weights_follow_from_the_seed(self, options):
        one, same, other = (built(seed=seed, scale=0.0, **options) for seed in (0, 0, 1))
        assert all(torch.equal(p, q) for p, q in zip(one.parameters(), same.parameters(), strict=True))
        assert not all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def test_untrained_with_residual_it_repeats_the_last_frame():
    frames = noise(2, 3, 3, 7, 9)
    assert torch.equal(
        predict(ConvLSTM(Options(**SMALL, residual=True)), frames, 3), frames[:, -1:].expand(-1, 3, -1, -1, -1)
    )


class TestPresets:
    @pytest.mark.parametrize(
        ("preset", "parts"),
        [
            ("tiny", {"encoder": 4 * 64 * ((48 + 64) * 9 + 1), "head": 65 * 48}),
            ("base", {"encoder": 512 * (176 * 25 + 1) + 2 * 512 * (256 * 25 + 1), "head": 129 * 48}),
            (
                "paper",
                {
                    "encoder": 7_585_296 - 3_688_192 - 4_112 + (48 - 16) * 512 * 25,
                    "forecaster": 3_688_192,
                    "head": 257 * 48,
                },
            ),
        ],
    )
    def test_their_parts_have_the_parameters_of_the_formula(self, preset, parts):
        model = choose_predictor(load_plugins(), f"convlstm:{preset}", {}).value
        assert count_parts(model) == parts

    def test_none_is_base(self):
        plugins = load_plugins()
        assert (
            choose_predictor(plugins, "convlstm", {}).options == choose_predictor(plugins, "convlstm:base", {}).options
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": 4}, "kernel: .*must be odd"),
        ({"kernel": 0}, "kernel: .*greater than or equal to 1"),
        ({"hidden": []}, "hidden: .*at least 1 item"),
        ({"hidden": [8, 0]}, r"hidden\.1: .*greater than or equal to 1"),
        ({"patch": 0}, "patch: .*greater than or equal to 1"),
        ({"l2": 0}, "one of the loss's weights l1, l2 and ssim must be above 0"),
        ({"ssim": -1}, "ssim: .*greater than or equal to 0"),
        ({"l1": float("nan")}, "l1: "),
        ({"scheduled_sampling": 2}, "scheduled_sampling: .*less than or equal to 1"),
        ({"own_forecaster": True}, "scheduled_sampling must be 0"),
        ({"layers": 3}, "no option 'layers'"),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(UsageError, match=message):
        choose_predictor(load_plugins(), "convlstm", {"convlstm": options})


def test_predicting_does_not_need_lightning():
    code = "import sys, vpbench_baselines.convlstm; print('lightning' in sys.modules)"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "False"
