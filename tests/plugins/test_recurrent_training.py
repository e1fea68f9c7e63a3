"""Training of the recurrent family: losses, scheduled sampling, the learning rate, and what ConvLSTM learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import vpbench
from vpbench.plugin.clip import Context, Future
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.training import TrainingBatch
from vpbench_metrics.structure import SSIM
from vpbench_recurrent.convlstm import ConvLSTM, Options
from vpbench_recurrent.patches import to_patches
from vpbench_recurrent.rollout import roll_out
from vpbench_recurrent.training import Forecasting


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def batch_of(frames, seeds=None, step=0):
    """The clips [B,T,3,H,W] as a batch: the first three frames are the context."""
    clips = tuple(f"clip{i}@0" for i in range(len(frames)))
    context, future = frames[:, :3], frames[:, 3:]
    return TrainingBatch(
        context=Context(frames=context, clips=clips),
        future=Future(frames=future, steps=tuple(range(1, future.shape[1] + 1)), clips=clips, last=context[:, -1]),
        generators=tuple(torch.Generator().manual_seed(seed) for seed in seeds or range(len(frames))),
        step=step,
    )


def small_stage(steps=100, seed=0, **options):
    torch.manual_seed(seed)
    small = {"hidden": (8,), "kernel": 3, "patch": 2, "scheduled_sampling": 0.0}
    stage = Forecasting(ConvLSTM(Options(**small | options)))
    stage.recipe = replace(stage.recipe, steps=steps)
    return stage


def moving_square(count=7, size=(16, 24)):
    """A bright square that moves by two pixels a frame, [1,T,3,H,W]."""
    frames = torch.full((1, count, 3, *size), 0.2)
    for t in range(count):
        frames[:, t, :, 5:10, 2 * t + 1 : 2 * t + 6] = 0.9
    return frames


def train(stage, batch, steps):
    """Take steps on one batch with the stage's own optimiser; return the losses."""
    stage.recipe = replace(stage.recipe, steps=steps, learning_rate=1e-2)
    configured = stage.configure_optimizers()
    losses = []
    for step in range(steps):
        loss = stage.training_step(replace(batch, step=step), step)
        configured["optimizer"].zero_grad()
        loss.backward()
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
        losses.append(loss.item())
    return losses


class TestLoss:
    """With a residual and no training, the prediction is known: the last frame repeated."""

    @pytest.mark.parametrize("size", [(16, 14), (13, 15)])
    def test_is_the_weighted_sum_of_its_terms(self, size, compare):
        frames = noise(2, 6, 3, *size)
        last, future = frames[:, 2:3].expand(-1, 3, -1, -1, -1).contiguous(), frames[:, 3:].contiguous()
        similar = np.mean(SSIM("cpu").measure(compare(last, future)))
        expected = 0.5 * (last - future).abs().mean() + 2 * (last - future).square().mean() + 0.25 * (1 - similar)
        loss = small_stage(residual=True, l1=0.5, l2=2.0, ssim=0.25).training_step(batch_of(frames), 0)
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)

    def test_nan_in_the_truth_gives_a_nan_loss(self):
        frames = noise(2, 6, 3, 8, 8)
        frames[1, 4, 0, 3, 3] = float("nan")
        assert small_stage(residual=True).training_step(batch_of(frames), 0).isnan()

    def test_predictions_outside_0_to_1_still_have_gradients(self):
        stage = small_stage()
        with torch.no_grad():
            stage.predictor.network.head.bias += 5
        stage.training_step(batch_of(noise(1, 4, 3, 8, 8)), 0).backward()
        assert (stage.predictor.network.head.bias.grad > 0).all()


