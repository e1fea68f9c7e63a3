"""SADM's inpainter and discriminators: partial convolutions, the hole, conditioning, sizes and counts."""

from __future__ import annotations

import pytest
import torch
from sadm_models import count, noise, options, paints
from torch.nn import functional

from vpbench.toolkit.fill import push_pull
from vpbench_sadm.inpainter import Inpainter, PartialConv
from vpbench_sadm.losses import FrameDiscriminator, VideoDiscriminator
from vpbench_sadm.options import PRESETS, Options

H, W = 16, 24
FRAME, LABELS = noise(2, 3, H, W), noise(2, 3, H, W, seed=1)
HOLE = torch.zeros(2, 1, H, W, dtype=torch.bool)
HOLE[..., 4:12, 6:16] = True


def inpainter(**changes):
    torch.manual_seed(0)
    return paints(Inpainter(options(**changes)).eval())


def test_parameters_equal_the_papers_and_cyclegans():
    """Without semantics, only the weights that read them are missing."""
    paper, without = Options(), Options(**PRESETS["without-semantic-conditioning"])
    assert count(Inpainter(paper)) == 5_178_171
    assert abs(5_178_171 / 5.18e6 - 1) < 0.011
    assert count(FrameDiscriminator(paper)) == 2_773_953
    assert count(VideoDiscriminator(paper)) == 8_319_937
    assert count(Inpainter(paper)) - count(Inpainter(without)) == 9 * 9 * (288 + 144 + 72 + 72)
    assert count(FrameDiscriminator(paper)) - count(FrameDiscriminator(without)) == 9 * 64 * 16


class TestPartialConv:
    def layer(self, kernel=3, stride=1):
        torch.manual_seed(0)
        return PartialConv(2, 3, kernel, stride)

    @pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 2)])
    def test_with_all_pixels_valid_is_a_convolution_renormalised_at_the_border(self, kernel, stride):
        layer, x = self.layer(kernel, stride), noise(2, 2, 9, 12)
        output, valid = layer(x, torch.ones(2, 1, 9, 12))
        plain, bias = layer.conv(x), layer.conv.bias
        torch.testing.assert_close(output[..., 1:-1, 1:-1], plain[..., 1:-1, 1:-1])
        assert valid.eq(1).all()
        corner = 1 + kernel // 2  # of the kernel's side, inside the image
        torch.testing.assert_close(output[..., 0, 0], (plain[..., 0, 0] - bias) * kernel**2 / corner**2 + bias)

    def test_by_hand(self):
        """Two of nine pixels are valid: their weighted sum times 9/2."""
        layer, x, mask = self.layer(), noise(1, 2, 3, 3), torch.zeros(1, 1, 3, 3)
        mask[..., 0, 1] = mask[..., 2, 2] = 1
        weights = layer.conv.weight
        sums = weights[:, :, 0, 1] @ x[0, :, 0, 1] + weights[:, :, 2, 2] @ x[0, :, 2, 2]
        torch.testing.assert_close(layer(x, mask)[0][0, :, 1, 1], sums * 4.5 + layer.conv.bias)

    def test_a_hole_shrinks_by_the_kernels_reach_and_holds_zero(self):
        mask = torch.ones(1, 1, 9, 9)
        mask[..., 2:7, 2:7] = 0
        output, valid = self.layer()(noise(1, 2, 9, 9), mask)
        assert valid.eq(0).sum() == 9 and valid[..., 3:6, 3:6].eq(0).all()
        assert output[..., 3:6, 3:6].eq(0).all(), "and not the bias"


