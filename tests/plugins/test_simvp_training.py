"""Training of SimVP and TAU: the loss, the learning rate, and what they learn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from model_inputs import noise, training_batch

from vpbench.errors import PredictorError
from vpbench.toolkit.losses import ssim
from vpbench.toolkit.schedules import cosine_with_warm_up
from vpbench_simvp.losses import divergence
from vpbench_simvp.predictor import TAU, SimVP
from vpbench_simvp.training import Forecasting, stages

SMALL = {"context": 3, "spatial": 4, "temporal": 8, "temporal_layers": 2, "mlp_ratio": 2.0, "drop_path": 0.0}


def small_stage(model_class=SimVP, steps=100, **options):
    torch.manual_seed(0)
    (stage,) = stages(model_class(model_class.Options(**SMALL | options)), None)
    stage.recipe = replace(stage.recipe, steps=steps)
    return stage


class TestDivergence:
    def test_is_the_mean_divergence_of_the_changes(self):
        predicted, true = noise(2, 3, 3, 4, 5), noise(2, 3, 3, 4, 5, seed=1)
        terms = []
        for b in range(2):
            for k in range(2):
                p, q = (torch.exp((x[b, k + 1] - x[b, k]).double() / 0.1) for x in (predicted, true))
                p, q = p / p.sum(), q / q.sum()
                terms.append((p * torch.log(p / q)).sum() / p.numel())
        expected = torch.stack(terms).mean().item()
        assert divergence(predicted, true, 0.1).item() == pytest.approx(expected, rel=1e-4)
        assert expected > 0

    def test_is_0_for_equal_changes_and_for_a_single_frame(self):
        frames = noise(1, 4, 3, 4, 5)
        assert divergence(frames * 1.0 + 0.3, frames, 0.1).item() == pytest.approx(0.0, abs=1e-7)
        assert divergence(frames[:, :1], frames[:, 1:2], 0.1).item() == 0.0


class TestLoss:
    @pytest.mark.parametrize("size", [(12, 12), (13, 11)])
    def test_is_the_weighted_sum_of_its_terms(self, size):
        """With a residual and no training, the prediction is known: the last frame repeated."""
        frames = noise(2, 8, 3, *size)
        future = frames[:, 3:]
        last = frames[:, 2:3].expand_as(future)
        expected = 0.5 * (last - future).abs().mean() + 2 * (last - future).square().mean()
        expected = expected + 0.25 * divergence(last, future, 0.2) + 0.1 * (1 - ssim(last, future))
        stage = small_stage(residual=True, l1=0.5, l2=2.0, ssim=0.1, divergence=0.25, temperature=0.2)
        assert stage.training_step(training_batch(frames, 3), 0).item() == pytest.approx(expected.item(), abs=1e-6)

    def test_tau_alone_has_the_divergence_by_default(self):
        assert SimVP.Options().divergence == 0.0
        assert TAU.Options().divergence == 0.1

    def test_grey_models_learn_from_grey_frames_only(self):
        stage = small_stage(channels=1)
        assert stage.training_step(training_batch(noise(1, 6, 1, 8, 8).expand(-1, -1, 3, -1, -1), 3), 0).isfinite()
        with pytest.raises(PredictorError, match=r"clip0@0 has colour"):
            stage.training_step(training_batch(noise(1, 6, 3, 8, 8), 3), 0)


@pytest.mark.slow
@pytest.mark.parametrize("model_class", [SimVP, TAU])
def test_a_moving_square_is_learned_by_heart(model_class):
    frames = torch.full((1, 6, 3, 16, 16), 0.2)
    for t in range(6):
        frames[:, t, :, 5:10, 2 * t : 2 * t + 5] = 0.9
    batch, stage = (
        training_batch(frames.expand(2, -1, -1, -1, -1), 3),
        small_stage(model_class, residual=True, steps=200),
    )
    stage.recipe = replace(stage.recipe, learning_rate=1e-2)
    optimizer, losses = stage.configure_optimizers()["optimizer"], []
    for _ in range(200):
        losses.append(stage.training_step(batch, 0))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.2 * losses[0]


def test_the_stage_holds_the_predictor_and_its_recipe():
    predictor = SimVP(SimVP.Options(**SMALL))
    stage = Forecasting(predictor)
    assert stage.predictor is predictor
    assert stage.recipe == predictor.options.recipe


def test_the_learning_rate_warms_up_and_falls_along_a_cosine():
    configured = small_stage(steps=40).configure_optimizers()
    scheduler, rates = configured["lr_scheduler"]["scheduler"], []
    for _ in range(40):
        rates += scheduler.get_last_lr()
        configured["optimizer"].step()
        scheduler.step()
    assert rates == pytest.approx(
        [SimVP.Options().recipe.learning_rate * cosine_with_warm_up(t, 40) for t in range(40)]
    )
