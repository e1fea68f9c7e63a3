"""SADM's rollouts, the losses of its second stage by hand, and what that stage trains and leaves alone."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from vpbench.errors import DataError
from vpbench.plugin.clip import Context, Future, LabelSpace
from vpbench.plugin.training import Recipe, TrainingBatch
from vpbench.toolkit.warp import grid, sample_nearest
from vpbench.toolkit.weights import MissingWeightsError
from vpbench_sadm import perceptual, training
from vpbench_sadm.inpainter import Inpainter
from vpbench_sadm.options import Options
from vpbench_sadm.perceptual import PixelLoss, VGGLoss, perceptual_loss
from vpbench_sadm.predictor import SADM
from vpbench_sadm.rendering_losses import covisible_loss, discriminator_loss, generator_loss
from vpbench_sadm.rendering_training import Rendering
from vpbench_sadm.rollout import render

SPACE = LabelSpace("three", ("ground", "thing", "sky"), ((0, 0, 0), (255, 255, 255), (0, 0, 255)))
SMALL = {
    "space": "context",
    "classes": 3,
    "hidden": 2,
    "embed": (2, 2),
    "context_width": 3,
    "head": (2, 2),
    "fusion": 3,
    "inpainter_widths": (4, 6),
    "inpainter_kernels": (3, 3),
    "discriminator_widths": (4, 6),
    "flow_scale": 1.0,
    "perceptual": "pixel",
}
ROLLOUTS = ("iterative", "iterative_no_inpaint", "compose")


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def options(**more):
    return Options(**SMALL | more)


def painter(**more):
    torch.manual_seed(0)
    made = Inpainter(options(**more)).eval()
    torch.nn.init.normal_(made.residual.weight, std=0.1)
    return made


def future(steps, height=12, width=18, seed=0):
    """A last frame with its labels and flow, then probabilities and flow of some steps; two clips."""
    draw = torch.Generator().manual_seed(seed)
    flow = 2 * torch.randn(2, steps, 2, height, width, generator=draw)
    probabilities = torch.rand(2, steps, 3, height, width, generator=draw).softmax(dim=2)
    labels = torch.randint(0, 3, (2, height, width), generator=draw)
    return noise(2, 3, height, width), labels, flow[:, 0], probabilities, flow


def drifting(steps, by):
    """A picture that moves right by ``by`` pixels a step, of one class."""
    flow = torch.tensor([-by, 0.0]).view(1, 1, 2, 1, 1).expand(1, steps, 2, 12, 18).contiguous()
    chances = torch.tensor([1.0, 0.0, 0.0]).view(1, 1, 3, 1, 1).expand(1, steps, 3, 12, 18).contiguous()
    return noise(1, 3, 12, 18), torch.zeros(1, 12, 18, dtype=torch.int64), flow[:, 0], chances, flow


class TestHole:
    """What is not valid of a frame that was warped from the last real one, however far it moves per step."""

    @pytest.mark.parametrize("rollout", ["iterative_no_inpaint", "compose"])
    @pytest.mark.parametrize("by", [0.35, 0.4, 0.5, 0.51, 1.0, 1.6])
    def test_is_what_came_in_from_outside(self, rollout, by):
        frame, labels, last, chances, flow = drifting(8, -by)
        made = render(None, options(rollout=rollout, occlusion="none"), frame, labels, last, chances, flow)
        x = torch.arange(18, dtype=torch.float64)
        for step, hole in enumerate(made.hole[0], 1):
            assert torch.equal(hole, (x + by * step > 17.5).expand(12, -1)), step

    @pytest.mark.parametrize("rollout", ["iterative_no_inpaint", "compose"])
    @pytest.mark.parametrize("by", [0.4, 0.6, 1.3])
    def test_moves_with_what_it_is_in(self, rollout, by):
        """A column has another class than it had at the first step, when nothing moves; then all drifts, as it is."""
        frame, labels, last, chances, flow = drifting(5, by)
        flow[:, 0] = 0
        chances[:, 0, :, :, 5] = torch.tensor([0.0, 1.0, 0.0])[None, :, None]
        chosen = options(rollout=rollout, occlusion="semantic", out_of_image=False)
        made = render(None, chosen, frame, labels, last, chances, flow)
        assert made.disocclusion.flatten(2).any(dim=2).tolist() == [[True, False, False, False, False]]
        for step, hole in enumerate(made.hole[0]):
            expected = [x for x in range(18) if round(x - by * step) == 5]
            assert hole.all(dim=0).nonzero().flatten().tolist() == expected == hole.any(dim=0).nonzero()[:, 0].tolist()


class TestRollout:
    def test_all_agree_for_one_step(self):
        net = painter()
        first, *others = (render(net, options(rollout=kind), *future(1)) for kind in ROLLOUTS)
        for other in others:
            for field in dataclasses.fields(first):
                torch.testing.assert_close(getattr(other, field.name), getattr(first, field.name))

    @pytest.mark.parametrize("rollout", ROLLOUTS)
    def test_the_first_steps_do_not_depend_on_how_many_there_are(self, rollout):
        net, given = painter(), future(4)
        every = render(net, options(rollout=rollout), *given)
        some = render(net, options(rollout=rollout), *given[:3], given[3][:, :2], given[4][:, :2])
        for field in dataclasses.fields(every):
            torch.testing.assert_close(getattr(some, field.name), getattr(every, field.name)[:, :2])

    def test_they_differ_from_the_second_step_on(self):
        net = painter()
        frames = [render(net, options(rollout=kind), *future(2)).frames[:, 1] for kind in ROLLOUTS]
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert (frames[i] - frames[j]).abs().max() > 1e-3

    @pytest.mark.parametrize("rollout", ROLLOUTS)
    def test_a_whole_pixel_drift_is_exact_where_it_was_visible(self, rollout):
        frame, *given = drifting(3, 2.0)
        found = render(None, options(rollout=rollout), frame, *given)
        for k in range(3):
            inside = 2 * (k + 1)
            assert torch.equal(found.warped[:, k, :, :, inside:], frame[..., : 18 - inside])
            assert found.hole[:, k, :, : inside if rollout != "iterative" else 2].all()
            assert found.hole[:, k].sum() == 12 * (inside if rollout != "iterative" else 2)
            assert found.disocclusion[:, k].sum() == 12 * 2, "what is new is of this step alone"
        assert torch.equal(found.frames, found.warped)

    def test_only_compose_does_not_blur_again_and_again(self):
        frame, *given = drifting(4, 0.5)
        composed = render(None, options(rollout="compose"), frame, *given).warped
        torch.testing.assert_close(composed[:, 1, :, :, 1:], frame[..., :-1])
        torch.testing.assert_close(composed[:, 3, :, :, 2:], frame[..., :-2])
        blurred = render(None, options(rollout="iterative_no_inpaint"), frame, *given).warped
        assert (blurred[:, 3, :, :, 2:] - frame[..., :-2]).abs().mean() > 0.05

    def test_by_whole_pixels_composing_is_warping_again(self):
        """Flow that differs from pixel to pixel: what is summed is looked up where the later flow leads."""
        frame, labels, last, chances, flow = future(3)
        flow = flow.round()
        composed, warped = (
            render(None, options(rollout=kind), frame, labels, last, chances, flow).warped for kind in ROLLOUTS[:0:-1]
        )
        inside = torch.ones(2, 3, 1, 12, 18, dtype=torch.bool)
        for k in (1, 2):
            at = grid(flow[:, k]) + flow[:, k]
            stays = ((at >= 0) & (at <= torch.tensor([17.0, 11.0]).view(2, 1, 1))).all(dim=1, keepdim=True)
            inside[:, k] = stays & sample_nearest(inside[:, k - 1], at)
        assert inside[:, 2].float().mean() > 0.3
        assert torch.equal(composed.where(inside, torch.zeros(())), warped.where(inside, torch.zeros(())))

    @pytest.mark.parametrize("rollout", ROLLOUTS)
    def test_composite_keeps_what_was_visible(self, rollout):
        net, given = painter(), future(3)
        plain = render(net, options(rollout=rollout), *given)
        kept = render(net, options(rollout=rollout, composite=True), *given)
        visible = (~kept.hole)[:, :, None].expand_as(kept.frames)
        assert torch.equal(kept.frames[visible], kept.warped[visible])
        assert not torch.equal(plain.frames[visible], plain.warped[visible])
        assert (kept.frames - kept.warped)[~visible].abs().max() > 1e-3

    def test_labels_are_the_predicted_ones_after_the_first_step(self):
        """Step 2 contradicts step 1, not the context."""
        frame, labels, last, chances, flow = drifting(2, 0.0)
        swapped = chances[:, :, [1, 0, 2]]
        found = render(None, options(out_of_image=False), frame, labels, last, swapped, flow)
        assert found.disocclusion[:, 0].all()
        assert not found.disocclusion[:, 1].any()

    @pytest.mark.parametrize("rollout", ROLLOUTS)
    def test_the_inpainter_sees_the_probabilities_of_its_step(self, rollout):
        net, given, seen = painter(), future(3), []
        net.register_forward_pre_hook(lambda module, args: seen.append(args[2]))
        render(net, options(rollout=rollout), *given)
        every = torch.stack(seen, dim=1) if rollout == "iterative" else seen[0].unflatten(0, (2, 3))
        assert torch.equal(every, given[3])

    def test_the_next_step_warps_what_inference_would_show(self):
        """In training too, when what is painted is not clamped."""
        net, given = painter(), future(2)
        torch.nn.init.constant_(net.residual.bias, 5.0)
        for part in net.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = 0.0
        shown, trained = render(net, options(), *given), render(net.train(), options(), *given)
        assert trained.frames.min() > 1
        assert torch.equal(trained.warped[:, 1], shown.warped[:, 1])

    def test_no_gradient_from_one_step_to_the_step_before(self):
        net, (frame, *given) = painter(), future(2)
        frame.requires_grad_()
        found = render(net, options(), frame, *given)
        second, first = (torch.autograd.grad(found.frames[:, k].sum(), frame, retain_graph=True)[0] for k in (1, 0))
        assert second.eq(0).all()
        assert first.abs().sum() > 0


class TestMotionBefore:
    """Of claimants of one class, the one that moves as the pixel did in the step before is what it shows."""

    @pytest.mark.parametrize("out_of_image", [True, False])
    @pytest.mark.parametrize("rollout", ROLLOUTS)
    @pytest.mark.parametrize(("ground", "thing"), [(0.0, 2.0), (2.0, 0.0), (1.0, 3.0), (-1.0, 2.0), (3.0, 1.0)])
    def test_is_that_of_the_step_before_in_each_step(self, rollout, out_of_image, ground, thing):
        """A thing three pixels wide before a ground of its class: only what it uncovers is newly visible."""
        x, steps, left = torch.arange(18), 3, 5
        flow = torch.zeros(1, steps + 1, 2, 12, 18)
        covered = torch.zeros(steps + 1, 18, dtype=torch.bool)
        for t in range(steps + 1):
            covered[t] = (x >= left + thing * t) & (x < left + thing * t + 3)
            flow[0, t, 0] = torch.where(covered[t], -thing, -ground)
        chances = torch.tensor([1.0, 0.0, 0.0]).view(1, 1, 3, 1, 1).expand(1, steps, 3, 12, 18).contiguous()
        labels = torch.zeros(1, 12, 18, dtype=torch.int64)
        made = render(
            None,
            options(rollout=rollout, occlusion="occupancy", out_of_image=out_of_image),
            noise(1, 3, 12, 18),
            labels,
            flow[:, 0],
            chances,
            flow[:, 1:],
        )
        for step in range(1, steps + 1):
            source = x - ground
            within = (source >= 0) & (source <= 17)
            hidden = within & covered[step - 1][source.clamp(0, 17).long()]
            expected = hidden & ~covered[step]
            if out_of_image:
                expected |= ~within & ~covered[step]
            assert torch.equal(made.disocclusion[0, step - 1], expected.expand(12, -1)), step


class TestLosses:
    def test_covisible_is_a_sum_over_steps_of_means_over_all_pixels(self):
        frames, warped, hole = noise(2, 3, 3, 4, 4), noise(2, 3, 3, 4, 4), torch.zeros(2, 3, 4, 4, dtype=torch.bool)
        frames = warped + torch.tensor([0.1, 0.2, 0.4]).view(1, 3, 1, 1, 1)
        assert float(covisible_loss(frames, warped, hole)) == pytest.approx(0.7, rel=1e-5)
        hole[:, 1, :2] = True
        hole[:, 2] = True
        assert float(covisible_loss(frames, warped, hole)) == pytest.approx(0.1 + 0.1, rel=1e-5)

    def test_least_squares(self):
        judged = torch.tensor([1.0, 0.0, 3.0])
        assert float(generator_loss(judged)) == pytest.approx((0 + 1 + 4) / 3)
        assert float(discriminator_loss(judged, torch.full((3,), 0.5))) == pytest.approx(((0 + 1 + 4) / 3 + 0.25) / 2)

    def test_pixel_loss_by_hand(self):
        """A step of 1 over half of a picture that is 8 wide: |1|/2 at each of 3 scales; 1 of 7, 3 and 1 differences."""
        true = noise(2, 3, 8, 8)
        step = torch.zeros(8)
        step[4:] = 1
        loss = PixelLoss()
        assert float(loss(true, true)) == 0
        assert float(loss(true + step, true)) == pytest.approx(1.5 + 1 / 7 + 1 / 3 + 1, rel=1e-4)
        assert float(loss((true.mT + step).mT, true)) == pytest.approx(1.5 + 1 / 7 + 1 / 3 + 1, rel=1e-4)

    def test_none_is_none_and_pixel_has_no_weights(self):
        assert perceptual_loss("none") is None
        assert list(perceptual_loss("pixel").parameters()) == []

    def test_vgg_compares_five_layers_as_vid2vid_does(self, monkeypatch):
        from torchvision.models import vgg19

        torch.manual_seed(0)
        with torch.device("meta"):
            shapes = {name: tensor.shape for name, tensor in vgg19().state_dict().items() if "features" in name}
        drawn = {name: torch.randn(shape) * (2 / (9 * shape[0])) ** 0.5 for name, shape in shapes.items()}
        monkeypatch.setattr(perceptual, "obtain", lambda url: url)
        monkeypatch.setattr(perceptual, "read", lambda path: drawn)
        loss, x, y = VGGLoss(), noise(1, 3, 32, 32), noise(1, 3, 32, 32, seed=1)
        assert float(loss(x, x)) == 0
        seen, read = [], []
        loss.network[0].register_forward_pre_hook(lambda module, args: read.append(args[0]))
        for layer in loss.network:
            layer.register_forward_hook(lambda module, given, found: seen.append((type(module).__name__, found)))
        total = loss(x, y)
        compared = [seen[2 * i : 2 * i + 2] for i in (1, 6, 11, 20, 29)]
        assert [pair[0][0] for pair in compared] == ["ReLU"] * 5
        assert [pair[0][1].shape[1] for pair in compared] == [64, 128, 256, 512, 512]
        for frames, layer_input in zip((x, y), read, strict=True):
            for channel, (mean, deviation) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):  # ImageNet's
                torch.testing.assert_close(layer_input[:, channel], (frames[:, channel] - mean) / deviation)
        weights = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)
        by_hand = sum(w * (a[1] - b[1]).abs().mean() for w, (a, b) in zip(weights, compared, strict=True))
        assert float(total) == pytest.approx(float(by_hand), rel=1e-5)
        assert not any(p.requires_grad for p in loss.parameters())

    def test_lpips_is_the_metric_in_training_too(self, shared, monkeypatch):
        monkeypatch.setenv("VPBENCH_WEIGHTS", str(shared / "weights"))
        loss, frames = perceptual_loss("lpips"), [noise(2, 3, 64, 64, seed=i) for i in range(2)]
        expected = loss(*frames)
        torch.testing.assert_close(loss.network(*(2 * each - 1 for each in frames)).mean(), expected)  # in [-1,1]
        loss.train()
        assert torch.equal(loss(*frames), expected), "no dropout"

    def test_lpips_without_its_backbone_says_where_to_put_it(self, monkeypatch):
        def missing():
            raise MissingWeightsError("put it there")

        monkeypatch.setattr(perceptual, "lpips_network", missing)
        with pytest.raises(DataError, match=r"sadm\.perceptual=lpips: put it there"):
            perceptual_loss("lpips")


def batch_of(steps=2, past=3, height=12, width=18, step=0):
    names = ("clip0@0", "clip1@0")
    labels = torch.randint(0, 3, (2, past, height, width), generator=torch.Generator().manual_seed(3))
    context = Context(
        frames=noise(2, past, 3, height, width),
        clips=names,
        semantics=labels,
        flow=4 * noise(2, past - 1, 2, height, width, seed=1) - 2,
        label_space=SPACE,
    )
    frames = noise(2, steps, 3, height, width, seed=2)
    truth = Future(frames=frames, steps=tuple(range(1, steps + 1)), clips=names, last=context.frames[:, -1])
    return TrainingBatch(context, truth, tuple(torch.Generator().manual_seed(i) for i in range(2)), step)


def stage(steps=10, **more):
    """The second stage, with what a Trainer would give it."""
    torch.manual_seed(0)
    made = Rendering(SADM(options(**more))).train()
    made.recipe = dataclasses.replace(made.recipe, steps=steps, learning_rate=1e-2)
    made.setup("fit")
    optimisers, schedules = made.configure_optimizers()
    made.optimizers = lambda: optimisers if len(optimisers) > 1 else optimisers[0]
    made.lr_schedulers = lambda: [each["scheduler"] for each in schedules]
    made.manual_backward = lambda loss: loss.backward()
    made.logged = {}
    made.log_dict = made.logged.update
    return made


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module, before):
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


class TestStage:
    def test_a_step_moves_inpainter_and_discriminators_and_never_the_dynamics(self):
        made = stage()
        dynamics, inpainter, judges = made.predictor.dynamics, made.predictor.inpainter, made.judges
        before = state(dynamics), state(inpainter), state(judges)
        loss = made.training_step(batch_of(), 0)
        assert loss.isfinite()
        assert not loss.requires_grad
        assert changed(dynamics, before[0]) == set()
        assert changed(inpainter, before[1]) >= {"residual.weight", "residual.bias"}
        assert {name.split(".")[0] for name in changed(judges, before[2])} == {"frame", "video"}
        assert set(made.logged) == {
            f"train/{n}" for n in ("covisible", "perceptual", "frame", "video", "discriminators")
        }

    def test_the_total_is_equation_15(self):
        made = stage(perceptual_weight=2.0, frame_weight=3.0, video_weight=5.0)
        terms = {name: torch.tensor(v) for name, v in (("covisible", 1.0), ("perceptual", 10.0), ("frame", 100.0))}
        terms["video"] = torch.tensor(1000.0)
        assert float(made._total(terms, 0)) == 1 + 20 + 300 + 5000

    @pytest.mark.parametrize(
        ("steps", "step", "share"), [(10, 0, 0.0), (10, 1, 0.25), (10, 4, 1.0), (10, 9, 1.0), (40, 4, 0.25)]
    )
    def test_adversarial_weights_rise(self, steps, step, share):
        made = stage(steps=steps, adversarial_warm_up=0.4)
        terms = {"covisible": torch.tensor(0.0), "frame": torch.tensor(1.0), "video": torch.tensor(1.0)}
        assert float(made._total(terms, step)) == pytest.approx(3 * share)

    def test_terms_are_sums_over_steps_but_for_the_clips(self):
        made, batch = stage(), batch_of(steps=3)
        rendered, condition = made.rendered(batch)
        terms = made.losses(rendered, batch.future.frames, condition)
        judged = made.judges["frame"](rendered.frames, condition).unflatten(0, (2, 3))
        expected = (judged - 1).square().mean(dim=(0, 2, 3, 4)).sum()
        torch.testing.assert_close(terms["frame"], expected)
        pixel = sum(PixelLoss()(rendered.frames[:, k], batch.future.frames[:, k]) for k in range(3))
        torch.testing.assert_close(terms["perceptual"], pixel)
        video = (made.judges["video"](rendered.frames, condition) - 1).square().mean()
        torch.testing.assert_close(terms["video"], video)

    def test_the_condition_is_one_hot_and_the_same_for_real_and_completed_frames(self):
        made, batch = stage(), batch_of()
        _, condition = made.rendered(batch)
        assert condition.unique().tolist() == [0, 1]
        assert condition.sum(dim=2).eq(1).all()
        seen = []
        for judge in made.judges.values():
            judge.register_forward_pre_hook(lambda module, given: seen.append(given[1]))
        made.judged(batch.future.frames, batch.future.frames, condition)
        assert len(seen) == 4
        assert all(each is condition for each in seen)

    def test_without_conditioning_nothing_sees_the_labels(self):
        made = stage(semantic_conditioning=False)
        assert made.rendered(batch_of())[1].shape == (2, 2, 0, 12, 18)
        assert made.training_step(batch_of(), 0).isfinite()

    def test_without_adversarial_weights_there_is_no_discriminator(self):
        made = stage(frame_weight=0.0, video_weight=0.0)
        assert list(made.judges) == []
        made.training_step(batch_of(), 0)
        assert set(made.logged) == {"train/covisible", "train/perceptual"}

    @pytest.mark.parametrize(("off", "left"), [("frame_weight", ["video"]), ("video_weight", ["frame"])])
    def test_each_has_its_weight(self, off, left):
        assert list(stage(**{off: 0.0}).judges) == left

    def test_without_perceptual_weight_there_is_no_such_term(self):
        made = stage(perceptual_weight=0.0, perceptual="vgg19")
        assert made.perceptual is None
        made.training_step(batch_of(), 0)
        assert "train/perceptual" not in made.logged

    @pytest.mark.parametrize(("schedule", "per_step"), [("cosine", True), ("staircase", False)])
    def test_the_learning_rate_follows_steps_or_epochs(self, schedule, per_step):
        made = stage(schedule=schedule)
        (each, _) = made.lr_schedulers()
        rate = each.get_last_lr()
        made.training_step(batch_of(), 0)
        assert (each.get_last_lr() != rate) is per_step
        for _ in range(20):
            made.on_train_epoch_end()
        assert each.get_last_lr() == pytest.approx(rate if per_step else [0.8 * rate[0]]) or per_step

    def test_clipping_by_hand(self):
        made = stage()
        made.recipe = Recipe(steps=10, clip=1e-3)
        made.training_step(batch_of(), 0)
        norm = torch.stack([p.grad.norm() for p in made.predictor.inpainter.parameters()]).norm()
        assert float(norm) == pytest.approx(1e-3, rel=1e-2)

    def test_noise_is_drawn_from_the_clips_generators(self):
        made = stage(mode="stochastic")
        one, again = (made.rendered(batch_of())[0].frames for _ in range(2))
        assert torch.equal(one, again)

    def test_what_it_trains_is_what_predict_shows(self):
        made, batch = stage(), batch_of()
        made.eval()
        with torch.no_grad():
            rendered, _ = made.rendered(batch)
        shown = made.predictor.predict(batch.context, 2, batch.generators)
        assert torch.equal(rendered.frames, shown.frames)
        assert torch.equal(rendered.disocclusion, shown.disocclusion)

    def test_it_learns_what_a_class_looks_like(self):
        """A picture that drifts in from the left: what enters is red where it is of class 1 and blue else."""
        made = stage(steps=60, frame_weight=0.0, video_weight=0.0, schedule="cosine", composite=True)
        drawn = torch.Generator().manual_seed(0)

        def clip():
            of_thing = torch.rand(4, 1, 12, 1, generator=drawn).gt(0.5).expand(-1, 1, 12, 18)
            colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]]).view(2, 1, 3, 1, 1)
            frames = torch.where(of_thing[:, :, None], colours[0], colours[1])
            chances = torch.cat([~of_thing, of_thing, torch.zeros_like(of_thing)], dim=1).float()[:, None]
            flow = torch.tensor([-4.0, 0.0]).view(1, 1, 2, 1, 1).expand(4, 1, 2, 12, 18).contiguous()
            return frames, chances, flow, of_thing[:, 0].long()

        net = made.predictor.inpainter
        optimiser = torch.optim.Adam(net.parameters(), 1e-2)
        errors = []
        for _ in range(60):
            frames, chances, flow, labels = clip()
            found = render(net, made.predictor.options, frames[:, 0], labels, flow[:, 0], chances, flow)
            loss = made._total(made.losses(found, frames, chances), 0)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            errors.append(float((found.frames - frames).abs()[:, 0, :, :, :4].mean().detach()))
        assert errors[-1] < 0.3 * errors[0]


def test_the_second_stage_comes_second():
    predictor = SADM(options())
    stages = training.stages(predictor, SimpleNamespace())
    assert [type(each).__name__ for each in stages] == ["Dynamics", "Rendering"]
    assert stages[1].recipe == predictor.options.rendering_recipe
    assert not any(name.startswith(("judges", "perceptual")) for name in predictor.state_dict())