class TestScheduledSampling:
    def test_the_share_of_true_frames_falls_linearly_to_none(self):
        stage = small_stage(steps=100, scheduled_sampling=0.5)
        for step, share in {0: 1.0, 10: 0.8, 25: 0.5, 49: 0.02, 50: 0.0, 99: 0.0}.items():
            use_truth = stage.draw_truth(batch_of(noise(400, 12, 3, 2, 2), step=step))
            assert use_truth.shape == (400, 8)
            assert use_truth.float().mean().item() == pytest.approx(share, abs=0.03)
            assert share not in (0.0, 1.0) or use_truth.float().mean() == share

    def test_batches_that_are_accumulated_count(self):
        stage = small_stage(steps=25, scheduled_sampling=0.5)
        stage.recipe = replace(stage.recipe, accumulate=4)
        use_truth = stage.draw_truth(batch_of(noise(400, 12, 3, 2, 2), step=25))
        assert use_truth.float().mean().item() == pytest.approx(0.5, abs=0.03)

    def test_draws_follow_each_clips_own_generator(self):
        stage, frames = small_stage(scheduled_sampling=1.0), noise(4, 12, 3, 2, 2)
        usual = stage.draw_truth(batch_of(frames, seeds=[5, 6, 7, 8], step=50))
        torch.manual_seed(99)  # torch's own generator plays no part
        assert torch.equal(stage.draw_truth(batch_of(frames, seeds=[8, 7, 6, 5], step=50)), usual.flip(0))
        assert not torch.equal(stage.draw_truth(batch_of(frames, seeds=[1, 2, 3, 4], step=50)), usual)

    def test_without_it_nothing_is_drawn(self):
        batch = batch_of(noise(2, 6, 3, 8, 8))
        before = [generator.get_state() for generator in batch.generators]
        small_stage().training_step(batch, 0)
        assert all(torch.equal(g.get_state(), s) for g, s in zip(batch.generators, before, strict=True))

    def test_true_frames_may_be_read_to_the_end(self):
        stage = small_stage(steps=100, scheduled_sampling="always")
        assert stage.draw_truth(batch_of(noise(2, 12, 3, 2, 2), step=99)).all()
        with pytest.raises(ValueError, match="reverse_sampling ends: set scheduled_sampling to a share"):
            Options(scheduled_sampling="always", reverse_sampling=True)

    def test_in_the_first_step_every_image_follows_true_ones(self):
        stage, frames = small_stage(scheduled_sampling=1.0, residual=False), noise(2, 6, 3, 8, 8)
        patches = to_patches(frames, 2)
        images = [[*roll_out(stage.predictor.network, patches[:, : 3 + k], 1)][-1][0] for k in range(3)]
        expected = (torch.stack(images, dim=1) - patches[:, 3:]).square().mean()
        assert stage.training_step(batch_of(frames), 0).item() == pytest.approx(expected.item(), abs=1e-6)


class TestReverseSampling:
    def test_frames_of_the_context_are_drawn_too(self):
        stage = small_stage(steps=100, scheduled_sampling=0.8, reverse_sampling=True)
        for step, shares in {0: (0.5, 0.5), 60: (0.96, 0.25), 80: (1.0, 0.0)}.items():
            use_truth = stage.draw_truth(batch_of(noise(400, 8, 3, 2, 2), step=step))
            assert use_truth.shape == (400, 2 + 4)
            drawn = use_truth[:, :2].float().mean(), use_truth[:, 2:].float().mean()
            assert drawn == pytest.approx(shares, abs=0.04)

    def test_predictions_are_read_within_the_context(self):
        stage, frames = small_stage(steps=100, reverse_sampling=True, scheduled_sampling=0.9), noise(2, 6, 3, 8, 8)
        marks = stage.draw_truth(batch_of(frames))
        assert not marks[:, :2].all()
        predictions = [
            frame for frame, _ in stage.predictor.roll_out(batch_of(frames).context, 3, frames[:, 3:], marks)
        ]
        expected = (torch.stack(predictions[2:], dim=1) - frames[:, 3:]).square().mean()
        assert stage.training_step(batch_of(frames), 0).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize(("supervise", "steps"), [("future", 3), ("all", 5)])
