"""SADM as a whole, by hand: a clip that moves by whole pixels through all of inference, and its training's terms."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from vpbench.plugin.clip import Context, Future, LabelSpace
from vpbench.plugin.training import TrainingBatch
from vpbench_sadm.dynamics_training import Dynamics
from vpbench_sadm.losses import boundary_weights, label_loss
from vpbench_sadm.options import Options
from vpbench_sadm.predictor import SADM
from vpbench_sadm.rendering_training import Rendering
from vpbench_sadm.training import stages

SMALL = {
    "space": "context",
    "hidden": 3,
    "embed": (2, 3),
    "context_width": 4,
    "head": (3, 2),
    "fusion": 4,
    "latent_stride": 2,
    "flow_scale": 2.0,
    "inpainter_widths": (4, 4),
    "inpainter_kernels": (3, 3),
    "discriminator_widths": (4, 4),
    "perceptual": "none",
}
ROLLOUTS = ("iterative", "iterative_no_inpaint", "compose")
CLIP = ("clip0@0",)
STREET = LabelSpace("street", ("ground", "car", "river"), ((0, 0, 0), (255, 0, 0), (0, 0, 255)))
LINE = LabelSpace("line", ("ground", "thing"), ((0, 0, 0), (255, 0, 0)))

H, W, PAST, STEPS = 16, 24, 3, 3
GREY = 0.5
"""What an untrained inpainter leaves in a hole; elsewhere it changes nothing."""

LAYERS = (
    (0, (0, W), (0, H), [(0, 0)] * 6),
    (1, (0, 5), (0, 3), [(1, 1), (2, 1), (4, 2), (7, 2), (9, 3), (12, 4)]),
    (2, (-50, 50), (9, 15), [(3 * t, 0) for t in range(6)]),
    (2, (0, 3), (10, 13), [(14 - t, 0) for t in range(6)]),
)
"""From back to front: class, columns and rows in its own coordinates, and where these are in each frame.

