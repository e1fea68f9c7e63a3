"""CRPS, energy score, rank of the truth: independent implementations, closed forms, one sample, flat histograms."""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from vpbench.plugin.clip import Future, Prediction
from vpbench.plugin.metric import Undefined
from vpbench.plugin.sample_metric import SampleComparison
from vpbench_metrics.pixels import MAE, MSE
from vpbench_metrics.probabilistic import CRPS, EnergyScore, TruthRank, crps, energy_score, ranks_of_truth


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def clip(samples: torch.Tensor, true: torch.Tensor, name: str = "clip@0") -> SampleComparison:
    """Samples [N,S,3,H,W] of one clip and its truth [S,3,H,W]."""
    steps = tuple(range(1, len(true) + 1))
    return SampleComparison(Prediction(frames=samples), Future(true[None], steps, (name,), true[:1]))


def fair_crps(samples: list[float], true: float) -> float:
    """Integrate (F - 1[x >= y])^2 over the steps of F, then replace the plain mean of distances by the fair one."""
    edges = sorted([*samples, true])
    count = len(samples)
    plain = sum(
        (b - a) * (sum(x <= a for x in samples) / count - (a >= true)) ** 2 for a, b in itertools.pairwise(edges)
    )
    distances = sum(abs(a - b) for a in samples for b in samples)
    return plain + distances / (2 * count**2) - distances / (2 * count * (count - 1))


@pytest.mark.parametrize("count", [2, 3, 7])
def test_crps_equals_the_integral_over_the_distribution(count):
    samples, true = noise(count, 2, 3, 2, 2), noise(2, 3, 2, 2, seed=1)
    values = [
        np.mean([fair_crps(samples[:, i].flatten(1)[:, j].tolist(), float(true[i].flatten()[j])) for j in range(12)])
        for i in range(2)
    ]
    assert CRPS("cpu").measure_samples(clip(samples, true)) == pytest.approx(values, rel=1e-6)


@pytest.mark.parametrize("count", [2, 5])
def test_crps_of_gaussian_samples_has_the_closed_form_for_any_number_of_samples(count):
    """Gneiting and Raftery 2007, equation 5 of the Gaussian; the plain estimator would be 1 / (N sqrt(pi)) above it."""
    generator = torch.Generator().manual_seed(3)
    samples = torch.randn(count, 200_000, generator=generator, dtype=torch.float64)
    true = torch.full((200_000,), 0.7, dtype=torch.float64)
    normal = NormalDist()
    expected = 0.7 * (2 * normal.cdf(0.7) - 1) + 2 * normal.pdf(0.7) - 1 / math.sqrt(math.pi)
    assert float(crps(samples, true).mean()) == pytest.approx(expected, abs=0.005)


def test_energy_equals_the_sums_over_all_pairs_and_is_crps_for_a_single_value():
    samples, true = noise(4, 1, 3, 2, 5).double(), noise(1, 3, 2, 5, seed=1).double()

    def distance(a: torch.Tensor, b: torch.Tensor) -> float:
        return math.sqrt(float(((a - b) ** 2).mean()))

    error = sum(distance(x, true) for x in samples) / 4
    between = sum(distance(a, b) for a in samples for b in samples)
    (score,) = EnergyScore("cpu").measure_samples(clip(samples.float(), true.float()))
    assert score == pytest.approx(error - between / 24, rel=1e-5)
    single = samples.flatten(1)[:, :1], true.flatten()[:1]
    assert energy_score(*single) == pytest.approx(float(crps(*single)), rel=1e-12)


def test_energy_does_not_depend_on_the_number_of_samples_in_expectation():
    generator = torch.Generator().manual_seed(5)
    draws = torch.randn(800, 6, 4, generator=generator, dtype=torch.float64)
    true = torch.zeros(4, dtype=torch.float64)
    few, many = (np.mean([energy_score(draw[:count], true) for draw in draws]) for count in (2, 6))
    assert few == pytest.approx(many, abs=0.06)  # the plain estimator differs by 0.2


