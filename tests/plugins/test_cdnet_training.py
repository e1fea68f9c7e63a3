"""How CDNet trains: the losses by hand, scheduled sampling, and what a short training shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import vpbench
from vpbench.plugin.clip import Context, Future
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.training import Recipe, Trainable, TrainingBatch
from vpbench_cdnet.losses import area, area_loss, pixel_loss, soft_area, weights
from vpbench_cdnet.network import MOTION
from vpbench_cdnet.options import PRESETS, Options
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


def stage(steps=100, **options):
    torch.manual_seed(0)
    made = Forecasting(CDNet(Options(**SMALL | options)).train())
    made.recipe = dataclasses.replace(made.recipe, steps=steps)
    return made


def square(at, size=32):
    """A black picture with a bright square of 8x8 pixels at ``at``."""
    picture = torch.zeros(3, size, size)
    picture[:, 10:18, at : at + 8] = torch.tensor([1.0, 0.7, 0.4])[:, None, None]
    return picture


class TestPixelLoss:
    def test_weights_of_five_iterations(self):
        assert weights(5, 0.8) == pytest.approx([0.4096, 0.512, 0.64, 0.8, 1.0])
        assert weights(1, 0.8) == [1.0]

    def test_is_l1_and_l2_of_each_stage(self):
        """Differences of 0.5 in the first stage and 0.2 in the last: .8 (.5 + .25) + (.2 + .04)."""
        true = noise(2, 3, 3, 4, 4)
        predicted = torch.stack([true + 0.5, true - 0.2])
        assert float(pixel_loss(predicted, true, 0.8)) == pytest.approx(0.8 * 0.75 + 0.24, rel=1e-5)
        assert float(pixel_loss(predicted, true, 0.8, 2.0, 0.5)) == pytest.approx(0.8 * 1.125 + 0.42, rel=1e-5)


class TestAreaLoss:
    def test_area_of_a_still_picture_is_empty(self):
        assert not area(square(4)[None], square(4)[None], 0.05).any()

    def test_area_of_a_moving_square_is_what_it_enters_and_leaves(self):
        expected = torch.zeros(1, 32, 32)
        expected[:, 10:18, 4:7] = expected[:, 10:18, 12:15] = 1
        assert torch.equal(area(square(7)[None], square(4)[None], 0.05), expected)

    @pytest.mark.parametrize(("step", "changed"), [(0.049, 0), (0.051, 1)])
    def test_threshold_is_of_the_mean_over_colours(self, step, changed):
        before = torch.full((1, 3, 2, 2), 0.5)
        frame = before.clone()
        frame[:, 0] += 1.5 * step
        frame[:, 1] -= 1.5 * step
        assert area(frame, before, 0.05).unique().tolist() == [changed]

    def test_soft_area_is_one_half_at_the_threshold_and_steep_around_it(self):
        before = torch.zeros(1, 3, 1, 1)
        at = {d: float(soft_area(before + d, before, 0.05)) for d in (0.0, 0.025, 0.05, 0.1, 1.0)}
        assert at == pytest.approx({0.0: 0, 0.025: 1 / 17, 0.05: 0.5, 0.1: 16 / 17, 1.0: 1.0}, abs=1e-5)

    @pytest.mark.parametrize("size", [(8, 8), (64, 96)])
    def test_is_a_sum_over_128x128_pixels_whatever_the_size(self, size):
        true = torch.zeros(2, *size)
        predicted = true.clone()
        predicted[0] = 0.5
        assert float(area_loss(predicted, true)) == pytest.approx(128 * 128 * 0.25 / 2)


class TestTerms:
    @pytest.mark.parametrize(
        ("options", "stages"),
        [
            ({}, [0, 1, 2, 3, 4, 5]),
            ({"deep_supervision": False}, [0, 5]),
            ({"area_weight": 0.0}, [1, 2, 3, 4, 5]),
            ({"deep_supervision": False, "area_weight": 0.0}, [5]),
            ({"iterations": 3}, [0, 1, 2, 3]),
        ],
    )
    def test_only_stages_with_a_loss_are_decoded(self, options, stages):
        made = stage(**options)
        decoded = []
        made.predictor.network.register_forward_pre_hook(lambda module, args: decoded.append(list(args[2])))
        pixel, area_ = made.losses(batch_of(noise(2, 6, 3, 8, 8)))
        assert decoded == [stages]
        assert pixel > 0 and (area_ > 0) == (MOTION in stages)

    @pytest.mark.parametrize("loss_frames", ["window", "last"])
    @pytest.mark.parametrize("deep_supervision", [True, False])
    @pytest.mark.parametrize(
        ("true_frames", "decay", "threshold", "area_weight"), [(0.0, 0.8, 0.05, 1e-4), (1.0, 0.5, 0.3, 1e-3)]
    )
    def test_are_the_losses_of_what_the_network_decodes(
        self, deep_supervision, loss_frames, true_frames, decay, threshold, area_weight
    ):
        clips = noise(2, 7, 3, 8, 8)
        made = stage(
            deep_supervision=deep_supervision,
            loss_frames=loss_frames,
            sampling_start=true_frames,
            decay=decay,
            area_threshold=threshold,
            area_weight=area_weight,
        )
        pixel, area_ = made.losses(batch_of(clips))
        expected_pixel, expected_area = 0.0, 0.0
        shown = torch.full((2, 3), bool(true_frames))
        for k, decoded in enumerate(made.predictor.network(clips[:, :4], 3, range(6), clips[:, 4:], shown)):
            true = clips[:, 2 + k : 5 + k].transpose(1, 2)
            for iteration in range(1, 6) if deep_supervision else [5]:
                error = decoded[iteration] - true
                error = error[:, :, 2:] if loss_frames == "last" else error
                expected_pixel += decay ** (5 - iteration) * (error.abs().mean() + (error**2).mean()) / 3
            change = (decoded[0][:, :, 2] - clips[:, 3 + k]).abs().mean(1) ** 4
            target = ((clips[:, 4 + k] - clips[:, 3 + k]).abs().mean(1) > threshold).float()
            expected_area += 16384 * ((change / (change + threshold**4) - target) ** 2).mean() / 3
        torch.testing.assert_close(pixel, expected_pixel)
        torch.testing.assert_close(area_, expected_area)
        torch.testing.assert_close(made.training_step(batch_of(clips), 0), pixel + area_weight * area_)

    @pytest.mark.parametrize("kept", ["l1", "l2"])
    def test_weights_of_the_norms_are_the_options(self, kept):
        clips = batch_of(noise(2, 6, 3, 8, 8))
        both, one = (stage(sampling_start=0.0, **o).losses(clips)[0] for o in ({}, {"l1": 0.0, "l2": 0.0, kept: 3.0}))
        other = stage(sampling_start=0.0, **{kept: 0.0}).losses(clips)[0]
        torch.testing.assert_close(one / 3, both - other)

    def test_tiny_learns_from_what_its_page_says(self):
        """The squared error of the new frame, ten times, in four steps; 1e-5 of the area loss; group norm."""
        torch.manual_seed(0)
        made = Forecasting(CDNet(Options(**PRESETS["tiny"])).train())
        made.recipe = dataclasses.replace(made.recipe, steps=100)
        torch.nn.init.normal_(made.predictor.network.to_features.bias, std=0.1)
        clips, expected = noise(2, 9, 3, 8, 8), 0.0
        at_the_end = batch_of(clips, step=60)  # no true frame is read any more
        pixel, area_ = made.losses(at_the_end)
        for k, decoded in enumerate(made.predictor.network(clips[:, :4], 4, range(6))):
            for iteration in range(1, 6):
                error = decoded[iteration][:, :, 2] - clips[:, 4 + k]
                expected += 0.8 ** (5 - iteration) * 10 * error.square().mean() / 4
        torch.testing.assert_close(pixel, expected)
        torch.testing.assert_close(made.training_step(at_the_end, 0), pixel + 1e-5 * area_)
        assert made.probability(59) > 0
        assert made.configure_optimizers()["lr_scheduler"]["interval"] == "step", "a cosine"
        made.eval()
        torch.testing.assert_close(made.losses(at_the_end)[0], pixel)

    def test_as_many_steps_are_trained_as_the_options_say(self):
        clips = noise(2, 8, 3, 8, 8)
        fewer = stage(sampling_start=0.0, loss_steps=2).losses(batch_of(clips))
        torch.testing.assert_close(fewer, stage(sampling_start=0.0).losses(batch_of(clips[:, :6])))
        assert fewer[0] != stage(sampling_start=0.0).losses(batch_of(clips))[0]

    @pytest.mark.parametrize("size", [(9, 11), (8, 11), (9, 12)])
    def test_sizes_that_do_not_fit_are_padded_below_and_to_the_right(self, size):
        """Context and true frames alike, with their border, as the predictor pads what it reads."""
        clips = noise(2, 6, 3, *size)
        below, right = (-side % 4 for side in size)
        by_hand = torch.cat([clips, clips[..., -1:, :].expand(-1, -1, -1, below, -1)], dim=-2)
        by_hand = torch.cat([by_hand, by_hand[..., -1:].expand(-1, -1, -1, -1, right)], dim=-1)
        for ours, theirs in zip(stage().losses(batch_of(clips)), stage().losses(batch_of(by_hand)), strict=True):
            torch.testing.assert_close(ours, theirs)

    def test_are_logged_by_their_names(self):
        made, logged = stage(), {}
        made._trainer, made.log_dict = SimpleNamespace(current_epoch=0), logged.update
        made.training_step(batch_of(noise(2, 6, 3, 8, 8)), 0)
        pixel, area_ = made.losses(batch_of(noise(2, 6, 3, 8, 8)))
        assert pixel != area_
        assert logged == {"train/pixel": pixel, "train/area": area_}

    def test_a_still_clip_has_a_finite_gradient(self):
        """No area, and where nothing moves |.| has no slope: 0, not NaN."""
        made = stage(residual=True)
        made.training_step(batch_of(square(4, 20)[None, None].repeat(1, 6, 1, 1, 1)), 0).backward()
        assert all(p.grad.isfinite().all() for p in made.parameters())


class TestScheduledSampling:
    def test_falls_by_a_tenth_every_five_epochs(self):
        made = stage()
        found = {}
        for epoch in (0, 4, 5, 10, 25):
            made._trainer = SimpleNamespace(current_epoch=epoch)
            found[epoch] = made.probability(0)
        assert found == pytest.approx({0: 0.9, 4: 0.9, 5: 0.81, 10: 0.729, 25: 0.531441})

    def test_falls_as_the_options_say(self):
        made, probabilities = stage(sampling_start=0.8, sampling_decay=0.5, sampling_epochs=3), {}
        for epoch in (0, 2, 3, 5, 6):
            made._trainer = SimpleNamespace(current_epoch=epoch)
            probabilities[epoch] = made.probability(0)
        assert probabilities == pytest.approx({0: 0.8, 2: 0.8, 3: 0.4, 5: 0.4, 6: 0.2})

    def test_an_end_and_the_fall_by_epochs_multiply(self):
        made = stage(steps=100, sampling_end=0.5)
        made._trainer = SimpleNamespace(current_epoch=5)
        assert made.probability(25) == pytest.approx(0.81 * 0.5)

    def test_with_an_end_it_falls_to_nothing_by_then(self):
        made = stage(steps=100, sampling_end=0.6)
        assert [made.probability(step) for step in (0, 30, 60, 99)] == pytest.approx([0.9, 0.45, 0.0, 0.0])
        made.recipe = Recipe(steps=100, accumulate=2)
        assert made.probability(60) == pytest.approx(0.45)

    def test_is_drawn_from_each_clips_own_generator(self):
        made, clips = stage(), noise(2, 12, 3, 8, 8)
        first = made.shown(batch_of(clips, seed=3))
        assert torch.equal(first, made.shown(batch_of(clips, seed=3)))
        assert torch.equal(first[1:], made.shown(batch_of(clips[1:], seed=4)))
        assert not torch.equal(first, made.shown(batch_of(clips, seed=30)))
        assert first.shape == (2, 8)

    def test_share_of_true_frames(self):
        drawn = stage(sampling_start=0.7).shown(batch_of(noise(500, 8, 3, 2, 2)))
        assert float(drawn.float().mean()) == pytest.approx(0.7, abs=0.03)

    @pytest.mark.parametrize(("start", "expected"), [(0.0, False), (1.0, True)])
    def test_its_ends(self, start, expected):
        drawn = stage(sampling_start=start).shown(batch_of(noise(20, 8, 3, 2, 2)))
        assert drawn.unique().tolist() == [expected]


class TestOptimiser:
    def test_is_adam_at_the_papers_rate(self):
        optimiser = stage().configure_optimizers()
        assert type(optimiser) is torch.optim.Adam
        assert optimiser.param_groups[0]["lr"] == 5e-4
        assert sum(p.numel() for p in optimiser.param_groups[0]["params"]) == sum(
            p.numel() for p in stage().predictor.parameters()
        )

    @pytest.mark.parametrize("schedule", ["constant", "cosine"])
    def test_its_rate_is_the_recipes_that_the_harness_sets(self, schedule):
        """That is ``--lr``; the options hold the preset's."""
        made = stage(schedule=schedule)
        made.recipe = Recipe(steps=100, learning_rate=0.125)
        made = made.configure_optimizers()
        optimiser = made["optimizer"] if schedule == "cosine" else made
        assert optimiser.param_groups[0].get("initial_lr", optimiser.param_groups[0]["lr"]) == 0.125

    def test_cosine_rises_and_falls(self):
        made = stage(steps=100, schedule="cosine").configure_optimizers()
        schedule, rates = made["lr_scheduler"]["scheduler"], []
        for _ in range(100):
            rates.append(schedule.get_last_lr()[0])
            made["optimizer"].step()
            schedule.step()
        assert made["lr_scheduler"]["interval"] == "step"
        assert rates[0] == pytest.approx(1e-4, rel=0.02) and rates[4] == pytest.approx(5e-4, rel=0.02)
        assert rates[5:] == sorted(rates[5:], reverse=True)
        assert 0 < rates[-1] < 1e-6  # the last step, too, is a step

    def test_stages_are_what_the_harness_expects(self):
        predictor = CDNet(Options(**SMALL, recipe={"epochs": 3, "learning_rate": 1.0}))
        assert isinstance(predictor, Trainable)
        protocol = SimpleNamespace(name="p", sampling=SimpleNamespace(context=4))
        (made,) = predictor.training_stages(protocol)
        assert made.predictor is predictor and made.recipe == predictor.options.recipe
        trained = {id(p) for p in made.parameters()}
        assert trained == {id(p) for p in predictor.parameters()}