Ground at rest, a car, a river that comes in from the left, and, of the river's class, slower, against its stream, a
swimmer: only its motion in the frame before tells that it hides the river, and not the river it.
"""


class Scene:
    """The clip, drawn; and, because each pixel knows what it shows, which of it was visible when."""

    def __init__(self):
        y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
        times, last = range(PAST + STEPS), PAST - 1
        shown = torch.zeros(len(times), H, W, dtype=torch.int64)
        labels, flow = torch.zeros_like(shown), torch.zeros(len(times), 2, H, W)
        for number, (label, (left, right), (top, bottom), places) in enumerate(LAYERS):
            for t in times:
                u, v = x - places[t][0], y - places[t][1]
                here = (left <= u) & (u < right) & (top <= v) & (v < bottom)
                shown[t, here] = (number * 10**4 + v * 100 + u + 50)[here]
                labels[t, here] = label
                flow[t, :, here] = torch.tensor(places[max(t - 1, 0)]).sub(torch.tensor(places[t]))[:, None].float()
        paint = 0.6 + 0.25 * torch.rand(len(LAYERS) * 10**4, 3, generator=torch.Generator().manual_seed(0))
        self.frames, self.labels, self.flow = paint[shown].movedim(3, 1)[None], labels[None], flow[None, 1:]
        seen = [[torch.isin(shown[t], shown[s]) for s in range(last, t)] for t in times[PAST:]]
        self.new = ~torch.stack([since[-1] for since in seen])[None]
        self.hole = ~torch.stack([torch.stack(since).all(dim=0) for since in seen])[None]
        self.true = self.frames[:, PAST:]
        self.completed = torch.where(self.hole[:, :, None], GREY, self.true)

    def context(self):
        return Context(self.frames[:, :PAST], CLIP, self.labels[:, :PAST], self.flow[:, : PAST - 1], STREET)

    def batch(self):
        future = Future(self.true, tuple(range(1, STEPS + 1)), CLIP, self.frames[:, PAST - 1])
        return TrainingBatch(self.context(), future, (torch.Generator(),), 0)

    def model(self, **options):
        """An untrained model whose dynamics knows the future."""
        torch.manual_seed(0)
        made = SADM(Options(**SMALL | {"classes": 3} | options)).eval()
        sure = nn.functional.one_hot(self.labels[:, PAST:], 3).movedim(-1, 2) * 0.97 + 0.01
        made.dynamics.forward = lambda labels, flow, horizon, noise=None: (sure.log(), self.flow[:, PAST - 1 :])
        return made

    def predict(self, **options):
        return self.model(**options).predict(self.context(), STEPS, [torch.Generator()])


@pytest.fixture(scope="module")
def scene():
    return Scene()


class TestScene:
    def test_what_is_newly_visible_is_counted_by_hand(self, scene):
        """3 columns of 6 come in, the swimmer uncovers 3 of 3, and the car what it leaves of its 15 pixels."""
        assert scene.new.sum(dim=(0, 2, 3)).tolist() == [18 + 9 + 9, 18 + 9 + 9, 18 + 9 + 11]
        assert scene.new[0, 0, 2].nonzero().flatten().tolist() == [4, 5, 6], "the car was at 4, is at 7"
        assert scene.new[0, 0, 10].nonzero().flatten().tolist() == [0, 1, 2, 15, 16, 17], "the swimmer was at 12"
        assert scene.hole[0, 1, 10].nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 5, 14, 15, 16, 18, 19, 20]


def learned(model):
    """The parts of a model that have a gradient."""
    return {name.partition(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("rollout", ROLLOUTS)
class TestInference:
    """By true labels and flow, of an untrained inpainter."""

    def test_frames_are_the_true_ones_where_all_was_visible_and_else_grey(self, scene, rollout):
        assert torch.equal(scene.predict(rollout=rollout).frames, scene.completed)

    def test_warped_frames_are_the_true_ones_outside_the_hole(self, scene, rollout):
        """With what the steps before completed, where they did."""
        warped, visible = scene.predict(rollout=rollout, emit="warped").frames, ~scene.hole[:, :, None]
        assert torch.equal(warped.where(visible, torch.zeros(())), scene.true.where(visible, torch.zeros(())))
        if rollout == "iterative":
            again = (scene.hole & ~scene.new)[:, :, None].expand_as(warped)
            assert again.any() and warped[again].eq(GREY).all()

    def test_disocclusion_is_what_each_step_uncovers(self, scene, rollout):
        assert torch.equal(scene.predict(rollout=rollout).disocclusion, scene.new)
        assert scene.hole.sum() > scene.new.sum(), "and not what all until then did"

    def test_labels_and_flow_are_the_dynamics_own(self, scene, rollout):
        made = scene.predict(rollout=rollout)
        assert torch.equal(made.semantics.argmax(dim=2), scene.labels[:, PAST:])
        assert torch.equal(made.flow, scene.flow[:, PAST - 1 :])

    def test_the_inpainter_sees_the_dynamics_probabilities(self, scene, rollout):
        model, seen = scene.model(rollout=rollout), []
        model.inpainter.register_forward_pre_hook(lambda module, args: seen.append(args[2]))
        made = model.predict(scene.context(), STEPS, [torch.Generator()])
        torch.testing.assert_close(torch.cat(seen), made.semantics[0].exp())

    def test_the_first_stage_is_validated_without_the_untrained_inpainter(self, scene, rollout):
        """Which the second stage trains, and is validated with."""
        model = scene.model(rollout=rollout)
        nn.init.normal_(model.inpainter.residual.weight, std=0.5)
        first, second = stages(model, None)
        second.setup("fit")
        first.setup("fit")
        assert learned(model) == {"dynamics"}
        made = model.predict(scene.context(), STEPS, [torch.Generator()])
        visible = ~scene.hole[:, :, None].expand_as(made.frames)
        assert torch.equal(made.frames[visible], scene.true[visible])
        second.setup("fit")
        assert learned(model) == {"inpainter"}
        assert not torch.equal(model.predict(scene.context(), STEPS, [torch.Generator()]).frames, made.frames)


class Naive(nn.Module):
    """A judge that takes brightness for truth."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, frames, condition):
        return frames + self.bias


