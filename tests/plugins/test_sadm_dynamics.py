"""SADM's dynamics: grouped computation against a loop, who reads whom, fusion, residuals, noise."""

from __future__ import annotations

import pytest
import torch
from sadm_models import count, normal, options
from torch.nn import functional

from vpbench_sadm.dynamics import GroupedConvLSTM, Posterior, SADMDynamics, State
from vpbench_sadm.labels import one_hot
from vpbench_sadm.options import PRESETS, Options
from vpbench_sadm.residuals import last_flow

H, W = 8, 12


def noise(*shape, seed=0):
    return normal(*shape, seed=seed, dtype=torch.float64)


def clip(classes=3, frames=4, batch=2, size=(H, W)):
    """Labels in which every class occurs, and flow."""
    labels = torch.randint(classes, (batch, frames, *size), generator=torch.Generator().manual_seed(0))
    return labels, noise(batch, frames - 1, 2, *size)


def untrained(**changes):
    torch.manual_seed(0)
    return SADMDynamics(options(**changes)).double().eval()


def model(**changes):
    """A small model without a weight of zero."""
    network = untrained(**changes)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    return network


class TestParameters:
    @pytest.mark.parametrize(
        ("preset", "expected", "paper"),
        [("paper", 8_580_332, 8.6e6), ("c20", 23_189_872, 23.2e6), ("single-class", 38_295_372, 38.1e6)],
    )
    def test_equal_the_papers(self, preset, expected, paper):
        """Section 4 and table 6."""
        with torch.device("meta"):
            number = count(SADMDynamics(Options(**PRESETS[preset])))
        assert number == expected
        assert abs(number / paper - 1) < 0.011

    def test_of_the_posterior_and_of_the_small_presets(self):
        with torch.device("meta"):
            assert count(Posterior(Options(mode="stochastic"))) == pytest.approx(8.14e6, rel=1e-3)
            tiny, single = (count(SADMDynamics(Options(**PRESETS[name]))) for name in ("tiny", "tiny-single-class"))
        assert single == pytest.approx(tiny, rel=0.01)


def test_a_step_leaves_what_was_read_as_it_is():
    cell = GroupedConvLSTM(2, 3, 4)
    read, state = normal(1, 32, 5, 6), State(normal(1, 8, 5, 6, seed=1), normal(1, 8, 5, 6, seed=2))
    copy = read.clone()
    first, second = cell(read, state), cell(read, state)
    assert torch.equal(read, copy) and torch.equal(first.hidden, second.hidden)


class TestGroupedCell:
    @pytest.mark.parametrize("first", [True, False])
    def test_equals_a_loop_over_classes(self, first):
        """Parameters of ordinary cells, whose single convolution reads input and state."""
        classes, channels, hidden = 3, 2, 4
        cell = GroupedConvLSTM(classes, channels, hidden).double()
        x = noise(2, classes * channels, H, W)
        state = State(*(noise(2, classes * hidden, H, W, seed=s) for s in (1, 2)))
        result = cell(cell.read(x), None if first else state)
        for c in range(classes):
            block, gates = slice(c * hidden, (c + 1) * hidden), slice(c * 4 * hidden, (c + 1) * 4 * hidden)
            h, memory = (torch.zeros_like(tensor[:, block]) if first else tensor[:, block] for tensor in state)
            weight = torch.cat([cell.of_input.weight[gates], cell.of_hidden.weight[gates]], dim=1)
            stacked = torch.cat([x[:, c * channels : (c + 1) * channels], h], dim=1)
            i, f, o, g = functional.conv2d(stacked, weight, cell.of_input.bias[gates], padding=1).chunk(4, dim=1)
            memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
            torch.testing.assert_close(result.cell[:, block], memory, atol=1e-12, rtol=1e-12)
            torch.testing.assert_close(result.hidden[:, block], o.sigmoid() * memory.tanh(), atol=1e-12, rtol=1e-12)

    def test_forget_gate_starts_open(self):
        torch.manual_seed(0)
        bias = GroupedConvLSTM(5, 8, 8).of_input.bias.detach().view(5, 4, 8).mean(dim=(0, 2))
        assert bias[1] == pytest.approx(1.0, abs=0.1)
        assert bias[[0, 2, 3]].abs().max() < 0.1


def hidden(network, labels, flow):
    return network.encode(labels, flow).hidden.unflatten(1, (3, -1))


