"""The dataset `folder`: whatever videos and pictures a user has."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_video import known_frames, write_picture, write_video

from vpbench.clips.video import Video
from vpbench.errors import DataError
from vpbench.plugin.dataset import check_array
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.modality import BUILT_IN
from vpbench.protocol.protocol import Protocol, Sliding
from vpbench_folder.dataset import Folder


def write_pictures(folder: Path, count: int, name: str = "frame{}.png") -> None:
    for number, frame in enumerate(known_frames(count)):
        write_picture(folder / name.format(number), frame)


def lengths(root: Path) -> dict[str, int]:
    return {s.name: len(s.frames) for s in Folder(root).sequences("test")}


class TestSplits:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for name in ("a", "b", "trips/c", "trips/d"):
            write_pictures(tmp_path / name, 2)
        return tmp_path

    def names(self, root: Path, **patterns: tuple[str, ...]) -> dict[str, list[str]]:
        folder = Folder(root, Folder.Options(**patterns))
        return {split: [s.name for s in folder.sequences(split)] for split in folder.info.splits}

    def test_everything_is_scored_by_default(self, root: Path) -> None:
        assert self.names(root) == {"test": ["a", "b", "trips/c", "trips/d"]}

    def test_what_is_not_trained_or_validated_on_is_scored(self, root: Path) -> None:
        assert self.names(root, train=("trips/*",), val=("a",)) == {
            "train": ["trips/c", "trips/d"],
            "val": ["a"],
            "test": ["b"],
        }

    def test_sequences_that_no_pattern_names_are_left_out(self, root: Path) -> None:
        assert self.names(root, train=("a",), test=("trips/*",)) == {"train": ["a"], "test": ["trips/c", "trips/d"]}

    def test_a_sequence_of_two_splits(self, root: Path) -> None:
        with pytest.raises(DataError, match="trips/c is in train and in val: name it in one of them"):
            self.names(root, train=("trips/*",), val=("trips/c",))

    def test_a_pattern_that_matches_nothing(self, root: Path) -> None:
        with pytest.raises(DataError, match="train = 'trips/e' matches no sequence; did you mean 'trips/"):
            self.names(root, train=("trips/e",))


class TestLists:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for name in ("a", "b", "trips/c"):
            write_pictures(tmp_path / name, 2)
        (tmp_path / "train.txt").write_text("a\n\n  trips/*  \n")
        return tmp_path

    def test_a_list_names_sequences_and_patterns(self, root: Path) -> None:
        folder = Folder(root, Folder.Options(train=("@train.txt",)))
        assert [s.name for s in folder.sequences("train")] == ["a", "trips/c"]
        assert [s.name for s in folder.sequences("test")] == ["b"]

    def test_a_line_that_matches_nothing_is_named(self, root: Path) -> None:
        (root / "train.txt").write_text("a\ntrip/c\n")
        with pytest.raises(DataError, match=r"train = @train.txt, line 2: 'trip/c' matches no sequence; did you mean"):
            Folder(root, Folder.Options(train=("@train.txt",))).sequences("train")

    @pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), (b"\n \n", "empty"), (b"\xff", "read")])
    def test_a_list_that_is_missing_empty_or_no_text(self, root: Path, content: bytes | None, message: str) -> None:
        if content is not None:
            (root / "test.txt").write_bytes(content)
        with pytest.raises(DataError, match=f"test.txt: the list of sequences .*{message}"):
            Folder(root, Folder.Options(train=("a",), test=("@test.txt",))).sequences("test")

    @pytest.mark.parametrize("name", ["@../outside.txt", "@/etc/hostname", "@link.txt"])
    def test_a_list_out_of_the_root_is_not_read(self, root: Path, name: str) -> None:
        (root.parent / "outside.txt").write_text("a\n")
        (root / "link.txt").symlink_to(root.parent / "outside.txt")
        with pytest.raises(DataError, match=f"the list {name!r} is not below the data root: put the file there"):
            Folder(root, Folder.Options(train=(name,))).sequences("train")

    def test_a_list_that_is_no_file_or_too_large(self, root: Path) -> None:
        os.mkfifo(root / "pipe.txt")
        (root / "large.txt").write_bytes(b"a\n" * 2**20)
        for name, message in {
            "pipe.txt": "it is a FIFO, not a regular file",
            "large.txt": "larger than the 1 MiB",
        }.items():
            with pytest.raises(DataError, match=f"{name}: the list of sequences cannot be read: .*{message}"):
                Folder(root, Folder.Options(train=(f"@{name}",))).sequences("train")


class TestFractions:
    def splits(self, root: Path, count: int, fraction: float) -> dict[str, set[str]]:
        for number in range(count):
            write_pictures(root / f"s{number:02}", 1)
        folder = Folder(root, Folder.Options(test_fraction=fraction))
        assert folder.info.splits == ("train", "test")
        return {split: {s.name for s in folder.sequences(split)} for split in folder.info.splits}

    def test_every_sequence_has_one_split_near_the_fraction(self, tmp_path: Path) -> None:
        splits = self.splits(tmp_path, 40, 0.25)
        assert splits["train"] | splits["test"] == {f"s{number:02}" for number in range(40)}
        assert not splits["train"] & splits["test"]
        assert 5 <= len(splits["test"]) <= 15

    def test_more_sequences_move_none(self, tmp_path: Path) -> None:
        few, many = self.splits(tmp_path / "few", 20, 0.5), self.splits(tmp_path / "many", 40, 0.5)
        assert few["test"] <= many["test"]
        assert few["train"] <= many["train"]

    @pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
    def test_no_split_is_empty(self, tmp_path: Path, fraction: float) -> None:
        assert all(self.splits(tmp_path, 3, fraction).values())

    def test_one_sequence_cannot_be_split(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="at least two sequences, and there is 1: s00"):
            self.splits(tmp_path, 1, 0.5)

    def test_patterns_and_a_fraction_exclude_each_other(self) -> None:
        with pytest.raises(ValueError, match="leave out train, val and test"):
            Folder.Options(test_fraction=0.2, test=("a",))


class TestSequences:
    def test_one_video_file(self, tmp_path: Path) -> None:
        assert lengths(write_video(tmp_path / "walk.mkv", known_frames(5))) == {"walk.mkv": 5}

    def test_a_mixed_tree(self, tmp_path: Path) -> None:
        write_video(tmp_path / "b.avi", known_frames(3))
        write_video(tmp_path / "trips/2024/a.MOV", known_frames(4))
        write_pictures(tmp_path / "trips/2024", 6)
        write_pictures(tmp_path / "drive", 7, "{:010}.PNG")
        (tmp_path / "notes.txt").write_text("not a video")
        (tmp_path / "empty").mkdir()
        assert lengths(tmp_path) == {"b.avi": 3, "drive": 7, "trips/2024": 6, "trips/2024/a.MOV": 4}
        names = [s.name for s in Folder(tmp_path).sequences("test")]
        assert names == sorted(names)

    def test_pictures_in_the_root_itself(self, tmp_path: Path) -> None:
        write_pictures(tmp_path / "bike", 4)
        assert lengths(tmp_path / "bike") == {"bike": 4}

    def test_two_sequences_of_one_name(self, tmp_path: Path) -> None:
        write_pictures(tmp_path / "bike", 2)
        write_pictures(tmp_path / "bike/bike", 3)
        with pytest.raises(DataError, match="a second sequence named 'bike'; pass the folder above"):
            Folder(tmp_path / "bike").sequences("test")
        assert lengths(tmp_path) == {"bike": 2, "bike/bike": 3}

    def test_hidden_files_and_links_are_passed_over(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        outside = write_video(tmp_path / "outside/a.avi", known_frames(2))
        video = write_video(root / "kept.avi", known_frames(3))
        write_video(root / ".hidden.avi", known_frames(2))
        write_video(root / ".trash/b.avi", known_frames(2))
        (root / "link.avi").symlink_to(outside)
        (root / "inside.avi").symlink_to(video)
        (root / "folder").symlink_to(outside.parent, target_is_directory=True)
        (root / "loop").symlink_to(root, target_is_directory=True)
        assert lengths(root) == {"inside.avi": 3, "kept.avi": 3}

    def test_a_root_inside_a_hidden_folder(self, tmp_path: Path) -> None:
        write_video(tmp_path / ".cache/clips/a.avi", known_frames(2))
        assert lengths(tmp_path / ".cache/clips") == {"a.avi": 2}

    @pytest.mark.parametrize("files", [[], ["notes.txt"], [".hidden.avi"]])
    def test_nothing_found_says_what_is_looked_for(self, tmp_path: Path, files: list[str]) -> None:
        for name in files:
            (tmp_path / name).write_bytes(b"x")
        with pytest.raises(DataError, match=r"no video \(\.avi .*\) and no folder of pictures \(\.bmp .*\.webp\)"):
            Folder(tmp_path).sequences("test")

    def test_a_file_that_is_no_video(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"a\.png: no video"):
            Folder(write_picture(tmp_path / "a.png", known_frames(1)[0])).sequences("test")

    def test_a_video_that_does_not_open_is_reported(self, tmp_path: Path) -> None:
        write_video(tmp_path / "good.avi", known_frames(3))
        (tmp_path / "bad.mp4").write_bytes(b"")
        bad, good = Folder(tmp_path).sequences("test")
        assert (bad.name, len(bad.frames)) == ("bad.mp4", 0)
        assert "bad.mp4: is not a video that opens (0 bytes" in bad.problem
        assert (good.frames, good.problem) == (range(3), "")

    def test_pictures_of_several_series_are_a_problem_and_not_a_sequence(self, tmp_path: Path) -> None:
        write_pictures(tmp_path / "good", 3)
        for kind in ("img", "flow_x", "flow_y"):
            write_pictures(tmp_path / "bad", 3, kind + "_{:05}.jpg")
        data = Folder(tmp_path)
        bad, good = data.sequences("test")
        assert (good.problem, good.frames, bad.frames) == ("", range(3), range(0))
        assert "bad: flow_x_00000.jpg and flow_y_00000.jpg are not of one series of pictures" in bad.problem
        with pytest.raises(DataError, match="are not of one series"):
            data.read("bad", [0], "frames")

    def test_a_first_picture_that_cannot_be_read_is_a_problem(self, tmp_path: Path) -> None:
        write_pictures(tmp_path / "walk", 3)
        cv2.imwrite(str(tmp_path / "walk/frame0.png"), np.zeros((16, 24, 3), np.uint16))
        (sequence,) = Folder(tmp_path).sequences("test")
        assert "frame0.png: has pixels of more than 8 bits (16 per channel)" in sequence.problem

    @pytest.mark.parametrize(("kind", "message"), [("fifo", "is a FIFO, not a regular"), ("link", "link to nothing")])
    def test_a_picture_that_is_no_file_is_a_problem_wherever_it_comes(self, tmp_path: Path, kind, message) -> None:
        write_pictures(tmp_path / "walk", 4)
        path = tmp_path / "walk" / "frame4.png"
        os.mkfifo(path) if kind == "fifo" else path.symlink_to("nowhere")
        with pytest.raises(DataError, match=f"frame4.png: .*{message}"):
            Video(tmp_path / "walk")
        if kind == "fifo":  # links are listed apart
            (sequence,) = Folder(tmp_path).sequences("test")
            assert message in sequence.problem

    def test_a_gif_of_one_picture_is_no_video(self, tmp_path: Path) -> None:
        Image.fromarray(known_frames(1)[0]).save(tmp_path / "1.gif")
        (sequence,) = Folder(tmp_path).sequences("test")
        assert "1.gif: is a GIF of one picture, no video; save the pictures" in sequence.problem

    def test_files_of_the_operating_system_are_passed_over(self, tmp_path: Path) -> None:
        write_pictures(tmp_path / "walk", 3)
        (before,) = Folder(tmp_path).sequences("test")
        for name in ("._frame0.png", ".DS_Store", "Thumbs.db"):
            (tmp_path / "walk" / name).write_bytes(b"x")
        (tmp_path / "__MACOSX/walk").mkdir(parents=True)
        (tmp_path / "__MACOSX/walk/._frame0.png").write_bytes(b"x")
        assert Folder(tmp_path).sequences("test") == [before]

    def test_the_stamp_changes_when_a_picture_is_rewritten_in_place(self, tmp_path: Path) -> None:
        write_pictures(tmp_path / "walk", 3)
        (before,) = Folder(tmp_path).sequences("test")
        write_picture(tmp_path / "walk/frame1.png", known_frames(3)[2])
        (after,) = Folder(tmp_path).sequences("test")
        assert before.stamp != after.stamp

    def test_real_data(self, shared: Path) -> None:
        assert lengths(shared / "data/video") == {
            "bikes.mp4": 250,
            "carphone_distorted.mp4": 120,
            "carphone_pristine.mp4": 120,
            "tree.avi": 68,  # its header claims 444
            "vtest.avi": 795,
        }
        assert lengths(shared / "data/davis/images") == {"bike": 4, "judo": 16}
        assert lengths(shared / "data/kitti_raw") == {"2011_09_26/2011_09_26_drive_0060_sync/image_02/data": 20}


class TestRead:
    def test_videos(self, tmp_path: Path) -> None:
        write_video(tmp_path / "a.avi", known_frames(6))
        write_video(tmp_path / "b.avi", known_frames(6)[::-1])
        data = Folder(tmp_path)
        for name, frames in (("a.avi", known_frames(6)), ("b.avi", known_frames(6)[::-1]), ("a.avi", known_frames(6))):
            array = data.read(name, [1, 4], "frames")
            check_array(array, BUILT_IN["frames"], 2, name)
            np.testing.assert_array_equal(array, frames[[1, 4]])

    @pytest.mark.parametrize("name", ["frame{}.png", "{:03}.png", "cam0_{}_left.bmp", "{}.tiff"])
    def test_pictures_come_in_the_order_of_their_numbers(self, tmp_path: Path, name: str) -> None:
        write_pictures(tmp_path / "walk", 12, name)
        array = Folder(tmp_path).read("walk", range(12), "frames")
        check_array(array, BUILT_IN["frames"], 12, "walk")
        np.testing.assert_array_equal(array, known_frames(12))

    def test_real_data(self, shared: Path) -> None:
        path = shared / "data/video/carphone_pristine.mp4"
        capture = cv2.VideoCapture(str(path))
        frames = np.stack([capture.read()[1][..., ::-1] for _ in range(120)])
        data = Folder(path)
        np.testing.assert_array_equal(data.read("carphone_pristine.mp4", range(90, 104), "frames"), frames[90:104])
        np.testing.assert_array_equal(data.read("carphone_pristine.mp4", range(14), "frames"), frames[:14])
        judo = shared / "data/davis/images/judo"
        expected = np.stack([cv2.imread(str(judo / f"{number:05}.jpg"))[..., ::-1] for number in (0, 9, 15)])
        np.testing.assert_array_equal(Folder(judo).read("judo", [0, 9, 15], "frames"), expected)

    def test_a_video_shorter_than_its_header(self, shared: Path) -> None:
        data = Folder(shared / "data/video")
        assert data.read("tree.avi", range(54, 68), "frames").shape == (14, 240, 320, 3)
        with pytest.raises(DataError, match=r"tree\.avi: frame 68 was asked for, but it has 68 frames"):
            data.read("tree.avi", range(56, 70), "frames")

    def test_pictures_of_mixed_sizes(self, tmp_path: Path) -> None:
        write_pictures(tmp_path / "walk", 3)
        write_picture(tmp_path / "walk/frame3.png", known_frames(1, height=20)[0])
        data = Folder(tmp_path)
        assert data.read("walk", range(3), "frames").shape == (3, 16, 24, 3)
        with pytest.raises(DataError, match=r"walk: the frame size changes within the sequence \(24x16 and 24x20\)"):
            data.read("walk", range(4), "frames")


class TestPlugin:
    def test_protocol(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VPBENCH_PLUGINS", "")
        plugins = load_plugins(["vpbench_folder"])
        protocol = Protocol.read(plugins.load("protocol", "folder-4to10"))
        assert protocol.name == "folder-4to10"
        assert plugins.load("dataset", protocol.dataset.name) is Folder
        assert protocol.sampling == Sliding(kind="sliding", stride=14, context=4, horizon=10, short="drop")
        assert (protocol.pixels, protocol.clips, protocol.reference) == ((), None, "repeat")
