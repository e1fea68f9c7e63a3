"""Distances between two sets of feature vectors: Frechet distance and kernel distance, computed in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

Vectors = Float[np.ndarray, "m d"]
SecondVectors = Float[np.ndarray, "n d"]
_ROWS_AT_ONCE = 512


def frechet_distance(first: Vectors, second: SecondVectors) -> float:
    """Return the squared Frechet (2-Wasserstein) distance between the Gaussians of two sets.

    With means m and sample covariances C (divided by n - 1) it is

        |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2)).

    For centred sets X, C = X'X / (n - 1). The eigenvalues of C1 C2 are then the squares of the singular values of
    X2 X1' / sqrt((n1 - 1)(n2 - 1)), so the last trace is the sum of those singular values. They are real and 0 or more
    for singular covariances too, also if a set has fewer vectors than dimensions. A set that has more is first replaced
    by the triangular factor R of X = QR, as X'X = R'R.

    Raises:
        numpy.linalg.LinAlgError: a vector is not finite.

    Source: Dowson and Landau, The Frechet distance between multivariate normal distributions, 1982, equation 4.
    """
    shift = np.subtract(*(vectors.mean(axis=0, dtype=np.float64) for vectors in (first, second)))
    factors = [_factor(vectors) for vectors in (first, second)]
    variances = math.fsum(float(np.square(factor).sum()) for factor in factors)
    products = np.linalg.svd(factors[1] @ factors[0].T, compute_uv=False)
    distance = float(shift @ shift) + variances - 2 * float(products.sum())
    return max(distance, 0.0)  # equal sets leave rounding


def kernel_distance(first: Vectors, second: SecondVectors) -> float:
    """Return the unbiased estimate of the squared maximum mean discrepancy (KID, KVD); it may be below 0.

    With the kernel k(x, y) = (x'y / d + 1)^3 of d-dimensional features and sets of m and n vectors it is

        sum_{i != j} k(x_i, x_j) / (m (m - 1)) + sum_{i != j} k(y_i, y_j) / (n (n - 1)) - 2 sum k(x_i, y_j) / (m n).

    Sources: Gretton et al., A Kernel Two-Sample Test, 2012, equation 3; degree 3, gamma 1/d and offset 1 are those of
    Binkowski et al., Demystifying MMD GANs, 2018, section 4. All pairs count: there are no random subsets.
    """
    within = math.fsum(_kernel_within(vectors) for vectors in (first, second))
    return within - 2 * _kernel_between(first, second)


def _factor(vectors: Vectors) -> NDArray[np.float64]:
    """Return R, [min(m, d), d], with R'R = sample covariance; blocks are factored one after another."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    factor = np.empty((0, vectors.shape[1]))
    for block in _blocks(vectors):
        factor = np.vstack([factor, block - mean])
        if len(factor) > factor.shape[1]:
            factor = np.linalg.qr(factor, mode="r")
    return factor / math.sqrt(len(vectors) - 1)


def _kernel_between(first: Vectors, second: SecondVectors) -> float:
    """Return the mean of the kernel over all pairs of one vector of each set."""
    sums = [_kernel(x, y).sum() for x in _blocks(first) for y in _blocks(second)]
    return math.fsum(sums) / (len(first) * len(second))


def _kernel_within(vectors: Vectors) -> float:
    """Return the mean of the kernel over all pairs of two vectors; it is symmetric, so half the blocks are enough."""
    blocks = list(_blocks(vectors))
    sums = []
    for number, x in enumerate(blocks):
        values = _kernel(x, x)
        sums.append(values.sum() - values.trace())
        sums += [2 * _kernel(x, y).sum() for y in blocks[number + 1 :]]
    return math.fsum(sums) / (len(vectors) * (len(vectors) - 1))


def _blocks(vectors: Vectors) -> Iterator[NDArray[np.float64]]:
    """Yield parts in float64, whose products with each other stay in the cache."""
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        yield vectors[start : start + _ROWS_AT_ONCE].astype(np.float64)


def _kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    base = x @ y.T
    base /= x.shape[1]
    base += 1.0
    return base**2 * base
