"""SADM's training: manually computed losses, what each stage learns, and two processes."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from sadm_models import dynamics, generators, moving, normal, options, rendering, training_batch
from safetensors.torch import load_file

from vpbench.errors import DataError, UsageError
from vpbench.plugin.clip import Context, Future, LabelSpace
from vpbench.plugin.training import TrainingBatch
from vpbench_sadm.dynamics import Posterior, prior
from vpbench_sadm.options import PRESETS, Options
from vpbench_sadm.perceptual import PixelLoss
from vpbench_sadm.predictor import SADM
from vpbench_sadm.rendering import render
from vpbench_sadm.training import Dynamics, Rendering, stages


class TestStochasticMode:
    """Equations 8 to 10."""

    def test_posterior_starts_at_the_state_with_unit_variance(self):
        posterior, starts = Posterior(options(latent_stride=2)), []
        posterior.encoder.register_forward_pre_hook(lambda module, args: starts.append(args[2]))
        (labels, flow), hidden = moving(), normal(3, 12, 8, 12)
        posterior(labels[:, 3:], flow[:, 2:], hidden)
        start = starts[0].hidden.unflatten(1, (3, 2, 4))
        assert torch.equal(start[:, :, 0].flatten(1, 2), hidden)
        assert not start[:, :, 1].any() and not starts[0].cell.any()

    def test_sample_has_the_posteriors_mean_and_variance(self):
        """With noise e from the prior, the decoder reads H^T + u + exp(log v / 2) e."""
        stage, batch, samples = dynamics(mode="stochastic"), training_batch(), []
        mean, log_variance = (torch.full((3, 12, 8, 12), value) for value in (2.0, math.log(9.0)))
        stage.posterior.forward = lambda labels, flow, hidden: (mean, log_variance)
        stage.predictor.dynamics.decode = lambda *args: samples.append(args[4]) or 1 / 0
        with pytest.raises(ZeroDivisionError):
            stage.losses(batch)
        torch.testing.assert_close(samples[0], 2 + 3 * prior((12, 8, 12), generators(3)))

    def test_posterior_reads_flow_in_units_of_the_scale_and_the_contexts_state(self):
        """Frames of twice the size move by twice the pixels."""
        small, large, fast = (
            dynamics(mode="stochastic", flow_scale=scale).losses(training_batch(scale=factor))["kl"]
            for scale, factor in ((2.0, 1.0), (4.0, 2.0), (2.0, 2.0))
        )
        assert torch.equal(small, large) and not torch.isclose(small, fast)

    @pytest.mark.parametrize("term", ["flow", "labels", "kl"])
    def test_gradients_of_every_term_reach_the_posterior(self, term):
        stage = dynamics(mode="stochastic")
        stage.losses(training_batch())[term].backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in stage.posterior.parameters())

    def test_predictor_has_no_posterior(self):
        names = set(dynamics(mode="stochastic").predictor.state_dict())
        assert names == set(dynamics().predictor.state_dict())
        assert dynamics().posterior is None

    def test_gap_is_logged_now_and_then_and_measured_with_noise_from_the_prior(self):
        for step in (48, 49):
            stage, logged, batch = dynamics(mode="stochastic"), {}, training_batch()
            stage._trainer, stage.log_dict = SimpleNamespace(), logged.update
            stage.training_step(training_batch(step=step), step)
            posterior, blind = stage.losses(batch), stage.losses(batch, from_prior=True)
            gap = sum(blind[name] - posterior[name] for name in ("flow", "labels"))
            assert ("train/gap" in logged) == (step == 49)
            if step == 49:  # the two losses are nearly equal, so rounding is large relative to their gap
                assert float(logged["train/gap"].detach()) == pytest.approx(float(gap.detach()), abs=1e-6)


class TestDynamics:
    @pytest.mark.parametrize("accumulate", [1, 3])
    def test_loss_is_equation_10(self, accumulate):
        """Beta rises over 40 of 100 optimiser steps; a step is counted in batches."""
        stage = dynamics(mode="stochastic", kl_weight=0.5, kl_warm_up=0.4, accumulate=accumulate)
        for step, share in ((0, 0.0), (10 * accumulate, 0.25), (40 * accumulate, 1.0), (90 * accumulate, 1.0)):
            loss, terms = stage.training_step(training_batch(step=step), step), stage.losses(training_batch())
            torch.testing.assert_close(loss, terms["flow"] + terms["labels"] + 0.5 * share * terms["kl"])
        assert set(dynamics().losses(training_batch())) == {"flow", "labels"}

    def test_untrained_losses_by_hand(self):
        """Two pixels of class 1 move along rows of 8: their left edge is at 0, 1, 3, 5 and 6.

        The last masks, 00011000 and the ground's, move on by the last flow, 2 pixels a step and 0.
        Step 1: ground 11100111, thing 00000110. The truth is 00000110, with its boundary in columns 4 to 7.
        Step 2: ground 11100111, thing 00000001. The truth is 00000011, with its boundary in columns 5 and 6.
        Where there is one mask its logit is 5, and 1 - q = 1 / (1 + e^-5); where there are none or both, both are 1/2.
        """
        labels, flow, places = (
            torch.zeros(1, 5, 4, 8, dtype=torch.int64),
            torch.zeros(1, 5, 2, 4, 8),
            (0, 0, 1, 3, 5, 6),
        )
        for t, (before, place) in enumerate(pairwise(places)):
            labels[:, t, :, place : place + 2] = 1
            flow[:, t, 0, :, place : place + 2] = before - place
        frames, clips, space = torch.zeros(1, 5, 3, 4, 8), ("clip@0",), LabelSpace("two", ("a", "b"), ((0,) * 3,) * 2)
        future = Future(frames[:, 3:], (1, 2), clips, frames[:, 2], labels[:, 3:], flow[:, 3:], label_space=space)
        context = Context(frames[:, :3], clips, labels[:, :3], flow[:, 1:3], space)
        q, half = 1 / (1 + math.exp(5)), math.log(2)
        right, wrong = -math.log(1 - q), -math.log(q)
        # Boundaries weigh 1 + 5: a blur of deviation 0.1 is none.
        step_1 = 1 * (3 * right + half) + 6 * (3 * half + right)
        step_2 = 1 * (3 * right + 3 * half) + 6 * (right + wrong)
        # The flow is -2 of the thing's probability; of two components the second is 0.
        flow_1 = 4 * 2 * q + 2 * 1 + 2 * 1
        flow_2 = 4 * 2 * q + 2 * 1 + (1 - 2 * q) + 0
        stage = dynamics(classes=2, flow_residual="nearest_segment", mask_residual="carried", boundary_sigma=0.1)
        terms = stage.losses(TrainingBatch(context, future, generators(1), 1))
        assert float(terms["labels"].detach()) == pytest.approx((step_1 + step_2) / 8, rel=1e-5)
        assert float(terms["flow"].detach()) == pytest.approx((flow_1 + flow_2) / 16, rel=1e-5)

    def test_flow_scale_and_label_space_are_kept_at_the_first_step(self):
        stage, batch = dynamics(), training_batch()
        expected = float(batch.context.flow.square().mean().sqrt())
        for step, factor, scale in ((1, 1, 0.0), (0, 1, expected), (0, 3, expected)):
            stage.training_step(training_batch(step=step, scale=factor), step)
            assert float(stage.predictor.state_dict()["dynamics.flow_scale"]) == pytest.approx(scale)
            assert bytes(stage.predictor.label_space.tolist()).rstrip(b"\0") == (b"three" if scale else b"")
        for changes, scale in (({"flow_scale": 20.0}, 20.0), ({}, 0.1)):  # no zero, of a clip that stands still
            stage = dynamics(**changes)
            stage.training_step(training_batch(step=0, scale=0.0), 0)
            assert float(stage.predictor.dynamics.flow_scale) == pytest.approx(scale)

    def test_horizon_cuts_the_future(self):
        batch = training_batch()
        first = {"semantics": batch.future.semantics[:, :1], "flow": batch.future.flow[:, :1]}
        short = dataclasses.replace(batch, future=dataclasses.replace(batch.future, **first))
        cut, whole = dynamics(dynamics_horizon=1).losses(batch), dynamics().losses(short)
        assert torch.equal(cut["flow"], whole["flow"]) and torch.equal(cut["labels"], whole["labels"])
        assert dynamics().losses(batch)["flow"].detach() > cut["flow"].detach()

    def test_trains_the_dynamics_and_the_posterior_only(self):
        stage = dynamics(mode="stochastic")
        stage.training_step(training_batch(), 0).backward()
        graded = {name for name, p in stage.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        expected = {name for name, _ in stage.named_parameters() if "dynamics." in name or "posterior." in name}
        assert graded == expected
        groups = stage.configure_optimizers()["optimizer"].param_groups
        ids = {id(parameter) for group in groups for parameter in group["params"]}
        assert ids == {id(p) for name, p in stage.named_parameters() if name in expected}

    def test_needs_true_labels(self):
        batch = training_batch()
        blind = dataclasses.replace(batch, future=dataclasses.replace(batch.future, semantics=None))
        with pytest.raises(DataError, match="no labels or no flow; annotate"):
            dynamics().training_step(blind, 0)

    @pytest.mark.slow
    def test_learns_two_classes_that_move_apart(self):
        """Figure 6: with exchanged labels the same pixels move differently, but not as the other class does."""
        stage, batch, losses = (
            dynamics(flow_scale=2.0, boundary_sigma=1.0, embed=(3, 4), context_width=4),
            training_batch(),
            [],
        )
        optimiser = torch.optim.Adam(stage.predictor.dynamics.parameters(), 0.02)
        for step in range(60):
            optimiser.zero_grad()
            loss = stage.training_step(dataclasses.replace(batch, step=step), step)
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        assert sum(losses[-5:]) < 0.4 * sum(losses[:5])
        labels, flow, truth = batch.context.semantics, batch.context.flow, batch.future.semantics
        exchanged = torch.tensor([0, 2, 1])[labels]
        with torch.no_grad():
            log, forecast = stage.predictor.dynamics(labels, flow, 2)
            _, swapped = stage.predictor.dynamics(exchanged, flow, 2)
            _, without_flow = stage.predictor.dynamics(exchanged, torch.zeros_like(flow), 2)
        assert float((log.argmax(dim=2) != truth).float().mean()) < 0.06
        right, same, still = (float(x[:, 0, 0][truth[:, 0] == 1].mean()) for x in (forecast, swapped, without_flow))
        assert right > 1.0 and abs(right - same) > 0.1
        assert min(same, still) > -0.5


@pytest.mark.parametrize("number", [0, 1])
def test_learning_rate_falls_by_a_fifth_every_20_epochs_or_along_a_cosine(number):
    """Section 4. The rate is the recipe's that the harness sets, not the preset's."""
    for schedule, interval in (("staircase", "epoch"), ("cosine", "step")):
        stage = stages(SADM(options(schedule=schedule)), None)[number]
        stage.recipe = dataclasses.replace(stage.recipe, steps=100, learning_rate=0.125)
        configured = stage.configure_optimizers()
        pairs = (
            [(configured["optimizer"], configured["lr_scheduler"])]
            if number == 0
            else list(zip(*configured, strict=True))
        )
        assert len(pairs) == 1 + number, "the second stage has one for the discriminators, too"
        for optimiser, course in pairs:
            rates = []
            for _ in range(100):
                rates.append(optimiser.param_groups[0]["lr"])
                optimiser.step()
                course["scheduler"].step()
            assert course["interval"] == interval
            if schedule == "staircase":
                assert [rates[i] for i in (0, 19, 20, 39, 40)] == pytest.approx([0.125, 0.125, 0.1, 0.1, 0.08])
            else:
                assert rates[0] < rates[3] < max(rates) <= 0.125 and 0 < rates[-1] < 1e-3


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module, before):
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


class Brightness(torch.nn.Module):
    """A discriminator whose judgement is the frame."""

    def __init__(self):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(()))

    def forward(self, frames, condition):
        return frames + self.bias


class TestRendering:
    def test_a_step_trains_inpainter_and_discriminators_but_not_the_dynamics(self):
        stage = rendering()
        networks = stage.predictor.dynamics, stage.predictor.inpainter, stage.judges
        before = [state(network) for network in networks]
        loss = stage.training_step(training_batch(), 0)
        assert loss.isfinite() and not loss.requires_grad
        fixed, inpainter, judges = (changed(network, old) for network, old in zip(networks, before, strict=True))
        assert fixed == set() and inpainter >= {"residual.weight", "residual.bias"}
        assert {name.split(".")[0] for name in judges} == {"frame", "video"}

    @pytest.mark.parametrize("schedule", ["cosine", "staircase"])
    def test_accumulated_batches_take_one_step_with_the_mean_of_their_gradients(self, schedule):
        """The same batch twice has the gradients of one; only its statistics count twice."""
        once, twice = (rendering(accumulate=n, schedule=schedule, adversarial_warm_up=0.0) for n in (1, 2))
        before = state(twice)
        once.training_step(training_batch(step=0), 0)
        twice.training_step(training_batch(step=0), 0)
        assert not {name for name in changed(twice, before) if "norm" not in name and "decoder" not in name}
        rates = [twice.optimizers()[0].param_groups[0]["lr"]]
        twice.training_step(training_batch(step=1), 1)
        for (name, expected), parameter in zip(once.named_parameters(), twice.parameters(), strict=True):
            torch.testing.assert_close(parameter, expected, msg=name)
        rates += [stage.optimizers()[0].param_groups[0]["lr"] for stage in (once, twice)]
        assert rates[1] == rates[2] and (rates[0] != rates[1]) == (schedule == "cosine")
        assert changed(twice, before) >= {"predictor.inpainter.residual.weight", "judges.frame.layers.0.weight"}

    def test_total_is_equation_15(self):
        """The adversarial weights rise over 4 of 10 steps."""
        stage = rendering(perceptual_weight=2.0, frame_weight=3.0, video_weight=5.0, adversarial_warm_up=0.4)
        values = {"covisible": 1.0, "perceptual": 10.0, "frame": 100.0, "video": 1000.0}
        terms = {name: torch.tensor(value) for name, value in values.items()}
        for step, share in ((0, 0.0), (1, 0.25), (4, 1.0), (9, 1.0)):
            assert float(stage.total(terms, step)) == pytest.approx(1 + 20 + share * (300 + 5000))

    def test_terms_are_sums_over_steps_but_for_the_clips(self):
        stage, batch = rendering(), training_batch()
        rendered, condition = stage.rendered(batch)
        terms = stage.losses(rendered, batch.future.frames, condition)
        judged = stage.judges["frame"](rendered.frames, condition).unflatten(0, (3, 2))
        torch.testing.assert_close(terms["frame"], (judged - 1).square().mean(dim=(0, 2, 3, 4)).sum())
        pixel = sum(PixelLoss()(rendered.frames[:, k], batch.future.frames[:, k]) for k in range(2))
        torch.testing.assert_close(terms["perceptual"], pixel)
        video = (stage.judges["video"](rendered.frames, condition) - 1).square().mean()
        torch.testing.assert_close(terms["video"], video)

    def test_discriminators_learn_real_from_completed_frames_by_the_same_condition(self):
        """1 is real; judgements of completed frames in the inpainter's loss teach them nothing."""
        stage, batch, conditions, gradients = rendering(), training_batch(), [], []
        stage.judges = torch.nn.ModuleDict({"frame": Brightness(), "video": Brightness()})
        for judge in stage.judges.values():
            judge.register_forward_pre_hook(lambda module, args: conditions.append(args[1]))
        stage.manual_backward = lambda loss: (
            loss.backward(),
            gradients.append([judge.bias.grad for judge in stage.judges.values()]),
        )
        rendered, _ = stage.rendered(batch)
        stage.training_step(batch, 0)
        expected = (batch.future.frames - 1).square().mean() + rendered.frames.square().mean()
        assert float(stage.logged["train/discriminators"]) == pytest.approx(float(expected.detach()), rel=1e-4)
        assert gradients[0] == [None, None] and None not in gradients[1]
        assert all(condition.sum(dim=2).eq(1).all() for condition in conditions)
        assert all(torch.equal(condition, conditions[0]) for condition in conditions)

    def test_covisible_spares_the_hole(self):
        """An inpainter that makes everything brighter by 0.1 pays for what was visible."""
        stage, batch = rendering(rollout="compose"), training_batch()
        torch.nn.init.constant_(stage.predictor.inpainter.residual.bias, 0.1)
        rendered, condition = stage.rendered(batch)
        expected = 0.1 * sum(1 - hole.float().mean() for hole in rendered.hole.unbind(dim=1))
        covisible = stage.losses(rendered, batch.future.frames, condition)["covisible"]
        assert float(covisible.detach()) == pytest.approx(float(expected), rel=1e-4)
        assert rendered.hole.any()

    @pytest.mark.parametrize(
        ("changes", "missing"),
        [
            ({"frame_weight": 0.0, "video_weight": 0.0}, {"frame", "video", "discriminators"}),
            ({"frame_weight": 0.0}, {"frame"}),
            ({"video_weight": 0.0}, {"video"}),
            ({"perceptual_weight": 0.0, "perceptual": "vgg19"}, {"perceptual"}),
            ({"perceptual": "none"}, {"perceptual"}),
            ({"semantic_conditioning": False}, set()),
        ],
    )
    def test_terms_without_a_weight_are_not_computed(self, changes, missing):
        stage = rendering(**changes)
        assert stage.training_step(training_batch(), 0).isfinite()
        terms = {"covisible", "perceptual", "frame", "video", "discriminators"}
        assert set(stage.logged) == {f"train/{name}" for name in terms - missing}

    @pytest.mark.parametrize(("schedule", "per_step"), [("cosine", True), ("staircase", False)])
    def test_steps_its_schedule(self, schedule, per_step):
        stage = rendering(schedule=schedule)
        scheduler, _ = stage.lr_schedulers()
        (rate,) = scheduler.get_last_lr()
        stage.training_step(training_batch(), 0)
        assert (scheduler.get_last_lr() != [rate]) is per_step
        for _ in range(20):
            stage.on_train_epoch_end()
        assert per_step or scheduler.get_last_lr() == pytest.approx([0.8 * rate])

    def test_clips_gradients_and_has_the_betas_of_adversarial_training(self):
        """CycleGAN's betas (Zhu, Park, Isola, Efros, ICCV 2017)."""
        stage = rendering(clip=1e-3)
        stage.training_step(training_batch(), 0)
        norm = torch.stack([p.grad.norm() for p in stage.predictor.inpainter.parameters()]).norm()
        assert float(norm) == pytest.approx(1e-3, rel=1e-2)
        assert [optimiser.param_groups[0]["betas"] for optimiser in stage.optimizers()] == [(0.5, 0.999)] * 2

    @pytest.mark.parametrize("mode", ["deterministic", "stochastic"])
    def test_trains_what_predict_shows(self, mode):
        stage = rendering(mode=mode).eval()
        rendered, _ = stage.rendered(training_batch())
        prediction = stage.predictor.predict(training_batch().context, 2, training_batch().generators)
        assert torch.equal(rendered.frames, prediction.frames)
        assert torch.equal(rendered.disocclusion, prediction.disocclusion)

    @pytest.mark.slow
    def test_learns_what_a_class_looks_like(self):
        """A picture that drifts in from the left: what enters is red where it is of class 1 and blue elsewhere."""
        stage = rendering(steps=60, frame_weight=0.0, video_weight=0.0, composite=True)
        generator, net, errors = torch.Generator().manual_seed(0), stage.predictor.inpainter, []
        optimiser = torch.optim.Adam(net.parameters(), 1e-2)
        colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]]).view(2, 1, 3, 1, 1)
        flow = torch.tensor([-4.0, 0.0]).view(1, 1, 2, 1, 1).expand(4, 1, 2, 12, 18).contiguous()
        for _ in range(60):
            stripes = torch.rand(4, 1, 12, 1, generator=generator).gt(0.5).expand(-1, 1, 12, 18)
            frames = torch.where(stripes[:, :, None], colours[0], colours[1])
            masks = torch.cat([~stripes, stripes, torch.zeros_like(stripes)], dim=1).float()[:, None]
            rendered = render(net, stage.predictor.options, frames[:, 0], stripes[:, 0].long(), flow[:, 0], masks, flow)
            optimiser.zero_grad()
            stage.total(stage.losses(rendered, frames, masks), 0).backward()
            optimiser.step()
            errors.append(float((rendered.frames - frames).abs()[:, 0, :, :, :4].mean().detach()))
        assert errors[-1] < 0.3 * errors[0]


