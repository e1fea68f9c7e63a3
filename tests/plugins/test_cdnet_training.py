"""Training of CDNet: the losses, scheduled sampling, the optimizer, and what a short training reaches."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import vpbench
from vpbench.plugin.clip import Context, Future
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.training import Recipe, TrainingBatch
from vpbench_cdnet.losses import area, area_loss, soft_area
from vpbench_cdnet.model import MOTION
from vpbench_cdnet.options import Options
from vpbench_cdnet.predictor import CDNet
from vpbench_cdnet.training import Forecasting

SMALL = {"hidden": 2, "blocks": (1, 1), "integrator": (6, 5), "norm": "group", "recompute": False}


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def batch_of(clips, past=4, step=0, seed=0):
    names = tuple(f"clip{i}@0" for i in range(len(clips)))
    future = clips[:, past:]
    return TrainingBatch(
        Context(frames=clips[:, :past], clips=names),
        Future(frames=future, steps=tuple(range(1, future.shape[1] + 1)), clips=names, last=clips[:, past - 1]),
        tuple(torch.Generator().manual_seed(seed + i) for i in range(len(clips))),
        step,
    )


def small_stage(steps=100, **options):
    torch.manual_seed(0)
    stage = Forecasting(CDNet(Options(**SMALL | options)).train())
    stage.recipe = dataclasses.replace(stage.recipe, steps=steps)
    return stage


def square(at, size=32):
    """A black picture with a bright square of 8x8 pixels at ``at``."""
    picture = torch.zeros(3, size, size)
    picture[:, 10:18, at : at + 8] = torch.tensor([1.0, 0.7, 0.4])[:, None, None]
    return picture


class TestAreaLoss:
    def test_area_of_a_moving_square_is_the_bands_it_enters_and_leaves(self):
        expected = torch.zeros(1, 32, 32)
        expected[:, 10:18, 4:7] = expected[:, 10:18, 12:15] = 1
        assert torch.equal(area(square(7)[None], square(4)[None], 0.05), expected)
        assert not area(square(4)[None], square(4)[None], 0.05).any()

    @pytest.mark.parametrize(("step", "changed"), [(0.049, 0), (0.051, 1)])
    def test_threshold_applies_to_the_mean_over_colours(self, step, changed):
        previous = torch.full((1, 3, 2, 2), 0.5)
        frame = previous + 1.5 * step * torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1)
        assert area(frame, previous, 0.05).unique().tolist() == [changed]

    def test_soft_area_is_one_half_at_the_threshold_and_steep_around_it(self):
        previous = torch.zeros(1, 3, 1, 1)
        values = {d: float(soft_area(previous + d, previous, 0.05)) for d in (0.0, 0.025, 0.05, 0.1, 1.0)}
        assert values == pytest.approx({0.0: 0, 0.025: 1 / 17, 0.05: 0.5, 0.1: 16 / 17, 1.0: 1.0}, abs=1e-5)

    @pytest.mark.parametrize("size", [(8, 8), (64, 96)])
    def test_is_a_sum_over_128x128_pixels_for_any_size(self, size):
        true = torch.zeros(2, *size)
        predicted = true.clone()
        predicted[0] = 0.5
        assert float(area_loss(predicted, true)) == pytest.approx(128 * 128 * 0.25 / 2)


class TestTerms:
    @pytest.mark.parametrize(
        ("options", "stages"),
        [
            ({}, [0, 1, 2, 3, 4, 5]),
            ({"deep_supervision": False, "area_weight": 0.0}, [5]),
            ({"iterations": 3}, [0, 1, 2, 3]),
        ],
    )
    def test_only_stages_with_a_loss_are_decoded(self, options, stages):
        stage, decoded = small_stage(**options), []
        stage.predictor.network.register_forward_pre_hook(lambda module, args: decoded.append(list(args[2])))
        l_pixel, l_area = stage.losses(batch_of(noise(2, 6, 3, 8, 8)))
        assert decoded == [stages]
        assert l_pixel > 0 and (l_area > 0) == (MOTION in stages)

    @pytest.mark.parametrize(
        "options",
        [
            {"sampling_start": 0.0},
            {"sampling_start": 1.0, "decay": 0.5, "area_threshold": 0.3, "area_weight": 1e-3, "loss_frames": "last"},
            {"sampling_start": 0.0, "deep_supervision": False, "l1": 0.5, "l2": 3.0},
        ],
    )
    def test_are_equations_7_to_9_of_the_decoded_stages(self, options):
        clips, stage = noise(2, 7, 3, 8, 8), small_stage(**options)
        chosen = stage.predictor.options
        l_pixel, l_area = stage.losses(batch_of(clips))
        expected_pixel, expected_area = 0.0, 0.0
        use_truth = torch.full((2, 3), bool(chosen.sampling_start))
        for k, decoded in enumerate(stage.predictor.network(clips[:, :4], 3, range(6), clips[:, 4:], use_truth)):
            true = clips[:, 2 + k : 5 + k].transpose(1, 2)
            for iteration in range(1, 6) if chosen.deep_supervision else [5]:
                error = decoded[iteration] - true
                error = error[:, :, 2:] if chosen.loss_frames == "last" else error
                loss = chosen.l1 * error.abs().mean() + chosen.l2 * (error**2).mean()
                expected_pixel += chosen.decay ** (5 - iteration) * loss / 3
            change = (decoded[0][:, :, 2] - clips[:, 3 + k]).abs().mean(1) ** 4
            target = ((clips[:, 4 + k] - clips[:, 3 + k]).abs().mean(1) > chosen.area_threshold).float()
            expected_area += 16384 * ((change / (change + chosen.area_threshold**4) - target) ** 2).mean() / 3
        torch.testing.assert_close(l_pixel, expected_pixel)
        torch.testing.assert_close(l_area, expected_area)
        logged = {}
        stage._trainer, stage.log_dict = SimpleNamespace(current_epoch=0), logged.update
        loss = stage.training_step(batch_of(clips), 0)
        torch.testing.assert_close(loss, l_pixel + chosen.area_weight * l_area)
        assert logged == {"train/pixel": l_pixel, "train/area": l_area}

    def test_as_many_steps_are_trained_as_the_options_say(self):
        clips = noise(2, 8, 3, 8, 8)
        fewer = small_stage(sampling_start=0.0, loss_steps=2).losses(batch_of(clips))
        torch.testing.assert_close(fewer, small_stage(sampling_start=0.0).losses(batch_of(clips[:, :6])))
        assert fewer[0] != small_stage(sampling_start=0.0).losses(batch_of(clips))[0]

    @pytest.mark.parametrize("size", [(9, 11), (8, 11)])
    def test_frames_are_padded_below_and_to_the_right(self, size):
        """Context and true frames, with their border, as the predictor pads its context."""
        clips = noise(2, 6, 3, *size)
        below, right = (-side % 4 for side in size)
        padded = torch.cat([clips, clips[..., -1:, :].expand(-1, -1, -1, below, -1)], dim=-2)
        padded = torch.cat([padded, padded[..., -1:].expand(-1, -1, -1, -1, right)], dim=-1)
        torch.testing.assert_close(small_stage().losses(batch_of(clips)), small_stage().losses(batch_of(padded)))

    def test_a_still_clip_has_a_finite_gradient(self):
        """There is no area, and |.| has no slope: 0, not NaN."""
        stage = small_stage(residual=True)
        stage.training_step(batch_of(square(4, 20)[None, None].repeat(1, 6, 1, 1, 1)), 0).backward()
        assert all(p.grad.isfinite().all() for p in stage.parameters())


class TestScheduledSampling:
    @pytest.mark.parametrize(
        ("options", "probabilities"),
        [
            ({}, {0: 0.9, 4: 0.9, 5: 0.81, 10: 0.729, 25: 0.531441}),
            ({"sampling_start": 0.8, "sampling_decay": 0.5, "sampling_epochs": 3}, {2: 0.8, 3: 0.4, 6: 0.2}),
            ({"sampling_end": 1.0}, {0: 0.9 * 0.75, 5: 0.81 * 0.75}),
        ],
    )
    def test_probability_falls_by_epochs(self, options, probabilities):
        stage, values = small_stage(steps=100, **options), {}
        for epoch in probabilities:
            stage._trainer = SimpleNamespace(current_epoch=epoch)
            values[epoch] = stage.probability(25)
        assert values == pytest.approx(probabilities)

    def test_with_an_end_it_falls_to_nothing_by_then(self):
        stage = small_stage(steps=100, sampling_end=0.6)
        assert [stage.probability(step) for step in (0, 30, 60, 99)] == pytest.approx([0.9, 0.45, 0.0, 0.0])
        stage.recipe = Recipe(steps=100, accumulate=2)
        assert stage.probability(60) == pytest.approx(0.45)

    def test_is_drawn_from_each_clips_own_generator(self):
        stage, clips = small_stage(), noise(2, 12, 3, 8, 8)
        first = stage.draw_truth(batch_of(clips, seed=3))
        assert torch.equal(first, stage.draw_truth(batch_of(clips, seed=3)))
        assert torch.equal(first[1:], stage.draw_truth(batch_of(clips[1:], seed=4)))
        assert not torch.equal(first, stage.draw_truth(batch_of(clips, seed=30)))
        assert first.shape == (2, 8)

    @pytest.mark.parametrize(("start", "tolerance"), [(0.0, 0), (0.7, 0.03), (1.0, 0)])
    def test_share_of_true_frames(self, start, tolerance):
        drawn = small_stage(sampling_start=start).draw_truth(batch_of(noise(500, 8, 3, 2, 2)))
        assert float(drawn.float().mean()) == pytest.approx(start, abs=tolerance)


def test_optimizer_is_adam_at_the_recipes_rate():
    stage = small_stage()
    stage.recipe = Recipe(steps=100, learning_rate=0.125)
    optimizer = stage.configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["lr"] == 0.125
    assert len(optimizer.param_groups[0]["params"]) == len(list(stage.predictor.parameters()))


def test_cosine_rises_and_falls():
    configured, rates = small_stage(steps=100, schedule="cosine").configure_optimizers(), []
    schedule = configured["lr_scheduler"]["scheduler"]
    for _ in range(100):
        rates.append(schedule.get_last_lr()[0])
        configured["optimizer"].step()
        schedule.step()
    assert configured["lr_scheduler"]["interval"] == "step"
    assert rates[0] == pytest.approx(1e-4, rel=0.02) and rates[4] == pytest.approx(5e-4, rel=0.02)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert 0 < rates[-1] < 1e-6  # the last step still learns


@pytest.mark.slow
def test_trains_and_is_scored_through_the_harness(tmp_path, cache):
    """After a few training steps, `run` scores three stages of the same weights, which carry their options."""
    plugins = load_plugins([str(Path(__file__).resolve().parents[1] / "toys.py")])
    path = tmp_path / "toy.toml"
    path.write_text(
        'schema = 1\nname = "toy"\nversion = 1\nmetrics = ["mse"]\n[dataset]\nname = "toy-frames"\n'
        "options = { sequences = 6, length = 12, size = [16, 16] }\n[sampling]\n"
        'kind = "first"\ncontext = 10\nhorizon = 2\n[training]\nclips = 8\n'
    )
    options = {"cdnet": SMALL | {"sampling_end": 0.5, "schedule": "cosine"}}
    recipe = {"steps": 4, "batch_size": 2}
    settings = {"plugins": plugins, "out": tmp_path / "out", "device": "cpu"}
    weights = vpbench.train("cdnet", path, options=options, **recipe, **settings)
    results = {}
    for emit in ("last", "motion", 1):
        stage = {"cdnet": {"weights": str(weights), "emit": emit}}
        results[emit] = vpbench.evaluate("cdnet", path, options=stage, **settings)
    scores = {emit: [result.at("mse", step) for step in (1, 2)] for emit, result in results.items()}
    assert len({tuple(steps) for steps in scores.values()}) == 3
    assert {result.run.identity.options["hidden"] for result in results.values()} == {2}
    shorter = path.with_name("shorter.toml")
    shorter.write_text(path.read_text().replace("context = 10", "context = 4"))
    with pytest.warns(vpbench.errors.VpbenchWarning, match="needs 10 context frames, and the clip has 4"):
        result = vpbench.evaluate("cdnet", shorter, options={"cdnet": {"weights": str(weights)}}, **settings)
    assert result.run.identity.options["context"] == 10
    options["cdnet"]["emit"] = "motion"
    with pytest.raises(vpbench.UsageError, match="cdnet: emit decodes a stage of trained weights; train without it"):
        vpbench.train("cdnet", path, options=options, **recipe, **settings)


def fit(stage, batch, steps):
    optimizer, losses = torch.optim.Adam(stage.parameters(), lr=5e-3), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = stage.training_step(batch, 0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stage.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.slow
def test_fit_to_a_moving_square():
    """Motion features learn the area that changes, and refinement the appearance, better in later stages (figure 5)."""
    stage, clip = small_stage(hidden=4, sampling_start=0.0), torch.stack([square(3 + 3 * k)[:, 8:20] for k in range(5)])

    def next_frames():
        with torch.no_grad():
            return next(stage.predictor.network(clip[None, :4], 1, range(6)))[:, 0, :, -1]

    def overlap():
        """Intersection over union of the areas that change in the decoded motion features and in truth."""
        decoded = area(next_frames()[:1], clip[None, 3], 0.05).bool()
        true = area(clip[None, 4], clip[None, 3], 0.05).bool()
        return float((decoded & true).sum() / (decoded | true).sum())

    before = overlap()
    fit(stage, batch_of(clip[None]), 100)
    errors = (next_frames() - clip[4]).square().mean((1, 2, 3))
    assert overlap() > before + 0.35
    assert errors[5] <= errors[1] < errors[MOTION]
    assert errors[5] < 0.2 * (clip[4] - clip[3]).square().mean()


@pytest.mark.slow
def test_running_statistics_serve_as_well_as_those_of_the_batch():
    """After a short training with batch norm, the loss of other clips in evaluation is within 10 % of training's."""
    stage = small_stage(norm="batch", sampling_start=0.0, iterations=2)
    trained, unseen = (
        batch_of(torch.stack([torch.stack([square(at + by * k) for k in range(6)]) for at, by in starts]))
        for starts in (((0, 2), (4, 3), (20, -2), (14, -1)), ((2, 3), (6, 2), (18, -3), (16, -2)))
    )
    losses = fit(stage, trained, 50)
    assert losses[-1] < losses[0] / 2
    with torch.no_grad():
        for _ in range(20):  # the running statistics catch up with weights that moved fast
            stage.losses(trained)
        evaluating = float(stage.eval().losses(unseen)[0])
        training = float(stage.train().losses(unseen)[0])
    assert evaluating == pytest.approx(training, rel=0.1)
