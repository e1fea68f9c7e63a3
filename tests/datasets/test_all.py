"""Every dataset of vpbench: its contract, its errors and its protocols."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
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
    moving_mnist_test,
)

from vpbench.errors import DataError
from vpbench.plugin.dataset import Dataset, check_array
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.modality import BUILT_IN
from vpbench.protocol.protocol import Protocol

PACKAGES = [
    f"vpbench_{name}"
    for name in ("bair", "cityscapes", "folder", "human36m", "kitti", "kth", "moving_mnist", "scenes", "ucf101")
]
SIZE = (15, 50)
DRIVE = "2011_09_26/2011_09_26_drive_0060_sync/image_02"
WALKING = "S11_Walking_1.54138969"


@dataclass(frozen=True)
class Tree:
    """A small tree of a dataset, and one frame in it."""

    write: Callable[[Path], object]
    sequence: str
    frame: int
    file: str
    options: dict[str, object]
    split: str = "test"


def write_walk(root: Path) -> None:
    for number, frame in enumerate(known_frames(4)):
        write_picture(root / f"walk/{number}.png", frame)


def write_kth(root: Path) -> None:
    kth_list(root, {"person17_boxing_d1": "1-8"})
    kth_video(root, "person17_boxing_d1", known_frames(8))


def write_bair(root: Path) -> None:
    bair_file(root, "test", "traj_0_to_255", known_frames(30, 64, 64)[None], np.zeros((1, 30, 4), np.float32))


TREES = {
    "cityscapes": Tree(
        lambda root: cityscapes_snippet(root, "val", "munster_000000", 0, SIZE),
        "munster/munster_000000_000000",
        3,
        "leftImg8bit_sequence/val/munster/munster_000000_000003_leftImg8bit.png",
        {"labels": True},
        "val",
    ),
    "kitti-raw": Tree(
        lambda root: kitti_drive(root, "0060", range(12), SIZE), DRIVE, 3, f"{DRIVE}/data/0000000003.png",
        {"train_drives": "all-minus-4"},
    ),
    "kitti-caltech": Tree(
        lambda root: caltech_video(root / "set06/V000.seq", known_frames(12)), "set06/V000", 3, "set06/V000.seq", {},
    ),
    "kitti-flow": Tree(
        lambda root: kitti_scenes(root, "testing", [0], SIZE), "testing/000000", 3, "testing/image_2/000000_03.png", {}
    ),
    "human36m": Tree(
        lambda root: human36m_images(root, WALKING, (1, 6, 11), SIZE), WALKING, 6, f"{WALKING}_000006.jpg",
        {"train": (), "test": ("S11",)},
    ),
    "ucf101": Tree(
        lambda root: write_video(root / "UCF-101/YoYo/v_YoYo_g20_c01.avi", known_frames(8)),
        "YoYo/v_YoYo_g20_c01", 3, "UCF-101/YoYo/v_YoYo_g20_c01.avi", {},
    ),
    "kth": Tree(
        write_kth, "person17_boxing_d1/0001-0008", 3, "boxing/person17_boxing_d1_uncomp.avi", {},
    ),
    "moving-mnist": Tree(
        lambda root: moving_mnist_test(root, 3), "mnist_test_seq/00001", 3, "mnist_test_seq.npy", {},
    ),
    "bair": Tree(
        write_bair, "test/traj_0_to_255/000", 3, "softmotion30_44k/test/traj_0_to_255.tfrecords", {},
    ),
    "folder": Tree(write_walk, "walk", 3, "walk/3.png", {}),
}  # fmt: skip
OFFICIAL = [name for name in TREES if name != "folder"]


@pytest.fixture(scope="module")
def plugins():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VPBENCH_PLUGINS", "")
        yield load_plugins(PACKAGES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def opened(plugins, root: Path):
    """Write a dataset's tree below the root and open it."""

    def make(name: str) -> tuple[Dataset, Tree]:
        tree, kind = TREES[name], plugins.load("dataset", name)
        tree.write(root)
        return (kind(root, options=kind.Options(**tree.options)) if tree.options else kind(root)), tree

    return make


@pytest.mark.parametrize("name", TREES)
def test_is_a_dataset_that_travels_to_other_processes(opened, name):
    data, tree = opened(name)
    assert isinstance(data, Dataset)
    array = data.read(tree.sequence, [tree.frame], "frames")
    check_array(array, BUILT_IN["frames"], 1, name)
    copy = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(copy.read(tree.sequence, [tree.frame], "frames"), array)
    assert copy.sequences(tree.split) == data.sequences(tree.split)
    assert tree.sequence in [s.name for s in data.sequences(tree.split) if not s.problem]


