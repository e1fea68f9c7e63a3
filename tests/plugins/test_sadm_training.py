"""How SADM's dynamics trains: the losses by hand, the stochastic mode, and what a short training shows."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from vpbench.errors import DataError
from vpbench.plugin.clip import Context, Future, LabelSpace
from vpbench.plugin.training import TrainingBatch
from vpbench_sadm.dynamics_training import Dynamics
from vpbench_sadm.losses import boundary_weights, flow_loss, kl_divergence, label_loss
from vpbench_sadm.options import PRESETS, TRAINING_ONLY, Options
from vpbench_sadm.posterior import Posterior, prior, reparameterised
from vpbench_sadm.predictor import SADM

SMALL = {
    "space": "context",
    "classes": 3,
    "hidden": 4,
    "embed": (3, 4),
    "context_width": 4,
    "head": (4, 3),
    "fusion": 6,
    "latent_stride": 2,
    "inpainter_widths": (4, 4),
    "inpainter_kernels": (3, 3),
    "discriminator_widths": (4, 4),
    "perceptual": "none",
}
SPACE = LabelSpace("three", ("ground", "left", "right"), ((0, 0, 0), (255, 0, 0), (0, 0, 255)))


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def moving(batch=3, frames=5, height=16, width=24, speed=2):
    """Labels and flow of two squares: class 1 moves to the left and class 2 to the right, over a ground at rest."""
    labels = torch.zeros(batch, frames, height, width, dtype=torch.int64)
    for b in range(batch):
        for t in range(frames):
            left, right = 14 + b - speed * t, 2 + b + speed * t
            labels[b, t, 1:6, max(left, 0) : left + 5] = 1
            labels[b, t, 9:14, right : right + 5] = 2
    x = torch.where(labels == 1, float(speed), torch.where(labels == 2, -float(speed), 0.0))
    return labels, torch.stack([x, torch.zeros_like(x)], dim=2)[:, 1:]


def batch_of(labels, flow, past=3, step=1, seed=0):
    names = tuple(f"clip{i}@0" for i in range(len(labels)))
    frames = torch.stack([labels / 2.0] * 3, dim=2)
    future = Future(
        frames=frames[:, past:],
        steps=tuple(range(1, labels.shape[1] - past + 1)),
        clips=names,
        last=frames[:, past - 1],
        semantics=labels[:, past:],
        flow=flow[:, past - 1 :],
        label_space=SPACE,
    )
    context = Context(frames[:, :past], names, labels[:, :past], flow[:, : past - 1], SPACE)
    generators = tuple(torch.Generator().manual_seed(seed + i) for i in range(len(labels)))
    return TrainingBatch(context, future, generators, step)


def stage(steps=100, **options):
    torch.manual_seed(0)
    made = Dynamics(SADM(Options(**SMALL | options)).train())
    made.recipe = dataclasses.replace(made.recipe, steps=steps)
    return made


def fit(made, batch, steps, rate=0.02):
    learned = [p for name, p in made.named_parameters() if "inpainter" not in name]
    optimiser = torch.optim.Adam(learned, rate)
    losses = []
    for step in range(steps):
        optimiser.zero_grad()
        loss = made.training_step(dataclasses.replace(batch, step=step), step)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


class TestBoundaryWeights:
    """T7: equation 7's weights."""

    def edge(self, size=64):
        labels = torch.zeros(size, size, dtype=torch.int64)
        labels[:, size // 2 :] = 1
        return labels

    @given(label=st.integers(0, 20), sigma=st.floats(0.5, 4.0))
    @settings(max_examples=15, deadline=None)
    def test_of_one_class_are_one(self, label, sigma):
        weights = boundary_weights(torch.full((2, 9, 11), label), 5.0, sigma, "sum")
        assert torch.equal(weights, torch.ones(2, 9, 11))

    def test_of_a_long_straight_edge(self):
        """1 + 5 (g(0) + g(1)), g of deviation 3 over 19 pixels: 2.296."""
        g = [math.exp(-i * i / 18) for i in range(-9, 10)]
        expected = 1 + 5 * (g[9] + g[10]) / sum(g)
        assert expected == pytest.approx(2.296, abs=1e-3)
        weights = boundary_weights(self.edge(), 5.0, 3.0, "sum")
        assert float(weights.max()) == pytest.approx(expected, abs=1e-5)
        assert torch.equal(weights[:, :20], torch.ones(64, 20))
        assert float(weights[32, 28]) == pytest.approx(1 + 5 * (g[12] + g[13]) / sum(g), abs=1e-5)

    def test_peak_gives_one_and_alpha_at_the_edge_and_no_more(self):
        labels = self.edge()
        labels[::2] = 2  # everything is near a boundary
        assert float(boundary_weights(self.edge(), 5.0, 3.0, "peak").max()) == pytest.approx(6.0)
        assert float(boundary_weights(labels, 5.0, 3.0, "peak").max()) == pytest.approx(6.0)

    @given(seed=st.integers(0, 1000))
    @settings(max_examples=15, deadline=None)
    def test_neither_names_nor_direction_matter(self, seed):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(4, (20, 24), generator=generator)
        weights = boundary_weights(labels, 5.0, 1.0, "sum")
        renamed = torch.randperm(20, generator=generator)[labels]
        torch.testing.assert_close(boundary_weights(renamed, 5.0, 1.0, "sum"), weights)
        for turn in (lambda x: x.flip(0), lambda x: x.flip(1), lambda x: x.T):
            torch.testing.assert_close(boundary_weights(turn(labels), 5.0, 1.0, "sum"), turn(weights))
        moved = boundary_weights(labels.roll((2, 3), (0, 1)), 5.0, 1.0, "sum")
        torch.testing.assert_close(moved[8:-6, 8:-6], weights.roll((2, 3), (0, 1))[8:-6, 8:-6])

    @pytest.mark.parametrize("norm", ["sum", "peak"])
    def test_an_edge_weighs_the_same_up_to_the_border(self, norm):
        for labels in (self.edge(24), self.edge(24).T):
            weights = boundary_weights(labels, 5.0, 3.0, norm)
            along = weights if (labels == labels[:1]).all() else weights.T
            torch.testing.assert_close(along, along[12].expand_as(along))

    def test_without_a_label_is_no_boundary_and_no_weight(self):
        labels = torch.zeros(12, 12, dtype=torch.int64)
        labels[4:8, 4:8] = 255
        assert torch.equal(boundary_weights(labels, 5.0, 1.0, "sum"), (labels != 255).float())


class TestTerms:
    def test_flow_is_summed_over_steps_and_averaged_over_the_rest(self):
        true = noise(2, 3, 2, 4, 5)
        offset = torch.tensor([0.5, -1.0, 2.0]).view(1, 3, 1, 1, 1)
        assert float(flow_loss(true + offset, true)) == pytest.approx(3.5, rel=1e-5)

    def test_labels(self):
        """Two steps of one pixel each way: p of the truth 1/2 and 1/4, weights 1 and 3; then one pixel unlabelled."""
        log = torch.tensor([[0.5, 0.25], [0.5, 0.75]]).log().view(1, 1, 2, 1, 2)
        labels, weights = torch.tensor([0, 0]).view(1, 1, 1, 2), torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
        expected = (math.log(2) + 3 * math.log(4)) / 2
        assert float(label_loss(log, labels, weights)) == pytest.approx(expected)
        twice = [torch.cat([x, x], dim=1) for x in (log, labels, weights)]
        assert float(label_loss(*twice)) == pytest.approx(2 * expected)
        labels[..., 0] = 255
        assert float(label_loss(log, labels, weights)) == pytest.approx(3 * math.log(4))
        assert float(label_loss(log, torch.full_like(labels, 255), weights)) == 0

    def test_divergence_is_torchs(self):
        """T8; Kullback-Leibler of torch.distributions, summed over channels, averaged over the rest."""
        mean, log_variance = noise(2, 3, 4, 5), noise(2, 3, 4, 5, seed=1)
        own = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
        expected = torch.distributions.kl_divergence(own, torch.distributions.Normal(0.0, 1.0)).sum(dim=1).mean()
        torch.testing.assert_close(kl_divergence(mean, log_variance), expected)
        assert float(kl_divergence(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3))) == 0
        assert float(expected) > 0

    @pytest.mark.parametrize("accumulate", [1, 3])
    def test_loss_is_their_sum(self, accumulate):
        """The weight of the divergence rises over 40 of 100 optimiser steps; a step is counted in batches."""
        made, batch = stage(mode="stochastic", kl_weight=0.5, kl_warm_up=0.4), batch_of(*moving())
        made.recipe = dataclasses.replace(made.recipe, accumulate=accumulate)
        terms = {}
        for step, share in ((0, 0.0), (10 * accumulate, 0.25), (40 * accumulate, 1.0), (90 * accumulate, 1.0)):
            at = dataclasses.replace(batch, step=step, generators=batch_of(*moving()).generators)
            loss = float(made.training_step(at, step).detach())
            terms = made.losses(dataclasses.replace(at, generators=batch_of(*moving()).generators))
            expected = (terms["flow"] + terms["labels"] + 0.5 * share * terms["kl"]).detach()
            assert loss == pytest.approx(float(expected), rel=1e-5)
        assert set(stage().losses(batch)) == {"flow", "labels"}


