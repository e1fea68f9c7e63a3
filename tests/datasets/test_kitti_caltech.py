"""KittiCaltech: .seq files byte by byte, frames at 10 Hz, the drives that train, and the protocol's windows."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_video import known_frames
from twins import caltech_video, kitti_drive, picture

from vpbench.errors import DataError
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.modality import BUILT_IN
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.transforms import transform
from vpbench.protocol.units import build_manifest
from vpbench_kitti.caltech import TRAINING, VALIDATION, KittiCaltech
from vpbench_kitti.categories import CITY, RESIDENTIAL, ROAD
from vpbench_kitti.seq import read_index, read_pictures

SIZE = (16, 24)


def jpeg(frame: np.ndarray) -> np.ndarray:
    """Return a frame as it comes back from a JPEG file."""
    data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def patch(path: Path, offset: int, data: bytes) -> None:
    """Overwrite bytes of a file."""
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    path.write_bytes(content)


class TestSeq:
    @pytest.mark.parametrize("gap", [8, 16])
    @pytest.mark.parametrize("claimed", [None, 0])
    def test_pictures(self, tmp_path: Path, gap: int, claimed: int | None) -> None:
        """Writers put 8 or 16 bytes after a picture, and may leave the number of pictures at 0."""
        frames = known_frames(5, *SIZE)
        path = caltech_video(tmp_path / "V000.seq", frames, gap=gap, claimed=claimed)
        index = read_index(path)
        assert (index.claimed, len(index.pictures)) == (5 if claimed is None else 0, 5)
        pictures = read_pictures(path, [0, 3, 4])
        assert pictures.dtype == np.uint8
        expected = np.stack([jpeg(frames[i]) for i in (0, 3, 4)]).astype(int)
        assert np.abs(pictures - expected).max() <= 2  # two decoders

    def test_a_file_that_is_cut_off_has_the_pictures_before_the_cut(self, tmp_path: Path) -> None:
        path = caltech_video(tmp_path / "V000.seq", known_frames(5, *SIZE))
        offset, length = read_index(path).pictures[3]
        path.write_bytes(path.read_bytes()[: offset + length - 1])
        assert (read_index(path).claimed, len(read_index(path).pictures)) == (5, 3)
        with pytest.raises(DataError, match=r"V000\.seq: frame 3 was asked for, but it has 3 frames"):
            read_pictures(path, [3])

    def test_a_cut_in_the_bytes_after_a_picture_loses_no_picture(self, tmp_path: Path) -> None:
        path = caltech_video(tmp_path / "V000.seq", known_frames(3, *SIZE))
        offset, length = read_index(path).pictures[-1]
        path.write_bytes(path.read_bytes()[: offset + length])
        assert len(read_index(path).pictures) == 3

    def test_pictures_beyond_the_claimed_number_are_left_out(self, tmp_path: Path) -> None:
        path = caltech_video(tmp_path / "V000.seq", known_frames(5, *SIZE), claimed=3)
        assert len(read_index(path).pictures) == 3

    def test_a_file_ends_at_a_length_of_zero(self, tmp_path: Path) -> None:
        """Without a claimed number, the pictures end where the next length is 0."""
        path = caltech_video(tmp_path / "V000.seq", known_frames(2, *SIZE), claimed=0)
        path.write_bytes(path.read_bytes() + bytes(100))
        assert len(read_index(path).pictures) == 2

    def test_the_second_format_of_jpeg(self, tmp_path: Path) -> None:
        path = caltech_video(tmp_path / "V000.seq", known_frames(1, *SIZE))
        patch(path, 568, struct.pack("<I", 201))
        assert read_pictures(path, [0]).shape == (1, *SIZE, 3)

    def test_pictures_of_more_than_64_kilobytes(self, tmp_path: Path) -> None:
        frames = np.random.default_rng(0).integers(0, 256, (2, 200, 200, 3), np.uint8)
        path = caltech_video(tmp_path / "V000.seq", frames)
        assert min(length for _, length in read_index(path).pictures) > 2**16
        assert np.abs(read_pictures(path, [1])[0].astype(int) - jpeg(frames[1])).max() <= 2

    def test_grey_pictures_have_three_equal_channels(self, tmp_path: Path) -> None:
        path = caltech_video(tmp_path / "V000.seq", known_frames(1, *SIZE)[..., 0])
        pictures = read_pictures(path, [0])
        assert pictures.shape == (1, *SIZE, 3)
        assert (pictures == pictures[..., :1]).all()

    def test_frames_count_from_0(self, tmp_path: Path) -> None:
        path = caltech_video(tmp_path / "V000.seq", known_frames(2, *SIZE))
        with pytest.raises(DataError, match=r"frame -1 was asked for, but it has 2 frames"):
            read_pictures(path, [0, -1])

    def test_a_file_shorter_than_its_header_and_a_folder(self, tmp_path: Path) -> None:
        path = caltech_video(tmp_path / "V000.seq", known_frames(2, *SIZE))
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(DataError, match=r"V000\.seq: is not a \.seq file of Norpix \(1000 bytes\); get"):
            read_index(path)
        (tmp_path / "V001.seq").mkdir()
        with pytest.raises(DataError, match=r"V001\.seq"):
            read_index(tmp_path / "V001.seq")

    @pytest.mark.parametrize(
        ("offset", "data", "error"),
        [
            (0, b"RIFF", r"is not a \.seq file of Norpix \(\d+ bytes\); get the file again"),
            (4, bytes(20), r"is not a \.seq file of Norpix"),
            (568, struct.pack("<I", 100), r"has pictures of format 100, not JPEG \(102, 201\)"),
            (1028, b"\x89PNG", "frame 0 is no JPEG picture; get the file again"),
            (1024, bytes(4), "holds no whole picture"),
            (1024, struct.pack("<I", 3), "frame 0 is no JPEG picture"),
        ],
    )
    def test_foreign_files_are_one_line(self, tmp_path: Path, offset: int, data: bytes, error: str) -> None:
        path = caltech_video(tmp_path / "V000.seq", known_frames(2, *SIZE))
        patch(path, offset, data)
        with pytest.raises(DataError, match=rf"V000\.seq: {error}") as caught:
            read_index(path)
        assert "\n" not in str(caught.value)

    def test_a_damaged_picture_is_named(self, tmp_path: Path) -> None:
        path = caltech_video(tmp_path / "V000.seq", known_frames(3, *SIZE))
        offset, length = read_index(path).pictures[1]
        patch(path, offset + 2, bytes(length - 2))
        with pytest.raises(DataError, match=r"V000\.seq: frame 1 does not decode: .*; get the file again"):
            read_pictures(path, [0, 1])

    def test_a_later_picture_of_another_kind_is_named(self, tmp_path: Path) -> None:
        path = caltech_video(tmp_path / "V000.seq", known_frames(3, *SIZE))
        patch(path, read_index(path).pictures[1][0], b"\x89PNG")
        with pytest.raises(DataError, match=r"V000\.seq: frame 1 is no JPEG picture; get the file again"):
            read_pictures(path, [0])

    def test_a_picture_that_claims_billions_of_pixels_is_refused(self, tmp_path: Path) -> None:
        path = caltech_video(tmp_path / "V000.seq", known_frames(1, *SIZE))
        patch(path, path.read_bytes().index(b"\xff\xc0") + 5, struct.pack(">HH", 65500, 65500))
        with pytest.raises(DataError, match=r"V000\.seq: frame 0 does not decode: .*exceeds limit.*; get"):
            read_pictures(path, [0])


class TestSequences:
    def test_every_third_picture(self, tmp_path: Path) -> None:
        frames = known_frames(8, *SIZE)
        caltech_video(tmp_path / "set06/V000.seq", frames)
        caltech_video(tmp_path / "Test/set10/V011.seq", frames[:2])
        caltech_video(tmp_path / "set05/V000.seq", frames)
        (tmp_path / "set06/V000.vbb").touch()
        data = KittiCaltech(tmp_path)
        assert [(s.name, s.frames, s.problem) for s in data.sequences("test")] == [
            ("set06/V000", range(2), ""), ("set10/V011", range(0), ""),
        ]  # fmt: skip
        np.testing.assert_array_equal(
            data.read("set06/V000", [0, 1], "frames"), read_pictures(tmp_path / "set06/V000.seq", [2, 5])
        )
        findings = {f.name: (f.found, f.expected, f.holds, f.details) for f in data.check()}
        assert findings["test: sets with videos"] == ("2", "5", False, ("set07", "set08", "set09"))
        assert findings["test: frames of 30 Hz, in threes"] == ("6", "about 121465", None, ())

    def test_a_video_is_a_recording_with_a_stamp(self, tmp_path: Path) -> None:
        path = caltech_video(tmp_path / "set06/V000.seq", known_frames(3, *SIZE))
        (video,) = KittiCaltech(tmp_path).sequences("test")
        assert video.source == video.name == "set06/V000"
        caltech_video(path, known_frames(6, *SIZE))
        (changed,) = KittiCaltech(tmp_path).sequences("test")
        assert video.stamp and changed.stamp not in ("", video.stamp)

    def test_videos_are_sorted_and_those_of_the_root_come_first(self, tmp_path: Path) -> None:
        caltech_video(tmp_path / "set07/V000.seq", known_frames(3, *SIZE))
        caltech_video(tmp_path / "Test/set06/V000.seq", known_frames(3, *SIZE))
        caltech_video(tmp_path / "Test/set07/V000.seq", known_frames(6, *SIZE))
        caltech_video(tmp_path / "set06/V0001.seq", known_frames(3, *SIZE))
        videos = KittiCaltech(tmp_path).sequences("test")
        assert [(v.name, len(v.frames)) for v in videos] == [("set06/V000", 1), ("set07/V000", 1)]

    def test_links_within_the_root_are_followed_and_others_are_problems(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        target = caltech_video(root / "store/V000.seq", known_frames(3, *SIZE))
        outside = caltech_video(tmp_path / "V001.seq", known_frames(3, *SIZE))
        (root / "set06").mkdir()
        (root / "set06/V000.seq").symlink_to(target)
        (root / "set06/V001.seq").symlink_to(outside)
        inner, outer = KittiCaltech(root).sequences("test")
        assert (len(inner.frames), inner.problem, len(outer.frames)) == (1, "", 0)
        assert "V001.seq: is a symbolic link out of the data root" in outer.problem

    def test_a_foreign_file_is_a_problem_of_its_video_alone(self, tmp_path: Path) -> None:
        caltech_video(tmp_path / "set06/V000.seq", known_frames(3, *SIZE))
        (tmp_path / "set06/V001.seq").write_bytes(b"RIFF" * 300)
        videos = KittiCaltech(tmp_path).sequences("test")
        assert [len(video.frames) for video in videos] == [1, 0]
        assert videos[1].problem.endswith("V001.seq: is not a .seq file of Norpix (1200 bytes); get the file again")
        assert videos[1].source == "set06/V001"

    def test_wrong_requests_are_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"holds no video of Caltech Pedestrian.* Download data_and_labels\.zip"):
            KittiCaltech(tmp_path).sequences("test")
        caltech_video(tmp_path / "set06/V000.seq", known_frames(3, *SIZE))
        data = KittiCaltech(tmp_path)
        with pytest.raises(DataError, match="has no split 'all'; it has train, val, test"):
            data.sequences("all")
        with pytest.raises(DataError, match="kitti-caltech has no flow, only frames"):
            data.read("set06/V000", [0], "flow")
        with pytest.raises(DataError, match="'set05/V000' is neither a drive of KITTI nor a test video of Caltech"):
            data.read("set05/V000", [0], "frames")
        with pytest.raises(DataError, match=r"set06/V001\.seq.*unpack the archive of its set again"):
            data.read("set06/V001", [0], "frames")

    def test_a_missing_last_picture_is_no_problem_and_more_are(self, tmp_path: Path) -> None:
        path = caltech_video(tmp_path / "set07/V001.seq", known_frames(6, *SIZE), claimed=7)
        (video,) = KittiCaltech(tmp_path).sequences("test")
        assert (video.frames, video.problem) == (range(2), "")
        offset, length = read_index(path).pictures[-1]
        path.write_bytes(path.read_bytes()[: offset + length - 1])
        (video,) = KittiCaltech(tmp_path).sequences("test")
        assert video.problem == f"{path}: is cut off after 5 of 7 frames; unpack the archive of its set again"

    def test_the_drives_that_train(self, tmp_path: Path) -> None:
        assert (len(CITY), len(RESIDENTIAL), len(ROAD)) == (28, 21, 12)
        assert len({*CITY, *RESIDENTIAL, *ROAD}) == 61
        assert (len(TRAINING), set(VALIDATION) & set(TRAINING)) == (57, set())
        assert not [d for d in TRAINING if d.endswith(("_0070_sync", "_0079_sync", "_0104_sync", "26_drive_0005_sync"))]
        kitti_drive(tmp_path, "0001", range(12), SIZE, camera=3)
        data = KittiCaltech(tmp_path)
        (name,) = [s.name for s in data.sequences("train") if not s.problem]
        assert name == "2011_09_26/2011_09_26_drive_0001_sync/image_03"
        np.testing.assert_array_equal(data.read(name, [7], "frames")[0], picture("0000000007.png", SIZE))
        assert ["drive_0005_sync" in s.name for s in data.sequences("val")] == [True]


def test_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """26 frames at 10 Hz hold two windows of 11, and the first four frames are left out."""
    monkeypatch.setenv("VPBENCH_PLUGINS", "")
    protocol = Protocol.read(load_plugins(["vpbench_kitti"]).load("protocol", "kitti-caltech-10to1"))
    frames = known_frames(79, 48, 64)
    caltech_video(tmp_path / "set06/V000.seq", frames)
    caltech_video(tmp_path / "set06/V001.seq", frames[:32])
    data = KittiCaltech(tmp_path)
    manifest = build_manifest(protocol, data)
    assert [clip.frames for clip in manifest.clips] == [tuple(range(4, 15)), tuple(range(15, 26))]
    assert [clip.context for clip in manifest.clips] == [10, 10]
    assert (protocol.size, protocol.display["mse"]) == ((128, 160), 128 * 160 * 3)
    raw = data.read("set06/V000", [25], "frames")
    whole = np.asarray(Image.fromarray(raw[0]).resize((171, 128), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(transform(raw, protocol.pixels, BUILT_IN["frames"])[0], whole[:, 5:165])
