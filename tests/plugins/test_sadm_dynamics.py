"""SADM's dynamics: parameter counts, grouped computation against a loop, who reads whom, fusion, and the residuals."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from vpbench_sadm.dynamics import SADMDynamics, class_flow
from vpbench_sadm.labels import one_hot
from vpbench_sadm.options import PRESETS, Options
from vpbench_sadm.posterior import Posterior
from vpbench_sadm.recurrent import GroupedConvLSTM, State

SMALL = {
    "space": "context",
    "classes": 3,
    "hidden": 4,
    "embed": (2, 3),
    "context_width": 5,
    "head": (4, 3),
    "fusion": 6,
}
H, W = 8, 12


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clip(classes=3, frames=4, batch=2, size=(H, W), seed=0):
    """Labels in which every class occurs, and flow."""
    labels = torch.randint(classes, (batch, frames, *size), generator=torch.Generator().manual_seed(seed))
    return labels, noise(batch, frames - 1, 2, *size, seed=seed)


def built(seed=0, **options):
    """A small model in double precision, of which no weight is zero."""
    torch.manual_seed(seed)
    model = SADMDynamics(Options(**SMALL | options)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    return model


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


class TestParameters:
    @pytest.mark.parametrize(
        ("preset", "expected", "paper"),
        [("paper", 8_580_332, 8.6e6), ("c20", 23_189_872, 23.2e6), ("single-class", 38_295_372, 38.1e6)],
    )
    def test_are_the_papers(self, preset, expected, paper):
        """Section 4 and table 6."""
        with torch.device("meta"):
            found = count(SADMDynamics(Options(**PRESETS[preset])))
        assert found == expected
        assert abs(found / paper - 1) < 0.011

    def test_grow_with_classes_by_b_and_pairs_of_classes_by_c(self):
        """Sections 2.5: two numbers of the paper give b = .788 M a class and c = 18.6 k a pair."""
        counts = {}
        for classes in (5, 10, 15):
            with torch.device("meta"):
                counts[classes] = count(SADMDynamics(Options(space="context", classes=classes)))
        pairs = (counts[15] - 2 * counts[10] + counts[5]) / 50
        assert pairs == pytest.approx(18.6e3, rel=0.03)

    def test_posterior(self):
        with torch.device("meta"):
            assert count(Posterior(Options(mode="stochastic"))) == pytest.approx(8.14e6, rel=1e-3)
            assert count(Posterior(Options(**PRESETS["c20"]))) == pytest.approx(18.09e6, rel=1e-3)

    def test_of_the_small_ones_are_alike(self):
        counts = [count(SADMDynamics(Options(**PRESETS[name]))) for name in ("tiny", "tiny-single-class")]
        assert counts[1] == pytest.approx(counts[0], rel=0.01)
        assert max(counts) < 1e6


class TestGroupedCell:
    """T1: the cell of all classes is a Python loop over cells of one."""

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("first", [True, False])
    def test_is_a_loop_over_classes(self, dtype, first):
        classes, channels, hidden = 3, 2, 4
        torch.manual_seed(0)
        cell = GroupedConvLSTM(classes, channels, hidden).to(dtype)
        x = noise(2, classes * channels, H, W).to(dtype)
        state = None if first else State(*(noise(2, classes * hidden, H, W, seed=s).to(dtype) for s in (1, 2)))
        got = cell(cell.read(x), state)
        for c in range(classes):
            own, gates = slice(c * hidden, (c + 1) * hidden), slice(c * 4 * hidden, (c + 1) * 4 * hidden)
            h, before = (torch.zeros(2, hidden, H, W, dtype=dtype) if first else s[:, own] for s in state or (0, 0))
            weight = torch.cat([cell.of_input.weight[gates], cell.of_hidden.weight[gates]], dim=1)
            bias = cell.of_input.bias[gates]
            stacked = torch.cat([x[:, c * channels : (c + 1) * channels], h], dim=1)
            i, f, o, g = functional.conv2d(stacked, weight, bias, padding=1).chunk(4, dim=1)
            expected = f.sigmoid() * before + i.sigmoid() * g.tanh()
            tolerance = 1e-5 if dtype == torch.float32 else 1e-12
            torch.testing.assert_close(got.cell[:, own], expected, atol=tolerance, rtol=tolerance)
            torch.testing.assert_close(
                got.hidden[:, own], o.sigmoid() * expected.tanh(), atol=tolerance, rtol=tolerance
            )

    def test_forget_gate_begins_open(self):
        torch.manual_seed(0)
        bias = GroupedConvLSTM(5, 8, 8).of_input.bias.detach().view(5, 4, 8).mean(dim=(0, 2))
        assert bias[1] == pytest.approx(1.0, abs=0.1)
        assert bias[[0, 2, 3]].abs().max() < 0.1


class TestWhoReadsWhom:
    """T2, T4, T5: before the context, no class knows another."""

    def hidden(self, model, labels, flow):
        return model.encode(labels, flow).hidden.unflatten(1, (3, -1))

    def test_before_the_context_none_another(self):
        model = built()
        masks = one_hot(torch.zeros(1, 3, H, W, dtype=torch.int64), 3)
        inputs = noise(1, 3, 9, H, W).requires_grad_()
        assert masks.shape == (1, 3, 3, H, W)
        states = None
        for x in inputs.unbind(1):
            states = model.encoder.cell(model.encoder.cell.read(model.encoder.embed(x)), states)
        for c in range(3):
            (gradient,) = torch.autograd.grad(
                states.hidden.unflatten(1, (3, -1))[:, c].sum(), inputs, retain_graph=True
            )
            reached = gradient.unflatten(2, (3, 3)).flatten(3).abs().sum(dim=(0, 1, 3)) > 0
            assert reached.tolist() == [k == c for k in range(3)]

    def test_in_the_context_every_one_all(self):
        model, hidden = built(), noise(1, 12, 2, 3).requires_grad_()
        with torch.no_grad():
            model.context[0].bias.fill_(3.0)  # no ReLU is shut
        for c in range(3):
            made = model.context(hidden).unflatten(1, (3, -1))[:, c].sum()
            (gradient,) = torch.autograd.grad(made, hidden)
            assert (gradient.unflatten(1, (3, -1)).flatten(2).abs().sum(dim=(0, 2)) > 0).all()

    def test_a_group_reads_its_mask_and_masked_flow_in_pixels_of_the_scale(self):
        model = built()
        model.flow_scale.fill_(2.0)
        seen = []
        model.encoder.embed.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
        labels, flow = clip(batch=1)
        model.encode(labels, flow)
        for t in range(3):
            for c in range(3):
                mask = (labels[0, t + 1] == c).double()
                x = seen[0][t].unflatten(0, (3, 3))[c]
                torch.testing.assert_close(x[0], mask)
                torch.testing.assert_close(x[1:], mask * flow[0, t] / 2.0)

    def test_the_first_frame_is_read_with_a_flow_of_zero_where_it_is_asked_for(self):
        seen = []
        model = built(first_pair="zero_flow")
        model.encoder.embed.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
        labels, flow = clip(batch=1)
        model.encode(labels, flow)
        first = seen[0].unflatten(1, (3, 3))[0]
        assert len(seen[0]) == 4
        assert torch.equal(first[:, 0], one_hot(labels[0, 0], 3).double()) and not first[:, 1:].any()

    def test_a_swap_of_two_classes_changes_these_alone(self):
        model, (labels, flow) = built(), clip()
        swapped = torch.tensor([1, 0, 2])[labels]
        before, after = self.hidden(model, labels, flow), self.hidden(model, swapped, flow)
        assert torch.equal(before[:, 2], after[:, 2])
        assert not torch.allclose(before[:, 0], after[:, 0]) and not torch.allclose(before[:, 1], after[:, 1])

    def test_a_swap_with_the_weights_swaps_the_states(self):
        model, other, (labels, flow) = built(), built(), clip()
        with torch.no_grad():
            for parameter in other.encoder.parameters():
                parameter.copy_(parameter.unflatten(0, (3, -1))[[1, 0, 2]].flatten(0, 1))
        before, after = self.hidden(model, labels, flow), self.hidden(other, torch.tensor([1, 0, 2])[labels], flow)
        torch.testing.assert_close(before[:, [1, 0, 2]], after, atol=1e-12, rtol=0)

    def test_an_absent_class_leaves_everything_finite_and_constant(self):
        model, (labels, flow) = built(), clip(classes=2, size=(16, 16))
        hidden = self.hidden(model, labels, flow)[:, 2]
        torch.testing.assert_close(hidden[0], hidden[1], atol=0, rtol=0)
        log, predicted = model(labels, flow, 2)
        assert log.isfinite().all() and predicted.isfinite().all()
        other = self.hidden(model, labels, 3 * flow)[:, 2]
        assert torch.equal(hidden, other)

    def test_a_pixel_without_a_label_is_in_no_class(self):
        masks = one_hot(torch.tensor([[0, 255], [2, 1]]), 3)
        assert masks.sum(dim=0).tolist() == [[1, 0], [1, 1]]
        assert masks[2].tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize("residuals", [{}, {"flow_residual": "class_flow", "mask_residual": "carried"}])
def test_classes_may_be_renumbered(residuals):
    """T3: with all their blocks of weights, the outputs are renumbered and the fused flow stays."""
    order = [2, 0, 1]
    model, renumbered, (labels, flow) = built(**residuals), built(**residuals), clip()
    with torch.no_grad():
        for name, parameter in renumbered.named_parameters():
            if name in ("fusion.0.bias", "fusion.2.weight", "fusion.2.bias"):
                continue
            if name == "fusion.0.weight":
                parameter.copy_(parameter[:, order])
                continue
            parameter.copy_(parameter.unflatten(0, (3, -1))[order].flatten(0, 1))
            if name == "context.0.weight":
                parameter.copy_(parameter.unflatten(1, (3, -1))[:, order].flatten(1, 2))
    log, fused = model(labels, flow, 3)
    new_ids = torch.empty(3, dtype=torch.int64)
    new_ids[torch.tensor(order)] = torch.arange(3)
    other_log, other_fused = renumbered(new_ids[labels], flow, 3)
    torch.testing.assert_close(other_log, log[:, :, order], atol=1e-12, rtol=0)
    torch.testing.assert_close(other_fused, fused, atol=1e-12, rtol=0)


class TestDecoding:
    def test_context_is_made_once(self):
        model, calls = built(), []
        model.context.register_forward_hook(lambda *given: calls.append(1))
        model(*clip(), 5)
        assert len(calls) == 1

    def test_more_steps_begin_like_fewer(self):
        model, given = built(), clip()
        for few, many in zip(model(*given, 2), model(*given, 5), strict=True):
            assert torch.equal(few, many[:, :2])

    @pytest.mark.parametrize("stride", [2, 4])
    @pytest.mark.parametrize("size", [(8, 12), (7, 9), (5, 4), (1, 3)])
    def test_any_size(self, stride, size):
        model, (labels, flow) = built(latent_stride=stride), clip(size=size)
        log, fused = model(labels, flow, 2)
        assert log.shape == (2, 2, 3, *size) and fused.shape == (2, 2, 2, *size)
        shape = model.encode(labels, flow).hidden.shape
        assert shape == (2, *model.noise_shape(*size)) and shape[-1] == -(-size[1] // stride)

    def test_other_sizes_are_padded_with_their_border(self):
        model, (labels, flow) = built(), clip(size=(8, 10))
        wide = [torch.cat([x, x[..., -1:].expand(*x.shape[:-1], 2)], dim=-1) for x in (labels, flow)]
        for cut, whole in zip(model(labels, flow, 1), model(*wide, 1), strict=True):
            torch.testing.assert_close(cut[..., :7], whole[..., :7])  # the fusion reaches three pixels

    def test_single_class_reads_all_masks_and_the_flow_as_it_is(self):
        model, (labels, flow), seen = built(single_hidden=6), clip(batch=1), []
        model.encoder.embed.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
        log, fused = model(labels, flow, 2)
        assert torch.equal(seen[0][:, 3:], flow[0]) and torch.equal(seen[0][:, :3], one_hot(labels[0, 1:], 3).double())
        assert all(c.groups == 1 for c in model.modules() if isinstance(c, torch.nn.Conv2d))
        assert log.shape[2] == 3 and fused.isfinite().all()


class TestFusion:
    """T6."""

    def test_probabilities_sum_to_one(self):
        log, _ = built()(*clip(), 3)
        torch.testing.assert_close(log.exp().sum(dim=2), torch.ones(2, 3, H, W, dtype=torch.float64))

    @pytest.mark.parametrize("chosen", range(3))
    def test_a_certain_class_gives_its_flow(self, chosen):
        model, flows = built(), []
        with torch.no_grad():
            model.fusion[-1].bias[chosen] = 1e4
        model.flow_head.register_forward_hook(lambda module, given, made: flows.append(made))
        _, fused = model(*clip(), 1)
        torch.testing.assert_close(fused[:, 0], flows[0].unflatten(1, (3, 2))[:, chosen] * model.unit)

    def test_equal_flows_are_the_flow(self):
        model, flows = built(), []
        with torch.no_grad():
            last = model.flow_head[-1]
            last.weight.zero_()
            last.bias.copy_(torch.tensor([1.5, -2.0]).repeat(3))
        model.flow_scale.fill_(4.0)
        _, fused = model(*clip(), 2)
        torch.testing.assert_close(fused, torch.tensor([6.0, -8.0]).double().view(1, 1, 2, 1, 1).expand_as(fused))
        assert not flows


class TestResiduals:
    def test_class_flow_is_the_mean_where_the_class_is_and_the_frames_where_it_is_nowhere(self):
        labels = torch.tensor([[[0, 0, 1], [255, 0, 1]]])
        flow = torch.arange(12.0).view(1, 2, 2, 3)
        masks, means = class_flow(labels, flow, 3)
        assert torch.equal(masks[0, 1, 0], torch.tensor([[0.0, 0, 1], [0, 0, 1]]))
        assert means[0, :, :, 0, 0].tolist() == [[5 / 3, 23 / 3], [3.5, 9.5], [2.5, 8.5]] or torch.allclose(
            means[0, :, :, 0, 0], torch.tensor([[5 / 3, 23 / 3], [3.5, 9.5], [2.5, 8.5]])
        )

    @pytest.mark.parametrize("single", [None, 6])
    @pytest.mark.parametrize("residual", ["class_mean", "class_flow"])
    def test_untrained_the_flow_is_that_of_the_class(self, single, residual):
        torch.manual_seed(0)
        options = Options(**SMALL, flow_residual=residual, mask_residual="carried", single_hidden=single)
        model = SADMDynamics(options).double()
        labels, flow = clip()
        masks, means = class_flow(labels[:, -1], flow[:, -1], 3)
        base = (
            means.expand(-1, -1, -1, H, W) if residual == "class_mean" else torch.where(masks > 0, flow[:, -1:], means)
        )
        log, fused = model(labels, flow, 1)
        torch.testing.assert_close(fused[:, 0], (log[:, 0].exp()[:, :, None] * base).sum(dim=1))

    def test_untrained_the_masks_are_carried_along_their_own_class_flow(self):
        """Two squares of two classes move apart on the ground of a third, which stands still."""
        model = SADMDynamics(
            Options(**SMALL | {"latent_stride": 2}, flow_residual="class_mean", mask_residual="carried")
        ).double()
        labels, flow = torch.zeros(1, 3, 16, 40, dtype=torch.int64), torch.zeros(1, 2, 2, 16, 40).double()
        for t in range(3):
            labels[0, t, 4:10, 12 - 2 * t : 18 - 2 * t] = 1
            labels[0, t, 6:12, 20 + 3 * t : 26 + 3 * t] = 2
        flow[0, :, 0] = torch.where(labels[0, 1:] == 1, 2.0, torch.where(labels[0, 1:] == 2, -3.0, 0.0))
        probabilities = model(labels, flow, 3)[0].exp()
        for k in range(3):
            for c, (top, left) in ((1, (4, 6 - 2 * k)), (2, (6, 29 + 3 * k))):
                expected = torch.zeros(16, 40, dtype=torch.bool)
                expected[top : top + 6, left : left + 6] = True
                assert torch.equal(probabilities[0, k, c] > 0.4, expected), (
                    "of a square over the ground both are likely"
                )

    @pytest.mark.parametrize("direction", [(2.0, 0.0), (-2.0, 0.0), (0.0, 2.0), (0.0, -2.0)])
    def test_what_a_mask_draws_from_outside_is_its_border(self, direction):
        """Each half of the frame is of a class; both slide along the line between them, and stay what they are."""
        options = Options(**SMALL, flow_residual="class_mean", mask_residual="carried")
        model, labels = SADMDynamics(options).double(), torch.zeros(1, 3, H, W, dtype=torch.int64)
        if direction[0]:
            labels[..., H // 2 :, :] = 1
        else:
            labels[..., W // 2 :] = 1
        flow = torch.tensor(direction).double().view(1, 1, 2, 1, 1).expand(1, 2, 2, H, W).contiguous()
        log, _ = model(labels, flow, 3)
        assert torch.equal(log.argmax(dim=2), labels)
        certain = log.exp().gather(2, labels[:, :, None])
        torch.testing.assert_close(certain, certain.flatten()[0].expand_as(certain))


class TestNoise:
    """The stochastic mode (T8); its losses are in test_sadm_training.py."""

    def test_of_zero_is_none(self):
        model, given = built(), clip()
        zeros = torch.zeros(2, *model.noise_shape(H, W), dtype=torch.float64)
        for a, b in zip(model(*given, 2), model(*given, 2, zeros), strict=True):
            assert torch.equal(a, b)

    @pytest.mark.parametrize("into", ["context", "both"])
    def test_goes_where_it_is_asked_for(self, into):
        model, (labels, flow), starts, read = built(noise_into=into), clip(), [], []
        model.context.register_forward_pre_hook(lambda module, given: read.append(given[0]))
        model.decoder.register_forward_pre_hook(lambda module, given: starts.append(given[1]))
        eps = noise(2, *model.noise_shape(H, W), seed=9)
        model(labels, flow, 1, eps)
        state = model.encode(labels, flow)
        assert torch.equal(read[0], state.hidden + eps)
        assert torch.equal(starts[0].hidden, state.hidden + eps if into == "both" else state.hidden)
        assert torch.equal(starts[0].cell, state.cell)
