"""Training of SVG: the divergence, the loss, and futures that branch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from model_inputs import noise, training_batch
from torch.distributions import Normal as Reference
from torch.distributions import kl_divergence

from vpbench.errors import PredictorError
from vpbench.plugin.clip import Context
from vpbench_svg.losses import divergence
from vpbench_svg.lstm import Normal
from vpbench_svg.predictor import SVG, Options
from vpbench_svg.training import Inference, stages

SMALL = {"backbone": "dcgan", "size": (16, 16), "width": 4, "features": 6, "latent": 3, "hidden": 5}


def small_stage(steps=100, **options):
    torch.manual_seed(0)
    (stage,) = stages(SVG(Options(**SMALL | options)), None)
    stage.recipe = replace(stage.recipe, steps=steps)
    return stage


def fit(stage, frames, steps, rate=1e-2):
    """Take steps on one batch with the stage's own optimizer, with other noise in each step."""
    stage.recipe = replace(stage.recipe, steps=steps, learning_rate=rate)
    optimizer = stage.configure_optimizers()
    for step in range(steps):
        loss = stage.training_step(training_batch(frames, 2, [1000 * step + i for i in range(len(frames))]), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return stage.predictor.eval()


class TestDivergence:
    def test_is_torchs(self):
        q, p = (Normal(noise(2, 3, 4, seed=i) * 4 - 2, noise(2, 3, 4, seed=i + 2) * 4 - 2) for i in range(2))
        expected = kl_divergence(*(Reference(n.mean, (0.5 * n.log_variance).exp()) for n in (q, p)))
        torch.testing.assert_close(divergence(q, p), expected)

    def test_from_a_standard_normal_has_its_closed_form(self):
        mean, variance = 0.7, 2.5
        q = Normal(torch.tensor([mean]), torch.tensor([variance]).log())
        p = Normal(torch.zeros(1), torch.zeros(1))
        expected = 0.5 * (mean**2 + variance - 1 - torch.tensor(variance).log().item())
        assert divergence(q, p).item() == pytest.approx(expected)
        assert divergence(q, q).item() == pytest.approx(0.0, abs=1e-7)
        assert divergence(p, q).item() != pytest.approx(expected, rel=0.01)


class TestLoss:
    @pytest.mark.parametrize("prior", ["learned", "fixed"])
    @pytest.mark.parametrize("size", [(16, 16), (15, 18)])
    def test_is_the_sum_over_steps_of_errors_and_weighted_divergences(self, prior, size):
        stage, frames = small_stage(prior=prior, beta=0.3, size=size), noise(2, 5, 3, *size)
        model, sources = stage.predictor.eval(), [torch.Generator().manual_seed(i) for i in range(2)]
        predicted, posterior, distribution = model.network.reconstruct(
            model.images(frames, ("a", "b")), 2, model.noise(sources, torch.device("cpu"))
        )
        expected = 0.0
        for t in range(4):
            for b in range(2):
                error = predicted[b, t, :, : size[0], : size[1]] - frames[b, t + 1]
                q, p = (Normal(*(value[b, t] for value in n)) for n in (posterior, distribution))
                expected += (error.square().mean() + 0.3 * divergence(q, p).sum()).item() / 2
        assert stage.training_step(training_batch(frames, 2), 0).item() == pytest.approx(expected, rel=1e-5)

    def test_without_latent_variables_is_the_error(self):
        stage, frames = small_stage(prior="none", beta=5.0), noise(2, 4, 3, 16, 16)
        predicted = stage.predictor.eval().network.reconstruct(frames, 2, list).frames
        expected = sum((predicted[:, t] - frames[:, t + 1]).square().mean().item() for t in range(3))
        assert stage.training_step(training_batch(frames, 2), 0).item() == pytest.approx(expected, rel=1e-5)

    def test_noise_follows_each_clips_own_generator(self):
        stage, frames = small_stage(), noise(2, 4, 3, 16, 16)
        stage.eval()
        with torch.no_grad():
            for parameter in stage.parameters():
                parameter += 0.3 * torch.randn_like(parameter)
        usual = stage.training_step(training_batch(frames, 2, [5, 6]), 0)
        torch.manual_seed(99)  # torch's own generator plays no part
        torch.testing.assert_close(stage.training_step(training_batch(frames.flip(0), 2, [6, 5]), 0), usual)
        assert stage.training_step(training_batch(frames, 2, [6, 5]), 0) != usual

    def test_grey_models_learn_from_grey_frames_only(self):
        stage = small_stage(channels=1)
        assert stage.training_step(training_batch(noise(1, 4, 1, 16, 16).expand(-1, -1, 3, -1, -1), 2), 0).isfinite()
        with pytest.raises(PredictorError, match=r"clip0@0 has colour"):
            stage.training_step(training_batch(noise(1, 4, 3, 16, 16), 2), 0)


def branching(count=5):
    """Two clips [2,T,3,16,16] with the same two context frames: a square then moves left or right."""
    frames = torch.full((2, count, 3, 16, 16), 0.1)
    for clip, step in enumerate((-2, 2)):
        for t in range(count):
            left = 6 + step * max(0, t - 1)
            frames[clip, t, :, 6:10, left : left + 4] = 0.9
    return frames


@pytest.mark.slow
class TestBranchingFutures:
    """After a context with two futures."""

    OPTIONS = {"width": 8, "features": 16, "latent": 2, "hidden": 16}

    def futures(self, model, frames, count):
        context = Context(frames=frames[:1, :2].expand(count, -1, -1, -1, -1), clips=tuple(map(str, range(count))))
        return model.predict(context, 3, [torch.Generator().manual_seed(i) for i in range(count)]).frames

    def distances(self, model, frames, count=24):
        """Mean squared errors [count, 2] of each sample from either future."""
        futures = self.futures(model, frames, count)
        return (futures[:, None] - frames[None, :, 2:]).square().mean(dim=(2, 3, 4, 5))

    def test_samples_take_either(self):
        frames = branching()
        errors = self.distances(fit(small_stage(beta=1e-4, **self.OPTIONS), frames, 300), frames)
        between = (frames[0, 2:] - frames[1, 2:]).square().mean()
        assert sorted(errors.argmin(dim=1).unique().tolist()) == [0, 1]
        assert errors.min(dim=1).values.mean() < 0.1 * between

    def test_without_latent_variables_all_samples_are_one_blend(self):
        frames = branching()
        model = fit(small_stage(prior="none", **self.OPTIONS), frames, 300)
        errors = self.distances(model, frames, 2)
        between = (frames[0, 2:] - frames[1, 2:]).square().mean()
        assert torch.equal(errors[0], errors[1])
        assert errors.min() > 0.15 * between


def test_the_stage_holds_the_predictor_and_its_recipe():
    predictor = SVG(Options(**SMALL))
    stage = Inference(predictor)
    assert stage.predictor is predictor
    assert stage.recipe == predictor.options.recipe
