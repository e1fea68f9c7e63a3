"""`scenes` through the harness: the truth scores perfectly, and true motion loses where something new appears."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vpbench.cli.main import _run
from vpbench_scenes.dataset import Options, Scenes

CLIPS = 3


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("r")
    metrics = [flag for name in ("mse", "psnr", "ssim", "miou") for flag in ("--metric", name)]
    args = ["run", "-p", "scenes", "-m", "oracle", "-m", "oracle-flow", "-m", "repeat", "--clips", str(CLIPS)]
    assert _run([*args, *metrics, "--save-predictions", "--out", str(out)]) == 0
    return {path.parts[-3]: path.parent for path in out.rglob("summary.json")}


def scores(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())["scores"]


def test_the_truth_scores_perfectly(results):
    found = scores(results["oracle"])
    assert found["mse"]["per_step"] == [0] * 5
    assert found["psnr"]["per_step"] == [100] * 5
    assert found["psnr"]["notes"] == {"floored": 5 * CLIPS}
    assert found["ssim"]["per_step"] == pytest.approx([1] * 5, abs=1e-12)
    assert found["miou"]["per_step"] == [1] * 5


def test_true_motion_loses_only_what_the_last_frame_did_not_show(results):
    scenes = Scenes(options=Options())
    inside, outside = [], []
    for path in sorted((results["oracle-flow"] / "predictions").glob("*@0.npy")):
        sequence, predicted = path.name.removesuffix("@0.npy"), np.load(path)
        true = scenes.read(sequence, range(4, 9), "frames") / 255
        for step in range(5):
            hidden = scenes.disocclusion_kinds(sequence, range(4), 4 + step) > 0
            error = np.abs(predicted[step] - true[step]).mean(axis=-1)
            inside.append(error[hidden].mean())
            outside.append(error[~hidden].mean())
    assert max(outside) < 3.5 / 255, "interpolation at edges, at every step of every clip"
    assert min(inside) > 5 * max(outside)


def test_true_motion_beats_repeating_in_everything(results):
    flow, repeat = scores(results["oracle-flow"]), scores(results["repeat"])
    for step in range(5):
        assert flow["mse"]["per_step"][step] < 0.5 * repeat["mse"]["per_step"][step]
        assert flow["miou"]["per_step"][step] > repeat["miou"]["per_step"][step]
