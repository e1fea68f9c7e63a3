"""CDNet's parts: parameter counts, and the cells against the paper's equations."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from vpbench.toolkit.st_lstm import STState
from vpbench_cdnet.model import Integrator, MotionCell, Network, RefineCell
from vpbench_cdnet.options import PRESETS, Options
from vpbench_cdnet.refinement import FusedRefinement, RefineState

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
