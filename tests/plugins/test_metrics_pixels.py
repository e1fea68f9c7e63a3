"""MSE, MAE and PSNR: known pictures, the floor, the pooled PSNR, and the names of all metrics."""

from __future__ import annotations

import importlib
import math

import cv2
import numpy as np
import pytest
import torch

import vpbench_metrics
from vpbench.plugin.metric import Metric, Setting, Value
from vpbench.plugin.sample_metric import SampleMetric
from vpbench.plugin.set_metric import SetMetric
from vpbench_metrics import engines
from vpbench_metrics.pixels import MAE, MSE, PSNR, PooledPSNR

METRICS = (MSE, MAE, PSNR)


def random_pair(seed, shape=(2, 3, 3, 12, 14)):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)


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


def test_where_they_cannot_apply():
    frames, nothing = frozenset({"frames"}), frozenset[str]()
    for metric in (m() for m in METRICS):
        assert metric.why_not(Setting(size=(1, 1), truth=frames, outputs=frames)) == ""
        assert metric.why_not(Setting(size=None, truth=frames, outputs=nothing)) == "the predictor gives no frames"


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


def test_which_engine_there_is(monkeypatch):
    assert MSE("cuda").library == "torch"
    monkeypatch.setattr(engines, "_has_numba", lambda: False)
    assert [m().library for m in METRICS] == ["opencv"] * 3


def test_a_repeated_frame_that_has_no_memory_of_its_own(compare):
    predicted, true = random_pair(6)
    repeated = predicted[:, :1].expand_as(true)
    assert MSE().measure(compare(repeated, true)) == MSE().measure(compare(repeated.contiguous(), true))


def test_the_seven_are_what_a_bare_run_measures_and_every_name_is_a_metric():
    metrics = {}
    vpbench_metrics.register_metrics(
        lambda name, target, *, summary, default=False: metrics.update({name: (target, default, summary)})
    )
    seven = ["mse", "mae", "psnr", "ssim", "ms-ssim", "lpips", "miou"]
    assert [name for name, (_, default, _) in metrics.items() if default] == list(metrics)[:7] == seven
    for name, (target, _, summary) in metrics.items():
        module, attribute = target.split(":")
        metric = getattr(importlib.import_module(module), attribute)("cpu")
        assert isinstance(metric, Metric | SetMetric | SampleMetric)
        assert metric.info.name == name
        assert metric.info.summary and summary and type(metric).__doc__
        assert isinstance(metric.library, str)