def rendering(scene, **options):
    """The second stage with two naive judges, and with what a Trainer would give it."""
    made = Rendering(scene.model(rollout="compose", **options)).train()
    made.judges = nn.ModuleDict({"frame": Naive(), "video": Naive()})
    made.recipe = dataclasses.replace(made.recipe, steps=10)
    made.setup("fit")
    optimisers, schedules = made.configure_optimizers()
    made.optimizers, made.lr_schedulers = lambda: optimisers, lambda: [each["scheduler"] for each in schedules]
    made.manual_backward = lambda loss: loss.backward()
    made.logged = {}
    made.log_dict = made.logged.update
    return made


class TestRendering:
    def test_covisible_spares_the_whole_hole(self, scene):
        """An inpainter that makes all of a frame brighter by 0.1 pays for what was visible all the time."""
        made = rendering(scene)
        nn.init.constant_(made.predictor.inpainter.residual.bias, 0.1)
        rendered, condition = made.rendered(scene.batch())
        expected = 0.1 * sum(1 - hole.float().mean() for hole in scene.hole[0])
        found = made.losses(rendered, scene.true, condition)["covisible"]
        assert float(found.detach()) == pytest.approx(float(expected), rel=1e-5)

    def test_a_judge_is_to_say_1_of_real_and_0_of_completed_frames(self, scene):
        """((0.8 - 1)^2 + 0.4^2) / 2 = 0.1, of each of two."""
        fake, real = torch.full((1, 2, 3, 4, 4), 0.4), torch.full((1, 2, 3, 4, 4), 0.8)
        found = rendering(scene).judged(fake, real, torch.zeros(1, 2, 3, 4, 4))
        assert float(found.detach()) == pytest.approx(0.2)

    def test_a_step_gives_the_judges_the_true_future_as_real(self, scene):
        made = rendering(scene)
        made.training_step(scene.batch(), 0)
        real, fake = (scene.true - 1).square().mean(), scene.completed.square().mean()
        assert float(made.logged["train/discriminators"]) == pytest.approx(2 * float(real + fake) / 2, rel=1e-5)
        of_fake = float((scene.completed - 1).square().mean())
        assert float(made.logged["train/video"]) == pytest.approx(of_fake, rel=1e-5)
        assert float(made.logged["train/covisible"]) == 0

    def test_what_the_judges_say_of_completed_frames_is_no_lesson_for_them(self, scene):
        made, gradients = rendering(scene), []

        def backward(loss):
            loss.backward()
            gradients.append([judge.bias.grad for judge in made.judges.values()])

        made.manual_backward = backward
        made.training_step(scene.batch(), 0)
        assert gradients[0] == [None, None]
        assert None not in gradients[1]

    def test_both_optimisers_have_the_betas_of_adversarial_training(self, scene):
        """CycleGAN's (Zhu, Park, Isola, Efros, ICCV 2017), to whose discriminators and loss the paper points."""
        optimisers, _ = rendering(scene).configure_optimizers()
        assert [each.param_groups[0]["betas"] for each in optimisers] == [(0.5, 0.999)] * 2


def line(scale=1.0):
    """A thing 2 pixels wide moves along rows of 8: its left edge is at 0, 1, 3, 5 and 6. ``scale`` is of its flow."""
    labels, flow = torch.zeros(1, 5, 4, 8, dtype=torch.int64), torch.zeros(1, 5, 2, 4, 8)
    places = (0, 1, 3, 5, 6)
    for t, (before, at) in enumerate(zip((0, *places), places, strict=False)):
        labels[:, t, :, at : at + 2] = 1
        flow[:, t, 0, :, at : at + 2] = scale * (before - at)
    frames = torch.zeros(1, 5, 3, 4, 8)
    future = Future(frames[:, 3:], (1, 2), CLIP, frames[:, 2], labels[:, 3:], flow[:, 3:], label_space=LINE)
    context = Context(frames[:, :3], CLIP, labels[:, :3], flow[:, 1:3], LINE)
    return TrainingBatch(context, future, (torch.Generator().manual_seed(0),), 1)


def dynamics(**options):
    torch.manual_seed(0)
    return Dynamics(SADM(Options(**SMALL | {"classes": 2} | options)))