def trainable_parts(predictor):
    return {name.partition(".")[0] for name, weight in predictor.named_parameters() if weight.requires_grad}


class TestStages:
    def test_are_the_dynamics_and_then_the_rendering(self):
        predictor = SADM(options())
        first, second = stages(predictor, None)
        assert isinstance(first, Dynamics) and isinstance(second, Rendering)
        assert first.recipe is predictor.options.dynamics_recipe
        assert second.recipe is predictor.options.rendering_recipe
        assert not any(name.startswith(("judges", "perceptual")) for name in predictor.state_dict())

    @pytest.mark.parametrize("changes", [{"swap_classes": "left,right"}, {"emit": "warped"}])
    def test_refuse_options_that_show_trained_weights(self, changes):
        with pytest.raises(UsageError, match="train without them"):
            stages(SADM(options(**changes)), None)

    @pytest.mark.parametrize(
        ("size", "protocol"), [((8, 12), (16, 24)), ((8, 12), None), (None, (8, 12))], ids=["size", "files", "protocol"]
    )
    def test_the_dynamics_trains_at_its_size_from_the_recipe_or_the_protocol(self, size, protocol):
        predictor = SADM(options(dynamics_size=(8, 12), dynamics_recipe={"steps": 1, "size": size}))
        first, _ = stages(predictor, SimpleNamespace(size=protocol))
        first.setup("fit")
        assert trainable_parts(predictor) == {"dynamics"}

    @pytest.mark.parametrize(
        ("size", "protocol", "sides"),
        [
            (None, (16, 24), "16x24"),
            ((16, 24), (8, 12), "16x24"),
            ((12, 8), None, "12x8"),
            (None, None, "their files' size"),
        ],
    )
    def test_refuse_a_dynamics_that_would_train_at_another_size(self, size, protocol, sides):
        recipe = {"steps": 1, "size": size, "crop": (8, 12)}  # a crop has the dynamics' size, but another scale
        predictor = SADM(options(dynamics_size=(8, 12), dynamics_recipe=recipe))
        first, _ = stages(predictor, SimpleNamespace(size=protocol))
        with pytest.raises(UsageError) as caught:
            first.setup("fit")
        assert str(caught.value) == (
            f"sadm: dynamics_size is 8x12, but the dynamics would train on frames of {sides}: resize the "
            "training clips to 8x12, or set dynamics_size only to run the trained weights"
        )


