"""SSIM without numba: the moments of pairs of planes through OpenCV (CPU) or torch (any device).

The sum/difference form: with p = (x+y)/2 and d = x-y, whose means over the window are m_p and m_d and whose variances
are v_p and v_d, the contrast-structure term is 1 - v_d / (2 v_p + v_d/2 + C2) and the luminance term
1 - m_d^2 / (2 m_p^2 + m_d^2/2 + C1). Both fractions vanish for identical planes, so that these give exactly 1; and the
variances do not change when a plane's mean is taken from it first, so that bright planes lose no digits. What float32
may still lose (flat areas far from the plane's mean) is estimated, and such planes are done again in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vpbench.toolkit.windows import GAUSSIAN, K1, K2, Window

DOUBTFUL = 2e-5
"""Estimated error of a plane's mean SSIM in float32 above which it is computed again in float64.

The estimate takes each pixel's rounding for its worst and is 10 to 1000 times the error: photographs stay below it.
"""
_UNIT_ROUNDOFF = 2.0**-24
_PIXELS_AT_ONCE = 2**16  # 256 KiB in float32: a handful of such maps stays in the cache


def structure_opencv(
    x: Float[np.ndarray, "n h w"],
    y: Float[np.ndarray, "n h w"],
    window: Window = GAUSSIAN,
    ranges: Sequence[float] = (1.0,),
    *,
    exact: bool = False,
) -> NDArray[np.float64]:
    """Return 1 - SSIM and 1 - contrast-structure, means over each plane's valid interior, [n, len(ranges), 2].

    Args:
        x: planes with sides of the window's or more.
        y: as ``x``.
        window: the window of the moments.
        ranges: data ranges; one set of moments serves them all.
        exact: compute in float64 at once.
    """
    count = len(x)
    out = np.empty((count, len(ranges), 2))
    at_once = _at_once(x)
    for start in range(0, count, at_once):
        part = slice(start, start + at_once)
        values, error = _opencv(x[part], y[part], window, ranges, np.float64 if exact else np.float32)
        for index in [] if exact else np.flatnonzero(error > DOUBTFUL):
            pair = slice(index, index + 1)
            values[pair], _ = _opencv(x[part][pair], y[part][pair], window, ranges, np.float64)
        out[part] = values
    return out


def structure_torch(
    x: Float[Tensor, "n h w"],
    y: Float[Tensor, "n h w"],
    window: Window = GAUSSIAN,
    ranges: Sequence[float] = (1.0,),
    *,
    exact: bool = False,
) -> NDArray[np.float64]:
    """Return what :func:`structure_opencv` returns, computed on the tensors' device.

    Sums of shifted planes only: no convolution or matrix product that TF32 or autocast could round.
    """
    at_once = _at_once(x)
    out = []
    for a, b in zip(x.split(at_once), y.split(at_once), strict=True):
        values, error = _torch(a, b, window, ranges, torch.float64 if exact else torch.float32)
        for index in [] if exact else np.flatnonzero(error > DOUBTFUL):
            pair = slice(index, index + 1)
            values[pair], _ = _torch(a[pair], b[pair], window, ranges, torch.float64)
        out.append(values)
    return np.concatenate(out)


def errors(x: Any, y: Any) -> NDArray[np.float64]:
    """Return the mean squared and the mean absolute error of planes [n,h,w] (arrays or tensors), [n,2].

    Sums are float64; OpenCV subtracts in float32 first.
    """
    size = x.shape[1] * x.shape[2]
    if isinstance(x, np.ndarray):
        pairs = zip(x, y, strict=True)
        return np.array([[cv2.norm(a, b, cv2.NORM_L2SQR), cv2.norm(a, b, cv2.NORM_L1)] for a, b in pairs]) / size
    out = []
    for a, b in zip(x.split(_at_once(x)), y.split(_at_once(x)), strict=True):
        difference = a.double() - b.double()
        out.append(torch.stack([difference.square().mean((1, 2)), difference.abs().mean((1, 2))], dim=1))
    return torch.cat(out).cpu().numpy()


def _at_once(planes: Any) -> int:
    pixels = _PIXELS_AT_ONCE * (64 if getattr(planes, "is_cuda", False) else 1)
    return max(1, pixels // (planes.shape[1] * planes.shape[2]))


def halve(planes: Any) -> Any:
    """Return 2x2 means of planes [n,h,w] (an array or a tensor); an odd side's last row or column counts twice."""
    height, width = planes.shape[1:]
    rows = planes[:, 0::2] + (planes[:, 1::2] if height % 2 == 0 else _repeated(planes, height, 1))
    columns = rows[:, :, 0::2] + (rows[:, :, 1::2] if width % 2 == 0 else _repeated(rows, width, 2))
    return 0.25 * columns


