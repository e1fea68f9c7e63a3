"""UCF101: the official tree, its splits, and what stands in for a clip that is not as it should be."""

from __future__ import annotations

import hashlib
import importlib.resources
import os
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_video import known_frames, write_picture, write_video

import vpbench
from vpbench.errors import DataError
from vpbench.pages.reported import load_reported
from vpbench.plugin.dataset import check_array
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.modality import BUILT_IN
from vpbench.protocol.protocol import First, Protocol
from vpbench.protocol.transforms import transform
from vpbench.protocol.units import build_manifest
from vpbench_ucf101 import dataset as dataset_module
from vpbench_ucf101.dataset import UCF101
from vpbench_ucf101.splits import draw_frnn_test, frnn_test, mcvd_test, pick_mcvd_test, side_of

FRNN = UCF101.Options(split_rule="frnn-seed0")
TWIN = {  # clip: frames
    "HandstandPushups/v_HandStandPushups_g01_c03": 5,  # the one class whose files are spelled unlike its folder
    "HandstandPushups/v_HandStandPushups_g20_c01": 6,
    "YoYo/v_YoYo_g19_c07": 7,
    "YoYo/v_YoYo_g20_c01": 8,
    "YoYo/v_YoYo_g25_c02": 9,
}


@pytest.fixture
def twin(tmp_path: Path) -> Path:
    """A data root with official names and tiny clips."""
    root = tmp_path / "ucf101"
    for name, count in TWIN.items():
        write_video(root / "UCF-101" / f"{name}.avi", known_frames(count))
    return root


@pytest.fixture(scope="session")
def official(shared: Path) -> list[str]:
    """The names of all 13,320 clips, from the official lists."""
    lists = shared / "data/ucf101/ucfTrainTestlist"
    lines = [line for part in ("trainlist01", "testlist01") for line in (lists / f"{part}.txt").read_text().split("\n")]
    return [line.split()[0].removesuffix(".avi") for line in lines if line.strip()]


def names(data: UCF101, split: str) -> list[str]:
    return [sequence.name for sequence in data.sequences(split)]


class TestSplits:
    def test_the_committed_list_follows_from_the_official_names(self, official: list[str]) -> None:
        committed = (importlib.resources.files("vpbench_ucf101") / "frnn_seed0_test.txt").read_bytes()
        assert "".join(f"{name}\n" for name in draw_frnn_test(reversed(official), seed=0)).encode() == committed

    def test_the_committed_list_is_the_one_results_refer_to(self) -> None:
        committed = (importlib.resources.files("vpbench_ucf101") / "frnn_seed0_test.txt").read_bytes()
        assert (
            hashlib.sha256(committed).hexdigest() == "36f99652e4854e753dc8d1017ecd247a936163a1cecc64d193a1e6a55771f1a6"
        )
        assert len(frnn_test()) == len(committed.split()) == 3_363

    def test_mcvd_s_clips_follow_from_the_official_list_3(self, shared: Path) -> None:
        folder = shared / "data/ucf101/ucfTrainTestlist"
        test, train = (
            [line.split()[0].removesuffix(".avi") for line in (folder / file).read_text().split("\n") if line.strip()]
            for file in ("testlist03.txt", "trainlist03.txt")
        )
        committed = (importlib.resources.files("vpbench_ucf101") / "mcvd_test.txt").read_text().split()
        assert (len(test), len(train)) == (3_696, 9_624)
        assert pick_mcvd_test(test) == committed
        assert committed[:2] == [test[0], test[10]]
        assert committed[-1] == test[3_680]
        assert {name for name in train + test if side_of(name, "list3-mcvd") == "train"} == set(train)
        assert {name for name in train + test if side_of(name, "list3-mcvd") == "test"} == set(committed) == mcvd_test()

    def test_clips_of_list_3_that_mcvd_does_not_score_are_not_used(self) -> None:
        listed = "ApplyEyeMakeup/v_ApplyEyeMakeup_g15_c01"
        assert (len(mcvd_test()), side_of(listed, "list3-mcvd")) == (256, "test")
        sides = [side_of(f"YoYo/v_YoYo_g{group}_c09", "list3-mcvd") for group in ("14", "15", "21", "22")]
        assert sides == ["train", "", "", "train"]

    def test_of_each_class_a_quarter_rounded_up_is_test(self) -> None:
        clips = [f"A/v_A_g01_c{i:02}" for i in range(1, 11)] + [f"B/v_B_g01_c{i:02}" for i in range(1, 5)]
        drawn = draw_frnn_test(clips, seed=0)
        assert Counter(name[0] for name in drawn) == {"A": 3, "B": 1}
        assert drawn == sorted(drawn)
        assert drawn != draw_frnn_test(clips, seed=1)


