"""CDNet's parts: parameter counts, the reversible autoencoder, and the cells against the paper's equations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from vpbench.errors import PredictorError
from vpbench.toolkit.st_lstm import STState
from vpbench_cdnet.autoencoder import Autoencoder, squeeze, unsqueeze
from vpbench_cdnet.layers import RefineState
from vpbench_cdnet.model import Integrator, MotionCell, Network, RefineCell
from vpbench_cdnet.options import PRESETS, Options
from vpbench_cdnet.refinement import FusedRefinement

VARIANT = {"blocks": (4, 5, 3)}


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


class TestParameters:
    """The budget of Human3.6M, 4 to 4, reconstructed from table 5 (2.31e7, 50.73 % below CrevNet's 46,951,524)."""

    @pytest.mark.parametrize(
        ("options", "count"),
        [
            ({}, 23_131_188),
            ({"iterations": 3, "norm": "group", "residual": True}, 23_131_188),
            (VARIANT, 22_839_300),
            (VARIANT | {"integrator": (384, 256)}, 23_029_828),
            (VARIANT | {"window": "valid"}, 22_691_844),
            (VARIANT | {"context": 10}, 23_281_668),
            (VARIANT | {"global_information": False}, 17_990_628),
            (VARIANT | {"mask": None}, 21_309_156),
            ({"motion_halves": 1}, 23_131_188 - 7 * 96 * 96 * 27),
            (VARIANT | {"hidden": 16}, 12_059_508),
            (VARIANT | {"hidden": 64}, 56_425_764),
            (PRESETS["tiny"], 830_228),
        ],
    )
    def test_are_as_many_as_specified(self, options, count):
        with torch.device("meta"):
            assert sum(p.numel() for p in Network(Options(**options)).parameters()) == count

    def test_part_by_part(self):
        with torch.device("meta"):
            network = Network(Options())
        assert {name: sum(p.numel() for p in module.parameters()) for name, module in network.named_children()} == {
            "autoencoder": 1_229_460,
            "motion": 5_743_104,
            "motion_start": 1_493_280,
            "refine": 2_986_272 * 2 + 1_493_088 * 2 + 18_528 * 2 + 746_688,
            "refine_start": 55_584,
            "integrator": 4_848_672,
            "to_features": 18_624,
        }


def autoencoder(blocks=(2, 1), norm="batch", *, recompute=False):
    """An autoencoder with normalisations that matter, and running statistics unlike those of any batch here."""
    torch.manual_seed(0)
    model = Autoencoder(blocks, norm, recompute=recompute)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 2.0)
            if isinstance(module, torch.nn.BatchNorm3d | torch.nn.GroupNorm):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.3)
    return model