def _repeated(planes: Any, side: int, axis: int) -> Any:
    """Return entries 1, 3, ... of an axis of odd length, then the last, as if it stood there twice."""
    index = [*range(1, side, 2), side - 1]
    return planes[:, index] if axis == 1 else planes[:, :, index]


def _opencv(
    x: NDArray[Any], y: NDArray[Any], window: Window, ranges: Sequence[float], dtype: type
) -> tuple[NDArray[np.float64], NDArray[np.floating]]:
    count, height, width = x.shape
    r = window.radius
    weights = np.array(window.weights, dtype)
    x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)

    def blur(planes: NDArray[Any]) -> NDArray[Any]:
        # One tall picture: rows that mix two planes lie outside the valid interior.
        tall = cv2.sepFilter2D(planes.reshape(-1, width), -1, weights, weights)
        return tall.reshape(count, height, width)[:, r : height - r, r : width - r]

    half_sum, difference = x + y, x - y
    half_sum *= dtype(0.5)
    means = [_mean(m)[:, None, None] for m in (half_sum, difference)]
    half_sum -= means[0]
    difference -= means[1]
    values, error = _deficits(half_sum, difference, means, blur, window.factor, ranges)
    return np.moveaxis(np.array(values, np.float64), -1, 0), error


def _torch(
    x: Tensor, y: Tensor, window: Window, ranges: Sequence[float], dtype: torch.dtype
) -> tuple[NDArray[np.float64], NDArray[np.floating]]:
    r = window.radius
    weights = window.weights[: r + 1]

    def along(planes: Tensor, dim: int) -> Tensor:
        valid = planes.shape[dim] - 2 * r
        out = planes.narrow(dim, r, valid) * weights[r]
        for k, weight in enumerate(weights[:r]):
            out += (planes.narrow(dim, k, valid) + planes.narrow(dim, 2 * r - k, valid)) * weight
        return out

    x, y = x.to(dtype), y.to(dtype)
    half_sum, difference = 0.5 * (x + y), x - y
    means = [_mean(m)[:, None, None] for m in (half_sum, difference)]
    half_sum -= means[0]
    difference -= means[1]
    values, error = _deficits(half_sum, difference, means, lambda m: along(along(m, 1), 2), window.factor, ranges)
    table = torch.stack([torch.stack(pair) for pair in values]).double().movedim(-1, 0)
    return table.cpu().numpy(), error.cpu().numpy()


def _deficits(
    half_sum: Any,
    difference: Any,
    means: Sequence[Any],
    blur: Callable[[Any], Any],
    factor: float,
    ranges: Sequence[float],
) -> tuple[Any, Any]:
    """Return 1 - SSIM and 1 - contrast-structure of planes, ranges of [2,n], and their estimated rounding error, [n].

    Args:
        half_sum: (x+y)/2 less its mean, [n,h,w]: arrays of NumPy, or tensors.
        difference: x-y less its mean.
        means: what was taken from ``half_sum`` and ``difference``, [n,1,1].
        blur: maps planes to their windows' means, [n,h',w'].
        factor: of the variances.
        ranges: data ranges.
    """
    m_p, m_d, v_p, v_d = blur(half_sum), blur(difference), blur(half_sum * half_sum), blur(difference * difference)
    sample = (slice(None), slice(None, None, 4))  # every fourth row is enough to estimate from
    e_p, e_d = v_p[sample] + 0, v_d[sample] + 0
    v_p, v_d = factor * (v_p - m_p * m_p), factor * (v_d - m_d * m_d)
    v_p *= 2
    v_p += 0.5 * v_d
    m_p = (m_p + means[0]) ** 2
    m_d = (m_d + means[1]) ** 2
    m_p *= 2
    m_p += 0.5 * m_d
    values = []
    for data_range in ranges:
        denominator = v_p + (K2 * data_range) ** 2
        contrast = v_d / denominator
        luminance = m_d / (m_p + (K1 * data_range) ** 2)
        terms = [_mean(contrast), _mean(luminance)]
        luminance *= contrast
        values.append([terms[0] + terms[1] - _mean(luminance), terms[0]])
        if data_range == ranges[0]:
            e_d += 2 * contrast[sample] * e_p
            error = _UNIT_ROUNDOFF * _mean(e_d / denominator[sample])
    return values, error


def _mean(planes: Any) -> Any:
    return planes.reshape(len(planes), -1).mean(1)
