"""SADM's rollouts: what is warped, what is inpainted, and where."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from sadm_models import ROLLOUTS, noise, options, paints

from vpbench.toolkit.warp import grid, sample_nearest
from vpbench_sadm.inpainter import Inpainter
from vpbench_sadm.rendering import render

H, W = 12, 18


def painter():
    torch.manual_seed(0)
    return paints(Inpainter(options()).eval())


def future(steps, seed=0):
    """A last frame with its labels and flow, then probabilities and flow of some steps; two clips."""
    draw = torch.Generator().manual_seed(seed)
    flow = 2 * torch.randn(2, steps, 2, H, W, generator=draw)
    probabilities = torch.rand(2, steps, 3, H, W, generator=draw).softmax(dim=2)
    labels = torch.randint(0, 3, (2, H, W), generator=draw)
    return noise(2, 3, H, W), labels, flow[:, 0], probabilities, flow


def drifting(steps, by):
    """A picture that moves right by ``by`` pixels a step, of one class."""
    flow = torch.tensor([-by, 0.0]).view(1, 1, 2, 1, 1).expand(1, steps, 2, H, W).contiguous()
    probabilities = torch.tensor([1.0, 0.0, 0.0]).view(1, 1, 3, 1, 1).expand(1, steps, 3, H, W).contiguous()
    return noise(1, 3, H, W), torch.zeros(1, H, W, dtype=torch.int64), flow[:, 0], probabilities, flow


@pytest.mark.parametrize("rollout", ["iterative_no_inpaint", "compose"])
class TestHole:
    """The invalid pixels of a frame that was warped from the last real one."""

    @pytest.mark.parametrize("by", [0.35, 0.5, 0.51, 1.6])
    def test_is_what_came_in_from_outside(self, rollout, by):
        rendered = render(None, options(rollout=rollout, occlusion="none"), *drifting(8, -by))
        x = torch.arange(W, dtype=torch.float64)
        for step, hole in enumerate(rendered.hole[0], 1):
            assert torch.equal(hole, (x + by * step > 17.5).expand(12, -1)), step

    @pytest.mark.parametrize("by", [0.4, 0.6, 1.3])
    def test_moves_with_its_picture(self, rollout, by):
        """A column changes its class at the first step, when nothing moves; then all drifts."""
        frame, labels, last, probabilities, flow = drifting(5, by)
        flow[:, 0] = 0
        probabilities[:, 0, :, :, 5] = torch.tensor([0.0, 1.0, 0.0])[None, :, None]
        chosen = options(rollout=rollout, occlusion="semantic", out_of_image=False)
        rendered = render(None, chosen, frame, labels, last, probabilities, flow)
        assert rendered.disocclusion.flatten(2).any(dim=2).tolist() == [[True, False, False, False, False]]
        for step, hole in enumerate(rendered.hole[0]):
            columns = [x for x in range(W) if round(x - by * step) == 5]
            assert hole.all(dim=0).nonzero().flatten().tolist() == columns == hole.any(dim=0).nonzero()[:, 0].tolist()


class TestRollout:
    def test_all_agree_for_one_step_and_differ_for_two(self):
        """Equation 11 leaves open what is warped at later steps."""
        renderings = [render(painter(), options(rollout=kind), *future(1)) for kind in ROLLOUTS]
        for rendered in renderings[1:]:
            for field in dataclasses.fields(rendered):
                torch.testing.assert_close(getattr(rendered, field.name), getattr(renderings[0], field.name))
        a, b, c = (render(painter(), options(rollout=kind), *future(2)).frames[:, 1] for kind in ROLLOUTS)
        assert min((a - b).abs().max(), (a - c).abs().max(), (b - c).abs().max()) > 1e-3

    @pytest.mark.parametrize("rollout", ROLLOUTS)
    def test_more_steps_start_like_fewer(self, rollout):
        frame, labels, last, probabilities, flow = future(4)
        many = render(painter(), options(rollout=rollout), frame, labels, last, probabilities, flow)
        few = render(painter(), options(rollout=rollout), frame, labels, last, probabilities[:, :2], flow[:, :2])
        for field in dataclasses.fields(many):
            torch.testing.assert_close(getattr(few, field.name), getattr(many, field.name)[:, :2])

    @pytest.mark.parametrize("rollout", ROLLOUTS)
    def test_is_exact_for_whole_pixels(self, rollout):
        frame, *motion = drifting(3, 2.0)
        rendered = render(None, options(rollout=rollout), frame, *motion)
        for k in range(3):
            entered = 2 * (k + 1)
            hole = 2 if rollout == "iterative" else entered
            assert torch.equal(rendered.warped[:, k, :, :, entered:], frame[..., : W - entered])
            assert rendered.hole[:, k, :, :hole].all() and rendered.hole[:, k].sum() == 12 * hole
            assert rendered.disocclusion[:, k].sum() == 12 * 2, "only this step's"
        assert torch.equal(rendered.frames, rendered.warped)

    def test_only_compose_does_not_blur(self):
        frame, *motion = drifting(4, 0.5)
        composed = render(None, options(rollout="compose"), frame, *motion).warped
        torch.testing.assert_close(composed[:, 1, :, :, 1:], frame[..., :-1])
        torch.testing.assert_close(composed[:, 3, :, :, 2:], frame[..., :-2])
        blurred = render(None, options(rollout="iterative_no_inpaint"), frame, *motion).warped
        assert (blurred[:, 3, :, :, 2:] - frame[..., :-2]).abs().mean() > 0.05

    def test_composing_whole_pixels_is_warping_again(self):
        """Flow that differs between pixels is looked up where the later flow leads."""
        frame, labels, last, probabilities, flow = future(3)
        flow = flow.round()
        composed, warped = (
            render(None, options(rollout=kind), frame, labels, last, probabilities, flow).warped
            for kind in ROLLOUTS[:0:-1]
        )
        inside = torch.ones(2, 3, 1, H, W, dtype=torch.bool)
        for k in (1, 2):
            source = grid(flow[:, k]) + flow[:, k]
            stays = ((source >= 0) & (source <= torch.tensor([17.0, 11.0]).view(2, 1, 1))).all(dim=1, keepdim=True)
            inside[:, k] = stays & sample_nearest(inside[:, k - 1], source)
        assert inside[:, 2].float().mean() > 0.3
        assert torch.equal(composed.where(inside, torch.zeros(())), warped.where(inside, torch.zeros(())))

    @pytest.mark.parametrize("rollout", ROLLOUTS)
    def test_composite_keeps_visible_pixels(self, rollout):
        plain = render(painter(), options(rollout=rollout), *future(3))
        composite = render(painter(), options(rollout=rollout, composite=True), *future(3))
        visible = (~composite.hole)[:, :, None].expand_as(composite.frames)
        assert torch.equal(composite.frames[visible], composite.warped[visible])
        assert not torch.equal(plain.frames[visible], plain.warped[visible])
        assert (composite.frames - composite.warped)[~visible].abs().max() > 1e-3

    def test_after_the_first_step_compares_predicted_labels(self):
        frame, labels, last, probabilities, flow = drifting(2, 0.0)
        rendered = render(None, options(), frame, labels, last, probabilities[:, :, [1, 0, 2]], flow)
        assert rendered.disocclusion[:, 0].all() and not rendered.disocclusion[:, 1].any()

    def test_warps_the_clamped_frame_in_training_too(self):
        net = painter()
        torch.nn.init.constant_(net.residual.bias, 5.0)
        for part in net.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = 0.0
        inference, training = render(net, options(), *future(2)), render(net.train(), options(), *future(2))
        assert training.frames.min() > 1
        assert torch.equal(training.warped[:, 1], inference.warped[:, 1])

    def test_passes_no_gradient_to_the_step_before(self):
        frame, *motion = future(2)
        rendered = render(painter(), options(), frame.requires_grad_(), *motion)
        first, second = (torch.autograd.grad(rendered.frames[:, k].sum(), frame, retain_graph=True)[0] for k in (0, 1))
        assert second.eq(0).all() and first.abs().sum() > 0


@pytest.mark.parametrize("out_of_image", [True, False])
@pytest.mark.parametrize("rollout", ROLLOUTS)
@pytest.mark.parametrize(("ground", "speed"), [(0.0, 2.0), (2.0, 0.0), (-1.0, 2.0), (3.0, 1.0)])
def test_occupancy_compares_with_the_motion_of_the_step_before(rollout, out_of_image, ground, speed):
    """An object three pixels wide before a ground of its class: only the ground that it uncovers is dis-occluded."""
    x, steps, left = torch.arange(W), 3, 5
    _, labels, _, probabilities, flow = drifting(steps + 1, 0.0)
    covered = torch.stack([(x >= left + speed * t) & (x < left + speed * t + 3) for t in range(steps + 1)])
    flow[0, :, 0] = torch.where(covered, -speed, -ground)[:, None]
    chosen = options(rollout=rollout, occlusion="occupancy", out_of_image=out_of_image)
    rendered = render(None, chosen, noise(1, 3, H, W), labels, flow[:, 0], probabilities[:, 1:], flow[:, 1:])
    source = x - ground
    inside = (source >= 0) & (source <= 17)
    for step in range(1, steps + 1):
        hidden = inside & covered[step - 1][source.clamp(0, 17).long()]
        expected = (hidden | (~inside & out_of_image)) & ~covered[step]
        assert torch.equal(rendered.disocclusion[0, step - 1], expected.expand(12, -1)), step
