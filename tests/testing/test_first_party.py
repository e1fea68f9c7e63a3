"""Every plugin of vpbench keeps its contract, datasets on twins of their trees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_video import known_frames, write_picture, write_video
from twins import (
    bair_file,
    caltech_video,
    cityscapes_snippet,
    human36m_images,
    kitti_drive,
    kitti_scenes,
    kth_list,
    kth_video,
    mnist_digits,
    moving_mnist_test,
    walking,
)

from vpbench.plugin import process_state
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.members import members_of
from vpbench.testing import Outcome, check_annotator, check_dataset, check_metric, check_predictor
from vpbench.testing.material import Pictures

pytestmark = pytest.mark.slow  # networks are built and called dozens of times
SIZE = (24, 40)
WITH_ARGUMENT = {"external", "saved"}
OPTIONS = {"sadm": {"classes": 3}}  # of the labels that the synthetic clips have
I3D = {"fvd", "fvd@context", "fvd@first16", "kvd"}
"""Metrics of I3D's logits: a drawn network takes its place, since the checks call it for half a minute each."""


@pytest.fixture(autouse=True)
def draws_of_beartype(monkeypatch):
    """Ignore that beartype, which checks shapes while tests run, draws from Python's random state."""
    monkeypatch.delitem(process_state._WATCHED, "Python's global random state")


def names(kind: str) -> list[str]:
    return [entry.name for entry in load_plugins().of(kind) if entry.plugin == "vpbench"]


def small(name: str) -> str:
    """A network of the paper's size keeps its contract by the same code as ``tiny``, in many times its time."""
    presets = members_of(load_plugins().load("predictor", name), name).presets
    return f"{name}:tiny" if "tiny" in presets else name


def failures(outcomes: list[Outcome]) -> list[str]:
    assert sum(outcome.status == "ok" for outcome in outcomes) >= 8
    return [f"{outcome.check}: {outcome.detail}" for outcome in outcomes if outcome.status == "failed"]


@pytest.mark.filterwarnings("ignore::vpbench.errors.VpbenchWarning")  # padded frames
@pytest.mark.parametrize("name", [name for name in names("predictor") if name not in WITH_ARGUMENT])
def test_predictor(name):
    assert failures(check_predictor(small(name), options=OPTIONS.get(name))) == []


def test_saved_predictions(tmp_path):
    """The folder holds no other sizes, contexts or samples than those that it was saved for."""
    dataset = Pictures((32, 48))
    for sequence in dataset.sequences("test"):
        path = tmp_path / f"{sequence.name}@0.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, dataset.read(sequence.name, range(3, 7), "frames"))
    fixed = {"size", "causal"}
    assert {line.partition(":")[0] for line in failures(check_predictor(f"saved:{tmp_path}"))} <= fixed


@pytest.mark.parametrize("name", names("metric"))
def test_metric(name, lpips_weights, monkeypatch):
    monkeypatch.setenv("VPBENCH_WEIGHTS", lpips_weights(name))
    if name in I3D:
        torch.manual_seed(1)
        pool, logits = torch.nn.AdaptiveAvgPool3d((2, 5, 5)), torch.nn.Linear(150, 400)
        network = torch.nn.Sequential(pool, torch.nn.Flatten(), logits)
        monkeypatch.setattr("vpbench_metrics.fvd.I3DMetric.network", lambda metric: network)
    assert failures(check_metric(name)) == []