class TestInpainter:
    """Equation 12."""

    @pytest.mark.parametrize("train", [False, True])
    @pytest.mark.parametrize("filling", ["grey", "push_pull"])
    def test_ignores_the_pixels_of_the_hole(self, train, filling):
        net = inpainter(hole_filling=filling).train(train)
        for filling in (noise(2, 3, H, W, seed=2), torch.tensor(torch.nan)):
            assert torch.equal(net(torch.where(HOLE, filling, FRAME), HOLE, LABELS), net(FRAME, HOLE, LABELS))
        assert not torch.equal(net(torch.where(HOLE, 0.0, FRAME), ~HOLE, LABELS), net(FRAME, ~HOLE, LABELS))

    def test_untrained_keeps_visible_pixels_and_leaves_the_hole_grey(self):
        net = Inpainter(options())
        painted = net(FRAME, HOLE, LABELS)
        assert torch.equal(painted, torch.where(HOLE, 0.5, FRAME))
        (painted - 1).square()[HOLE.expand_as(painted)].mean().backward()
        assert net.residual.weight.grad.abs().sum() > 0, "but the first step of a training reaches it"

    def test_untrained_continues_visible_pixels_into_the_hole(self):
        painted = Inpainter(options(hole_filling="push_pull"))(FRAME, HOLE, LABELS)
        assert torch.equal(painted, push_pull(FRAME, ~HOLE, 0.5))
        everything = torch.ones_like(HOLE)
        grey = Inpainter(options(hole_filling="push_pull"))(FRAME, everything, LABELS)
        assert grey.eq(0.5).all(), "if no pixel is visible"

    @pytest.mark.parametrize("bias", [5.0, -5.0])
    def test_clamps_in_inference_only(self, bias):
        """In training, a value beyond the range has its gradient."""
        net = inpainter()
        torch.nn.init.constant_(net.residual.bias, bias)
        painted = net.train()(FRAME, HOLE, LABELS)
        assert ((painted < 0) | (painted > 1)).all()
        (painted - FRAME).abs().mean().backward()
        torch.testing.assert_close(net.residual.bias.grad, torch.full((3,), bias / 5 / 3))
        assert net.eval()(FRAME, HOLE, LABELS).unique().tolist() == [float(bias > 0)]

    def test_paints_by_the_labels_in_the_hole(self):
        changed = torch.where(HOLE, noise(2, 3, H, W, seed=4), LABELS)
        difference = (inpainter()(FRAME, HOLE, LABELS) - inpainter()(FRAME, HOLE, changed)).abs()
        assert difference[HOLE.expand_as(difference)].mean() > 1e-3
        blind = inpainter(semantic_conditioning=False)
        assert torch.equal(blind(FRAME, HOLE, LABELS), blind(FRAME, HOLE, changed))

    @pytest.mark.parametrize("filling", ["grey", "push_pull"])
    def test_last_level_reads_the_filled_frame_the_hole_and_the_labels(self, filling):
        """The level before reads averages of the probabilities."""
        net, inputs = inpainter(hole_filling=filling), []
        for level in net.decoder:
            level.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
        net(FRAME, HOLE, LABELS)
        averages = functional.avg_pool2d(LABELS, 2)
        torch.testing.assert_close(inputs[0][:, -3:], averages)
        filled = torch.where(HOLE, 0.5, FRAME) if filling == "grey" else push_pull(FRAME, ~HOLE, 0.5)
        assert torch.equal(inputs[1][:, -7:], torch.cat([filled, HOLE.float(), LABELS], dim=1))

    @pytest.mark.parametrize("size", [(16, 24), (15, 21), (5, 3)])
    def test_accepts_any_size_and_any_hole(self, size):
        for share in (0.3, 1.0):
            frames = inpainter()(noise(2, 3, *size), noise(2, 1, *size, seed=1) < share, noise(2, 3, *size, seed=2))
            assert frames.shape == (2, 3, *size)
            assert frames.min() >= 0 and frames.max() <= 1

    def test_pads_with_the_border(self):
        cut = [tensor[..., :21] for tensor in (FRAME, HOLE, LABELS)]
        padded = [functional.pad(tensor.float(), (0, 3, 0, 0), mode="replicate") for tensor in cut]
        padded[1] = padded[1] > 0
        assert torch.equal(inpainter()(*padded)[..., :21], inpainter()(*cut))


class TestDiscriminators:
    def test_an_output_judges_a_patch_of_70_pixels(self):
        torch.manual_seed(0)
        judge = FrameDiscriminator(Options())
        judge.layers = torch.nn.Sequential(*(m for m in judge.layers if not isinstance(m, torch.nn.InstanceNorm2d)))
        frames = noise(1, 1, 3, 128, 128).requires_grad_()
        judge(frames, noise(1, 1, 9, 128, 128))[0, 0, 7, 7].backward()
        patch = frames.grad[0, 0].abs().sum(0).nonzero()
        assert (patch.max(0).values - patch.min(0).values + 1).tolist() == [70, 70]

    @pytest.mark.parametrize("steps", [1, 2, 5])
    def test_accept_any_number_of_frames(self, steps):
        frames, condition = noise(2, steps, 3, H, W), noise(2, steps, 3, H, W)
        assert FrameDiscriminator(options())(frames, condition).shape == (2 * steps, 1, 6, 10)
        assert VideoDiscriminator(options())(frames, condition).shape == (2, 1, steps, 6, 10)

    def test_only_that_of_clips_sees_the_order_of_frames(self):
        torch.manual_seed(0)
        frames, condition = noise(1, 4, 3, H, W), torch.zeros(1, 4, 3, H, W)
        frame, video, shuffled = FrameDiscriminator(options()), VideoDiscriminator(options()), frames[:, [2, 0, 3, 1]]
        torch.testing.assert_close(frame(shuffled, condition), frame(frames, condition)[[2, 0, 3, 1]])
        assert (video(shuffled, condition).sort(2).values - video(frames, condition).sort(2).values).abs().max() > 1e-3

    @pytest.mark.parametrize("dimensions", [2, 3])
    def test_have_cyclegans_layers(self, dimensions):
        """C4-C6-C5: leaky ReLU of slope 0.2 after each, instance norm before it in all but the first; then one more."""
        torch.manual_seed(0)
        judge = (FrameDiscriminator, VideoDiscriminator)[dimensions - 2](options(discriminator_widths=(4, 6, 5)))
        convolutions = [layer for layer in judge.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Conv3d)]
        frames, condition = noise(2, 3, 3, H, W), noise(2, 3, 3, H, W, seed=1)
        x = torch.cat([frames, condition], dim=2)
        x = x.flatten(0, 1) if dimensions == 2 else x.transpose(1, 2)
        convolve = functional.conv2d if dimensions == 2 else functional.conv3d
        along = () if dimensions == 2 else (1,)
        for number, (layer, stride) in enumerate(zip(convolutions, (2, 2, 1, 1), strict=True)):
            x = convolve(x, layer.weight, layer.bias, (*along, stride, stride), padding=1)
            if number in (1, 2):
                axes = tuple(range(2, x.ndim))
                x = (x - x.mean(axes, keepdim=True)) / (x.var(axes, correction=0, keepdim=True) + 1e-5).sqrt()
            if number < 3:
                x = torch.where(x > 0, x, 0.2 * x)
        torch.testing.assert_close(judge(frames, condition), x, atol=1e-4, rtol=1e-4)
