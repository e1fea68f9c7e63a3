"""The engine ``libraries``: agreement with the fast one, the packages' own metrics, and how a run chooses it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

import vpbench
from vpbench.cli.main import _run
from vpbench.errors import VpbenchWarning
from vpbench.plugin.metric import Setting, Undefined
from vpbench_metrics.structure import (
    MSSSIM,
    SSIM,
    MSSSIMofPNG,
    OpenSTLSSIM,
    PytorchMSSSIM,
    PytorchSSIM,
    Uint8SSIM,
    UniformSSIM,
)

FRAMES = frozenset({"frames"})


@pytest.fixture(scope="module", params=["noise", "smooth", "bright"])
def pair(request, compare):
    """Frames of 176x192 whose sides can be halved four times."""
    draw = torch.Generator().manual_seed(1)
    true = torch.rand(2, 2, 3, 176, 192, generator=draw)
    if request.param != "noise":
        small = torch.rand(4, 3, 8, 8, generator=draw)
        true = torch.nn.functional.interpolate(small, size=(176, 192), mode="bicubic").clamp(0, 1).unflatten(0, (2, 2))
    if request.param == "bright":
        true = 0.9 + 0.1 * true
    return compare((true + 0.05 * torch.randn(true.shape, generator=draw)).clamp(0, 1), true)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "tolerance"),
    [
        (SSIM, 2e-7),
        (UniformSSIM, 5e-6),
        (OpenSTLSSIM, 5e-6),
        (Uint8SSIM, 5e-6),
        (MSSSIM, 1e-6),
        (MSSSIMofPNG, 1e-6),
    ],
)
def test_the_engines_agree(metric, tolerance, pair):
    np.testing.assert_allclose(
        metric(engine="libraries").measure(pair), metric(engine="fast").measure(pair), atol=tolerance, rtol=0
    )


def test_the_library_computes(pair):
    predicted, true = (frames[1, 0].double() for frames in pair.frames)
    options = {"channel_axis": 0, "data_range": 1.0}
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    arrays = predicted.numpy(), true.numpy()
    assert SSIM(engine="libraries").measure(pair)[1][0] == structural_similarity(*arrays, **options, **gaussian)
    assert UniformSSIM(engine="libraries").measure(pair)[1][0] == structural_similarity(*arrays, **options)
    eight_bit = [(frames[1, 0] * 255).floor().to(torch.uint8).numpy() for frames in pair.frames]
    expected = structural_similarity(*eight_bit, channel_axis=0)
    assert Uint8SSIM(engine="libraries").measure(pair)[1][0] == pytest.approx(expected, abs=1e-6)


def test_sizes_at_which_a_package_has_no_comparable_value(compare):
    frames = torch.rand(1, 1, 3, 161, 192)
    odd = MSSSIM(engine="libraries")
    reason = odd.why_not(Setting((161, 192), FRAMES, FRAMES))
    assert "both sides are multiples of 16; these frames are 161x192" in reason
    assert odd.measure(compare(frames, frames)) == [[Undefined(reason)]]
    assert MSSSIM().why_not(Setting((161, 192), FRAMES, FRAMES)) == ""
    assert PytorchMSSSIM().measure(compare(frames, frames)) == [[pytest.approx(1, abs=1e-6)]]
    small = torch.rand(1, 1, 3, 10, 160)
    for metric, side in ((PytorchSSIM, 11), (PytorchMSSSIM, 161)):
        assert f"needs at least {side} pixels" in metric().measure(compare(small, small))[0][0].reason


def evaluated(out: Path, *args: str) -> vpbench.Result:
    command = ["run", "-p", "scenes-small", "-m", "repeat", "--clips", "1", "--metric", "mse", "--metric", "ssim"]
    assert _run([*command, "--out", str(out), "--device", "cpu", *args]) == 0
    (path,) = {run.parent for run in out.rglob("run.json")}
    return vpbench.load(path)


@pytest.mark.slow
def test_a_run_records_its_engine_and_has_a_folder_of_its_own(tmp_path, monkeypatch, capsys):
    fast = evaluated(tmp_path / "fast", "--engine", "fast")
    default = evaluated(tmp_path / "default")
    assert fast.path.name == default.path.name
    monkeypatch.setenv("VPBENCH_ENGINE", "libraries")
    audited = evaluated(tmp_path / "audited")
    assert audited.path.name != fast.path.name
    (attempt,) = (audited.path / "attempts").iterdir()
    assert "scikit-image" in json.loads(attempt.read_text())["engine"]
    assert audited.at("ssim", 3) == pytest.approx(fast.at("ssim", 3), abs=2e-7)
    assert audited.at("mse", 3) == fast.at("mse", 3)
    assert _run(["verify", str(audited.path)]) == 0
    assert "summary follows" in capsys.readouterr().out


def test_an_engine_that_no_metric_has_is_a_usage_error(tmp_path, capsys):
    command = ["run", "-p", "scenes-small", "-m", "repeat", "--clips", "1", "--out", str(tmp_path)]
    assert _run([*command, "--metric", "ssim", "--engine", "librarys"]) == 2
    assert "there is no engine of metrics 'librarys'; did you mean 'libraries'?" in capsys.readouterr().err
    with pytest.warns(VpbenchWarning, match="engine 'libraries' computes none of mse"):
        vpbench.evaluate("repeat", "scenes-small", out=tmp_path, clips=1, metrics=["mse"], engine="libraries")


def test_show_lists_the_engines_of_a_metric(capsys):
    assert _run(["show", "metric/ssim", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["engines"] == ["fast", "libraries"]
