"""SSIM and MS-SSIM against independent float64 computations, known pictures, each engine, each convention."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from golden.sources import WINDOW, ms_ssim_by_scipy, ssim_by_scikit_image, ssim_window_by_window
from torch.overrides import TorchFunctionMode

from vpbench.plugin.metric import Setting, Undefined
from vpbench_metrics import engines, moments
from vpbench_metrics.structure import MSSSIM, SSIM, OpenSTLSSIM, Uint8SSIM, UniformSSIM


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


def test_ssim_of_a_single_window_equals_the_formula(compare):
    pair = textured(11, 11)
    assert SSIM().measure(compare(*pair))[0][0] == pytest.approx(
        by_channel(partial(ssim_window_by_window, window=WINDOW), *pair), abs=1e-7
    )


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


@pytest.fixture(params=("numba", "opencv", "torch"))
def word(request, monkeypatch):
    """Each engine in turn; torch's on the CPU."""
    if request.param == "numba":
        pytest.importorskip("numba")
    monkeypatch.setattr(engines, "library", lambda device: request.param)
    return request.param


def drawn():
    """Flat areas far from the mean of their plane, where float32 loses digits."""
    rng = np.random.default_rng(1)
    shape = (97, 120, 3)
    ramp = np.linspace(0, 1, 120)[None, :, None] * np.ones(shape)
    halves = np.zeros(shape)
    halves[:, 60:] = 1
    noise = rng.normal(0, 1, shape)
    yield "ramps", ramp, ramp[:, ::-1]
    yield "flat and noisy", np.full(shape, 0.97), 0.97 + 0.001 * np.clip(noise, -3, 3)
    yield "half black, half white, grey", 0.1 + 0.8 * halves + 0.02 * np.clip(noise, -3, 3), 0.1 + 0.8 * halves
    yield "halves swapped", 1 - halves, halves
    yield "half against grey", halves, np.full(shape, 0.5)
    yield "dark", 0.01 * rng.random(shape), 0.01 * rng.random(shape)


CASES = {name: (p, t) for name, p, t in drawn()}


def as_frames(picture):
    return torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32)).permute(2, 0, 1).contiguous()[None, None]


@pytest.mark.parametrize("case", CASES)
def test_ssim_is_within_1e_5_of_float64_on_every_picture(compare, word, case):
    pair = tuple(as_frames(picture) for picture in CASES[case])
    expected = by_channel(ssim_by_scikit_image, *pair)
    assert SSIM().measure(compare(*pair))[0][0] == pytest.approx(expected, abs=3e-6)


