"""The numba engine: one pass over each pair of planes gives the errors and SSIM's two terms.

Rows of four maps (half sum, difference, their squares, see :mod:`vpbench_metrics.moments`) go into a ring of 16; four
output rows at a time are filtered down the columns, then each along its row, where the formula is applied: every pixel
is read twice (its plane's means come first) and no map of a plane is ever stored. Errors are summed in float64; SSIM's
terms along a row in float32, in many lanes, and rows in float64. Compiled when first called, for one kind of CPU, and
kept on disk.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import numpy as np
from numba.core.compiler import Compiler
from numpy.typing import NDArray

from vpbench.paths import cache_dir
from vpbench_metrics.moments import GAUSSIAN, K1, K2

_W0, _W1, _W2, _W3, _W4, _W5 = (np.float32(w) for w in GAUSSIAN.weights[:6])
_C1, _C2 = np.float32(K1**2), np.float32(K2**2)
_ZERO, _HALF, _ONE, _TWO = (np.float32(v) for v in (0, 0.5, 1, 2))
_QUARTER = np.float32(0.25)
_LANES = 16  # floats of the widest registers: rows are padded to whole ones, which leaves no slow remainder


class _NoAlias(Compiler):
    """Numba's compiler, told that array arguments do not overlap: without that LLVM checks each pair at run time."""

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return list(super().define_pipelines())


def _compiled(
    function: Callable[..., Any] | None = None, *, reassociate: bool = False, inline: bool = False, keep: bool = False
) -> Any:
    """Compile when first called; ``keep`` on disk what is called from Python.

    Sums may be reassociated where that is all a function does; NaN is always kept.
    """
    if function is None:
        return lambda f: _compiled(f, reassociate=reassociate, inline=inline, keep=keep)
    python = inspect.unwrap(function)  # in tests a checker of shapes is wrapped around it
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"contract", "reassoc"} if reassociate else {"contract"},
        "forceinline": inline,
        "pipeline_class": _NoAlias,
    }
    if not keep:
        return numba.njit(**options)(python)
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = before or str(cache_dir() / "numba")
    try:
        return numba.njit(cache=True, **options)(python)
    except RuntimeError:  # there is nowhere to write: it is compiled in each process
        return numba.njit(**options)(python)
    finally:
        numba.config.CACHE_DIR = before


@_compiled(reassociate=True)
def _errors(x, y):  # noqa: ANN001, ANN202
    """Return the sums of x+y, x-y, (x-y)^2, |x-y| and the number of pixels outside [0,1].

    Nobody reads the number, but without it LLVM adds in another order and the errors get other last bits.
    """
    total = 0.0
    signed = 0.0
    squared = 0.0
    absolute = 0.0
    bad = 0
    for i in range(x.shape[0]):
        bad_here = np.int32(0)
        for j in range(x.shape[1]):
            a = x[i, j]
            b = y[i, j]
            bad_here += np.int32(not ((a >= _ZERO) & (a <= _ONE) & (b >= _ZERO) & (b <= _ONE)))
            d = np.float64(a) - np.float64(b)
            total += np.float64(a) + np.float64(b)
            signed += d
            squared += d * d
            absolute += abs(d)
        bad += bad_here
    return total, signed, squared, absolute, bad


@_compiled(reassociate=True)
def _sums(terms, count):  # noqa: ANN001, ANN202
    ssim = _ZERO
    contrast = _ZERO
    error = _ZERO
    for j in range(count):
        ssim += terms[0, j]
        contrast += terms[1, j]
        error += terms[2, j]
    return ssim, contrast, error


@_compiled
def _maps(x, y, mean_p, mean_d, p, d, pp, dd):  # noqa: ANN001
    for j in range(x.shape[0]):
        half_sum = _HALF * (x[j] + y[j]) - mean_p
        difference = (x[j] - y[j]) - mean_d
        p[j] = half_sum
        d[j] = difference
        pp[j] = half_sum * half_sum
        dd[j] = difference * difference


