"""SSIM and MS-SSIM against independent float64 computations, known pictures, and their smallest frames."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d

from vpbench.plugin.metric import Setting, Undefined
from vpbench_metrics.structure import MSSSIM, SSIM

C1, C2 = 0.01**2, 0.03**2
OFFSETS = np.arange(-5, 6)
WINDOW = np.exp(-(OFFSETS[:, None] ** 2 + OFFSETS[None] ** 2) / (2 * 1.5**2))
WINDOW /= WINDOW.sum()


def ssim_by_loops(x, y):
    """Wang et al. 2004, equation 13, one window at a time."""
    height, width = x.shape
    values = []
    for i in range(height - 10):
        for j in range(width - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (WINDOW * a).sum(), (WINDOW * b).sum()
            va, vb = (WINDOW * (a - ma) ** 2).sum(), (WINDOW * (b - mb) ** 2).sum()
            cov = (WINDOW * (a - ma) * (b - mb)).sum()
            values.append((2 * ma * mb + C1) * (2 * cov + C2) / ((ma**2 + mb**2 + C1) * (va + vb + C2)))
    return np.mean(values)


def ms_ssim_by_scipy(x, y):
    """tf.image.ssim_multiscale of one channel: 2-D windows, symmetric padding of odd sides."""
    result = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        ma, mb, aa, bb, ab = (convolve2d(m, WINDOW, mode="valid") for m in (x, y, x * x, y * y, x * y))
        cs = (2 * (ab - ma * mb) + C2) / (aa - ma**2 + bb - mb**2 + C2)
        luminance = (2 * ma * mb + C1) / (ma**2 + mb**2 + C1)
        result *= max((luminance * cs if scale == 4 else cs).mean(), 0.0) ** weight
        x, y = (
            np.pad(m, [(0, s % 2) for s in m.shape], mode="symmetric")
            .reshape((m.shape[0] + 1) // 2, 2, (m.shape[1] + 1) // 2, 2)
            .mean((1, 3))
            for m in (x, y)
        )
    return result


def textured(height, width, seed=0):
    """A smooth picture and a shifted, noisy one, float32 [1,1,3,H,W] in [0,1]."""
    rng = np.random.default_rng(seed)
    big = cv2.GaussianBlur(rng.random((height + 8, width + 8, 3)), (0, 0), 2)
    big = (big - big.min()) / (big.max() - big.min())
    noisy = np.clip(big[3 : height + 3, 2 : width + 2] + rng.normal(0, 0.03, (height, width, 3)), 0, 1)
    pair = (noisy, big[:height, :width])
    return tuple(torch.from_numpy(p.astype(np.float32)).permute(2, 0, 1)[None, None] for p in pair)


def by_channel(function, predicted, true):
    channels = zip(predicted[0, 0].double().numpy(), true[0, 0].double().numpy(), strict=True)
    return np.mean([function(p, t) for p, t in channels])


@pytest.mark.parametrize("size", [(11, 11), (16, 19)])
def test_ssim_equals_the_formula_window_by_window(compare, size):
    pair = textured(*size)
    assert SSIM().measure(compare(*pair))[0][0] == pytest.approx(by_channel(ssim_by_loops, *pair), abs=1e-12)


def test_ssim_on_flat_bright_frames_has_no_float32_bias(compare):
    """Where pytorch-msssim's float32 window is 1.3e-4 off. Constant frames leave the luminance term alone."""
    a, b = np.float64(np.float32(0.99)), np.float64(np.float32(0.98))
    expected = (2 * a * b + C1) / (a**2 + b**2 + C1)
    frames = compare(torch.full((1, 1, 3, 32, 32), 0.99), torch.full((1, 1, 3, 32, 32), 0.98))
    assert SSIM().measure(frames)[0][0] == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("size", [(161, 161), (176, 184), (163, 190)])
def test_ms_ssim_equals_the_tensorflow_convention(compare, size):
    pair = textured(*size)
    assert MSSSIM().measure(compare(*pair))[0][0] == pytest.approx(by_channel(ms_ssim_by_scipy, *pair), abs=1e-12)