def test_one_sample_gives_mae_and_rmse_and_no_rank(compare):
    samples, true = noise(1, 2, 3, 4, 4), noise(2, 3, 4, 4, seed=1)
    comparison, frames = clip(samples, true), compare(samples, true[None])
    assert CRPS("cpu").measure_samples(comparison) == pytest.approx(MAE("cpu").measure(frames)[0], rel=1e-6)
    roots = [math.sqrt(value) for value in MSE("cpu").measure(frames)[0]]
    assert EnergyScore("cpu").measure_samples(comparison) == pytest.approx(roots, rel=1e-6)
    assert all(isinstance(value, Undefined) for value in TruthRank("cpu").measure_samples(comparison))


def test_ranks_count_samples_with_a_lower_mean_rank():
    samples = torch.tensor([[0.0, 0.0, 0.9], [0.5, 0.5, 0.5], [0.1, 0.9, 0.9]])
    assert ranks_of_truth(samples, torch.tensor([0.2, 0.7, 0.7])) == (2, 0)  # sums of ranks: 8, and 5.5, 7, 9.5
    assert ranks_of_truth(samples, torch.tensor([1.0, 1.0, 1.0])) == (3, 0)
    assert ranks_of_truth(samples, torch.tensor([-1.0, -1.0, -1.0])) == (0, 0)
    assert ranks_of_truth(samples, samples[1]) == (1, 1)  # 7.5, and 5.5, 7.5, 9.5
    assert ranks_of_truth(torch.zeros(3, 4), torch.zeros(4)) == (0, 3)


def histogram(truth: float, spread: float, clips: int = 300) -> list[float]:
    """The rank histogram of clips whose samples and truth vary around a value of each clip, on 8 levels (ties)."""
    generator = torch.Generator().manual_seed(1)
    metric, count = TruthRank("cpu"), 3
    rows = []
    for number in range(clips):
        values = torch.randn(count + 1, 1, 3, 1, 2, generator=generator)
        values[1:] *= spread
        values[0] += truth
        values = values.mul(2).round()
        rows += metric.measure_samples(clip(values[1:], values[0], f"clip{number}@0"))
    scores = metric.finalise(rows)
    fractions = [scores[f"rank {k}"] for k in range(count + 1)]
    assert scores["score"] == pytest.approx(sum(abs(f - 1 / (count + 1)) for f in fractions))
    return fractions


def test_the_rank_histogram_is_flat_for_exchangeable_samples_and_shows_spread_and_bias():
    flat = histogram(0.0, 1.0)
    assert sum((f - 0.25) ** 2 for f in flat) * 300 / 0.25 < 11.3  # chi-square with 3 degrees of freedom, 1 %
    sure = histogram(0.0, 0.3)
    assert min(sure[0], sure[-1]) > 1.5 * max(sure[1:-1])
    biased = histogram(1.0, 1.0)
    assert biased == sorted(biased) and biased[-1] > 0.5


def test_ties_are_broken_evenly_and_always_alike():
    tied = [clip(torch.zeros(3, 1, 3, 2, 2), torch.zeros(1, 3, 2, 2), f"clip{i}@0") for i in range(400)]
    rows = [TruthRank("cpu").measure_samples(comparison) for comparison in tied]
    assert rows == [TruthRank("cpu").measure_samples(comparison) for comparison in tied]
    counts = np.array(rows).sum(axis=(0, 1))
    assert float(((counts - 100) ** 2 / 100).sum()) < 11.3


def test_no_value_depends_on_the_number_of_threads():
    comparison = clip(noise(5, 2, 3, 40, 40), noise(2, 3, 40, 40, seed=1))
    values = []
    threads = torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            values.append([metric("cpu").measure_samples(comparison) for metric in (CRPS, EnergyScore, TruthRank)])
    finally:
        torch.set_num_threads(threads)
    assert values[0] == values[1]