class TestStochasticMode:
    """T8 and equations 8 to 10."""

    def test_posterior_begins_at_the_state_with_unit_variance(self):
        made = Posterior(Options(**SMALL))
        seen = []
        made.encoder.cell.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
        hidden = noise(2, 12, 8, 12)
        labels, flow = moving(batch=2)
        made(labels[:, 3:], flow[:, 2:], hidden)
        first = seen[0].hidden.unflatten(1, (3, 2, 4))
        assert torch.equal(first[:, :, 0].flatten(1, 2), hidden) and not first[:, :, 1].any()
        assert not seen[0].cell.any()
        assert len(seen) == 2

    def test_posterior_of_a_class_is_of_its_own_weights(self):
        made, (labels, flow) = Posterior(Options(**SMALL)), moving(batch=2)
        hidden = noise(2, 12, 8, 12)
        before = made(labels[:, 3:], flow[:, 2:], hidden)
        with torch.no_grad():
            made.encoder.cell.of_input.bias.view(3, -1)[1].add_(0.5)
        for a, b in zip(before, made(labels[:, 3:], flow[:, 2:], hidden), strict=True):
            changed = (a != b).unflatten(1, (3, 4)).flatten(2).any(dim=2).any(dim=0)
            assert changed.tolist() == [False, True, False]

    def test_sample_has_the_posteriors_mean_and_variance(self):
        eps = noise(20000)
        drawn = reparameterised(torch.tensor(2.0), torch.tensor(math.log(9.0)), eps)
        assert float(drawn.mean()) == pytest.approx(2.0, abs=0.1) and float(drawn.std()) == pytest.approx(3.0, abs=0.1)

    def test_gradients_reach_the_posterior_from_flow_and_labels(self):
        for term in ("flow", "labels", "kl"):
            made = stage(mode="stochastic")
            made.losses(batch_of(*moving()))[term].backward()
            assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in made.posterior.parameters())

    def test_is_no_part_of_the_predictor(self):
        made = stage(mode="stochastic")
        assert not [name for name in made.predictor.state_dict() if "posterior" in name]
        assert set(made.predictor.state_dict()) == set(stage().predictor.state_dict())
        assert stage().posterior is None

    def test_from_the_prior_the_posterior_does_not_matter(self):
        made, batch = stage(mode="stochastic"), batch_of(*moving())
        before = made.losses(batch, from_prior=True)
        with torch.no_grad():
            for parameter in made.posterior.parameters():
                parameter.add_(0.3)
        after = made.losses(batch_of(*moving()), from_prior=True)
        assert torch.equal(before["flow"], after["flow"]) and torch.equal(before["labels"], after["labels"])
        assert not torch.equal(before["kl"], after["kl"])

    def test_gap_to_the_prior_is_logged_now_and_then(self):
        logged = []
        for step in (0, 48, 49, 99):
            made = stage(mode="stochastic")
            made._trainer = SimpleNamespace()
            made.log_dict = logged.append
            made.training_step(batch_of(*moving(), step=step), step)
        assert [("train/gap" in each) for each in logged] == [False, False, True, True]
        posterior, blind = made.losses(batch_of(*moving())), made.losses(batch_of(*moving()), from_prior=True)
        gap = made._gap(batch_of(*moving(), step=49), posterior)["gap"]
        torch.testing.assert_close(gap, sum(blind[k] - posterior[k] for k in ("flow", "labels")))

    def test_noise_is_of_each_clips_own_generator(self):
        alone = prior((4, 2, 3), [torch.Generator().manual_seed(7)])
        among = prior((4, 2, 3), [torch.Generator().manual_seed(3), torch.Generator().manual_seed(7)])
        assert torch.equal(alone[0], among[1]) and not torch.equal(among[0], among[1])