class TestSequences:
    def test_groups_and_lengths(self, twin: Path) -> None:
        data = UCF101(twin)
        assert names(data, "train") == ["HandstandPushups/v_HandStandPushups_g01_c03", "YoYo/v_YoYo_g19_c07"]
        assert [(s.name, s.frames, s.problem) for s in data.sequences("test")] == [
            ("HandstandPushups/v_HandStandPushups_g20_c01", range(6), ""),
            ("YoYo/v_YoYo_g20_c01", range(8), ""),
            ("YoYo/v_YoYo_g25_c02", range(9), ""),
        ]

    def test_frnn_names_what_is_missing(self, twin: Path) -> None:
        data = UCF101(twin, options=FRNN)
        drawn = {name for name in TWIN if name in frnn_test()}
        assert drawn
        assert drawn < set(TWIN)
        assert set(names(data, "train")) == set(TWIN) - drawn
        sequences = data.sequences("test")
        assert [s.name for s in sequences] == sorted(frnn_test())
        assert {s.name for s in sequences if not s.problem} == drawn
        assert all("is missing; unpack UCF101.rar again" in s.problem for s in sequences if s.name not in drawn)

    def test_other_files_are_passed_over(self, twin: Path) -> None:
        before = names(UCF101(twin), "train") + names(UCF101(twin), "test")
        clip = twin / "UCF-101/YoYo/v_YoYo_g20_c01.avi"
        for stray in (
            "YoYo/.v_YoYo_g20_c01.avi",
            "YoYo/v_YoYo_g20_c01.mp4",
            "YoYo/v_YoYo_g26_c01.avi",
            "YoYo/v_YoYo_g00_c01.avi",
            "YoYo/v_YoYo_g20_c01 (1).avi",
            "YoYo/v_Biking_g20_c02.avi",
            "v_YoYo_g20_c01.avi",
            "readme.txt",
        ):
            shutil.copy(clip, twin / "UCF-101" / stray)
        assert names(UCF101(twin), "train") + names(UCF101(twin), "test") == before

    @pytest.mark.slow
    @pytest.mark.parametrize("spelled", ["HandStandPushups", "handstandpushups", "HANDSTANDPUSHUPS"])
    def test_a_clip_has_one_id_however_its_folder_and_file_are_spelled(self, twin: Path, spelled: str) -> None:
        before = {split: names(UCF101(twin, options=FRNN), split) for split in ("train", "test")}
        folder = twin / "UCF-101/HandstandPushups"
        for path in list(folder.iterdir()):
            path.rename(folder / path.name.replace("HandStandPushups", spelled).replace(".avi", ".AVI"))
        folder.rename(twin / "UCF-101" / spelled)
        data = UCF101(twin, options=FRNN)
        assert {split: names(data, split) for split in ("train", "test")} == before
        assert data.read("HandstandPushups/v_HandStandPushups_g01_c03", [4], "frames").shape == (1, 16, 24, 3)

    def test_two_folders_of_one_class(self, twin: Path) -> None:
        shutil.copytree(twin / "UCF-101/HandstandPushups", twin / "UCF-101/HandStandPushups")
        with pytest.raises(
            DataError, match=r"HandstandPushups/v_.*\.avi: is a clip that .*HandStandPushups/v_.* is, too"
        ):
            UCF101(twin).sequences("test")

    def test_what_is_no_file_is_not_opened(self, twin: Path) -> None:
        os.mkfifo(twin / "UCF-101/YoYo/v_YoYo_g22_c01.avi")
        problems = {s.name: s.problem for s in UCF101(twin).sequences("test")}
        assert "v_YoYo_g22_c01.avi: is a FIFO, not a regular file" in problems["YoYo/v_YoYo_g22_c01"]

    def test_broken_clips_are_reported_and_do_not_raise(self, twin: Path) -> None:
        clip = twin / "UCF-101/YoYo/v_YoYo_g20_c01.avi"
        data = clip.read_bytes()
        clip.write_bytes(b"")
        clip.with_name("v_YoYo_g21_c01.avi").write_bytes(data[:100])
        problems = {s.name: (s.problem, len(s.frames)) for s in UCF101(twin).sequences("test") if s.problem}
        assert sorted(problems) == ["YoYo/v_YoYo_g20_c01", "YoYo/v_YoYo_g21_c01"]
        for (problem, frames), size in zip(problems.values(), (0, 100), strict=True):
            assert f"is not a video that opens ({size} bytes" in problem
            assert frames == 0

    def test_links_out_of_the_root_are_reported_and_not_followed(self, twin: Path, tmp_path: Path) -> None:
        outside = write_video(tmp_path / "elsewhere.avi", known_frames(3))
        folder = twin / "UCF-101/YoYo"
        (folder / "v_YoYo_g22_c01.avi").symlink_to(outside)
        (folder / "v_YoYo_g23_c01.avi").symlink_to(folder / "v_YoYo_g25_c02.avi")
        sequences = {s.name: s for s in UCF101(twin).sequences("test")}
        assert "is a symbolic link out of the data root" in sequences["YoYo/v_YoYo_g22_c01"].problem
        assert sequences["YoYo/v_YoYo_g23_c01"].frames == range(9)
        with pytest.raises(DataError, match="is a symbolic link out of the data root"):
            UCF101(twin).read("YoYo/v_YoYo_g22_c01", [0], "frames")

    def test_a_root_that_is_itself_a_link(self, twin: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(twin, target_is_directory=True)
        assert not any(s.problem for s in UCF101(tmp_path / "link").sequences("test"))

    @pytest.mark.slow
    def test_the_whole_tree(self, official: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # 13,320 official names; the lengths are the business of other tests.
        clip = write_video(tmp_path / "clip.avi", known_frames(3))
        for folder in {name.partition("/")[0] for name in official}:
            (tmp_path / "UCF-101" / folder).mkdir(parents=True)
        for name in official:
            os.link(clip, tmp_path / "UCF-101" / f"{name}.avi")
        monkeypatch.setattr(dataset_module, "count_frames", lambda _: 40)
        for options, train, test in ((UCF101.Options(), 10_160, 3_160), (FRNN, 9_957, 3_363)):
            data = UCF101(tmp_path, options=options)
            sides = {split: data.sequences(split) for split in ("train", "test")}
            assert [len(sides["train"]), len(sides["test"])] == [train, test]
            assert sorted(s.name for side in sides.values() for s in side) == sorted(official)
            assert not any(s.problem for side in sides.values() for s in side)
            for side in sides.values():
                assert [s.name for s in side] == sorted(s.name for s in side)


class TestRead:
    def test_known_pixels(self, twin: Path) -> None:
        array = UCF101(twin).read("YoYo/v_YoYo_g20_c01", [1, 3, 7], "frames")
        check_array(array, BUILT_IN["frames"], 3, "ucf101")
        np.testing.assert_array_equal(array, known_frames(8)[[1, 3, 7]])

    @pytest.mark.slow
    def test_real_clips_equal_opencv(self, shared: Path) -> None:
        root = shared / "data/ucf101"
        data = UCF101(root)
        sequences = [*data.sequences("train"), *data.sequences("test")]
        assert {s.name.partition("/")[2]: s.frames for s in sequences} == {
            "v_ApplyEyeMakeup_g01_c01": range(164),
            "v_SoccerJuggling_g23_c01": range(240),
            "v_SoccerJuggling_g24_c01": range(251),
        }
        for sequence in sequences:
            capture = cv2.VideoCapture(str(root / "UCF-101" / f"{sequence.name}.avi"))
            frames = np.stack([capture.read()[1][..., ::-1] for _ in sequence.frames])
            np.testing.assert_array_equal(data.read(sequence.name, range(0, 27, 2), "frames"), frames[:27:2])
            np.testing.assert_array_equal(data.read(sequence.name, sequence.frames[-5:], "frames"), frames[-5:])


class TestExtracted:
    CLIP = "YoYo/v_YoYo_g20_c01"

    @pytest.mark.parametrize("folder", ["UCF-101/YoYo", "YoYo", "jpegs", "."])
    @pytest.mark.parametrize("name", ["{:06d}.png", "frame{}.png", "img_v2_{:05d}.PNG"])
    def test_the_same_clip_as_frames(self, twin: Path, tmp_path: Path, folder: str, name: str) -> None:
        root = tmp_path / "frames"
        for number, frame in enumerate(known_frames(12), start=1):
            write_picture(root / folder / "v_YoYo_g20_c01" / name.format(number), frame)
        (root / folder / "v_YoYo_g20_c01/.DS_Store").touch()
        (root / folder / "v_YoYo_g20_c01/notes1.txt").touch()
        write_video(twin / "UCF-101" / f"{self.CLIP}.avi", known_frames(12))
        indices = [0, 2, 9, 11]
        arrays = []
        for data in (UCF101(root), UCF101(twin)):
            (sequence,) = [s for s in data.sequences("test") if s.name == self.CLIP]
            assert (sequence.frames, sequence.problem) == (range(12), "")
            arrays.append(data.read(self.CLIP, indices, "frames"))
        np.testing.assert_array_equal(arrays[0], known_frames(12)[indices])
        np.testing.assert_array_equal(*arrays)

    def test_a_flat_folder_finds_its_class(self, tmp_path: Path) -> None:
        write_picture(tmp_path / "v_HandStandPushups_g20_c01/1.png", known_frames(1)[0])
        assert names(UCF101(tmp_path), "test") == ["HandstandPushups/v_HandStandPushups_g20_c01"]

    def test_a_video_comes_before_its_frames(self, twin: Path) -> None:
        for number in range(3):
            write_picture(twin / "UCF-101" / self.CLIP / f"{number}.png", known_frames(1)[0])
        (sequence,) = [s for s in UCF101(twin).sequences("test") if s.name == self.CLIP]
        assert sequence.frames == range(8)

    def test_broken_folders(self, twin: Path) -> None:
        for clip, numbers in {"v_YoYo_g21_c01": (1, 2, 4), "v_YoYo_g21_c02": (), "v_YoYo_g21_c03": (1, 2)}.items():
            (twin / "UCF-101/YoYo" / clip).mkdir()
            for number in numbers:
                write_picture(twin / "UCF-101/YoYo" / clip / f"{number}.png", known_frames(1)[0])
        write_picture(twin / "UCF-101/YoYo/v_YoYo_g21_c03/02.png", known_frames(1)[0])
        problems = {s.name[-3:]: s.problem for s in UCF101(twin).sequences("test") if s.problem}
        assert sorted(problems) == ["c01", "c02", "c03"]
        assert "v_YoYo_g21_c01: frame 3 is missing or stands there twice (found 4.png)" in problems["c01"]
        assert "v_YoYo_g21_c02: holds no numbered picture" in problems["c02"]
        assert "v_YoYo_g21_c03: frame 3 is missing or stands there twice (found 2.png)" in problems["c03"]

    def test_frames_that_are_not_there(self, twin: Path, tmp_path: Path) -> None:
        folder = twin / "UCF-101/YoYo/v_YoYo_g22_c01"
        for number in range(2):
            write_picture(folder / f"{number}.png", known_frames(1)[0])
        with pytest.raises(DataError, match="frame 2 was asked for, but it has 2 pictures"):
            UCF101(twin).read("YoYo/v_YoYo_g22_c01", [1, 2], "frames")
        folder.rename(tmp_path / "outside")
        folder.symlink_to(tmp_path / "outside")
        assert "YoYo/v_YoYo_g22_c01" not in names(UCF101(twin), "test")

    def test_two_folders_of_one_clip(self, tmp_path: Path) -> None:
        for folder in ("a", "b"):
            write_picture(tmp_path / folder / "v_YoYo_g22_c01/1.png", known_frames(1)[0])
        with pytest.raises(DataError, match=r"b/v_YoYo_g22_c01: holds frames of a clip that .*a/v_YoYo_g22_c01 holds"):
            UCF101(tmp_path).sequences("test")


class TestPlugin:
    @pytest.fixture
    def plugins(self, monkeypatch: pytest.MonkeyPatch) -> object:
        monkeypatch.setenv("VPBENCH_PLUGINS", "")
        return load_plugins(["vpbench_ucf101"])

    @pytest.mark.parametrize(
        ("name", "context", "raw", "rule", "clips"),
        [
            ("ucf101-120x160-4to10", 4, 27, "groups-19", 3_160),
            ("ucf101-64x88-10to10", 10, 39, "frnn-seed0", None),
        ],
    )
    def test_protocols(self, plugins, name: str, context: int, raw: int, rule: str, clips: int | None) -> None:
        protocol = Protocol.read(plugins.load("protocol", name))
        assert protocol.name == name
        assert plugins.load("dataset", protocol.dataset.name) is UCF101
        assert UCF101.Options(**protocol.dataset.options).split_rule == rule
        assert isinstance(protocol.sampling, First)
        assert (protocol.sampling.context, protocol.sampling.horizon) == (context, 10)
        assert (context + 10 - 1) * protocol.sampling.frame_step + 1 == raw
        assert protocol.sampling.short == "drop"
        assert protocol.clips == clips
        assert name.split("-")[1] == "{}x{}".format(*protocol.size)
        # MSE* and MAE* of CDNet: a frame's sum over H*W*C, divided by 10 and by 100.
        values = protocol.size[0] * protocol.size[1] * 3
        assert protocol.display == {
            "mse": pytest.approx(values / 10),
            "mae": pytest.approx(values / 100),
            "lpips": 1000,
        }

    def test_16_frames_of_64x64(self, plugins, tmp_path: Path) -> None:
        """Frames of 240x320 are resized to 64x85, and the columns 10 to 73 are kept."""
        video = known_frames(20, 240, 320)
        write_video(tmp_path / "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g15_c01.avi", video)
        protocol = Protocol.read(plugins.load("protocol", "ucf101-64-4to12"))
        data = UCF101(tmp_path, options=UCF101.Options(**protocol.dataset.options))
        manifest = build_manifest(protocol, data, allow_partial=True)
        assert manifest.partial == "255 unreadable sequences left out; 1 of 256 clips"
        (clip,) = manifest.clips
        assert (clip.frames, clip.context) == (tuple(range(16)), 4)
        frames = transform(data.read(clip.sequence, [0, 15], "frames"), protocol.pixels, BUILT_IN["frames"])
        lanczos = Image.Resampling.LANCZOS
        expected = [np.asarray(Image.fromarray(video[i]).resize((85, 64), lanczos))[:, 10:74] for i in (0, 15)]
        np.testing.assert_array_equal(frames, expected)


@pytest.mark.slow
def test_repeat_is_near_the_published_curve(tmp_path: Path) -> None:
    """FRNN's curve is of other crops and another random split, so a quarter more or less passes."""
    root = Path(os.environ.get("VPBENCH_DATA", "")) / "ucf101" / "UCF-101"
    if "VPBENCH_DATA" not in os.environ or not root.is_dir():
        pytest.skip("UCF101 is not on this machine: it would be $VPBENCH_DATA/ucf101/UCF-101")
    (curve,) = [
        [score.natural for score in table.scores() if (score.method, score.column.metric) == ("Baseline", "mse")]
        for table in load_reported(Path(__file__).parents[2] / "leaderboards" / "reported")
        if (table.source, table.table) == ("FRNN", "UCF101 by step")
    ]
    result = vpbench.evaluate("repeat", "ucf101-64x88-10to10", out=tmp_path, metrics=["mse"], clips=1000)
    measured = [result.at("mse", step) for step in range(1, 11)]
    assert measured == pytest.approx(curve[:10], rel=0.25)
