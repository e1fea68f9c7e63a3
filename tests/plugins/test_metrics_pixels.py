"""MSE, MAE and PSNR: the formulas, known pictures, what must not change a number, each engine, and bad frames."""

from __future__ import annotations

import importlib
import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vpbench_metrics
from vpbench.errors import MetricError
from vpbench.plugin.metric import Metric, Setting, Value
from vpbench_metrics import engines
from vpbench_metrics.pixels import MAE, MSE, PSNR, PooledPSNR

METRICS = (MSE, MAE, PSNR)


def random_pair(seed, shape=(2, 3, 3, 12, 14)):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)


def plain(rows):
    return [[value.value if isinstance(value, Value) else value for value in clip] for clip in rows]


def test_formulas_in_float64(compare):
    predicted, true = ((255 * frames).round() / 255 for frames in random_pair(0))
    p, t = predicted.numpy().astype(np.float64), true.numpy().astype(np.float64)
    mse = ((p - t) ** 2).reshape(2, 3, -1).mean(-1)
    comparison = compare(predicted, true)
    np.testing.assert_allclose(MSE().measure(comparison), mse, rtol=1e-13)
    np.testing.assert_allclose(MAE().measure(comparison), np.abs(p - t).reshape(2, 3, -1).mean(-1), rtol=1e-13)
    np.testing.assert_allclose(PSNR().measure(comparison), 10 * np.log10(1 / mse), rtol=1e-13)


def test_a_difference_of_a_tenth_everywhere(compare):
    comparison = compare(torch.full((1, 1, 3, 4, 4), 0.5), torch.full((1, 1, 3, 4, 4), 0.4))
    assert MSE().measure(comparison)[0][0] == pytest.approx(0.01, rel=1e-6)
    assert MAE().measure(comparison)[0][0] == pytest.approx(0.1, rel=1e-6)
    assert PSNR().measure(comparison)[0][0] == pytest.approx(20.0, rel=1e-6)


def test_published_pair_of_pictures(shared, compare):
    """The numbers that piq's own tests hold for these files, on 0..255."""
    folder = shared / "goldens/piq/assets"
    pictures = [cv2.imread(str(folder / name))[..., ::-1].copy() for name in ("i01_01_5.bmp", "I01.BMP")]
    predicted, true = (torch.from_numpy(p).permute(2, 0, 1)[None, None].float() / 255 for p in pictures)
    comparison = compare(predicted, true)
    assert PSNR().measure(comparison)[0][0] == pytest.approx(21.0157, abs=5e-5)
    assert MSE().measure(comparison)[0][0] * 255**2 == pytest.approx(514.649, abs=5e-3)


def test_identical_frames(compare):
    frames, _ = random_pair(1)
    comparison = compare(frames, frames.clone())
    assert MSE().measure(comparison) == MAE().measure(comparison) == [[0.0] * 3] * 2
    assert PSNR().measure(comparison) == [[Value(100.0, note="floored")] * 3] * 2


@pytest.mark.parametrize(("error", "floored"), [(0.99e-5, True), (1.01e-5, False)])
def test_psnr_is_floored_at_an_mse_of_1e_10(compare, error, floored):
    true = torch.zeros(1, 1, 3, 4, 4)
    value = PSNR().measure(compare(true + error, true))[0][0]
    assert isinstance(value, Value) == floored
    if not floored:
        assert value == pytest.approx(-20 * math.log10(error), abs=1e-4)


def test_psnr_shares_the_squared_errors_of_mse(compare):
    comparison = compare(*random_pair(2))
    mse = MSE().measure(comparison)
    comparison.prediction.frames.zero_()  # whatever is computed anew now would be seen
    assert PSNR().measure(comparison) == [[-10 * math.log10(value) for value in clip] for clip in mse]


def test_the_score_is_the_mean_of_decibels_not_the_decibels_of_the_mean():
    assert PSNR().finalise([10.0, 30.0]) == 20.0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), batch=st.integers(1, 3), steps=st.integers(1, 3))
def test_what_must_not_change_a_number(compare, seed, batch, steps):
    predicted, true = random_pair(seed, (batch, steps, 3, 5, 7))
    for metric in (m() for m in METRICS):
        rows = plain(metric.measure(compare(predicted, true)))
        assert plain(metric.measure(compare(true, predicted))) == rows
        np.testing.assert_allclose(plain(metric.measure(compare(predicted.flip(-1, -2), true.flip(-1, -2)))), rows)
        alone = [plain(metric.measure(compare(predicted[i : i + 1], true[i : i + 1])))[0] for i in range(batch)]
        assert alone == rows
        assert plain(metric.measure(compare(predicted.flip(0), true.flip(0)))) == rows[::-1]
        assert metric.finalise([r[0] for r in rows]) == metric.finalise([r[0] for r in rows[::-1]])
    mse, mae = (m().measure(compare(predicted, true)) for m in (MSE, MAE))
    assert all(0 <= a**2 <= s <= a <= 1 for s, a in zip(np.ravel(mse), np.ravel(mae), strict=True))


def test_where_they_cannot_apply():
    frames, nothing = frozenset({"frames"}), frozenset[str]()
    for metric in (m() for m in METRICS):
        assert metric.why_not(Setting(size=(1, 1), truth=frames, outputs=frames)) == ""
        assert metric.why_not(Setting(size=None, truth=frames, outputs=nothing)) == "the predictor gives no frames"


def test_names_and_directions():
    assert [(m.info.name, m.info.better) for m in METRICS] == [("mse", "lower"), ("mae", "lower"), ("psnr", "higher")]