class TestEncoder:
    """Equation 1."""

    def test_reads_the_mask_and_the_masked_flow_in_units_of_the_scale(self):
        network, (labels, flow) = model(), clip(batch=1)
        inputs = network.encoder.inputs(labels[:, 1:], flow)[0].unflatten(1, (3, 3))
        for c in range(3):
            mask = (labels[0, 1:] == c).double()
            assert torch.equal(inputs[:, c, 0], mask) and torch.equal(inputs[:, c, 1:], mask[:, None] * flow[0])
        scaled = model()
        scaled.flow_scale.fill_(2.0)
        assert torch.equal(hidden(scaled, labels, 2 * flow), hidden(network, labels, flow))

    def test_of_a_single_group_reads_all_masks_and_the_flow(self):
        """Figure 7."""
        network, (labels, flow) = model(single_hidden=6), clip(batch=1)
        expected = torch.cat([one_hot(labels[:, 1:], 3), flow], dim=2)
        assert torch.equal(network.encoder.inputs(labels[:, 1:], flow), expected)
        assert all(c.groups == 1 for c in network.modules() if isinstance(c, torch.nn.Conv2d))
        log, fused = network(labels, flow, 2)
        assert log.shape == (1, 2, 3, H, W) and fused.isfinite().all()

    def test_ignores_the_first_frame_or_reads_it_with_zero_flow(self):
        labels, flow = clip()
        changed = labels.clone()
        changed[:, 0] = (labels[:, 0] + 1) % 3
        assert torch.equal(hidden(model(), labels, flow), hidden(model(), changed, flow))
        zero, network = torch.cat([torch.zeros_like(flow[:, :1]), flow], dim=1), model(first_pair="zero_flow")
        expected = network.encoder(labels, zero).hidden.unflatten(1, (3, -1))
        assert torch.equal(hidden(network, labels, flow), expected)
        assert not torch.equal(expected, hidden(network, changed, flow))

    def test_of_a_class_reads_no_other_class(self):
        """A swap of two classes changes their states only; with their weights swapped too, it swaps their states."""
        (labels, flow), network, swapped = clip(), model(), model()
        with torch.no_grad():
            for parameter in swapped.encoder.parameters():
                parameter.copy_(parameter.unflatten(0, (3, -1))[[1, 0, 2]].flatten(0, 1))
        exchanged = torch.tensor([1, 0, 2])[labels]
        before, after = hidden(network, labels, flow), hidden(network, exchanged, flow)
        assert torch.equal(before[:, 2], after[:, 2])
        assert not torch.allclose(before[:, 0], after[:, 0]) and not torch.allclose(before[:, 1], after[:, 1])
        after = hidden(swapped, exchanged, flow)
        torch.testing.assert_close(before[:, [1, 0, 2]], after, atol=1e-12, rtol=0)

    def test_of_an_absent_class_is_constant_and_finite(self):
        network, (labels, flow) = model(), clip(classes=2, size=(16, 16))
        absent = hidden(network, labels, flow)[:, 2]
        assert torch.equal(absent[0], absent[1]) and torch.equal(absent, hidden(network, labels, 3 * flow)[:, 2])
        assert all(tensor.isfinite().all() for tensor in network(labels, flow, 2))

    def test_a_pixel_without_a_label_is_in_no_class(self):
        masks = one_hot(torch.tensor([[0, 255], [2, 1]]), 3)
        assert masks.tolist() == [[[1, 0], [0, 0]], [[0, 0], [0, 1]], [[0, 0], [1, 0]]]


def test_the_context_reads_every_class():
    """Equation 2."""
    network, state = model(), noise(1, 12, 2, 3).requires_grad_()
    with torch.no_grad():
        network.context[0].bias.fill_(3.0)  # no ReLU is closed
    for c in range(3):
        (gradient,) = torch.autograd.grad(network.context(state).unflatten(1, (3, -1))[:, c].sum(), state)
        assert (gradient.unflatten(1, (3, -1)).flatten(2).abs().sum(dim=(0, 2)) > 0).all()


