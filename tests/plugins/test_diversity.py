"""Diversity: the mean over all pairs of samples, as the metrics of single frames measure each pair."""

from __future__ import annotations

import itertools

import pytest
import torch

from vpbench.plugin.clip import Future, Prediction
from vpbench.plugin.metric import Setting, Undefined
from vpbench.plugin.sample_metric import SampleComparison
from vpbench_metrics.diversity import DiversityLPIPS, DiversityMSE
from vpbench_metrics.perceptual import LPIPS
from vpbench_metrics.pixels import MSE

FRAMES = frozenset({"frames"})


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def clip(samples: torch.Tensor) -> SampleComparison:
    true = noise(*samples.shape[1:], seed=1)
    steps = tuple(range(1, len(true) + 1))
    return SampleComparison(Prediction(frames=samples), Future(true[None], steps, ("clip@0",), true[:1]))


@pytest.fixture(params=[("mse", 4), pytest.param(("lpips", 32), marks=pytest.mark.slow)], ids=["mse", "lpips"])
def pair(request):
    """A diversity, the metric of its distance, and the size of frames."""
    name, size = request.param
    kinds = {"mse": (DiversityMSE, MSE), "lpips": (DiversityLPIPS, LPIPS)}
    diversity, distance = (kind("cpu") for kind in kinds[name])
    if reason := distance.why_not(Setting((size, size), FRAMES, FRAMES)):
        pytest.skip(reason)
    return diversity, distance, size


def test_diversity_is_the_mean_over_all_pairs(pair, compare):
    diversity, distance, size = pair
    samples = noise(4, 2, 3, size, size)
    pairs = [
        distance.measure(compare(samples[i : i + 1], samples[j : j + 1]))[0]
        for i, j in itertools.combinations(range(4), 2)
    ]
    expected = [sum(values) / len(pairs) for values in zip(*pairs, strict=True)]
    assert diversity.measure_samples(clip(samples)) == pytest.approx(expected, rel=1e-5)


def test_equal_samples_have_no_diversity_and_one_sample_has_none_defined(pair):
    diversity, _, size = pair
    samples = noise(1, 1, 3, size, size)
    assert diversity.measure_samples(clip(samples.expand(3, -1, -1, -1, -1))) == pytest.approx([0.0], abs=1e-9)
    (value,) = diversity.measure_samples(clip(samples))
    assert isinstance(value, Undefined) and "2 samples or more" in value.reason


def test_small_frames_have_no_lpips():
    (value,) = DiversityLPIPS("cpu").measure_samples(clip(noise(2, 1, 3, 16, 16)))
    assert value == Undefined("needs at least 31 pixels per side; these frames are 16x16")
    assert "31 pixels" in DiversityLPIPS("cpu").why_not(Setting((16, 16), FRAMES, FRAMES, samples=2))
