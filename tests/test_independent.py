"""The whole of a run against a computation that shares nothing with it: plain PyAV, OpenCV, NumPy and scikit-image."""

from __future__ import annotations

import math
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage.metrics import structural_similarity

import vpbench as api
from vpbench.cli.main import _run

METRICS = [flag for name in ("mse", "mae", "psnr", "ssim") for flag in ("--metric", name)]
CLIPS = ["SoccerJuggling/v_SoccerJuggling_g23_c01", "SoccerJuggling/v_SoccerJuggling_g24_c01"]


def frames_of(path: Path) -> np.ndarray:
    """4 + 10 frames, every second one from the first, 160x120, float64 in [0,1]."""
    with av.open(str(path)) as container:
        decoded = [f.to_ndarray(format="rgb24") for _, f in zip(range(27), container.decode(video=0), strict=False)]
    small = [cv2.resize(frame, (160, 120), interpolation=cv2.INTER_LINEAR) for frame in decoded[::2]]
    return np.stack(small).astype(np.float64) / 255


def scores(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    mse = float(np.mean((predicted - true) ** 2))
    ssim = structural_similarity(
        predicted, true, channel_axis=-1, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return {
        "mse": mse,
        "mae": float(np.mean(np.abs(predicted - true))),
        "psnr": -10 * math.log10(mse),
        "ssim": float(ssim),
    }


@pytest.fixture(scope="module")
def results(shared, tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    run = ["run", "-p", "ucf101-120x160-4to10", "-m", "repeat", "-m", "flow-extrapolation", "--allow-partial", *METRICS]
    args = [*run, "--data-root", str(shared / "data" / "ucf101"), "--out", str(out), "--save-predictions"]
    assert _run(args) == 0
    return {p.parent.parent.name: api.load(p.parent) for p in out.rglob("run.json")}


@pytest.mark.slow
def test_repeat_equals_an_independent_computation_on_real_clips(shared, results):
    expected: dict[tuple[str, int, str], float] = {}
    for name in CLIPS:
        frames = frames_of(shared / "data" / "ucf101" / "UCF-101" / f"{name}.avi")
        for step in range(1, 11):
            for metric, value in scores(frames[3], frames[3 + step]).items():
                expected[f"{name}@0", step, metric] = value
    rows = {(r["clip"], r["step"], r["metric"]): r["value"] for r in results["repeat"].rows()}
    assert rows.keys() == expected.keys()
    for key, value in expected.items():
        assert rows[key] == pytest.approx(value, abs=1e-4 if key[2] == "psnr" else 1e-6), key
    for step in range(1, 11):
        mean = np.mean([expected[f"{name}@0", step, "ssim"] for name in CLIPS])
        assert results["repeat"].at("ssim", step) == pytest.approx(mean, abs=1e-6)


def test_the_saved_predictions_of_a_flow_model_score_what_its_rows_say(shared, results):
    result = results["flow-extrapolation"]
    rows = {(r["clip"], r["step"], r["metric"]): r["value"] for r in result.rows()}
    for name in CLIPS:
        predicted = np.load(result.path / "predictions" / f"{name}@0.npy").astype(np.float64)
        frames = frames_of(shared / "data" / "ucf101" / "UCF-101" / f"{name}.avi")
        for step in (1, 5, 10):
            for metric, value in scores(predicted[step - 1], frames[3 + step]).items():
                tolerance = 1e-4 if metric == "psnr" else 1e-6
                assert rows[f"{name}@0", step, metric] == pytest.approx(value, abs=tolerance)
