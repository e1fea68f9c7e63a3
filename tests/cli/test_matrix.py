"""`suites/matrix.toml` on synthetic twins of every tree: every predictor goes through every protocol."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_video import known_frames, write_video
from twins import (
    bair_file,
    caltech_video,
    cityscapes_snippet,
    human36m_images,
    kitti_drive,
    kitti_scenes,
    kth_list,
    kth_video,
    moving_mnist_test,
    walking,
)

from vpbench.names import Selector
from vpbench.plugin.loader import load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.results.result import find_results
from vpbench.select.data import open_protocol

MATRIX = Path(__file__).parents[2] / "suites" / "matrix.toml"
SIZE = (32, 64)
NARROW = {
    "convlstm": ("hidden=[4]",),
    **dict.fromkeys(("predrnn", "predrnn-v2", "mim", "motionrnn"), ("hidden=4",)),
    "phydnet": ("base=4", "hidden=[4]"),
    "crevnet": ("layers=2", "blocks=[1,1]"),
    **dict.fromkeys(("simvp", "tau"), ("spatial=4", "temporal=8", "temporal_layers=2")),
    "svg": ("width=4", "hidden=8"),
    "cdnet": ("hidden=4", "integrator=[4,4]", "blocks=[1,1]"),
    "sadm": ("hidden=4", "embed=[2,4]", "context_width=4", "head=[4,2]", "fusion=4", "inpainter_widths=[4,4,4,4]"),
}
"""Options of each network with which it computes little."""


@pytest.fixture
def roots(tmp_path) -> list[str]:
    """A small tree of every dataset that has files."""
    root = tmp_path / "data"
    for split in ("train", "test"):
        write_video(root / "folder" / split / "a.mkv", known_frames(14, 64, 64))
    apply_eye_makeup = (f"ApplyEyeMakeup/v_ApplyEyeMakeup_{clip}" for clip in ("g01_c05", "g15_c01"))
    for name in ("Archery/v_Archery_g21_c01", *apply_eye_makeup):
        write_video(root / "ucf101" / "UCF-101" / f"{name}.avi", known_frames(40, 32, 48))
    for name in walking(["S9"])[:1]:
        human36m_images(root / "human36m", name, range(1, 172, 5), SIZE)  # STRPM's first window is at 131
    human36m_images(root / "human36m", "S1_Directions.54138969", range(26, 66, 5), SIZE)
    for drive in ("0051", "0060"):
        kitti_drive(root / "kitti-raw", drive, range(10), SIZE)
    caltech_video(root / "kitti-caltech" / "set06" / "V000.seq", known_frames(33, 32, 48))
    kitti_scenes(root / "kitti-flow", "testing", [0], SIZE)
    cityscapes_snippet(root / "cityscapes", "val", "lindau_000000", 0, SIZE)
    cityscapes_snippet(root / "cityscapes", "test", "berlin_000000", 0, SIZE)
    kth_list(root / "kth", {"person17_boxing_d1": "1-50"})
    kth_video(root / "kth", "person17_boxing_d1", known_frames(50, 24, 32))
    moving_mnist_test(root / "moving-mnist", 1)
    bair_file(root / "bair", "test", "traj_0_to_255", known_frames(30, 64, 64)[None], np.zeros((1, 30, 4)))
    return [arg for folder in sorted(root.iterdir()) for arg in ("--data-root", f"{folder.name}={folder}")]


class Layer(torch.nn.Conv2d):
    def forward(self, frame: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": super().forward(frame)}


@pytest.fixture(autouse=True)
def drawn_labels(tmp_path, monkeypatch) -> None:
    """DeepLabV3's weights are a download: one drawn layer stands in for the network."""
    file = tmp_path / "weights"
    file.touch()
    monkeypatch.setattr("vpbench_annotators.deeplab.weights.obtain", lambda url: file)
    monkeypatch.setattr("vpbench_annotators.deeplab._network", lambda *args: Layer(3, 21, 1))


def official(protocol: Protocol) -> Protocol:
    return protocol


def small(protocol: Protocol) -> Protocol:
    """The protocol with all sizes divided by one number, so that no side is longer than 32."""
    sides = [side for op in protocol.pixels if op.size for side in op.size]
    by = -(-max(sides, default=1) // 32)
    pixels = [
        op.model_copy(update={"size": tuple(side // by for side in op.size)}) if op.size else op
        for op in protocol.pixels
    ]
    return protocol.model_copy(update={"pixels": tuple(pixels), "label_size": None})


# Networks at 512x1024 take minutes on a CPU.
@pytest.mark.slow
@pytest.mark.parametrize(("learned", "size"), [(False, official), (True, small)], ids=["rules", "networks"])
def test_every_predictor_goes_through_every_protocol(vpbench, roots, tmp_path, monkeypatch, learned, size):
    monkeypatch.setattr("vpbench.evaluation.suite.open_protocol", lambda *args: size(open_protocol(*args)))
    suite, plugins = tomllib.loads(MATRIX.read_text()), load_plugins()
    entries = [
        entry
        for entry in suite["predictors"]
        if bool(plugins.entry("predictor", Selector.parse(entry["name"]).name).trainer) == learned
    ]
    flags = [flag for name in dict.fromkeys(entry["name"] for entry in entries) for flag in ("-m", name)]
    if learned:
        flags += [word for name in NARROW for option in NARROW[name] for word in ("-o", f"{name}.{option}")]
    flags += ["--clips", "1", "--allow-partial", "--metric", "mse", "--out", tmp_path / "r", "--json"]
    outcome = vpbench("run", MATRIX, *roots, *flags)
    assert outcome.json["failures"] == []
    assert outcome.code == 0
    jobs = {(p, entry["name"]) for entry in entries for p in entry.get("protocols", suite["protocols"])}
    results = outcome.json["results"]
    assert {(r["protocol"], ":".join(filter(None, (r["predictor"], r["preset"])))) for r in results} == jobs
    assert all(r["complete"] and r["summary"]["scores"]["mse"]["clips"] == 1 for r in results)
    assert len(find_results(tmp_path / "r")) == len(results) == len(jobs)
