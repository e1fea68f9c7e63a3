"""The pass that the metrics of frames share, and what computes it: numba, OpenCV without it, torch on other devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vpbench.plugin.clip import Comparison
from vpbench.toolkit.windows import GAUSSIAN, Window
from vpbench_metrics import moments
from vpbench_metrics.moments import DOUBTFUL

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pass:
    """Errors of a pass over B clips of S frames.

    Each frame has its mean squared and absolute error, [B,S]. Each plane has 1 - SSIM and 1 - contrast-structure,
    [B,S,3,2], or None if the window does not fit.
    """

    mse: Array
    mae: Array
    structure: Array | None


def library(device: str) -> str:
    """Return the word for what computes on a device: "numba", "opencv" or "torch"."""
    if torch.device(device).type != "cpu":
        return "torch"
    return "numba" if _has_numba() else "opencv"


def one_pass(comparison: Comparison, device: str) -> Pass:
    """Return the errors and the Gaussian window's terms of every frame, computed once per prediction."""

    def make() -> Pass:
        predicted, true = comparison.frames
        word = library(device)
        table = _planes(predicted, true, _numba_pass if word == "numba" else _plain_pass, word)
        mse, mae = (table[..., i].mean(axis=-1) for i in (0, 1))
        fits = min(true.shape[-2:]) >= len(GAUSSIAN.weights)
        return Pass(mse, mae, table[..., 2:4] if fits else None)

    return comparison.cached("vpbench_metrics.pass", make)


def scales(predicted: Float[Tensor, "b s 3 h w"], true: Float[Tensor, "b s 3 h w"], count: int, device: str) -> Array:
    """Return 1 - SSIM and 1 - contrast-structure after each of ``count`` halvings, [B,S,3,count,2]."""
    word = library(device)
    compute = partial(_numba_scales if word == "numba" else _plain_scales, count=count)
    return _planes(predicted, true, compute, word)


def windowed(
    predicted: Float[Tensor, "b s 3 h w"],
    true: Float[Tensor, "b s 3 h w"],
    window: Window,
    ranges: tuple[float, ...],
    device: str,
) -> Array:
    """Return 1 - SSIM and 1 - contrast-structure with any window and data ranges, [B,S,3,ranges,2]."""
    return _planes(predicted, true, partial(_structure, window=window, ranges=ranges), library(device))


@cache
def _has_numba() -> bool:
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True


def _planes(predicted: Tensor, true: Tensor, compute: Callable[[Any, Any], Array], word: str) -> Array:
    """Return ``compute`` of all planes: arrays for numba and OpenCV, tensors for torch; [B,S,3,...]."""
    parts = []
    for x, y in _contiguous(predicted, true):
        if word == "torch":
            parts.append(compute(x, y))
        else:
            parts.append(compute(x.cpu().numpy(), y.cpu().numpy()))
    table = np.concatenate(parts)
    return table.reshape(*true.shape[:3], *table.shape[1:])


def _contiguous(predicted: Tensor, true: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all planes at once where that copies nothing, else clip by clip."""
    size = tuple(true.shape[-2:])
    if predicted.is_contiguous() and true.is_contiguous():
        yield predicted.reshape(-1, *size), true.reshape(-1, *size)
        return
    for x, y in zip(predicted, true, strict=True):
        yield x.contiguous().reshape(-1, *size), y.contiguous().reshape(-1, *size)


def _numba_pass(x: NDArray[np.float32], y: NDArray[np.float32]) -> Array:
    """Return MSE, MAE, 1 - SSIM and 1 - contrast-structure of planes, [n,4]."""
    from vpbench_metrics import fused

    table = fused.fused(x, y, torch.get_num_threads())
    if (doubtful := np.flatnonzero(table[:, 4] > DOUBTFUL)).size:
        table[doubtful, 2:4] = moments.structure_opencv(x[doubtful], y[doubtful], exact=True)[:, 0]
    return np.asarray(table[:, :4])


def _numba_scales(x: NDArray[np.float32], y: NDArray[np.float32], count: int) -> Array:
    from vpbench_metrics import fused

    table = fused.coarser(x, y, count, torch.get_num_threads())
    if (doubtful := np.flatnonzero((table[..., 2] > DOUBTFUL).any(axis=1))).size:
        table[doubtful, :, :2] = _plain_scales(x[doubtful], y[doubtful], count, exact=True)
    return table[..., :2]


def _plain_pass(x: Any, y: Any) -> Array:
    """Return what :func:`_numba_pass` returns, of arrays or tensors."""
    fits = min(x.shape[1:]) >= len(GAUSSIAN.weights)
    structure = _structure(x, y)[:, 0] if fits else np.zeros((len(x), 2))
    return np.column_stack([moments.errors(x, y), structure])


def _plain_scales(x: Any, y: Any, count: int, *, exact: bool = False) -> Array:
    out = []
    for _ in range(count):
        x, y = moments.halve(x), moments.halve(y)
        out.append(_structure(x, y, exact=exact)[:, 0])
    return np.stack(out, axis=1)


def _structure(x: Any, y: Any, **options: Any) -> Array:
    function = moments.structure_opencv if isinstance(x, np.ndarray) else moments.structure_torch
    return function(x, y, **options)