def test_trains_and_is_scored_through_the_harness(tmp_path, cache):
    """A few steps; then `run` scores two stages of the same weights, which carry their options."""
    plugins = load_plugins([str(Path(__file__).resolve().parents[1] / "toys.py")])
    path = tmp_path / "toy.toml"
    path.write_text(
        'schema = 1\nname = "toy"\nversion = 1\nmetrics = ["mse"]\n[dataset]\nname = "toy-frames"\n'
        "options = { sequences = 6, length = 6, size = [16, 16] }\n[sampling]\n"
        'kind = "first"\ncontext = 3\nhorizon = 2\n[training]\nclips = 8\n'
    )
    options = {"cdnet": SMALL | {"context": 3, "sampling_end": 0.5, "schedule": "cosine"}}
    recipe = {"steps": 4, "batch_size": 2}
    settings = {"plugins": plugins, "out": tmp_path / "out", "device": "cpu"}
    weights = vpbench.train("cdnet", path, options=options, recipe=recipe, **settings)
    found = {}
    for emit in ("last", "motion", 1):
        given = {"cdnet": {"weights": str(weights), "emit": emit}}
        found[emit] = vpbench.evaluate("cdnet", path, options=given, **settings)
    scores = {emit: [result.at("mse", step) for step in (1, 2)] for emit, result in found.items()}
    assert len({tuple(each) for each in scores.values()}) == 3
    assert {result.run["identity"]["options"]["hidden"] for result in found.values()} == {2}
    options["cdnet"]["emit"] = "motion"
    with pytest.raises(vpbench.UsageError, match="cdnet: emit shows a stage of trained weights; train without it"):
        vpbench.train("cdnet", path, options=options, recipe=recipe, **settings)