class TestAutoencoder:
    @pytest.mark.parametrize(
        ("norm", "dtype", "bound"),
        [("batch", torch.float32, 1e-4), ("group", torch.float32, 1e-4), ("batch", torch.float64, 1e-10)],
    )
    @pytest.mark.parametrize("size", [(128, 128), (64, 88)])
    def test_decoding_undoes_encoding(self, size, norm, dtype, bound):
        model, windows = autoencoder((4, 4, 4), norm).to(dtype).eval(), noise(1, 3, 3, *size).to(dtype)
        with torch.no_grad():
            features, statistics = model.encode(windows)
            assert features.shape == (1, 192, 3, size[0] // 8, size[1] // 8)
            assert features.dtype == dtype
            assert (model.decode(features, statistics) - windows).abs().max() < bound

    @pytest.mark.parametrize("norm", ["batch", "group"])
    def test_decoding_undoes_encoding_in_training_too_and_in_half_precision(self, norm):
        model, windows = autoencoder(norm=norm).train(), noise(2, 3, 3, 8, 8)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(model.decode(*model.encode(windows)), windows, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("size", [(64, 85), (60, 88)])
    def test_other_sizes_are_refused(self, size):
        with pytest.raises(PredictorError, match=rf"multiples of 8, not {size[0]}x{size[1]}: pad"):
            autoencoder((1, 1, 1)).encode(noise(1, 3, 3, *size))

    @given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
    def test_squeeze_moves_pixels_within_their_frame(self, channels, time, height, width):
        x = torch.arange(2 * channels * time * height * width * 4.0).reshape(2, channels, time, 2 * height, 2 * width)
        y = squeeze(x)
        assert y.shape == (2, 4 * channels, time, height, width)
        assert torch.equal(unsqueeze(y), x)
        assert torch.equal(y[:, :channels], x[..., ::2, ::2]), "ordered by pixel first"
        assert torch.equal(y[:, channels : 2 * channels], x[..., ::2, 1::2])

    def test_blocks_swap_halves(self):
        """With F = 0 the blocks only permute: x2 comes first after an odd number of blocks."""
        model, x = autoencoder((1,)), noise(1, 3, 3, 4, 4)
        with torch.no_grad():
            model.blocks[0].convs[-1].weight.zero_()
        x1, x2 = squeeze(x).chunk(2, dim=1)
        assert torch.equal(model.encode(x)[0], torch.cat([x2, x1], dim=1))

    def test_batch_norm_uses_and_moves_statistics_in_encodings_only(self):
        model = autoencoder().train()
        statistics = [buffer.clone() for buffer in model.buffers()]
        features, by = model.encode(noise(2, 3, 3, 8, 8))
        updated = [buffer.clone() for buffer in model.buffers()]
        assert not any(torch.equal(*pair) for pair in zip(statistics, updated, strict=True))
        single = model.decode(features[:1], by)
        assert all(torch.equal(*pair) for pair in zip(updated, model.buffers(), strict=True))
        torch.testing.assert_close(model.decode(features, by)[:1], single)

    def test_group_norm_treats_each_clip_alone(self):
        model, x = autoencoder(norm="group").train(), noise(3, 3, 3, 8, 8)
        torch.testing.assert_close(model.encode(x)[0], torch.cat([model.encode(clip[None])[0] for clip in x]))

    @pytest.mark.parametrize("norm", ["batch", "group"])
    @pytest.mark.parametrize("training", [True, False])
    def test_recomputing_gives_the_same_gradients_and_statistics(self, norm, training):
        """For an encoding and for the decoding of other features by its statistics."""
        results = []
        for recompute in (False, True):
            model = autoencoder(norm=norm, recompute=recompute).double().train(training)
            x = noise(2, 3, 3, 16, 24).double().requires_grad_()
            features, statistics = model.encode(x)
            y = model.decode(features + noise(*features.shape, seed=1), statistics)
            (features * noise(*features.shape, seed=2)).sum().backward(retain_graph=True)
            (y * noise(*y.shape, seed=3)).sum().backward()
            results.append([features, y, x.grad, *(p.grad for p in model.parameters()), *model.buffers()])
        for stored, recomputed in zip(*results, strict=True):
            torch.testing.assert_close(recomputed, stored, rtol=1e-9, atol=1e-9)

    def test_recomputing_is_in_full_precision_within_autocast_and_leaves_frozen_weights_alone(self):
        gradients = []
        for half in (False, True):
            model, x = autoencoder(norm="group", recompute=True), noise(2, 3, 3, 16, 24).requires_grad_()
            model.blocks[0].requires_grad_(False)
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                features, _ = model.encode(x)
                features.square().sum().backward()
            assert all(p.grad is None for p in model.blocks[0].parameters())
            gradients.append([x.grad, *(p.grad for p in model.blocks[1:].parameters())])
        assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))

    @pytest.mark.parametrize("decoding", [False, True])
    @pytest.mark.parametrize("power", [1, 2])
    def test_recomputing_refuses_second_derivatives(self, decoding, power):
        """Also if the loss is linear in the result: then no incoming gradient has a gradient."""
        model, x = autoencoder(norm="group", recompute=True), noise(1, 3, 3, 8, 8).requires_grad_()
        features, statistics = model.encode(x)
        if decoding:
            x = features.detach().requires_grad_()
        result = model.decode(x, statistics) if decoding else features
        first = torch.autograd.grad(result.pow(power).sum(), [x, *model.parameters()], create_graph=True)
        for gradient in first:
            with pytest.raises(RuntimeError, match=r"no second derivatives: set cdnet\.recompute=false"):
                (result.mean() + gradient.square().sum()).backward(retain_graph=True)

    def test_without_recomputing_there_are_second_derivatives(self):
        model, x = autoencoder(norm="group"), noise(1, 3, 3, 8, 8).requires_grad_()
        (gradient,) = torch.autograd.grad(model.encode(x)[0].square().sum(), x, create_graph=True)
        gradient.square().sum().backward()
        assert all(p.grad.abs().max() > 0 for p in model.parameters())

    def test_recomputing_stores_only_the_result(self):
        stored = {}
        for recompute in (False, True):
            sizes = []
            with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):  # noqa: B023
                features, _ = autoencoder((4, 4), recompute=recompute).encode(noise(1, 3, 3, 32, 32))
            stored[recompute] = sum(sizes)
        assert stored[True] == features.numel()
        assert stored[False] > 10 * stored[True]


def randomised(module, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.4)
    return module.double()


def grid(channels, seed):
    return 2 * noise(2, channels, 3, 4, 5, seed=seed).double() - 1