class Layer(torch.nn.Conv2d):
    def forward(self, frame: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": super().forward(frame)}


@pytest.mark.parametrize("name", ["dis", "flow-noise", "label-noise"])
def test_annotator(name):
    assert failures(check_annotator(name)) == []


def test_annotator_with_a_drawn_network(tmp_path, monkeypatch):
    """DeepLabV3's weights are a download: one drawn layer stands in for the network."""
    torch.manual_seed(1)
    file, layer = tmp_path / "weights", Layer(3, 21, 1)
    file.touch()
    monkeypatch.setattr("vpbench_annotators.deeplab.weights.obtain", lambda url: file)
    monkeypatch.setattr("vpbench_annotators.deeplab._network", lambda *args: layer)
    assert failures(check_annotator("deeplabv3")) == []


@dataclass(frozen=True)
class Tree:
    """A small tree with all splits of a dataset."""

    dataset: str
    write: Callable[[Path], object]
    options: dict[str, object]


def write_cityscapes(root: Path) -> None:
    for split, city in {"train": "aachen", "val": "munster", "test": "berlin"}.items():
        cityscapes_snippet(root, split, f"{city}_000000", 0, SIZE)


def write_kitti(root: Path) -> None:
    for drive in ("0051", "0060"):
        kitti_drive(root, drive, range(10), SIZE)


def write_caltech(root: Path) -> None:
    for drive in ("0005", "0051"):  # val and train
        for camera in (2, 3):
            kitti_drive(root, drive, range(10), SIZE, camera=camera)
    caltech_video(root / "set06/V000.seq", known_frames(33))


def write_kth(root: Path) -> None:
    kth_list(root, {"person17_boxing_d1": "1-8", "person01_boxing_d1": "1-8"})
    for person in ("person01", "person17"):
        kth_video(root, f"{person}_boxing_d1", known_frames(8))


def write_mnist(root: Path) -> None:
    moving_mnist_test(root, 3)
    mnist_digits(root / "train-images-idx3-ubyte.gz", np.arange(60 * 784, dtype=np.uint8).reshape(60, 28, 28))


def write_bair(root: Path) -> None:
    for split in ("train", "test"):
        actions = np.zeros((1, 30, 4), np.float32)
        bair_file(root, split, "traj_0_to_255", known_frames(30, 64, 64)[None], actions)


def write_ucf101(root: Path) -> None:
    for name in ("v_YoYo_g01_c01", "v_YoYo_g20_c01"):
        write_video(root / "UCF-101" / "YoYo" / f"{name}.avi", known_frames(8))


def write_folder(root: Path) -> None:
    for number, frame in enumerate(known_frames(4)):
        write_picture(root / "walk" / f"{number}.png", frame)


def write_human36m(root: Path) -> None:
    for subject in ("S1", "S9"):
        human36m_images(root, walking([subject])[0], range(1, 60, 5), SIZE)


def write_scene_flow(root: Path) -> None:
    for folder in ("training", "testing"):
        kitti_scenes(root, folder, [0, 1], SIZE)


TREES = {
    "bair": Tree("bair", write_bair, {}),
    "cityscapes": Tree("cityscapes", write_cityscapes, {}),
    "cityscapes-labels": Tree("cityscapes", write_cityscapes, {"labels": True}),
    "folder": Tree("folder", write_folder, {}),
    "human36m": Tree("human36m", write_human36m, {}),
    "kitti-caltech": Tree("kitti-caltech", write_caltech, {}),
    "kitti-flow": Tree("kitti-flow", write_scene_flow, {}),
    "kitti-raw": Tree("kitti-raw", write_kitti, {}),
    "kth": Tree("kth", write_kth, {}),
    "moving-digits": Tree("moving-digits", Path.mkdir, {}),
    "moving-mnist": Tree("moving-mnist", write_mnist, {}),
    "scenes": Tree("scenes", Path.mkdir, {}),
    "ucf101": Tree("ucf101", write_ucf101, {}),
}


@pytest.mark.parametrize("name", TREES)
def test_dataset(name, tmp_path):
    tree, root = TREES[name], tmp_path / "root"
    tree.write(root)
    assert failures(check_dataset(tree.dataset, options=tree.options, root=root)) == []


def test_no_plugin_is_left_out():
    assert {tree.dataset for tree in TREES.values()} == set(names("dataset"))
    weights = {"raft", "saved"}  # a download; maps of a folder, whose tests are tests/plugins/test_saved_maps.py
    assert {"dis", "flow-noise", "label-noise", "deeplabv3"} | weights == set(names("annotator"))
