"""Every suite that ships, on synthetic twins: each entry trains for two steps, and the suite then runs."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_video import known_frames, write_video
from twins import cityscapes_snippet, human36m_images, kitti_drive, kitti_scenes, walking

from vpbench.protocol.protocol import Protocol
from vpbench.protocol.suite import Suite
from vpbench.select.data import open_protocol

SUITES = sorted((Path(__file__).parents[2] / "suites").glob("*.toml"))
SIZE = (32, 64)
NARROW = {
    "vpbench_cdnet.predictor:CDNet": {"hidden": 4, "integrator": (4, 4), "blocks": (1, 1)},
    "vpbench_recurrent.convlstm:ConvLSTM": {"hidden": (4,)},
    "vpbench_recurrent.predrnn:PredRNN": {"hidden": 4, "layers": 2},
    "vpbench_recurrent.mim:MIM": {"hidden": 4, "layers": 2},
    "vpbench_recurrent.motionrnn:MotionRNN": {"hidden": 4, "layers": 2},
    "vpbench_recurrent.crevnet:CrevNet": {"layers": 2, "blocks": (1, 1)},
    "vpbench_recurrent.phydnet:PhyDNet": {"base": 4, "hidden": (4,)},
    "vpbench_sadm.predictor:SADM": {
        **{"hidden": 4, "embed": (2, 4), "context_width": 4, "head": (4, 2), "fusion": 4, "perceptual": "pixel"},
        **{"inpainter_widths": (4, 4, 4, 4), "discriminator_widths": (4, 4, 4, 4)},
    },
}
"""Widths with which a preset is tested; a preset with widths of its own keeps an eighth of them."""
TRAINED = [path for path in SUITES if any(entry.train is not False for entry in Suite.read(path).predictors)]


@pytest.fixture
def roots(tmp_path) -> list[str]:
    """Sequences to train on and to test on, of every dataset that has files."""
    root = tmp_path / "data"
    for group in (1, 2, 21):
        name = f"Archery/v_Archery_g{group:02d}_c01"
        write_video(root / "ucf101" / "UCF-101" / f"{name}.avi", known_frames(40, 32, 48))
    for subject in ("S1", "S5", "S9"):
        human36m_images(root / "human36m", walking([subject])[0], range(1, 122, 5), SIZE)
    for date, drive in (("2011_09_26", "0001"), ("2011_09_26", "0018"), ("2011_09_26", "0060")):
        kitti_drive(root / "kitti-raw", drive, range(10), SIZE, date)
    kitti_scenes(root / "kitti-flow", "training", [0, 1], SIZE)
    kitti_scenes(root / "kitti-flow", "testing", [0], SIZE)
    cityscapes_snippet(root / "cityscapes", "train", "aachen_000000", 0, SIZE)
    cityscapes_snippet(root / "cityscapes", "train", "aachen_000001", 0, SIZE)
    cityscapes_snippet(root / "cityscapes", "val", "lindau_000000", 0, SIZE)
    return [word for folder in sorted(root.iterdir()) for word in ("--data-root", f"{folder.name}={folder}")]


class Layer(torch.nn.Conv2d):
    def forward(self, frame: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": super().forward(frame)}


def small(protocol: Protocol) -> Protocol:
    """The protocol with all sizes divided by one number, and no side shorter than 32."""
    sides = [side for op in protocol.pixels if op.size for side in op.size]
    by = -(-max(sides, default=1) // 32)
    pixels = [
        op.model_copy(update={"size": tuple(max(32, side // by) for side in op.size)}) if op.size else op
        for op in protocol.pixels
    ]
    training = protocol.training.model_copy(update={"clips": 4, "validation_clips": 1})
    return protocol.model_copy(update={"pixels": tuple(pixels), "label_size": None, "training": training})


@pytest.fixture
def narrow(monkeypatch) -> None:
    """Narrow networks behind the presets of every model."""
    for target, widths in NARROW.items():
        model = pkgutil.resolve_name(target)
        presets = {}
        for name, values in model.presets.items():
            wide = [key for key in ("hidden", "single_hidden") if isinstance(values.get(key), int) and values[key] > 15]
            states = {key: values[key] // 8 for key in wide}
            presets[name] = {**widths, **values, **states} if "weights" not in values else values
        monkeypatch.setattr(model, "presets", presets)


@pytest.mark.slow
@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_every_entry_trains_and_runs(vpbench, roots, narrow, tmp_path, monkeypatch, path):
    for room in ("evaluation.suite", "training.suite"):
        monkeypatch.setattr(f"vpbench.{room}.open_protocol", lambda *args: small(open_protocol(*args)))
    monkeypatch.setattr("vpbench_annotators.deeplab._network", lambda *args: Layer(3, 19, 1))
    checkpoint = tmp_path / "deeplab.safetensors"
    save_file({"classifier.4.weight": torch.zeros(19, 1)}, checkpoint)

    copy = tmp_path / path.name
    lines = path.read_text().splitlines()
    short = ["train = { steps = 2, batch_size = 1 }" if line.startswith("train = ") else line for line in lines]
    copy.write_text("\n".join(short) + "\n")
    suite = Suite.read(copy)
    flags = [*roots, "--metric", "mse", "--device", "cpu", "--out", tmp_path / "out"]
    if path.name.startswith("sadm"):
        flags += ["--annotate", "flow=dis"]
    if "semantics" in suite.annotate:
        flags += ["--weights", f"deeplabv3={checkpoint}"]

    outcome = vpbench("train", copy, *flags, "--workers", "0", "--pictures", "0", "--keep", "last")
    assert outcome.code == 0, outcome.err
    outcome = vpbench("run", copy, *flags, "--clips", "1", "--allow-partial", "--json")
    assert outcome.json["failures"] == []
    assert outcome.code == 0, outcome.err
    assert len(outcome.json["results"]) == len(suite.jobs(None, None))
    trained = [
        result for result in outcome.json["results"] if result["predictor"] not in ("repeat", "flow-extrapolation")
    ]
    assert trained
    assert all(result["summary"]["scores"]["mse"]["clips"] == 1 for result in trained)