def test_motion_cell_is_equation_1_gate_by_gate():
    d, cell = 2, randomised(MotionCell(5, 2))
    x, state = grid(5, 1), STState(grid(d, 2), grid(d, 3), grid(d, 4))

    def gate(number, features, bank):
        rows = slice(d * number, d * number + d)
        return functional.conv3d(features, bank.weight[rows], bank.bias[rows], padding=1)

    i = torch.sigmoid(gate(0, x, cell.of_features) + gate(0, state.hidden, cell.of_hidden))
    f = torch.sigmoid(gate(1, x, cell.of_features) + gate(1, state.hidden, cell.of_hidden) + 1)
    g = torch.tanh(gate(2, x, cell.of_features) + gate(2, state.hidden, cell.of_hidden))
    c = f * state.cell + i * g
    i = torch.sigmoid(gate(3, x, cell.of_features) + gate(0, state.memory, cell.of_memory))
    f = torch.sigmoid(gate(4, x, cell.of_features) + gate(1, state.memory, cell.of_memory) + 1)
    g = torch.tanh(gate(5, x, cell.of_features) + gate(2, state.memory, cell.of_memory))
    m = f * state.memory + i * g
    cm = torch.cat([c, m], 1)
    o = gate(6, x, cell.of_features) + gate(3, state.hidden, cell.of_hidden) + gate(0, cm, cell.of_states)
    h = torch.sigmoid(o) * torch.tanh(functional.conv3d(cm, cell.merge.weight, cell.merge.bias))
    for value, expected in zip(cell(x, state), (h, c, m), strict=True):
        torch.testing.assert_close(value, expected)


def test_motion_cell_may_read_the_last_features_only():
    cell, state = randomised(MotionCell(3, 2)), STState(grid(2, 2), grid(2, 3), grid(2, 4))
    features = grid(6, 1)
    for value, expected in zip(cell(features, state), cell(features[:, 3:], state), strict=True):
        assert torch.equal(value, expected)


def refine_cell(mask, seed=0):
    """A cell with F = 5, D = 2, and its inputs: F^ref, encoding, reference, state."""
    cell = randomised(RefineCell(5, 2, mask), seed=seed)
    state = RefineState(grid(2, 3), grid(2, 4), grid(2, 5), grid(2, 6) if mask else None)
    return cell, grid(2, 7), grid(5, 1), grid(2, 2), state


def without_mask(cell):
    plain = RefineCell(5, 2, None).double()
    plain.load_state_dict({key: value for key, value in cell.state_dict().items() if key in plain.state_dict()})
    return plain


class TestRefineCell:
    @pytest.mark.parametrize("mask", ["tanh", "sigmoid", None])
    @pytest.mark.parametrize("global_information", [True, False])
    def test_fused_iterations_equal_the_equations(self, mask, global_information):
        cell, motion, encoding, reference, state = refine_cell(mask)
        fused = FusedRefinement(cell, reference if global_information else None)
        refined, count = motion, 0
        for fused_state in fused(motion, encoding, state, 3):
            state = cell(refined, encoding, reference if global_information else motion, state)
            refined, count = state.hidden, count + 1
            assert (state.mask is None) == (mask is None)
            for value, expected in zip(fused_state, state, strict=True):
                torch.testing.assert_close(value, expected)
        assert count == 3

    def test_a_mask_of_zeros_keeps_h(self):
        cell, *inputs, state = refine_cell("tanh")
        with torch.no_grad():
            cell.merge_mask.weight.zero_()
            cell.merge_mask.bias.zero_()
        after = cell(*inputs, state)
        assert torch.equal(after.hidden, state.hidden)
        assert not after.mask.any()

    @pytest.mark.parametrize("mask", ["tanh", "sigmoid"])
    @pytest.mark.parametrize("seed", range(3))
    def test_the_mask_moves_h_towards_the_candidate(self, mask, seed):
        """Equation 6 as an identity: H^l - H^l-1 = B^l ∘ (H^ - H^l-1), for any B."""
        cell, *inputs, state = refine_cell(mask, seed)
        after, candidate = cell(*inputs, state), without_mask(cell)(*inputs, state._replace(mask=None)).hidden
        torch.testing.assert_close(after.hidden - state.hidden, after.mask * (candidate - state.hidden))
        low, high = (-1.0, 1.0) if mask == "tanh" else (0.0, 1.0)
        assert after.mask.min() > low and after.mask.max() < high
        assert (after.mask.min() < 0) == (mask == "tanh")


def test_integrator_is_four_convolutions_each_with_relu():
    """Equation 3 and figure 7: 1x1, 3x3, 1x1, 3x3."""
    integrator, expected = randomised(Integrator(6, (4, 3), 2)), grid(6, 1)
    value = integrator(expected)
    for layer, kernel in zip(list(integrator)[::2], (1, 3, 1, 3), strict=True):
        assert layer.kernel_size == (kernel,) * 3
        expected = functional.conv3d(expected, layer.weight, layer.bias, padding=kernel // 2).clamp_min(0)
    torch.testing.assert_close(value, expected)