PROTOCOL = """
schema = 1
name = "small"
version = 1
reference = "repeat"
pixels = [{ op = "resize", size = [32, 48] }]
[dataset]
name = "scenes"
split = "test"
options = { size = [32, 48], length = 6, train = 8, val = 2, test = 2 }
[sampling]
kind = "first"
context = 3
horizon = 2
[training]
validation_clips = 2
"""


@pytest.mark.slow
def test_both_stages_train_in_two_processes(tmp_path):
    """Each leaves a part of the model alone; the second one has two backward passes, each without a part."""
    (tmp_path / "small.toml").write_text(PROTOCOL)
    changes = {"hidden": 2, "frame_weight": 1.0, "video_weight": 1.0, "discriminator_widths": [4, 6]}
    command = [sys.executable, "-m", "vpbench", "train", "-p", "small.toml", "-m", "sadm:tiny", "--max-steps", "2"]
    command += [word for name, value in changes.items() for word in ("-o", f"sadm.{name}={json.dumps(value)}")]
    command += ["--devices", "2", "--device", "cpu", "--batch-size", "2", "--workers", "0", "--clip", "1"]
    command += ["--metric", "mse", "--keep", "last", "--pictures", "0"]
    environment = {**os.environ, "VPBENCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    (path,) = tmp_path.glob("results/training/small/sadm-tiny/*/weights.safetensors")
    torch.manual_seed(0)
    fresh, trained = SADM(Options(**PRESETS["tiny"] | {"hidden": 2})).state_dict(), load_file(path)
    for part in ("dynamics.decoder", "inpainter.residual"):
        names = [name for name in fresh if name.startswith(part)]
        assert names and all(not torch.equal(fresh[name], trained[name]) for name in names)
    assert bytes(trained["label_space"].tolist()).rstrip(b"\0") == b"cityscapes19"