def moving_square(frames=5):
    return torch.stack([square(3 + 3 * k)[:, 8:20] for k in range(frames)])[None]


def fit(made, steps, rate=5e-3):
    """Fit to one clip of a moving square."""
    optimiser, batch = torch.optim.Adam(made.parameters(), lr=rate), batch_of(moving_square())
    for _ in range(steps):
        optimiser.zero_grad()
        made.training_step(batch, 0).backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimiser.step()


def stages_of(made):
    """Return the decoded next frames of all stages, motion first, [6,3,H,W]."""
    with torch.no_grad():
        return next(made.predictor.network(moving_square()[:, :4], 1, range(6)))[:, 0, :, -1]


def overlap(made):
    """Intersection over union of the areas of what the motion features show and of what moves."""
    clip = moving_square()
    found = area(stages_of(made)[:1], clip[:, 3], 0.05).bool()
    moved = area(clip[:, 4], clip[:, 3], 0.05).bool()
    return float((found & moved).sum() / (found | moved).sum())


def test_fit_to_a_moving_square():
    """Motion features learn what moves; refinement, what it looks like, and the better the later (figure 5)."""
    made, clip = stage(hidden=4, sampling_start=0.0), moving_square()
    before = overlap(made)
    fit(made, 100)
    errors = (stages_of(made) - clip[0, 4]).square().mean((1, 2, 3))
    repeated = (clip[:, 4] - clip[:, 3]).square().mean()
    assert overlap(made) > before + 0.35
    assert errors[5] <= errors[1] < errors[MOTION]
    assert errors[5] < 0.2 * repeated


def test_running_statistics_serve_as_well_as_those_of_the_batch():
    """Batch norm after a short training: the loss of other clips in evaluation is within a tenth of training's."""
    made = stage(norm="batch", sampling_start=0.0, iterations=2)
    trained, others = (
        batch_of(torch.stack([torch.stack([square(at + by * k) for k in range(6)]) for at, by in starts]))
        for starts in (((0, 2), (4, 3), (20, -2), (14, -1)), ((2, 3), (6, 2), (18, -3), (16, -2)))
    )
    optimiser, losses = torch.optim.Adam(made.parameters(), lr=5e-3), []
    for _ in range(50):
        optimiser.zero_grad()
        loss = made.training_step(trained, 0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    with torch.no_grad():
        for _ in range(20):  # the running statistics catch up with weights that moved fast
            made.losses(trained)
        evaluating = float(made.eval().losses(others)[0])
        training = float(made.train().losses(others)[0])
    assert evaluating == pytest.approx(training, rel=0.1)
