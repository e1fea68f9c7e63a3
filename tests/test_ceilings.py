"""`scenes` through the harness: the truth scores perfectly, and true motion beats repeating."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vpbench.cli.main import _run

CLIPS = 3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("r")
    metrics = [flag for name in ("mse", "psnr", "ssim", "miou") for flag in ("--metric", name)]
    args = ["run", "-p", "scenes", "-m", "oracle", "-m", "oracle-flow", "-m", "repeat", "--clips", str(CLIPS)]
    assert _run([*args, *metrics, "--out", str(out)]) == 0
    return {path.parts[-3]: path.parent for path in out.rglob("summary.json")}


def scores(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())["scores"]


def test_the_truth_scores_perfectly(results):
    perfect = scores(results["oracle"])
    assert perfect["mse"]["per_step"] == [0] * 5
    assert perfect["psnr"]["per_step"] == [100] * 5
    assert perfect["psnr"]["notes"] == {"floored": 5 * CLIPS}
    assert perfect["ssim"]["per_step"] == pytest.approx([1] * 5, abs=1e-12)
    assert perfect["miou"]["per_step"] == [1] * 5


def test_true_motion_beats_repeating_in_everything(results):
    flow, repeat = scores(results["oracle-flow"]), scores(results["repeat"])
    for step in range(5):
        assert flow["mse"]["per_step"][step] < 0.5 * repeat["mse"]["per_step"][step]
        assert flow["miou"]["per_step"][step] > repeat["miou"]["per_step"][step]