def test_pooled_psnr_is_the_decibels_of_the_mean(compare):
    predicted, true = random_pair(3)
    metric = PooledPSNR()
    comparison = compare(predicted, true)
    assert metric.measure(comparison) == MSE().measure(comparison)
    assert metric.finalise([0.1, 0.001]) == pytest.approx(-10 * math.log10(0.0505))
    assert metric.finalise([0.0]) == 100.0
    assert math.isnan(metric.finalise([]))
    draws = np.array([[0, 1], [1, 1]])
    expected = [-10 * math.log10(0.0505), 30.0]
    np.testing.assert_allclose(metric.resample([[0.1], [0.001]], draws), expected)


def test_pooled_psnr_equals_torchmetrics(compare):
    torchmetrics = pytest.importorskip("torchmetrics.functional.image")
    predicted, true = random_pair(4)
    theirs = torchmetrics.peak_signal_noise_ratio(predicted, true, data_range=1.0).item()
    statistics = [value for clip in PooledPSNR().measure(compare(predicted, true)) for value in clip]
    assert PooledPSNR().finalise(statistics) == pytest.approx(theirs, abs=1e-5)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_more_noise_is_a_larger_error(compare, seed):
    generator = torch.Generator().manual_seed(seed)
    true = 0.3 + 0.4 * torch.rand(1, 1, 3, 16, 16, generator=generator)
    noise = torch.randn(true.shape, generator=generator).clamp(-3, 3)
    scores = [[m().measure(compare(true + size * noise, true))[0][0] for m in METRICS] for size in (0.02, 0.05, 0.1)]
    for worse, better in zip(scores[1:], scores[:-1], strict=True):
        assert worse[0] > better[0] and worse[1] > better[1] and worse[2] < better[2]


ENGINES = ("numba", "opencv", "torch")


@pytest.fixture(params=ENGINES)
def word(request, monkeypatch):
    """Each engine in turn; torch's on the CPU."""
    if request.param == "numba":
        pytest.importorskip("numba")
    monkeypatch.setattr(engines, "engine", lambda device: request.param)
    return request.param


def test_every_engine_gives_numpys_errors(compare, word):
    predicted, true = random_pair(5, (2, 2, 3, 9, 13))
    difference = predicted.numpy().astype(np.float64) - true.numpy()
    mse, mae = (difference**2).mean((2, 3, 4)), np.abs(difference).mean((2, 3, 4))
    found = [plain(m().measure(compare(predicted, true))) for m in METRICS]
    np.testing.assert_allclose(found, [mse, mae, -10 * np.log10(mse)], rtol=1e-7)


def test_which_engine_there_is(monkeypatch):
    assert MSE("cuda").engine == "torch"
    monkeypatch.setattr(engines, "_has_numba", lambda: False)
    assert [m().engine for m in METRICS] == ["opencv"] * 3


def test_a_repeated_frame_that_has_no_memory_of_its_own(compare):
    predicted, true = random_pair(6)
    repeated = predicted[:, :1].expand_as(true)
    assert MSE().measure(compare(repeated, true)) == MSE().measure(compare(repeated.contiguous(), true))


BAD = {
    "float64": (lambda p, t: (p.double(), t), "mse: the predicted frames must be float32 in .0,1.; they are float64"),
    "bytes": (lambda p, t: (p, (t * 255).byte()), "mse: the true frames must be float32 in .0,1.; they are uint8"),
    "gray": (lambda p, t: (p[:, :, :1], t), r"mse: the predicted frames must be .* they are \[2, 3, 1, 12, 14\]"),
    "steps": (lambda p, t: (p[:, :2], t), "mse: the predicted frames must be .* 2 clips and 3 steps"),
    "size": (lambda p, t: (p[..., :5], t), r"mse: the predicted frames are \[12, 5\] pixels, the true ones \[12, 14\]"),
    "empty": (lambda p, t: (p[:0], t[:0]), "mse: there is nothing to measure"),
    "NaN": (
        lambda p, t: (put(p, float("nan")), t),
        "predicted frame of clip 'clip1@0', step 3 holds NaN or inf",
    ),
    "bright": (
        lambda p, t: (p, put(t, 1.5)),
        "true frame of clip 'clip1@0', step 3 must lie in .0,1.; it spans",
    ),
    "dark": (lambda p, t: (put(p, -0.5), t), "mse: the predicted frame of clip 'clip1@0', step 3 must lie in .0,1."),
}


def put(frames, value):
    frames = frames.clone()
    frames[1, 2, 0, 3, 4] = value
    return frames


@pytest.mark.parametrize("bad", BAD)
def test_bad_frames_are_named(compare, bad, word):
    change, message = BAD[bad]
    with pytest.raises(MetricError, match=message):
        MSE().measure(compare(*change(*random_pair(7))))


def test_the_seven_are_what_a_bare_run_measures_and_every_name_is_a_metric():
    seen = {}
    vpbench_metrics.register_metrics(
        lambda name, target, *, summary, default=False: seen.update({name: (target, default, summary)})
    )
    seven = ["mse", "mae", "psnr", "ssim", "ms-ssim", "lpips", "miou"]
    assert [name for name, (_, default, _) in seen.items() if default] == list(seen)[:7] == seven
    for name, (target, _, summary) in seen.items():
        module, attribute = target.split(":")
        metric = getattr(importlib.import_module(module), attribute)("cpu")
        assert isinstance(metric, Metric)
        assert metric.info.name == name
        assert metric.info.summary and summary and type(metric).__doc__
        assert isinstance(metric.engine, str)
