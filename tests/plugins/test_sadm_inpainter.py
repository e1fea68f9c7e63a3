"""SADM's inpainter and discriminators: partial convolutions, what the hole hides, conditioning, sizes and counts."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from vpbench_sadm.discriminators import FrameDiscriminator, VideoDiscriminator
from vpbench_sadm.inpainter import Inpainter, PartialConv
from vpbench_sadm.options import PRESETS, Options

SMALL = {
    "space": "context",
    "classes": 3,
    "inpainter_widths": (6, 8),
    "inpainter_kernels": (5, 3),
    "discriminator_widths": (4, 6),
}


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def inpainter(**options):
    """One that paints: its last layer, zero at first, is drawn."""
    torch.manual_seed(0)
    made = Inpainter(Options(**SMALL | options)).eval()
    torch.nn.init.normal_(made.residual.weight, std=0.1)
    return made


class TestCounts:
    def test_inpainter_is_the_papers_size(self):
        count = parameters(Inpainter(Options()))
        assert count == 5_178_171
        assert abs(count / 5.18e6 - 1) < 0.011

    def test_discriminators_are_cyclegans(self):
        assert parameters(FrameDiscriminator(Options())) == 2_773_953
        assert parameters(VideoDiscriminator(Options())) == 8_319_937

    def test_without_semantics_only_what_reads_them_is_gone(self):
        with_, without = Options(), Options(**PRESETS["without-semantic-conditioning"])
        decoder = 9 * 9 * (288 + 144 + 72 + 72)
        assert parameters(Inpainter(with_)) - parameters(Inpainter(without)) == decoder
        layer = 9 * 64 * 16
        assert parameters(FrameDiscriminator(with_)) - parameters(FrameDiscriminator(without)) == layer
        assert parameters(VideoDiscriminator(with_)) - parameters(VideoDiscriminator(without)) == 3 * layer


class TestPartialConv:
    def made(self, kernel=3, stride=1):
        torch.manual_seed(0)
        return PartialConv(2, 3, kernel, stride)

    @pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 2)])
    def test_with_everything_valid_it_is_a_convolution_renormalised_at_the_border(self, kernel, stride):
        layer, x = self.made(kernel, stride), noise(2, 2, 9, 12)
        found, valid = layer(x, torch.ones(2, 1, 9, 12))
        plain = layer.conv(x)
        torch.testing.assert_close(found[..., 1:-1, 1:-1], plain[..., 1:-1, 1:-1])
        assert valid.eq(1).all()
        corner = 1 + kernel // 2  # of the kernel's side, within the image
        bias = layer.conv.bias
        expected = (plain[..., 0, 0] - bias) * kernel**2 / corner**2 + bias
        torch.testing.assert_close(found[..., 0, 0], expected)

    def test_by_hand(self):
        """Of a window of nine pixels two are valid: their weighted sum times 9/2."""
        layer, x, mask = self.made(), noise(1, 2, 3, 3), torch.zeros(1, 1, 3, 3)
        mask[..., 0, 1] = mask[..., 2, 2] = 1
        weights = layer.conv.weight
        sums = weights[:, :, 0, 1] @ x[0, :, 0, 1] + weights[:, :, 2, 2] @ x[0, :, 2, 2]
        torch.testing.assert_close(layer(x, mask)[0][0, :, 1, 1], sums * 4.5 + layer.conv.bias)

    def test_with_nothing_valid_it_gives_zero_not_the_bias(self):
        found, valid = self.made()(noise(1, 2, 5, 5), torch.zeros(1, 1, 5, 5))
        assert found.eq(0).all()
        assert valid.eq(0).all()

    def test_a_hole_closes_by_the_kernels_reach(self):
        mask = torch.ones(1, 1, 9, 9)
        mask[..., 2:7, 2:7] = 0
        _, valid = self.made()(noise(1, 2, 9, 9), mask)
        assert valid.eq(0).sum() == 9
        assert valid[..., 3:6, 3:6].eq(0).all()


class TestInpainter:
    def hole(self, height=16, width=24):
        mask = torch.zeros(2, 1, height, width, dtype=torch.bool)
        mask[..., 4:12, 6:16] = True
        return mask

    @pytest.mark.parametrize("train", [False, True])
    def test_what_lies_in_the_hole_changes_no_bit(self, train):
        net, hole, seen = inpainter().train(train), self.hole(), noise(2, 3, 16, 24, seed=2)
        frame = noise(2, 3, 16, 24)
        other = torch.where(hole, noise(2, 3, 16, 24, seed=1), frame)
        assert torch.equal(net(frame, hole, seen), net(other, hole, seen))
        assert not torch.equal(net(frame, ~hole, seen), net(other, ~hole, seen))

    def test_nan_in_the_hole_is_not_seen(self):
        frame = torch.where(self.hole(), torch.nan, noise(2, 3, 16, 24))
        assert inpainter()(frame, self.hole(), noise(2, 3, 16, 24)).isfinite().all()

    def test_before_training_it_keeps_what_is_visible_and_leaves_the_hole_grey(self):
        frame, hole = noise(2, 3, 16, 24), self.hole()
        found = Inpainter(Options(**SMALL))(frame, hole, noise(2, 3, 16, 24))
        assert torch.equal(found, torch.where(hole, 0.5, frame))

    def test_the_first_step_of_a_training_reaches_the_hole(self):
        net, hole = Inpainter(Options(**SMALL)), self.hole()
        found = net(torch.zeros(2, 3, 16, 24), hole, noise(2, 3, 16, 24))
        (found - 1).square()[hole.expand_as(found)].mean().backward()
        assert net.residual.weight.grad.abs().sum() > 0

    @pytest.mark.parametrize("bias", [5.0, -5.0])
    def test_in_training_a_value_beyond_the_range_has_its_gradient(self, bias):
        """It is clamped in inference alone."""
        net, frame, hole = inpainter(), noise(2, 3, 16, 24), self.hole()
        torch.nn.init.constant_(net.residual.bias, bias)
        painted = net.train()(frame, hole, noise(2, 3, 16, 24))
        assert ((painted < 0) | (painted > 1)).all()
        (painted - frame).abs().mean().backward()
        torch.testing.assert_close(net.residual.bias.grad, torch.full((3,), bias / 5 / 3))
        shown = net.eval()(frame, hole, noise(2, 3, 16, 24))
        assert shown.unique().tolist() == [float(bias > 0)]

    def test_semantics_in_the_hole_change_what_is_painted_there(self):
        net, frame, hole = inpainter(), noise(2, 3, 16, 24), self.hole()
        one, other = noise(2, 3, 16, 24, seed=3), noise(2, 3, 16, 24, seed=4)
        other = torch.where(hole, other, one)
        changed = (net(frame, hole, one) - net(frame, hole, other)).abs()
        assert changed[hole.expand_as(changed)].mean() > 1e-3

    def test_the_last_level_sees_features_frame_hole_and_probabilities(self):
        """Of twice the size by the nearest neighbour, blanked with grey, 1 in the hole; the level before, averages."""
        net, frame, hole, semantics = inpainter(), noise(2, 3, 16, 24), self.hole(), noise(2, 3, 16, 24, seed=3)
        seen = {}
        for number, level in enumerate(net.decoder):
            level.register_forward_pre_hook(lambda module, args, number=number: seen.update({number: args[0]}))
        net(frame, hole, semantics)
        features, blanked, mask, probabilities = seen[1].split([6, 3, 1, 3], dim=1)
        assert torch.equal(features, features[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2))
        assert torch.equal(blanked, torch.where(hole, 0.5, frame))
        assert torch.equal(mask, hole.float())
        assert torch.equal(probabilities, semantics)
        features, skip, probabilities = seen[0].split([8, 6, 3], dim=1)
        assert features.min() >= 0 and skip.min() >= 0, "after ReLU"
        torch.testing.assert_close(
            probabilities, semantics.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).mean((-1, -3))
        )

    def test_without_conditioning_semantics_change_nothing(self):
        net, frame, hole = inpainter(semantic_conditioning=False), noise(2, 3, 16, 24), self.hole()
        assert torch.equal(net(frame, hole, noise(2, 3, 16, 24)), net(frame, hole, noise(2, 3, 16, 24, seed=1)))

    @pytest.mark.parametrize("size", [(16, 24), (15, 21), (5, 3)])
    def test_any_size_in_the_range(self, size):
        hole = noise(2, 1, *size, seed=1) < 0.3
        found = inpainter()(noise(2, 3, *size), hole, noise(2, 3, *size, seed=2))
        assert found.shape == (2, 3, *size)
        assert found.min() >= 0
        assert found.max() <= 1

    def test_padding_repeats_the_border(self):
        net, frame, hole, seen = inpainter(), noise(2, 3, 16, 21), self.hole(16, 21), noise(2, 3, 16, 21, seed=1)
        by_hand = [functional.pad(t.float(), (0, 3, 0, 0), mode="replicate") for t in (frame, hole, seen)]
        by_hand[1] = by_hand[1] > 0
        assert torch.equal(net(*by_hand)[..., :21], net(frame, hole, seen))

    def test_all_hole_is_survived(self):
        assert (
            inpainter()(noise(1, 3, 8, 8), torch.ones(1, 1, 8, 8, dtype=torch.bool), noise(1, 3, 8, 8)).isfinite().all()
        )

    def test_a_clip_does_not_depend_on_its_batch(self):
        net, frame, seen = inpainter(), noise(2, 3, 16, 24), noise(2, 3, 16, 24, seed=1)
        together = net(frame, self.hole(), seen)
        alone = net(frame[1:], self.hole()[1:], seen[1:])
        torch.testing.assert_close(together[1:], alone, atol=1e-6, rtol=0)


class TestDiscriminators:
    def test_an_output_judges_a_patch_of_70_pixels(self):
        torch.manual_seed(0)
        judge = FrameDiscriminator(Options())
        judge.layers = torch.nn.Sequential(*(m for m in judge.layers if not isinstance(m, torch.nn.InstanceNorm2d)))
        frames = noise(1, 1, 3, 128, 128).requires_grad_()
        found = judge(frames, noise(1, 1, 9, 128, 128))
        found[0, 0, 7, 7].backward()
        seen = frames.grad[0, 0].abs().sum(0).nonzero()
        assert (seen.max(0).values - seen.min(0).values + 1).tolist() == [70, 70]

    @pytest.mark.parametrize("steps", [1, 2, 5])
    def test_any_number_of_frames(self, steps):
        options = Options(**SMALL)
        frames, condition = noise(2, steps, 3, 16, 24), noise(2, steps, 3, 16, 24)
        assert FrameDiscriminator(options)(frames, condition).shape == (2 * steps, 1, 6, 10)
        assert VideoDiscriminator(options)(frames, condition).shape == (2, 1, steps, 6, 10)

    def test_that_of_clips_sees_the_order_of_frames_and_that_of_frames_does_not(self):
        torch.manual_seed(0)
        options, frames, condition = Options(**SMALL), noise(1, 4, 3, 16, 24), torch.zeros(1, 4, 3, 16, 24)
        frame, video = FrameDiscriminator(options), VideoDiscriminator(options)
        shuffled = frames[:, [2, 0, 3, 1]]
        torch.testing.assert_close(frame(shuffled, condition), frame(frames, condition)[[2, 0, 3, 1]])
        assert (video(shuffled, condition).sort(2).values - video(frames, condition).sort(2).values).abs().max() > 1e-3

    @pytest.mark.parametrize("dimensions", [2, 3])
    def test_are_cyclegans_layers(self, dimensions):
        """C4-C6-C5: leaky ReLU of slope 0.2 after each, instance norm before it in all but the first; then one more."""
        torch.manual_seed(0)
        options = Options(**SMALL | {"discriminator_widths": (4, 6, 5)})
        judge = (FrameDiscriminator if dimensions == 2 else VideoDiscriminator)(options)
        convolutions = [layer for layer in judge.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Conv3d)]
        frames, condition = noise(2, 3, 3, 16, 24), noise(2, 3, 3, 16, 24, seed=1)
        x = torch.cat([frames, condition], dim=2)
        x = x.flatten(0, 1) if dimensions == 2 else x.transpose(1, 2)
        convolve = functional.conv2d if dimensions == 2 else functional.conv3d
        along = () if dimensions == 2 else (1,)
        for number, (layer, stride) in enumerate(zip(convolutions, (2, 2, 1, 1), strict=True)):
            x = convolve(x, layer.weight, layer.bias, (*along, stride, stride), padding=1)
            if number in (1, 2):
                over = tuple(range(2, x.ndim))
                x = (x - x.mean(over, keepdim=True)) / (x.var(over, correction=0, keepdim=True) + 1e-5).sqrt()
            if number < 3:
                x = torch.where(x > 0, x, 0.2 * x)
        torch.testing.assert_close(judge(frames, condition), x, atol=1e-4, rtol=1e-4)

    def test_they_see_the_condition(self):
        torch.manual_seed(0)
        options, frames = Options(**SMALL), noise(1, 2, 3, 16, 24)
        for judge in (FrameDiscriminator(options), VideoDiscriminator(options)):
            one, other = judge(frames, noise(1, 2, 3, 16, 24, seed=1)), judge(frames, noise(1, 2, 3, 16, 24, seed=2))
            assert (one - other).abs().max() > 1e-3