@pytest.mark.parametrize("name", TREES)
def test_what_it_does_not_have_is_named(opened, name, root: Path):
    data, tree = opened(name)
    with pytest.raises(DataError, match="no split 'nowhere'"):
        data.sequences("nowhere")
    with pytest.raises(DataError, match="has no flow, only frames"):
        data.read(tree.sequence, [tree.frame], "flow")
    with pytest.raises(DataError, match=r"'\.\./secret'"):
        data.read("../secret", [0], "frames")
    (root / tree.file).write_bytes(b"")
    with pytest.raises(DataError, match=rf"{re.escape(Path(tree.file).name)}: is not a .* \(0 bytes"):
        data.read(tree.sequence, [tree.frame], "frames")
    (root / tree.file).unlink()
    with pytest.raises(DataError, match=f"{re.escape(Path(tree.file).name)}: is missing|frame 3 was asked for"):
        type(data)(root).read(tree.sequence, [tree.frame], "frames")


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_empty_folder_gets_the_way_to_the_data(plugins, name, tmp_path: Path):
    data = plugins.load("dataset", name)(tmp_path)
    with pytest.raises(DataError, match=r"holds (no|nothing of) .*") as caught:
        data.sequences(data.info.splits[0])
    assert data.info.obtain in str(caught.value)


@pytest.mark.parametrize("name", ["bair", "cityscapes", "kitti-raw", "ucf101"])
def test_a_folder_below_the_root_is_told_apart(opened, plugins, name, root: Path):
    _, tree = opened(name)
    with pytest.raises(DataError, match="pass its parent"):
        plugins.load("dataset", name)(root / tree.file.partition("/")[0]).sequences(tree.split)


@pytest.mark.parametrize("name", OFFICIAL)
def test_links_out_of_the_root_are_not_followed(opened, name, root: Path, tmp_path: Path):
    data, tree = opened(name)
    file = root / tree.file
    file.rename(tmp_path / "outside")
    file.symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="is a symbolic link out of the data root"):
        data.read(tree.sequence, [tree.frame], "frames")
    assert all(s.problem or tree.frame not in s.frames for s in data.sequences(tree.split))


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_stamp_changes_with_the_files(opened, name, root: Path):
    data, tree = opened(name)
    (before,) = [s.stamp for s in data.sequences(tree.split) if s.name == tree.sequence]
    if tree.file.endswith((".avi", ".npy", ".seq", ".tfrecords")):
        os.utime(root / tree.file, ns=(0, 0))
    else:
        (root / tree.file).with_name("new").touch()
    (after,) = [s.stamp for s in type(data)(root).sequences(tree.split) if s.name == tree.sequence]
    assert before != after


@pytest.mark.parametrize("name", ["cityscapes", "kitti-raw", "kitti-flow", "human36m"])
def test_sequences_are_known_without_opening_a_file(opened, name, root: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a file was opened")

    data, tree = opened(name)
    before = sorted((p, p.stat().st_mtime_ns) for p in root.rglob("*"))
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert any(not s.problem for s in data.sequences(tree.split))
    assert sorted((p, p.stat().st_mtime_ns) for p in root.rglob("*")) == before


def test_plugin_modules_are_light():
    code = f"import sys, {', '.join(PACKAGES)}; print(*sys.modules)"
    env = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    process = subprocess.run([sys.executable, "-c", code], check=True, env=env, capture_output=True, text=True)
    modules = set(process.stdout.split())
    assert modules.issuperset(PACKAGES)
    assert not modules & {"torch", "numpy", "cv2", "av", "pydantic", "jaxtyping"}


def test_protocols_have_their_name_a_reference_and_options_of_their_dataset(plugins):
    names = [entry.name for entry in plugins.of("protocol")]
    assert len(names) == 30
    for name in names:
        protocol = Protocol.read(plugins.load("protocol", name))
        kind = plugins.load("dataset", protocol.dataset.name)
        assert (protocol.name, protocol.reference) == (name, "repeat")
        assert hasattr(kind, "Options") or not protocol.dataset.options
        if hasattr(kind, "Options"):
            kind.Options(**protocol.dataset.options)
