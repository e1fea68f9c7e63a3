"""Scheduled sampling: the schedules, and draws that follow each clip's generator."""

from __future__ import annotations

import math

import pytest
import torch

from vpbench.toolkit.sampling import ScheduledSampling, draw_truth, reverse_sampling


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (ScheduledSampling(), {(0.0, 0): 1.0, (1.0, 99): 1.0}),
        (ScheduledSampling(end=0.4), {(0.0, 9): 1.0, (0.1, 9): 0.75, (0.4, 0): 0.0, (0.9, 0): 0.0}),
        (ScheduledSampling(end=0.0), {(0.0, 0): 0.0}),
        (ScheduledSampling(0.9, 0.9, 5), {(0.5, 0): 0.9, (0.5, 4): 0.9, (0.5, 5): 0.81, (0.5, 10): 0.729}),
        (ScheduledSampling(0.8, 0.5, 2, 1.0), {(0.25, 2): 0.8 * 0.5 * 0.75}),
    ],
    ids=["constant", "linear", "never", "exponential by epochs", "both"],
)
def test_probability(schedule, values):
    assert {at: schedule.probability(*at) for at in values} == pytest.approx(values)


def test_reverse_sampling_is_that_of_the_official_code():
    """Half of 80,000 iterations long: 25,000 at one half, then until 50,000 with a time constant of 5,000."""
    for iteration in range(0, 80_000, 1_250):
        late = iteration - 25_000
        context = 0.5 if late < 0 else 1 - 0.5 * math.exp(-late / 5_000) if late < 25_000 else 1.0
        future = 0.5 if late < 0 else 0.5 - 0.5 / 25_000 * late if late < 25_000 else 0.0
        assert reverse_sampling(iteration / 80_000, 50_000 / 80_000) == pytest.approx((context, future))
    assert reverse_sampling(0.0, 0.0) == (1.0, 0.0)


def test_each_frame_is_drawn_with_its_probability():
    shares = draw_truth(generators(*range(2000)), [0.0, 0.3, 1.0]).float().mean(dim=0)
    assert shares[0] == 0 and shares[2] == 1
    assert shares[1] == pytest.approx(0.3, abs=0.04)


def test_draws_follow_each_clips_own_generator():
    drawn = draw_truth(generators(5, 6, 7), [0.5] * 9)
    torch.manual_seed(99)
    assert torch.equal(draw_truth(generators(7, 6, 5), [0.5] * 9), drawn.flip(0))
    assert not torch.equal(draw_truth(generators(1, 2, 3), [0.5] * 9), drawn)


def test_probabilities_of_0_draw_nothing():
    clips = generators(1, 2)
    states = [generator.get_state() for generator in clips]
    assert not draw_truth(clips, [0.0, 0.0]).any()
    assert draw_truth(clips, []).shape == (2, 0)
    assert all(torch.equal(g.get_state(), s) for g, s in zip(clips, states, strict=True))