@_compiled(inline=True)
def _window(a, b, c, d, e, f, g, h, i, j, k):  # noqa: ANN001, ANN202
    return _W0 * (a + k) + _W1 * (b + j) + _W2 * (c + i) + _W3 * (d + h) + _W4 * (e + g) + _W5 * f


@_compiled
def _down(ring, top, v0, v1, v2, v3):  # noqa: ANN001
    """Filter rows top to top+13 of a ring of 16 down the columns into four rows."""
    a0, a1, a2, a3 = ring[top & 15], ring[(top + 1) & 15], ring[(top + 2) & 15], ring[(top + 3) & 15]
    a4, a5, a6, a7 = ring[(top + 4) & 15], ring[(top + 5) & 15], ring[(top + 6) & 15], ring[(top + 7) & 15]
    a8, a9, a10, a11 = ring[(top + 8) & 15], ring[(top + 9) & 15], ring[(top + 10) & 15], ring[(top + 11) & 15]
    a12, a13 = ring[(top + 12) & 15], ring[(top + 13) & 15]
    for j in range(v0.shape[0]):
        v0[j] = _window(a0[j], a1[j], a2[j], a3[j], a4[j], a5[j], a6[j], a7[j], a8[j], a9[j], a10[j])
        v1[j] = _window(a1[j], a2[j], a3[j], a4[j], a5[j], a6[j], a7[j], a8[j], a9[j], a10[j], a11[j])
        v2[j] = _window(a2[j], a3[j], a4[j], a5[j], a6[j], a7[j], a8[j], a9[j], a10[j], a11[j], a12[j])
        v3[j] = _window(a3[j], a4[j], a5[j], a6[j], a7[j], a8[j], a9[j], a10[j], a11[j], a12[j], a13[j])


@_compiled(inline=True)
def _across(v, j):  # noqa: ANN001, ANN202
    return _window(
        v[j], v[j + 1], v[j + 2], v[j + 3], v[j + 4], v[j + 5], v[j + 6], v[j + 7], v[j + 8], v[j + 9], v[j + 10]
    )


@_compiled
def _terms(mean_p, mean_d, vp, vd, vpp, vdd, ssim, contrast, error):  # noqa: ANN001
    """Filter four rows along themselves; write 1 - SSIM, 1 - contrast-structure, and an estimate of what is lost."""
    for k in range(ssim.shape[0]):
        j = np.uint64(k)  # numba then looks for no negative index
        m_p = _across(vp, j)
        m_d = _across(vd, j)
        e_pp = _across(vpp, j)
        e_dd = _across(vdd, j)
        v_p = max(e_pp - m_p * m_p, _ZERO)
        v_d = max(e_dd - m_d * m_d, _ZERO)
        m_p += mean_p
        m_d += mean_d
        inverse = _ONE / (_TWO * v_p + _HALF * v_d + _C2)
        c = v_d * inverse
        l = m_d * m_d / (_TWO * m_p * m_p + _HALF * m_d * m_d + _C1)  # noqa: E741
        contrast[k] = c
        ssim[k] = c + l - c * l
        error[k] = (e_dd + _TWO * c * e_pp) * inverse


@_compiled
def _structure(x, y, mean_p, mean_d, ring, rows, terms):  # noqa: ANN001, ANN202
    """Return the means over the valid interior of 1 - SSIM, 1 - contrast-structure and the rounding estimate."""
    height, width = x.shape
    ssim = 0.0
    contrast = 0.0
    error = 0.0
    start = 0
    for top in range(0, height - 10, 4):
        below = min(top + 14, height)
        for i in range(start, below):
            k = i & 15
            _maps(x[i], y[i], mean_p, mean_d, ring[0, k], ring[1, k], ring[2, k], ring[3, k])
        start = below
        for m in range(4):
            _down(ring[m], top, rows[0, m], rows[1, m], rows[2, m], rows[3, m])
        for i in range(min(4, height - 10 - top)):
            _terms(mean_p, mean_d, rows[i, 0], rows[i, 1], rows[i, 2], rows[i, 3], terms[0], terms[1], terms[2])
            row_ssim, row_contrast, row_error = _sums(terms, width - 10)
            ssim += row_ssim
            contrast += row_contrast
            error += row_error
    count = (height - 10) * (width - 10)
    return ssim / count, contrast / count, error / count * 2.0**-24


