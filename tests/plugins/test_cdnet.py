"""CDNet's parts: the reversible autoencoder, the cells against the paper's equations, the parameter counts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from vpbench.errors import PredictorError
from vpbench_cdnet.autoencoder import Autoencoder, Norm, squeeze, unsqueeze
from vpbench_cdnet.cells import Integrator, MotionCell, MotionState, RefineCell, RefineState, convolve
from vpbench_cdnet.network import Network
from vpbench_cdnet.options import PRESETS, Options

OTHER = {"blocks": (4, 5, 3)}


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def count(**options):
    with torch.device("meta"):
        return sum(p.numel() for p in Network(Options(**options)).parameters())


class TestParameters:
    """The budget of Human3.6M, 4 to 4, reconstructed from table 5 (2.31e7, 50.73 % below CrevNet's 46,951,524)."""

    @pytest.mark.parametrize(
        ("options", "parameters"),
        [
            ({}, 23_131_188),
            (OTHER, 22_839_300),
            (OTHER | {"integrator": (384, 256)}, 23_029_828),
            (OTHER | {"window": "valid"}, 22_691_844),
            (OTHER | {"context": 10}, 23_281_668),
            (OTHER | {"global_information": False}, 17_990_628),
            (OTHER | {"mask": None}, 21_309_156),
            (OTHER | {"hidden": 16}, 12_059_508),
            (OTHER | {"hidden": 64}, 56_425_764),
            (OTHER | {"hidden": 11}, 9_512_973),
            (PRESETS["tiny"], 830_228),
        ],
    )
    def test_are_as_many_as_specified(self, options, parameters):
        assert count(**options) == parameters

    def test_are_those_of_table_5(self):
        assert abs(count() / 23.1e6 - 1) < 0.005
        assert abs((1 - count() / 46_951_524) - 0.5073) < 0.0001

    @pytest.mark.parametrize("same", [{"iterations": 3}, {"iterations": 4}, {"norm": "group"}, {"residual": True}])
    def test_do_not_depend_on(self, same):
        assert count(**same) == count()

    def test_part_by_part(self):
        with torch.device("meta"):
            network = Network(Options())
        parts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
        refine = 2_986_272 * 2 + 1_493_088 * 2 + 18_528 * 2 + 746_688
        assert parts == {
            "autoencoder": 1_229_460,
            "motion": 5_743_104,
            "motion_start": 1_493_280,
            "refine": refine,
            "refine_start": 55_584,
            "integrator": 4_848_672,
            "to_features": 18_624,
        }


def autoencoder(blocks=(2, 1), norm="batch", *, recompute=False, seed=0):
    """One with weights large enough to matter, and statistics that are not those of any batch here."""
    torch.manual_seed(seed)
    made = Autoencoder(blocks, norm, recompute=recompute)
    with torch.no_grad():
        for part in made.modules():
            if isinstance(part, torch.nn.BatchNorm3d):
                part.running_mean.normal_(std=0.3)
                part.running_var.uniform_(0.5, 2.0)
            if isinstance(part, torch.nn.BatchNorm3d | torch.nn.GroupNorm):
                part.weight.uniform_(0.5, 1.5)
                part.bias.normal_(std=0.3)
    return made


class TestAutoencoder:
    @pytest.mark.parametrize("norm", ["batch", "group"])
    @pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
    @pytest.mark.parametrize("size", [(128, 128), (64, 88), (120, 160)])
    def test_decoding_undoes_encoding(self, size, dtype, bound, norm):
        model = autoencoder((4, 4, 4), norm).to(dtype).eval()
        windows = noise(1, 3, 3, *size).to(dtype)
        with torch.no_grad():
            features, statistics = model.encode(windows)
            assert features.shape == (1, 192, 3, size[0] // 8, size[1] // 8)
            assert features.dtype == dtype
            assert (model.decode(features, statistics) - windows).abs().max() < bound

    @pytest.mark.parametrize("size", [(64, 85), (60, 88)])
    def test_says_what_sizes_it_takes(self, size):
        with pytest.raises(PredictorError, match=rf"multiples of 8, not {size[0]}x{size[1]}: pad"):
            autoencoder((1, 1, 1)).encode(noise(1, 3, 3, *size))

    @settings(max_examples=20, deadline=None)
    @given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
    def test_squeeze_moves_pixels_within_their_frame(self, channels, time, height, width):
        x = torch.arange(2 * channels * time * height * width * 4.0).reshape(2, channels, time, 2 * height, 2 * width)
        y = squeeze(x)
        assert y.shape == (2, 4 * channels, time, height, width)
        assert torch.equal(unsqueeze(y), x)
        for t in range(time):
            assert torch.equal(y[:, :, t].flatten(1).sort().values, x[:, :, t].flatten(1).sort().values)
        assert torch.equal(y[:, :channels], x[..., ::2, ::2]), "the pixel's place comes first"
        assert torch.equal(y[:, channels : 2 * channels], x[..., ::2, 1::2])

    def test_features_of_windows_by_hand(self):
        """With F = 0 the blocks only permute: x2 comes first where the number of blocks is odd."""
        model = autoencoder((1,))
        with torch.no_grad():
            model.blocks[0].convs[-1].weight.zero_()
        x = noise(1, 3, 3, 4, 4)
        x1, x2 = squeeze(x).chunk(2, dim=1)
        assert torch.equal(model.encode(x)[0], torch.cat([x2, x1], dim=1))

    def test_first_block_has_no_norm_before_its_first_convolution(self):
        model = autoencoder((2, 1))
        assert [len(block.norms) for block in model.blocks] == [2, 3, 3]
        x = noise(1, 6, 3, 4, 4)
        block = model.blocks[0]
        a, b, c = block.convs
        by_hand = c(functional.relu(block.norms[1].of(b(functional.relu(block.norms[0].of(a(x)))))))
        torch.testing.assert_close(block.residual(x, None), by_hand)

    @pytest.mark.parametrize("norm", ["batch", "group"])
    @pytest.mark.parametrize("training", [True, False])
    def test_recomputing_gives_the_same_gradients_and_statistics(self, norm, training):
        """Of an encoding and of the decoding of something else by its statistics."""
        found = []
        for recompute in (False, True):
            model = autoencoder(norm=norm, recompute=recompute).double().train(training)
            x = noise(2, 3, 3, 16, 24).double().requires_grad_()
            features, statistics = model.encode(x)
            y = model.decode(features + noise(*features.shape, seed=1), statistics)
            (features * noise(*features.shape, seed=2)).sum().backward(retain_graph=True)
            (y * noise(*y.shape, seed=3)).sum().backward()
            found.append([features, y, x.grad, *(p.grad for p in model.parameters()), *model.buffers()])
        for plain, recomputed in zip(*found, strict=True):
            torch.testing.assert_close(recomputed, plain, rtol=1e-9, atol=1e-9)

    def test_recomputing_is_in_full_precision_also_within_autocast(self):
        found = []
        for half in (False, True):
            model = autoencoder(norm="group", recompute=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                features, _ = model.encode(noise(2, 3, 3, 16, 24))
                features.square().sum().backward()
            found.append([p.grad for p in model.parameters()])
        assert all(torch.equal(*both) for both in zip(*found, strict=True))

    def test_recomputing_leaves_frozen_weights_alone(self):
        model = autoencoder(norm="group", recompute=True).requires_grad_(False)
        x = noise(2, 3, 3, 16, 24).requires_grad_()
        model.encode(x)[0].sum().backward()
        assert x.grad.abs().max() > 0 and all(p.grad is None for p in model.parameters())

    @pytest.mark.parametrize("blocks", [(1,), (2, 1)])
    @pytest.mark.parametrize("of", ["encoding", "decoding"])
    @pytest.mark.parametrize("power", [1, 2])
    def test_recomputing_refuses_second_derivatives(self, blocks, of, power):
        """Also where the loss is linear in the result: then no incoming gradient says that a second one is wanted."""
        model = autoencoder(blocks, norm="group", recompute=True)
        x = noise(1, 3, 3, 8, 8).requires_grad_()
        features, statistics = model.encode(x)
        if of == "decoding":
            x = features.detach().requires_grad_()
        result = features if of == "encoding" else model.decode(x, statistics)
        first = torch.autograd.grad(result.pow(power).sum(), [x, *model.parameters()], create_graph=True)
        for gradient in first:
            with pytest.raises(RuntimeError, match=r"no second derivatives: set cdnet\.recompute=false"):
                (result.mean() + gradient.square().sum()).backward(retain_graph=True)

    @pytest.mark.parametrize("recompute", [False, True])
    def test_without_recomputing_there_are_second_derivatives_and_the_first_stay_the_same(self, recompute):
        """The first derivatives of a graph that is kept for second ones are those of a graph that is not."""
        model = autoencoder(norm="group", recompute=recompute).double()
        x = noise(1, 3, 3, 8, 8).double().requires_grad_()
        wanted = [x, *model.parameters()]
        plain = torch.autograd.grad(model.encode(x)[0].square().sum(), wanted)
        kept = torch.autograd.grad(model.encode(x)[0].square().sum(), wanted, create_graph=True)
        for one, other in zip(plain, kept, strict=True):
            torch.testing.assert_close(other.detach(), one)
        if not recompute:
            (kept[0].square().sum()).backward()
            assert all(p.grad.abs().max() > 0 for p in model.parameters())

    def test_recomputing_keeps_the_result_alone(self):
        kept = {}
        for recompute in (False, True):
            sizes = []
            with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):  # noqa: B023
                features, _ = autoencoder((4, 4), recompute=recompute).encode(noise(1, 3, 3, 32, 32))
            kept[recompute] = sum(sizes)
            assert features.requires_grad
        assert kept[True] == features.numel()
        assert kept[False] > 10 * kept[True]

    def test_only_encoding_moves_the_running_statistics(self):
        model = autoencoder().train()
        before = [buffer.clone() for buffer in model.buffers()]
        features, statistics = model.encode(noise(2, 3, 3, 8, 8))
        assert all(not torch.equal(b, a) for b, a in zip(before, model.buffers(), strict=True))
        before = [buffer.clone() for buffer in model.buffers()]
        model.decode(features, statistics)
        assert all(torch.equal(b, a) for b, a in zip(before, model.buffers(), strict=True))

    @pytest.mark.parametrize("norm", ["batch", "group"])
    def test_in_training_too_decoding_undoes_encoding(self, norm):
        model, windows = autoencoder(norm=norm).double().train(), noise(2, 3, 3, 8, 8).double()
        torch.testing.assert_close(model.decode(*model.encode(windows)), windows)

    @pytest.mark.parametrize("keep", [True, False])
    def test_batch_norm_of_an_encoding_is_of_the_batch(self, keep):
        norm, x, statistics = Norm(2, "batch").train(), 3 * noise(4, 2, 3, 4, 4), {}
        y = norm(x, statistics if keep else None, keep=keep)
        torch.testing.assert_close(y.mean((0, 2, 3, 4)), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(y.var((0, 2, 3, 4), correction=0), torch.ones(2), atol=1e-3, rtol=0)
        assert bool(norm.of.num_batches_tracked) == keep == bool(statistics)
        if keep:
            other = noise(1, 2, 3, 4, 4, seed=1)
            both = norm(torch.cat([x, other]), statistics)
            torch.testing.assert_close(both[:4], y)
            torch.testing.assert_close(both[4:], norm(other, statistics))

    def test_group_norm_has_one_group(self):
        """All channels of a clip are normalised together: one that is brighter stays so."""
        x = noise(2, 3, 3, 4, 4) + torch.tensor([0.0, 1.0, 3.0]).view(3, 1, 1, 1)
        over = tuple(range(1, 5))
        expected = (x - x.mean(over, keepdim=True)) / (x.var(over, correction=0, keepdim=True) + 1e-5).sqrt()
        torch.testing.assert_close(Norm(3, "group")(x, None), expected)

    def test_group_norm_treats_each_clip_by_itself(self):
        model, x = autoencoder(norm="group").train(), noise(3, 3, 3, 8, 8)
        together, _ = model.encode(x)
        torch.testing.assert_close(together, torch.cat([model.encode(one[None])[0] for one in x]))


def randomised(module, scale=0.4, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=scale)
    return module.double()


def grid(channels, seed):
    return 2 * noise(2, channels, 3, 4, 5, seed=seed).double() - 1


class TestMotionCell:
    def test_is_equation_1_gate_by_gate(self):
        d, cell = 2, randomised(MotionCell(5, 2))
        x, state = grid(5, 1), MotionState(grid(d, 2), grid(d, 3), grid(d, 4))

        def gate(number, read, bank):
            rows = slice(d * number, d * number + d)
            return functional.conv3d(read, bank.weight[rows], bank.bias[rows], padding=1)

        i = torch.sigmoid(gate(0, x, cell.of_features) + gate(0, state.hidden, cell.of_hidden))
        f = torch.sigmoid(gate(1, x, cell.of_features) + gate(1, state.hidden, cell.of_hidden) + 1)
        g = torch.tanh(gate(2, x, cell.of_features) + gate(2, state.hidden, cell.of_hidden))
        c = f * state.cell + i * g
        i = torch.sigmoid(gate(3, x, cell.of_features) + gate(0, state.memory, cell.of_memory))
        f = torch.sigmoid(gate(4, x, cell.of_features) + gate(1, state.memory, cell.of_memory) + 1)
        g = torch.tanh(gate(5, x, cell.of_features) + gate(2, state.memory, cell.of_memory))
        m = f * state.memory + i * g
        both = torch.cat([c, m], 1)
        o = torch.sigmoid(
            gate(6, x, cell.of_features) + gate(3, state.hidden, cell.of_hidden) + gate(0, both, cell.of_states)
        )
        h = o * torch.tanh(functional.conv3d(both, cell.merge.weight, cell.merge.bias))
        for ours, theirs in zip(cell(x, state), (h, c, m), strict=True):
            torch.testing.assert_close(ours, theirs)


def by_the_equations(cell, encoding, reference, state, refined):
    """Equations 4 to 6, one convolution of one concatenation for each gate."""

    def gate(bank, number, *read):
        rows = slice(cell.width * number, cell.width * (number + 1))
        weight, bias = bank.weight[rows], bank.bias[rows]
        return functional.conv3d(torch.cat(read, 1), weight, bias, padding=weight.shape[-1] // 2)

    h, c, m, b = state
    x = torch.cat([refined, encoding], 1)
    i, f, g = (gate(cell.appearance, n, x, h) for n in range(3))
    u = torch.relu(gate(cell.updater[1], 0, torch.relu(gate(cell.updater[0], 0, c, reference))))
    c = torch.sigmoid(f) * u + torch.sigmoid(i) * torch.tanh(g)
    i, f, g = (gate(cell.remember, n, x, m) for n in range(3))
    m = torch.sigmoid(f) * m + torch.sigmoid(i) * torch.tanh(g)
    new = torch.sigmoid(gate(cell.output, 0, x, h, c, m)) * torch.tanh(gate(cell.merge, 0, c, m))
    if cell.activation is None:
        return RefineState(new, c, m, None)
    closing = torch.tanh if cell.activation == "tanh" else torch.sigmoid
    b = torch.sigmoid(gate(cell.preserve, 0, x, b, c, m)) * closing(gate(cell.merge_mask, 0, c, m))
    return RefineState(new * b + h * (1 - b), c, m, b)


def refine_cell(mask, seed=0):
    """A cell with F = 5, D = 2, and what it reads: encoding, reference, state, F^ref."""
    cell = randomised(RefineCell(5, 2, mask), seed=seed)
    state = RefineState(grid(2, 3), grid(2, 4), grid(2, 5), grid(2, 6) if mask else None)
    return cell, grid(5, 1), grid(2, 2), state, grid(2, 7)


def iterate(cell, encoding, reference, state, refined, number=1):
    kernels = cell.kernels()
    encoded, recalled = convolve(encoding, kernels.encoding, kernels.bias), cell.recall(reference)
    for iteration in range(number):
        state = cell(kernels, encoded, recalled, state, None if iteration else refined)
    return state


class TestRefineCell:
    @pytest.mark.parametrize("mask", ["tanh", "sigmoid", None])
    @pytest.mark.parametrize("iterations", [1, 2, 3])
    def test_is_equations_4_to_6_gate_by_gate(self, mask, iterations):
        cell, encoding, reference, state, refined = refine_cell(mask)
        ours = iterate(cell, encoding, reference, state, refined, iterations)
        for _ in range(iterations):
            state = by_the_equations(cell, encoding, reference, state, refined)
            refined = state.hidden
        for mine, theirs in zip(ours, state, strict=True):
            assert (mine is None) == (theirs is None)
            if theirs is not None:
                torch.testing.assert_close(mine, theirs)

    def test_a_mask_of_zeros_changes_nothing(self):
        cell, encoding, reference, state, refined = refine_cell("tanh")
        with torch.no_grad():
            cell.merge_mask.weight.zero_()
            cell.merge_mask.bias.zero_()
        after = iterate(cell, encoding, reference, state, refined, 4)
        assert torch.equal(after.hidden, state.hidden)
        assert not after.mask.any()

    def test_a_mask_of_ones_is_no_mask(self):
        cell, encoding, reference, state, refined = refine_cell("tanh")
        with torch.no_grad():
            for part, bias in ((cell.merge_mask, 50.0), (cell.preserve, 50.0)):
                part.weight.zero_()
                part.bias.fill_(bias)
        without = RefineCell(5, 2, None).double()
        without.load_state_dict({key: value for key, value in cell.state_dict().items() if key in without.state_dict()})
        masked = iterate(cell, encoding, reference, state, refined, 3)
        plain = iterate(without, encoding, reference, state._replace(mask=None), refined, 3)
        torch.testing.assert_close(masked.hidden, plain.hidden)
        assert plain.mask is None

    @pytest.mark.parametrize("mask", ["tanh", "sigmoid"])
    @pytest.mark.parametrize("seed", range(3))
    def test_the_mask_moves_h_towards_what_is_new(self, mask, seed):
        """Equation 6 as an identity: H^l - H^l-1 = B^l ∘ (H^ - H^l-1), whatever B is."""
        cell, encoding, reference, state, refined = refine_cell(mask, seed)
        after = iterate(cell, encoding, reference, state, refined)
        without = RefineCell(5, 2, None).double()
        without.load_state_dict({key: value for key, value in cell.state_dict().items() if key in without.state_dict()})
        new = iterate(without, encoding, reference, state._replace(mask=None), refined).hidden
        torch.testing.assert_close(after.hidden - state.hidden, after.mask * (new - state.hidden))
        low, high = (-1.0, 1.0) if mask == "tanh" else (0.0, 1.0)
        assert after.mask.min() > low and after.mask.max() < high
        assert (after.mask.min() < 0) == (mask == "tanh")


def test_integrator_is_four_convolutions_each_with_relu():
    """Equation 3 and figure 7: 1x1, 3x3, 1x1, 3x3."""
    made = randomised(Integrator(6, (4, 3), 2))
    convolutions = [layer for layer in made if isinstance(layer, torch.nn.Conv3d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convolutions] == [
        (6, 4, 1),
        (4, 4, 3),
        (4, 3, 1),
        (3, 2, 3),
    ]
    x = expected = grid(6, 1)
    for c in convolutions:
        expected = functional.conv3d(expected, c.weight, c.bias, padding=c.kernel_size[0] // 2).clamp_min(0)
    torch.testing.assert_close(made(x), expected)
