"""Frechet and kernel distance against closed forms, an independent implementation, and plain loops."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
import scipy.linalg

from vpbench_metrics import distances
from vpbench_metrics.distances import frechet_distance, kernel_distance


def correlated(rng: np.random.Generator, count: int, dimensions: int, shift: float = 0.0) -> np.ndarray:
    return rng.normal(size=(count, dimensions)) @ rng.normal(size=(dimensions, dimensions)) + shift


def frechet_by_scipy(first: np.ndarray, second: np.ndarray) -> float:
    """The usual implementation: the square root of the product of two covariances, by Schur's method."""
    covariances = [np.cov(vectors, rowvar=False) for vectors in (first, second)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    shift = first.mean(axis=0) - second.mean(axis=0)
    return float(shift @ shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root).real)


class TestFrechet:
    @pytest.mark.parametrize("counts", [(12, 9), (40, 40), (300, 17)])
    def test_an_independent_implementation_where_covariances_are_regular(self, counts):
        rng = np.random.default_rng(0)
        sets = [correlated(rng, count, 8, shift) for count, shift in zip(counts, (0.0, 2.0), strict=True)]
        assert frechet_distance(*sets) == pytest.approx(frechet_by_scipy(*sets), rel=1e-9)

    @pytest.mark.parametrize("counts", [(2, 2), (5, 9), (9, 200)])
    def test_fewer_vectors_than_dimensions(self, counts):
        """Up to the precision that the square root of a singular product loses."""
        rng = np.random.default_rng(1)
        sets = [correlated(rng, count, 30) for count in counts]
        tolerance = 1e-6 * sum(np.cov(vectors, rowvar=False).trace() for vectors in sets)
        assert frechet_distance(*sets) == pytest.approx(frechet_by_scipy(*sets), abs=tolerance)

    def test_closed_form_of_gaussians_on_a_line(self):
        """(m1 - m2)^2 + (s1 - s2)^2, with the sample's own moments."""
        rng = np.random.default_rng(2)
        x, y = rng.normal(1.0, 2.0, (50, 1)), rng.normal(-3.0, 0.5, (70, 1))
        expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
        assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-12)

    def test_closed_form_of_independent_axes(self):
        """Sums of the distances of each axis: sets whose sample covariances are diagonal exactly."""
        corners = np.array([[a, b, c] for a in (-1.0, 1.0) for b in (-1.0, 1.0) for c in (-1.0, 1.0)])
        deviations = np.array([1.0, 2.0, 0.0]), np.array([3.0, 0.5, 4.0])
        factor = 8 / 7  # the sample variance of the corners
        expected = 5.0**2 + factor * ((1 - 3) ** 2 + (2 - 0.5) ** 2 + 4**2)
        assert frechet_distance(corners * deviations[0] + [5.0, 0.0, 0.0], corners * deviations[1]) == pytest.approx(
            expected, rel=1e-12
        )

    @pytest.mark.parametrize("count", [2, 10, 200])
    def test_a_set_and_itself_in_another_order(self, count):
        rng = np.random.default_rng(3)
        vectors = correlated(rng, count, 20)
        scale = np.cov(vectors, rowvar=False).trace()
        for copy in (vectors, vectors[::-1]):
            assert 0.0 <= frechet_distance(vectors, copy) < 1e-12 * scale

    def test_vectors_that_do_not_vary(self):
        first, second = np.zeros((5, 4)), np.ones((5, 4))
        assert frechet_distance(first, second) == 4.0

    def test_it_is_symmetric_and_a_shift_adds_its_square(self):
        rng = np.random.default_rng(4)
        x, y = correlated(rng, 30, 6), correlated(rng, 50, 6)
        assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-12)
        assert frechet_distance(x, x + 3.0) == pytest.approx(6 * 9.0, rel=1e-12)


class TestKernel:
    def test_the_equation_pair_by_pair(self, monkeypatch):
        monkeypatch.setattr(distances, "_ROWS_AT_ONCE", 3)
        rng = np.random.default_rng(5)
        x, y = rng.normal(size=(7, 4)), rng.normal(0.5, 1.0, size=(5, 4))

        def kernel(a, b):
            return (sum(p * q for p, q in zip(a, b, strict=True)) / 4 + 1) ** 3

        within = [
            sum(kernel(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j) / (len(s) * (len(s) - 1))
            for s in (x, y)
        ]
        between = sum(kernel(a, b) for a in x for b in y) / 35
        assert kernel_distance(x, y) == pytest.approx(sum(within) - 2 * between, rel=1e-12)

    def test_it_is_unbiased_with_few_vectors(self):
        """The mean over many pairs of sets of one distribution is 0 within three standard errors; some are below."""
        rng = np.random.default_rng(6)
        values = np.array([kernel_distance(*rng.normal(size=(2, 4, 5))) for _ in range(400)])
        assert abs(values.mean()) < 3 * values.std() / 20
        assert values.min() < 0
        biased = np.array([frechet_distance(*rng.normal(size=(2, 4, 5))) for _ in range(100)])
        assert biased.mean() > 1.0

    def test_it_grows_with_the_shift(self):
        x, y = np.random.default_rng(7).normal(size=(2, 60, 5))
        values = [kernel_distance(x, y + shift) for shift in (0.0, 0.5, 1.0)]
        assert values[0] < values[1] < values[2]


@pytest.mark.slow
def test_ten_thousand_clips_in_a_minute_and_flat_memory():
    rng = np.random.default_rng(8)
    x, y = (rng.normal(size=(10_000, 400)) for _ in range(2))
    tracemalloc.start()
    start = time.process_time()
    assert frechet_distance(x, y) == pytest.approx(8.0, abs=0.5)  # the bias of equal distributions
    assert abs(kernel_distance(x, y)) < 1e-3
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 60
    assert peak < 3 * x.nbytes