def test_the_loss_is_of_the_supervised_steps(supervise, steps):
    stage, frames = small_stage(supervise=supervise), noise(2, 6, 3, 8, 8)
    predictions = [frame for frame, _ in stage.predictor.roll_out(batch_of(frames).context, 3)]
    expected = (torch.stack(predictions[-steps:], dim=1) - frames[:, -steps:]).square().mean()
    assert stage.training_step(batch_of(frames), 0).item() == pytest.approx(expected.item(), abs=1e-6)


def test_the_penalty_of_the_last_state_is_added():
    stage, frames = small_stage(), noise(2, 6, 3, 8, 8)
    plain = stage.training_step(batch_of(frames), 0)
    stage.predictor.network.penalty = lambda state: state.layers[0][0].sum()
    *_, (_, state) = stage.predictor.roll_out(batch_of(frames).context, 3)
    penalised = stage.training_step(batch_of(frames), 0)
    torch.testing.assert_close(penalised, plain + state.layers[0][0].sum())


@pytest.mark.parametrize(("epoch", "share"), [(0, 1.0), (4, 1.0), (5, 0.5), (10, 0.25)])
def test_the_share_of_true_frames_may_fall_by_epochs(epoch, share):
    stage = small_stage(scheduled_sampling=1.0, sampling_decay=0.5, sampling_epochs=5)
    stage._trainer = SimpleNamespace(current_epoch=epoch)
    drawn = stage.draw_truth(batch_of(noise(400, 12, 3, 2, 2)))
    assert drawn.float().mean().item() == pytest.approx(share, abs=0.03)


class TestLearning:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "options",
        [{}, {"residual": True, "l1": 1.0, "ssim": 0.3}, {"own_forecaster": True, "peepholes": True}],
        ids=["one stack", "tiny's form", "paper's form"],
    )
    def test_one_clip_is_learned_by_heart(self, options):
        batch = batch_of(moving_square())
        stage = small_stage(**options)
        losses = train(stage, batch, 150)
        repeat = (batch.context.frames[:, -1:] - batch.future.frames).square().mean()
        predicted = stage.predictor.predict(batch.context, 4, []).frames
        assert losses[-1] < 0.3 * losses[0]
        assert (predicted - batch.future.frames).square().mean() < 0.2 * repeat

    def test_the_same_seed_and_batches_make_the_same_weights(self):
        frames = noise(2, 6, 3, 8, 8)
        results = []
        for seed in (0, 0, 1):
            stage = small_stage(seed=seed, scheduled_sampling=1.0)
            train(stage, batch_of(frames), 4)
            results.append(stage.predictor.state_dict())
        same, different = results[1:]
        assert all(torch.equal(value, same[name]) for name, value in results[0].items())
        assert not all(torch.equal(value, different[name]) for name, value in results[0].items())


@pytest.mark.slow
def test_in_bfloat16_it_learns_nearly_the_same(tmp_path, cache):
    """Products are rounded to 8 bits; weights, their sums and the loss's SSIM are not."""
    protocol = tmp_path / "toy.toml"
    protocol.write_text(
        'schema = 1\nname = "toy"\nversion = 1\nmetrics = ["mse"]\n[dataset]\nname = "toy-frames"\n'
        'options = { sequences = 9, length = 6 }\n[sampling]\nkind = "first"\ncontext = 2\nhorizon = 2\n'
    )
    plugins = load_plugins([str(Path(__file__).resolve().parents[1] / "toys.py")])
    full, mixed = (
        load_file(
            vpbench.train(
                "convlstm:tiny",
                protocol,
                plugins=plugins,
                out=tmp_path / precision,
                device="cpu",
                keep="last",
                options={"convlstm": {"hidden": [8]}},
                steps=4,
                precision=precision,
            )
        )
        for precision in ("32", "bf16-mixed")
    )
    for name, weight in full.items():
        assert mixed[name].dtype == torch.float32
        assert not torch.equal(weight, mixed[name])
        assert (mixed[name] - weight).norm() < 0.1 * weight.norm(), name