@pytest.mark.parametrize("residuals", [{}, {"flow_residual": "nearest_segment", "mask_residual": "carried"}])
def test_classes_may_be_renumbered(residuals):
    """With all blocks of weights renumbered too, so are the outputs, and the fused flow stays."""
    order = [2, 0, 1]
    network, renumbered, (labels, flow) = model(**residuals), model(**residuals), clip()
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
    log, fused = network(labels, flow, 3)
    new_log, new_fused = renumbered(torch.tensor(order).argsort()[labels], flow, 3)
    torch.testing.assert_close(new_log, log[:, :, order], atol=1e-12, rtol=0)
    torch.testing.assert_close(new_fused, fused, atol=1e-12, rtol=0)


class TestDecoder:
    """Equations 2 to 5."""

    def test_more_steps_start_like_fewer(self):
        for few, many in zip(model()(*clip(), 2), model()(*clip(), 5), strict=True):
            assert torch.equal(few, many[:, :2])

    @pytest.mark.parametrize("stride", [2, 4])
    @pytest.mark.parametrize("size", [(8, 12), (7, 9), (1, 3)])
    def test_accepts_any_size(self, stride, size):
        network, (labels, flow) = model(latent_stride=stride), clip(size=size)
        log, fused = network(labels, flow, 2)
        assert log.shape == (2, 2, 3, *size) and fused.shape == (2, 2, 2, *size)
        shape = network.encode(labels, flow).hidden.shape
        assert shape == (2, *network.noise_shape(*size)) and shape[-1] == -(-size[1] // stride)

    def test_pads_with_the_border(self):
        network, (labels, flow) = model(), clip(size=(8, 10))
        wide = [torch.cat([x, x[..., -1:].expand(*x.shape[:-1], 2)], dim=-1) for x in (labels, flow)]
        for cut, whole in zip(network(labels, flow, 1), network(*wide, 1), strict=True):
            torch.testing.assert_close(cut[..., :7], whole[..., :7])  # the fusion reaches three pixels

    def test_probabilities_sum_to_one(self):
        log, _ = model()(*clip(), 3)
        torch.testing.assert_close(log.exp().sum(dim=2), torch.ones(2, 3, H, W, dtype=torch.float64))

    @pytest.mark.parametrize("certain", range(3))
    def test_a_certain_class_gives_its_flow(self, certain):
        network, class_flows = model(), []
        with torch.no_grad():
            network.fusion[-1].bias[certain] = 1e4
        network.flow_head.register_forward_hook(lambda module, args, output: class_flows.append(output))
        _, fused = network(*clip(), 1)
        torch.testing.assert_close(fused[:, 0], class_flows[0].unflatten(1, (3, 2))[:, certain])

    def test_equal_flows_of_all_classes_are_the_flow_in_pixels(self):
        network = model()
        with torch.no_grad():
            network.flow_head[-1].weight.zero_()
            network.flow_head[-1].bias.copy_(torch.tensor([1.5, -2.0]).repeat(3))
        network.flow_scale.fill_(4.0)
        _, fused = network(*clip(), 2)
        torch.testing.assert_close(fused, torch.tensor([6.0, -8.0]).double().view(1, 1, 2, 1, 1).expand_as(fused))


class TestResiduals:
    def test_class_mean_is_a_mean_over_the_class_or_over_the_frame(self):
        labels = torch.tensor([[[0, 0, 1], [255, 0, 1]]])
        means = last_flow(labels, torch.arange(12.0).view(1, 2, 2, 3), options(flow_residual="class_mean"))
        expected = torch.tensor([[5 / 3, 23 / 3], [3.5, 9.5], [2.5, 8.5]])
        torch.testing.assert_close(means[0, :, :, 0, 0], expected)

    def test_nearest_segment_continues_the_flow_of_each_segment_around_it(self):
        """Two segments of class 1 move apart; class 2 has no pixel."""
        labels, flow = torch.zeros(1, 16, 48, dtype=torch.int64), torch.zeros(1, 2, 16, 48)
        for columns, motion in ((slice(4, 12), -2.0), (slice(36, 44), 3.0)):
            labels[..., 4:12, columns] = 1
            flow[:, 0, 4:12, columns] = motion
        flows = last_flow(labels, flow, options(flow_residual="nearest_segment"))[0]
        assert torch.equal(flows[1][:, labels[0] == 1], flow[0][:, labels[0] == 1])
        assert flows[1, 0, 4:12, 12:16].max() < -1.5 and flows[1, 0, 4:12, 32:36].min() > 1.5
        assert flows[0].eq(0).all() and flows[1, 1].eq(0).all()
        torch.testing.assert_close(flows[2], flow[0].mean(dim=(-2, -1), keepdim=True).expand(2, 16, 48))

    @pytest.mark.parametrize("single", [None, 6])
    @pytest.mark.parametrize("residual", ["class_mean", "nearest_segment"])
    def test_an_untrained_model_predicts_the_flow_of_the_class(self, single, residual):
        network = untrained(flow_residual=residual, mask_residual="carried", single_hidden=single)
        labels, flow = clip()
        last = last_flow(labels[:, -1], flow[:, -1], network.options)
        log, fused = network(labels, flow, 1)
        expected = (log[:, 0].exp()[:, :, None] * last.expand(-1, -1, -1, H, W)).sum(dim=1)
        torch.testing.assert_close(fused[:, 0], expected)

    def test_an_untrained_model_carries_each_mask_along_its_flow(self):
        """Two squares of two classes move apart over the ground, which stands still."""
        network = untrained(latent_stride=2, flow_residual="class_mean", mask_residual="carried")
        labels, flow = torch.zeros(1, 3, 16, 40, dtype=torch.int64), torch.zeros(1, 2, 2, 16, 40).double()
        for t in range(3):
            labels[0, t, 4:10, 12 - 2 * t : 18 - 2 * t] = 1
            labels[0, t, 6:12, 20 + 3 * t : 26 + 3 * t] = 2
        flow[0, :, 0] = torch.where(labels[0, 1:] == 1, 2.0, torch.where(labels[0, 1:] == 2, -3.0, 0.0))
        probabilities = network(labels, flow, 3)[0].exp()
        for k in range(3):
            for c, (top, left) in ((1, (4, 6 - 2 * k)), (2, (6, 29 + 3 * k))):
                expected = torch.zeros(16, 40, dtype=torch.bool)
                expected[top : top + 6, left : left + 6] = True
                assert torch.equal(probabilities[0, k, c] > 0.4, expected), "over the ground, both classes are likely"

    def test_labels_give_no_gradient_to_the_flow(self):
        network = model(flow_residual="nearest_segment", mask_residual="carried")
        log, flow = network(*clip(), 2)
        parameters = list(network.flow_head.parameters())
        assert torch.autograd.grad(log.sum(), parameters, retain_graph=True, allow_unused=True) == (None,) * len(
            parameters
        )
        assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(flow.sum(), parameters))

    @pytest.mark.parametrize("direction", [(2.0, 0.0), (-2.0, 0.0), (0.0, 2.0), (0.0, -2.0)])
    def test_a_mask_repeats_its_border(self, direction):
        """Each half of the frame has a class. Both slide along the line between them, and keep their shape."""
        network = untrained(flow_residual="class_mean", mask_residual="carried")
        labels = torch.zeros(1, 3, H, W, dtype=torch.int64)
        if direction[0]:
            labels[..., H // 2 :, :] = 1
        else:
            labels[..., W // 2 :] = 1
        flow = torch.tensor(direction).double().view(1, 1, 2, 1, 1).expand(1, 2, 2, H, W).contiguous()
        log, _ = network(labels, flow, 3)
        assert torch.equal(log.argmax(dim=2), labels)
        certain = log.exp().gather(2, labels[:, :, None])
        torch.testing.assert_close(certain, certain.flatten()[0].expand_as(certain))


class TestNoise:
    @pytest.mark.parametrize("target", ["context", "both"])
    def test_reaches_the_mlp_and_the_first_state(self, target):
        network, (labels, flow) = model(noise_into=target), clip()
        epsilon, (h, c) = noise(2, *network.noise_shape(H, W), seed=9), network.encode(labels, flow)
        noisy = network(labels, flow, 1, epsilon)[1]
        start = State(h + epsilon if target == "both" else h, c)
        state = network.decoder(network.decoder.read(network.context(h + epsilon)), start)
        flows = network.flow_head(network.embed(state.hidden)).unflatten(1, (3, 2))[..., :H, :W]
        log = network.fusion(network.mask_head(network.embed(state.hidden))).log_softmax(dim=1)
        torch.testing.assert_close(noisy[:, 0], (log.exp()[:, :, None] * flows).sum(dim=1))

    def test_of_zero_changes_nothing(self):
        network = model()
        zeros = torch.zeros(2, *network.noise_shape(H, W), dtype=torch.float64)
        for without, noisy in zip(network(*clip(), 2), network(*clip(), 2, zeros), strict=True):
            assert torch.equal(without, noisy)