def test_ms_ssim_agrees_with_pytorch_msssim_where_no_side_is_odd(compare):
    from pytorch_msssim import ms_ssim

    pair = textured(176, 192)
    theirs = ms_ssim(pair[0][0].double(), pair[1][0].double(), data_range=1.0).item()
    assert MSSSIM().measure(compare(*pair))[0][0] == pytest.approx(theirs, abs=1e-5)  # its window is float32


def test_ms_ssim_of_opposite_contrast_is_zero_not_nan(compare):
    picture = textured(161, 161)[1]
    assert MSSSIM().measure(compare(1 - picture, picture)) == [[0.0]]


@pytest.mark.parametrize(
    ("names", "expected"),
    [(("goldhill_jpeg.gif", "goldhill.gif"), 0.68237), (("i01_01_5.bmp", "I01.BMP"), 0.52707)],
)
def test_ssim_of_known_pictures(shared, compare, names, expected):
    """Without MATLAB's downsampling, computed independently; with it, MATLAB's ssim.m gives 0.8202 for goldhill."""
    from PIL import Image

    folder = shared / "goldens/piq/assets"
    pictures = [np.asarray(Image.open(folder / name).convert("RGB")) for name in names]
    pair = [torch.from_numpy(p.copy()).permute(2, 0, 1)[None, None].float() / 255 for p in pictures]
    assert SSIM().measure(compare(*pair))[0][0] == pytest.approx(expected, abs=5e-6)
    if "goldhill" in names[0]:
        halves = [torch.nn.functional.avg_pool2d(p[0], 2)[None] for p in pair]
        assert SSIM().measure(compare(*halves))[0][0] == pytest.approx(0.8202, abs=2e-4)


def test_identical_frames_give_exactly_one(compare):
    frames = torch.rand(1, 2, 3, 161, 170, generator=torch.Generator().manual_seed(0))
    for metric in (SSIM(), MSSSIM()):
        assert metric.measure(compare(frames, frames.clone())) == [[1.0, 1.0]]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_what_must_not_change_an_ssim(compare, seed):
    generator = torch.Generator().manual_seed(seed)
    predicted, true = torch.rand(2, 2, 2, 3, 13, 15, generator=generator)
    metric = SSIM()
    rows = metric.measure(compare(predicted, true))
    np.testing.assert_allclose(metric.measure(compare(true, predicted)), rows, atol=1e-14)
    for axis in (-1, -2):
        np.testing.assert_allclose(metric.measure(compare(predicted.flip(axis), true.flip(axis))), rows, atol=1e-12)
    assert metric.measure(compare(predicted[1:], true[1:])) == rows[1:]
    assert metric.measure(compare(predicted.flip(0), true.flip(0))) == rows[::-1]
    assert all(-1 <= value < 1 for value in np.ravel(rows))


def test_ms_ssim_is_symmetric_and_the_same_alone(compare):
    (p, t), (q, u) = textured(161, 161, seed=1), textured(161, 161, seed=2)
    rows = MSSSIM().measure(compare(torch.cat([p, q]), torch.cat([t, u])))
    assert MSSSIM().measure(compare(q, u)) == rows[1:]
    np.testing.assert_allclose(MSSSIM().measure(compare(torch.cat([t, u]), torch.cat([p, q]))), rows, atol=1e-14)


@pytest.mark.parametrize(("metric", "side"), [(SSIM, 11), (MSSSIM, 161)])
def test_smallest_frames(compare, metric, side):
    frames = frozenset({"frames"})
    reason = f"needs at least {side} pixels per side; these frames are {side - 1}x{side + 40}"
    assert metric().why_not(Setting((side - 1, side + 40), frames, frames)) == reason
    assert metric().why_not(Setting((side, side), frames, frames)) == ""
    assert metric().why_not(Setting(None, frames, frames)) == ""
    assert metric().why_not(Setting((side, side), frames, frozenset())) == "the predictor gives no frames"
    small = torch.rand(1, 2, 3, side - 1, side + 40)
    assert metric().measure(compare(small, small)) == [[Undefined(reason)] * 2]
    fits = torch.rand(1, 1, 3, side, side)
    assert metric().measure(compare(fits, fits)) == [[1.0]]