@pytest.mark.parametrize("case", ["halves swapped", "ramps"])
def test_ms_ssim_is_within_1e_5_of_float64(compare, word, case):
    pair = tuple(as_frames(cv2.resize(picture, (190, 163))) for picture in CASES[case])
    expected = by_channel(ms_ssim_by_scipy, *pair)
    assert MSSSIM().measure(compare(*pair))[0][0] == pytest.approx(expected, abs=3e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_ms_ssim_where_structure_nearly_cancels(compare, word, sign):
    """The finest scale's mean term is some 1e-8 more or less than 0: float32's rounding would be 1e-3 of the score."""
    rng = np.random.default_rng(5)
    true, noise = rng.random((2, 161, 161))
    coarse = 0.3 * cv2.GaussianBlur(rng.random((161, 161)), (0, 0), 20)
    low, high = -1.0, 1.0
    for _ in range(48):
        share = (low + high) / 2
        mixed = 0.3 + 0.2 * (share * true + (1 - abs(share)) * noise)
        pair = [np.float32(mixed + coarse), np.float32(0.5 * true + coarse)]
        mean = 1.0 - moments.structure_opencv(*(p[None] for p in pair), exact=True)[0, 0, 1]
        low, high = (low, share) if mean > sign * 2e-8 else (share, high)
    pair = [as_frames(np.repeat(p[..., None], 3, axis=2)) for p in pair]
    expected = by_channel(ms_ssim_by_scipy, *pair)
    assert MSSSIM().measure(compare(*pair))[0][0] == pytest.approx(expected, abs=1e-5)
    assert (expected > 0.1) == (sign > 0)


def test_identical_frames_give_exactly_one_with_every_engine(compare, word):
    frames = torch.rand(1, 2, 3, 161, 163, generator=torch.Generator().manual_seed(0))
    frames[0, 1] = 0.99
    for metric in (SSIM(), MSSSIM(), UniformSSIM(), OpenSTLSSIM(), Uint8SSIM()):
        assert metric.measure(compare(frames, frames.clone())) == [[1.0, 1.0]]


def test_doubtful_planes_are_done_again_in_float64(compare, word, monkeypatch):
    pair = textured(40, 44)
    monkeypatch.setattr(moments, "DOUBTFUL", -1.0)
    monkeypatch.setattr(engines, "DOUBTFUL", -1.0)
    expected = by_channel(ssim_by_scikit_image, *pair)
    assert SSIM().measure(compare(*pair))[0][0] == pytest.approx(expected, abs=1e-12)


def test_no_number_depends_on_the_number_of_threads(compare):
    pair = tuple(torch.rand(2, 3, 3, 161, 170, generator=torch.Generator().manual_seed(i)) for i in range(2))
    before = torch.get_num_threads()
    scores = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            scores.append([m.measure(compare(*pair)) for m in (SSIM(), MSSSIM())])
    finally:
        torch.set_num_threads(before)
    assert scores[0] == scores[1] == scores[2]


class Called(TorchFunctionMode):
    """Notes which functions of torch are called."""

    def __init__(self):
        self.names = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.names.add(getattr(function, "__name__", str(function)))
        return function(*args, **(kwargs or {}))


def test_autocast_and_tf32_change_nothing(compare, monkeypatch):
    """Autocast and TF32 round products of matrices and convolutions alone: torch's engine must not call one."""
    monkeypatch.setattr(engines, "library", lambda device: "torch")
    pair = textured(161, 170)
    metrics = (SSIM(), MSSSIM(), UniformSSIM())
    with Called() as called:
        expected = [metric.measure(compare(*pair)) for metric in metrics]
    assert "narrow" in called.names
    assert not [name for name in called.names if any(word in name for word in ("conv", "mm", "matmul", "einsum"))]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        assert [metric.measure(compare(*pair)) for metric in metrics] == expected


def test_ms_ssim_takes_its_first_scale_from_ssims_pass(compare, monkeypatch):
    comparison = compare(*textured(161, 163))
    SSIM().measure(comparison)
    expected = MSSSIM().measure(compare(*textured(161, 163)))
    for function in ("_numba_pass", "_plain_pass"):
        monkeypatch.setattr(engines, function, lambda *a: pytest.fail("a second pass"))
    assert MSSSIM().measure(comparison) == expected


def test_uniform_windows_of_two_ranges_share_one_pass(compare, monkeypatch):
    comparison = compare(*textured(20, 20))
    UniformSSIM().measure(comparison)
    monkeypatch.setattr("vpbench_metrics.structure.windowed", lambda *a: pytest.fail("a second pass"))
    OpenSTLSSIM().measure(comparison)


@pytest.mark.slow
def test_the_kernel_needs_no_place_to_be_kept(tmp_path):
    """In a process of its own, where neither the cache nor the package's folder nor the home can be written to."""
    pytest.importorskip("numba")
    root = Path(engines.__file__).parents[2]
    code = (
        "import numpy as np; from vpbench_metrics import fused; x = np.ones((1, 12, 12), np.float32);"
        "print(fused.fused(x, x, 1)[0, :5].tolist())"
    )
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    folders = {name: str(nowhere / "x") for name in ("VPBENCH_CACHE", "HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR")}
    environment = os.environ | folders | {"PYTHONPATH": os.pathsep.join(map(str, (root, root / "plugins")))}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert process.stdout == "[0.0, 0.0, 0.0, 0.0, 0.0]\n", process.stderr