class TestStage:
    def test_scale_of_flow_is_measured_once_and_kept_with_the_weights(self):
        made, batch = stage(), batch_of(*moving())
        made.training_step(batch, 0)
        assert float(made.predictor.dynamics.flow_scale) == 0.0, "not at a later step"
        made.training_step(dataclasses.replace(batch, step=0), 0)
        expected = float(batch.context.flow.square().mean().sqrt())
        assert float(made.predictor.state_dict()["dynamics.flow_scale"]) == pytest.approx(expected)
        faster = dataclasses.replace(batch.context, flow=3 * batch.context.flow)
        made.training_step(dataclasses.replace(batch, step=0, context=faster), 0)
        assert float(made.predictor.dynamics.flow_scale) == pytest.approx(expected), "nor when begun again"
        fixed = stage(flow_scale=20.0)
        fixed.training_step(dataclasses.replace(batch, step=0), 0)
        assert float(fixed.predictor.dynamics.flow_scale) == 20.0

    def test_scale_of_a_still_first_batch_is_not_zero(self):
        made, (labels, flow) = stage(), moving()
        made.training_step(batch_of(labels, 0 * flow, step=0), 0)
        assert float(made.predictor.dynamics.flow_scale) == pytest.approx(0.1)

    def test_horizon_cuts_what_it_trains_on(self):
        batch = batch_of(*moving())
        short = dataclasses.replace(
            batch, future=dataclasses.replace(batch.future, semantics=batch.future.semantics[:, :1])
        )
        short = dataclasses.replace(short, future=dataclasses.replace(short.future, flow=batch.future.flow[:, :1]))
        cut, whole = stage(dynamics_horizon=1).losses(batch), stage().losses(short)
        assert torch.equal(cut["flow"], whole["flow"]) and torch.equal(cut["labels"], whole["labels"])
        assert stage().losses(batch)["flow"].detach() > cut["flow"].detach()

    def test_trains_all_of_the_dynamics_and_nothing_else(self):
        made = stage(mode="stochastic")
        made.training_step(batch_of(*moving()), 0).backward()
        graded = {n for n, p in made.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        expected = {n for n, _ in made.named_parameters() if "dynamics." in n or "posterior." in n}
        assert graded == expected
        optimiser = made.configure_optimizers()["optimizer"]
        held = {id(p) for group in optimiser.param_groups for p in group["params"]}
        assert held == {id(p) for n, p in made.named_parameters() if n in expected}

    def test_learning_rate_falls_by_a_fifth_every_20_epochs(self):
        """Section 4."""
        made = stage()
        configured = made.configure_optimizers()
        optimiser, course = configured["optimizer"], configured["lr_scheduler"]
        rates = []
        for _ in range(41):
            rates.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            course["scheduler"].step()
        assert course["interval"] == "epoch"
        assert [rates[i] for i in (0, 19, 20, 39, 40)] == pytest.approx([1e-3, 1e-3, 8e-4, 8e-4, 6.4e-4])

    def test_cosine_rises_and_falls_to_nothing(self):
        configured = stage(schedule="cosine").configure_optimizers()
        optimiser, course, rates = configured["optimizer"], configured["lr_scheduler"], []
        for _ in range(100):
            rates.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            course["scheduler"].step()
        assert course["interval"] == "step"
        assert rates[0] < rates[3] < max(rates) <= 1e-3 and 0 < rates[-1] < 1e-5

    def test_without_true_labels_says_what_to_add(self):
        batch = batch_of(*moving())
        blind = dataclasses.replace(batch, future=dataclasses.replace(batch.future, semantics=None))
        with pytest.raises(DataError, match="--annotate"):
            stage().training_step(blind, 0)


class TestLearning:
    """T15, small: two classes move apart."""

    def test_loss_falls_and_labels_are_what_moves(self):
        labels, flow = moving()
        made = stage(flow_scale=2.0, boundary_sigma=1.0)
        losses = fit(made, batch_of(labels, flow), 60)
        assert sum(losses[-5:]) < 0.4 * sum(losses[:5])
        dynamics = made.predictor.dynamics.eval()
        with torch.no_grad():
            log, fused = dynamics(labels[:, :3], flow[:, :2], 2)
            swapped = torch.tensor([0, 2, 1])[labels[:, :3]]
            _, other = dynamics(swapped, flow[:, :2], 2)
            _, unmoved = dynamics(swapped, torch.zeros_like(flow[:, :2]), 2)
        wrong = float((log.argmax(dim=2) != labels[:, 3:]).float().mean())
        assert wrong < 0.06
        left = labels[:, 3] == 1
        own, exchanged = fused[:, 0, 0][left].mean(), other[:, 0, 0][left].mean()
        assert float(own) > 1.0, "class 1 comes from the right"
        assert abs(float(own - exchanged)) > 0.1, "figure 6: under the other's name it moves otherwise"
        for flows in (other, unmoved):  # with its own flow in the input, and without
            assert float(flows[:, 0, 0][left].mean()) > -0.5, "but not as the other does, by -2"


def test_what_may_differ_from_the_weights_are_options():
    assert set(TRAINING_ONLY) <= set(Options.model_fields)
    for preset in PRESETS.values():
        Options(**preset)


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


def test_both_stages_train_in_two_processes(tmp_path):
    """Each leaves a part of the model alone; the second one has two backward passes, each without a part."""
    (tmp_path / "small.toml").write_text(PROTOCOL)
    options = {"hidden": 2, "frame_weight": 1.0, "video_weight": 1.0, "discriminator_widths": [4, 6]}
    command = [sys.executable, "-m", "vpbench", "train", "-p", "small.toml", "-m", "sadm:tiny", "--max-steps", "2"]
    command += [word for name, value in options.items() for word in ("-o", f"sadm.{name}={json.dumps(value)}")]
    command += ["--devices", "2", "--device", "cpu", "--batch-size", "2", "--workers", "0", "--clip", "1"]
    command += ["--metric", "mse", "--keep", "last", "--pictures", "0"]
    environment = {**os.environ, "VPBENCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("results/training/small/sadm-tiny/*/weights.safetensors")
    torch.manual_seed(0)
    fresh, trained = SADM(Options(**PRESETS["tiny"] | {"hidden": 2})).state_dict(), load_file(path)
    for part in ("dynamics.decoder", "inpainter.residual"):
        names = [name for name in fresh if name.startswith(part)]
        assert names and all(not torch.equal(fresh[name], trained[name]) for name in names)
    assert bytes(trained["label_space"].tolist()).rstrip(b"\0") == b"cityscapes19"