@_compiled(keep=True)
def _planes(x, y, out):  # noqa: ANN001
    count, height, width = x.shape
    windows = min(height, width) >= 11
    padded = (max(width - 10, 1) + _LANES - 1) // _LANES * _LANES
    ring = np.zeros((4, 16, padded + _LANES), np.float32)
    rows = np.zeros((4, 4, padded + _LANES), np.float32)
    terms = np.zeros((3, padded), np.float32)
    size = height * width
    for n in range(count):
        total, signed, squared, absolute, bad = _errors(x[n], y[n])
        out[n, 0] = squared / size
        out[n, 1] = absolute / size
        out[n, 5] = bad
        if windows:
            mean_p = np.float32(0.5 * total / size)
            mean_d = np.float32(signed / size)
            out[n, 2], out[n, 3], out[n, 4] = _structure(x[n], y[n], mean_p, mean_d, ring, rows, terms)


@_compiled
def _halve(plane, out):  # noqa: ANN001
    height, width = plane.shape
    for i in range(out.shape[0]):
        upper = plane[2 * i]
        lower = plane[min(2 * i + 1, height - 1)]
        for j in range(width // 2):
            out[i, j] = _QUARTER * ((upper[2 * j] + upper[2 * j + 1]) + (lower[2 * j] + lower[2 * j + 1]))
        if width % 2:
            out[i, width // 2] = _HALF * (upper[width - 1] + lower[width - 1])


@_compiled(keep=True)
def _pyramids(x, y, out):  # noqa: ANN001
    for n in range(x.shape[0]):
        a = x[n]
        b = y[n]
        for scale in range(out.shape[1]):
            half_a = np.empty(((a.shape[0] + 1) // 2, (a.shape[1] + 1) // 2), np.float32)
            half_b = np.empty_like(half_a)
            _halve(a, half_a)
            _halve(b, half_b)
            a = half_a
            b = half_b
            row = np.empty((1, 6))
            _planes(a.reshape(1, a.shape[0], a.shape[1]), b.reshape(1, b.shape[0], b.shape[1]), row)
            out[n, scale, 0] = row[0, 2]
            out[n, scale, 1] = row[0, 3]
            out[n, scale, 2] = row[0, 4]


def fused(x: NDArray[np.float32], y: NDArray[np.float32], threads: int) -> NDArray[np.float64]:
    """Return MSE, MAE, 1 - SSIM, 1 - contrast-structure, estimated error and pixels outside [0,1] of planes, [n,6].

    Each plane is one thread's, so that nothing depends on their number. Under 11 pixels per side columns 2 to 4 are 0.
    """
    out = np.zeros((len(x), 6))
    _in_parts(_planes, x, y, out, threads)
    return out


def coarser(x: NDArray[np.float32], y: NDArray[np.float32], scales: int, threads: int) -> NDArray[np.float64]:
    """Return 1 - SSIM, 1 - contrast-structure and the estimated error after each of ``scales`` halvings, [n,scales,3].

    The smallest scale must have sides of 11 pixels or more.
    """
    out = np.zeros((len(x), scales, 3))
    _in_parts(_pyramids, x, y, out, threads)
    return out


def _in_parts(kernel: Callable[..., None], x: Any, y: Any, out: Any, threads: int) -> None:
    with contextlib.suppress(OSError):  # compiled, but not kept: the disk is full
        kernel(x[:0], y[:0], out[:0])  # before threads would all wait for it
    if threads == 1 or len(x) == 1:
        kernel(x, y, out)
        return
    count = min(len(x), 4 * threads)
    parts = [np.array_split(a, count) for a in (x, y, out)]
    list(_pool(threads).map(kernel, *parts))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads
