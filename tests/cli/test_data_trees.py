"""`vpbench data check` on the twins of all five trees: whole, incomplete and broken ones, and ones that leak."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_video import known_frames, write_video
from twins import (
    KITTI_TEST,
    cityscapes_snippet,
    cityscapes_val,
    human36m_images,
    human36m_video,
    kitti_drive,
    kitti_scenes,
    walking,
)

from vpbench_kitti.raw import FVS24

TOYS = Path(__file__).resolve().parent.parent / "toys.py"
SIZE = (16, 24)
DECODED = "frames, semantics, flow, disocclusion, instances of 16x24"
SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")


@pytest.fixture
def check(vpbench, tmp_path, monkeypatch):
    """Check a dataset or protocol: its exit code, the findings by name, and how to see what a person reads."""

    # The files of most trees here are empty, since names alone count: tests/cli/test_check.py decodes clips.
    monkeypatch.setattr("vpbench.clips.decoding.decode_splits", lambda dataset, sequences: {})

    def folders(root: Path):
        return {folder: Path(folder).stat().st_mtime_ns for folder, _, _ in os.walk(root)}

    def call(name: str, root: Path, *args: str, data_root: str = ""):
        command = ["data", "check", name, "--data-root", f"{data_root or name}={root}", *args]
        before = folders(root)
        outcome = vpbench(*command, "--json")
        assert folders(root) == before, "the data root is written to"
        assert outcome.code == (1 if any(f["holds"] is False for f in outcome.json["findings"]) else 0)
        findings = {f["name"]: (f["found"], f["expected"], f["holds"]) for f in outcome.json["findings"]}

        def read() -> str:
            text = vpbench(*command)
            assert text.code == outcome.code
            return text.out

        return outcome.code, findings, read

    return call


def official(shared: Path) -> list[str]:
    lists = (shared / "data/ucf101/ucfTrainTestlist" / f"{part}01.txt" for part in ("trainlist", "testlist"))
    return [line.split()[0].removesuffix(".avi") for part in lists for line in part.read_text().splitlines()]


# --- whole trees, and the same with something missing ---


@pytest.mark.slow
def test_cityscapes(check, tmp_path):
    cityscapes_val(tmp_path)
    code, findings, read = check("cityscapes-semantic", tmp_path, data_root="cityscapes")
    assert (code, "how to get it" in read()) == (0, False)
    assert findings == {
        "val: sequences": ("500 (15000 frames)", "some", True),
        "cityscapes-semantic: clips": ("2000", "2000", True),
    }
    (tmp_path / "leftImg8bit_sequence/val/lindau/lindau_000007_000000_leftImg8bit.png").unlink()
    (tmp_path / "gtFine/val/munster/munster_000003_000019_gtFine_labelIds.png").unlink()
    code, findings, read = check("cityscapes-semantic", tmp_path, data_root="cityscapes")
    assert code == 1
    assert findings == {
        "val: sequences": ("498 (14940 frames)", "some", True),
        "val: missing or unreadable": ("2", "0", False),
        "cityscapes-semantic: clips": ("1992", "2000", False),
    }
    assert (
        "lindau_000007_000000_leftImg8bit.png: is missing (29 of the snippet's 30 frames are there); unpack" in read()
    )
    assert "munster_000003_000019_gtFine_labelIds.png: is missing; unpack gtFine_trainvaltest.zip there" in read()
    assert "how to get it:\n  Register at https://www.cityscapes-dataset.com" in read()
    assert "licence:\n  Cityscapes terms: non-commercial research" in read()
    code, findings, _ = check("cityscapes", tmp_path, "-o", "cityscapes.labels=true")
    assert findings["train: complete snippets"] == ("0", "2975", False)
    assert findings["val: complete snippets"] == ("498", "500", False)
    assert findings["val: annotated frames"] == ("499", "500", False)


@pytest.mark.slow
def test_kitti_raw(check, tmp_path):
    for number, length in KITTI_TEST.items():
        kitti_drive(tmp_path, number, range(length))
    for drive in FVS24:
        kitti_drive(tmp_path, drive[-9:-5], range(11), date=drive[:10])
    code, findings, _ = check("kitti-raw", tmp_path)
    assert code == 0
    assert findings == {
        "train: sequences": ("24 (264 frames)", "some", True),
        "test: sequences": ("4 (1369 frames)", "some", True),
        "test: frames of the 4 drives": ("1369", "1369", True),
    }
    assert check("protocol/kitti-raw", tmp_path, data_root="kitti-raw")[1]["kitti-raw: clips"] == ("1337", "1337", True)
    shutil.rmtree(tmp_path / "2011_09_26/2011_09_26_drive_0093_sync")
    code, findings, read = check("protocol/kitti-raw", tmp_path, data_root="kitti-raw")
    assert (code, findings["kitti-raw: clips"]) == (1, ("912", "1337", False))
    assert findings["test: missing or unreadable"] == ("1", "0", False)
    assert (
        "2011_09_26_drive_0093_sync/image_02/data: holds no frame; get this drive's [synced+rectified data]" in read()
    )
    assert "how to get it:\n  Register at https://www.cvlibs.net/datasets/kitti/raw_data.php" in read()


@pytest.mark.slow
def test_kitti_flow(check, tmp_path):
    for folder in ("training", "testing"):
        kitti_scenes(tmp_path, folder, range(200))
    code, findings, _ = check("kitti-flow", tmp_path)
    assert (code, findings["test: all there"]) == (0, ("200 scenes, 4200 frames",) * 2 + (True,))
    assert check("kitti-flow-4ctx", tmp_path, data_root="kitti-flow")[1]["kitti-flow-4ctx: clips"] == (
        "3400",
        "3400",
        True,
    )
    (tmp_path / "testing/image_2/000123_04.png").unlink()
    code, findings, read = check("kitti-flow", tmp_path)
    assert (code, findings["test: all there"]) == (1, ("200 scenes, 4199 frames", "200 scenes, 4200 frames", False))
    assert "000123_04.png: is missing (20 of the scene's 21 frames are there); unpack data_scene_flow" in read()
    assert findings["train: all there"][2] is True


@pytest.mark.slow
def test_human36m(check, tmp_path):
    for name in walking(SUBJECTS):
        human36m_images(tmp_path / name.split("_")[0], name, range(1, 92, 5))
    code, findings, _ = check("human36m", tmp_path)
    assert (code, findings["train: videos of Walking"], findings["test: videos of Walking"]) == (
        0,
        ("40", "40", True),
        ("16", "16", True),
    )
    for path in (tmp_path / "S9").glob("S9_Walking_1.*"):
        path.unlink()
    code, findings, read = check("human36m", tmp_path)
    assert (code, findings["test: videos of Walking"]) == (1, ("12", "16", False))
    assert "4 videos of S9 Walking, expected 8; get the others" in read()
    assert "how to get it:\n  Register at http://vision.imar.ro/human3.6m" in read()


@pytest.mark.slow
def test_ucf101(check, tmp_path, shared, monkeypatch):
    monkeypatch.setattr("vpbench_ucf101.dataset.count_frames", lambda path: 40)
    for name in official(shared):
        path = tmp_path / "UCF-101" / f"{name}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mknod(path)
    code, findings, _ = check("ucf101", tmp_path)
    assert (code, findings["train: clips"], findings["test: clips"]) == (
        0,
        ("10160", "10160", True),
        ("3160", "3160", True),
    )
    code, findings, _ = check("ucf101", tmp_path, "-o", "ucf101.split_rule=frnn-seed0")
    assert (code, findings["train: clips"], findings["test: clips"]) == (
        0,
        ("9957", "9957", True),
        ("3363", "3363", True),
    )
    (tmp_path / "UCF-101/YoYo/v_YoYo_g25_c05.avi").unlink()
    code, findings, read = check("ucf101-120x160-4to10", tmp_path, data_root="ucf101")
    assert (code, findings["ucf101-120x160-4to10: clips"]) == (1, ("3159", "3160", False))
    assert "how to get it:\n  Download UCF101.rar (6.5 GB) from https://www.crcv.ucf.edu" in read()


@pytest.mark.parametrize("name", ["cityscapes", "kitti-raw", "kitti-flow", "human36m", "ucf101"])
def test_an_empty_folder_says_how_to_get_the_data(vpbench, tmp_path, name):
    outcome = vpbench("data", "check", name, "--data-root", tmp_path)
    assert outcome.code == 1
    assert "holds no" in outcome.error
    assert "http" in outcome.error


# --- broken files: only reading them tells ---


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def broken_png(root: Path) -> Path:
    for city, split in (("aachen_000003", "train"), ("lindau_000001", "val")):
        cityscapes_snippet(root, split, city, 0, SIZE)
    return cut(root / "leftImg8bit_sequence/val/lindau/lindau_000001_000004_leftImg8bit.png")


def changed_size(root: Path) -> Path:
    folder = kitti_drive(root, "0060", range(12), SIZE)
    kitti_drive(root, "0084", range(4), (20, 30))
    shutil.copy(
        folder.parents[2] / "2011_09_26_drive_0084_sync/image_02/data/0000000003.png", folder / "0000000003.png"
    )
    return folder.parent


def broken_mp4(root: Path) -> Path:
    return cut(human36m_video(root, "S9", "Walking 1.54138969", known_frames(12)))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("cityscapes", broken_png),
        ("kitti-raw", changed_size),
        ("human36m", broken_mp4),
    ],
)
def test_broken_files_are_named(check, tmp_path, name, make):
    path = make(tmp_path)
    code, findings, read = check(name, tmp_path, "--leaks")
    assert code == 1
    lines = [line for line in read().splitlines() if (path.name if path.is_file() else "frame size changes") in line]
    assert any("decode" in line or "opens" in line or "changes" in line for line in lines), read()
    problems = [value for key, value in findings.items() if "unreadable" in key or "do not decode" in key]
    assert any(holds is False for _, _, holds in problems)


# --- leaks ---


def leaks(findings: dict) -> list[tuple]:
    return [value for key, value in findings.items() if key.endswith(("by name", "by pixels")) or "recording" in key]


def test_a_training_snippet_copied_into_val(check, tmp_path):
    """The same pixels under another name, re-encoded."""
    cityscapes_snippet(tmp_path, "train", "aachen_000003", 0, SIZE)
    cityscapes_snippet(tmp_path, "val", "lindau_000001", 0, SIZE)
    _, findings, _ = check("cityscapes", tmp_path, "--leaks")
    assert leaks(findings)[:3] == [("0 of 30", "0", True), ("0 of 1", "0", True), ("0 of 30 (train has 30)", "0", True)]
    frames = tmp_path / "leftImg8bit_sequence"
    source = frames / "train/aachen/aachen_000003_000011_leftImg8bit.png"
    shutil.copy(source, frames / "val/lindau/lindau_000001_000002_leftImg8bit.png")
    code, findings, read = check("cityscapes", tmp_path, "--leaks")
    assert (code, leaks(findings)[2]) == (1, ("1 of 30 (train has 30)", "0", False))
    line = "lindau/lindau_000001_000000, frame 2 is aachen/aachen_000003_000000, frame 11 of train"
    assert f"\nval: frames of train, by pixels:\n  {line}\n" in read()
    # Frame 2 is among the ten predicted of the video protocol, but not among the last ones of the semantic one.
    assert leaks(check("cityscapes-video", tmp_path, "--leaks", data_root="cityscapes")[1])[2][0].startswith("1 of 14 ")
    semantic = check("cityscapes-semantic", tmp_path, "--leaks", data_root="cityscapes")[1]
    assert leaks(semantic)[2] == ("0 of 13 (train has 30)", "0", True)


@pytest.mark.slow
def test_the_random_split_of_ucf101_leaks_by_design(check, tmp_path, shared, monkeypatch):
    """Independent count: by the names of the official lists, without the reader."""
    names = official(shared)
    committed = Path(__file__).parents[2] / "datasets/vpbench_ucf101/frnn_seed0_test.txt"
    test = set(committed.read_text().split())
    in_train = {name[:-4] for name in names if name not in test}
    assert (len(names), len(test), sum(name[:-4] in in_train for name in test)) == (13320, 3363, 3345)

    monkeypatch.setattr("vpbench_ucf101.dataset.count_frames", lambda path: 1)
    monkeypatch.setattr(
        "vpbench_ucf101.dataset.UCF101.read", lambda self, name, frames, modality: np.zeros((1, 2, 2, 3), np.uint8)
    )
    for name in names:
        path = tmp_path / "UCF-101" / f"{name}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mknod(path)
    code, findings, read = check("ucf101", tmp_path, "--leaks", "-o", "ucf101.split_rule=frnn-seed0")
    assert code == 0
    assert leaks(findings)[:2] == [("0 of 3363", "0", True), ("3345 of 3363", "some, by design", None)]
    finding = ("3345 of 3363", "some, by design", None)
    assert findings["random split frnn-seed0, complete data: clips of a video in train"] == finding
    assert "FRNN divides clips at random" in read()
    code, findings, _ = check("ucf101", tmp_path, "--leaks")
    assert (code, leaks(findings)[:2]) == (0, [("0 of 3160", "0", True)] * 2)


def test_the_lists_that_other_suites_ship_for_human36m(check, tmp_path):
    for name in walking(SUBJECTS):
        human36m_images(tmp_path, name, range(1, 12, 5), SIZE)
    code, findings, read = check("human36m", tmp_path, "--leaks")
    assert (code, leaks(findings)) == (
        0,
        [("0 of 48", "0", True), ("0 of 16", "0", True), ("0 of 48 (train has 120)", "0", True)],
    )
    finding = findings["lists of other suites (human36m-256-4to4 only): target frames in train"]
    assert finding == ("22983 of 34328 (67.0 %)", "some, by design", None)
    assert (8582 * 4, round(100 * 22983 / (8582 * 4), 1)) == (34328, 67.0)
    assert "8582 test windows" in read()


def test_findings_that_hold_and_one_that_does_not(vpbench):
    outcome = vpbench("data", "check", "toy", "--plugin", TOYS, "-o", "toy.sequences=3", "--json")
    assert outcome.code == 0
    assert [(f["name"], f["found"], f["holds"]) for f in outcome.json["findings"]] == [
        ("test: sequences", "3 (24 frames)", True),
        ("test: a clip decodes", DECODED, True),
        ("train: sequences", "3 (24 frames)", True),
        ("train: a clip decodes", DECODED, True),
    ]
    outcome = vpbench("data", "check", "toy", "--plugin", TOYS, "-o", "toy.unreadable=2")
    assert outcome.code == 1
    assert "\ntest: missing or unreadable:\n  seq is broken\n" in outcome.out
    assert "NO" in outcome.out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["toyy"], "did you mean 'toy'?"),
        (["toy", "-o", "toy.sequence=1"], "did you mean 'sequences'?"),
        (["toy", "-o", "folder.x=1"], "write -o toy.OPTION=VALUE"),
        (["kitti-flow-4ctx", "-o", "kitti-flow.x=1"], "fixes the options of its dataset"),
        (["protocol/kitti-rew"], "did you mean 'kitti-raw'?"),
        (["folder", "--data-root", "VIDEO", "--leaks"], "has 'test' alone"),
    ],
)
def test_usage(vpbench, tmp_path, args, words):
    video = write_video(tmp_path / "a.avi", known_frames(3))
    outcome = vpbench("data", "check", "--plugin", TOYS, *(str(video) if arg == "VIDEO" else arg for arg in args))
    assert outcome.code == 2
    assert words in outcome.error


def test_the_lists_of_openstl_leak(check, tmp_path):
    """Two windows of one video: the one at 201 is in the test list, and shares frames with training windows."""
    human36m_images(tmp_path, "S1_Directions.54138969", range(1, 261, 5), SIZE)
    code, findings, read = check("human36m-256-4to4", tmp_path, "--leaks", data_root="human36m")
    assert code == 1
    by_name, videos, by_pixels = leaks(findings)
    assert by_name[2] is False and int(by_name[0].split()[0]) > 0
    assert videos == ("838 of 838", "some, by design", None)
    assert by_pixels[0].split()[0] == by_name[0].split()[0]
    assert "STRPM's lists divide windows" in read()