class TestDynamics:
    def test_losses_of_an_untrained_model_by_hand(self):
        """The last masks, the thing's 00011000 and the ground's, move on by the last flow, 2 pixels a step and 0.

        Step 1: ground 11100111, thing 00000110. The truth is 00000110, with its boundary in columns 4 to 7.
        Step 2: ground 11100111, thing 00000001. The truth is 00000011, with its boundary in columns 5 and 6.
        Where there is one mask its logit is 5, and 1 - q = 1 / (1 + e^-5); where there are none or both, both are 1/2.
        """
        q, half = 1 / (1 + math.exp(5)), math.log(2)
        right, wrong = -math.log(1 - q), -math.log(q)
        # Boundaries weigh 1 + 5: a blur of deviation 0.1 is none.
        step_1 = 1 * (3 * right + half) + 6 * (3 * half + right)
        step_2 = 1 * (3 * right + 3 * half) + 6 * (right + wrong)
        # The flow is -2 of the thing's probability; of two components the other is 0.
        flow_1 = 4 * 2 * q + 2 * 1 + 2 * 1
        flow_2 = 4 * 2 * q + 2 * 1 + (1 - 2 * q) + 0
        stage = dynamics(flow_residual="class_flow", mask_residual="carried", boundary_weight=5.0, boundary_sigma=0.1)
        terms = stage.losses(line())
        assert float(terms["labels"].detach()) == pytest.approx((step_1 + step_2) / 8, rel=1e-5)
        assert float(terms["flow"].detach()) == pytest.approx((flow_1 + flow_2) / 16, rel=1e-5)

    def test_boundaries_weigh_as_the_options_say(self):
        """With ``peak``, 1 + 3 at the boundary and less around it."""
        made = dynamics(boundary_weight=3.0, boundary_sigma=1.5, boundary_norm="peak")
        batch, seen = line(), []
        decode = made.predictor.dynamics.decode
        made.predictor.dynamics.decode = lambda *args: seen.append(decode(*args)) or seen[-1]
        terms = made.losses(batch)
        weights = boundary_weights(batch.future.semantics, 3.0, 1.5, "peak")
        assert weights.max() == 4
        torch.testing.assert_close(terms["labels"], label_loss(seen[0][0], batch.future.semantics, weights))

    def test_the_first_batch_tells_whose_labels_it_learns(self):
        made = dynamics()
        made.recipe = dataclasses.replace(made.recipe, steps=50)
        for step in (1, 0):
            assert not made.predictor.label_space.any()
            made.training_step(dataclasses.replace(line(), step=step), 0)
        assert bytes(made.predictor.label_space.tolist()).rstrip(b"\0") == b"line"

    def test_the_posterior_begins_at_the_contexts_hidden_state(self):
        made, seen, batch = dynamics(mode="stochastic"), [], line()
        made.posterior.register_forward_pre_hook(lambda module, args: seen.append(args[2]))
        made.losses(batch)
        state = made.predictor.dynamics.encode(batch.context.semantics, batch.context.flow)
        assert torch.equal(seen[0], state.hidden)

    @pytest.mark.parametrize("stage", [0, 1])
    @pytest.mark.parametrize("schedule", ["staircase", "cosine"])
    def test_the_rate_is_the_recipes_that_the_harness_sets(self, stage, schedule):
        """That is ``--lr``; the options hold the preset's."""
        recipe = {"epochs": 3, "learning_rate": 2.0}
        chosen = {"dynamics_recipe": recipe, "rendering_recipe": recipe, "schedule": schedule, "video_weight": 1.0}
        made = stages(SADM(Options(**SMALL | {"classes": 2} | chosen)), None)[stage]
        assert made.recipe.learning_rate == 2.0
        made.recipe = dataclasses.replace(made.recipe, steps=50, learning_rate=0.125)
        configured = made.configure_optimizers()
        optimisers = [configured["optimizer"]] if stage == 0 else configured[0]
        assert [group["initial_lr"] for each in optimisers for group in each.param_groups] == [0.125] * (1 + stage)

    def test_the_posterior_reads_flow_in_units_of_its_scale(self):
        """Frames of twice the size move by twice the pixels."""
        small, large, fast = (
            dynamics(mode="stochastic", flow_scale=scale).losses(line(factor))["kl"]
            for scale, factor in ((2.0, 1.0), (4.0, 2.0), (2.0, 2.0))
        )
        assert torch.equal(small, large)
        assert not torch.isclose(small, fast)
