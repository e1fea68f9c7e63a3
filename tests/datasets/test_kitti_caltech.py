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

    @pytest.mark.parametrize(
        ("offset", "data", "error"),
        [
            (0, b"RIFF", r"is not a \.seq file of Norpix \(\d+ bytes\); get the file again"),
            (4, bytes(20), r"is not a \.seq file of Norpix"),
            (568, struct.pack("<I", 100), r"has pictures of format 100, not JPEG \(102, 201\)"),
            (1028, b"\x89PNG", "frame 0 is no JPEG picture; get the file again"),
            (1024, bytes(4), "holds no whole picture"),
        ],
    )
    def test_foreign_files_are_one_line(self, tmp_path: Path, offset: int, data: bytes, error: str) -> None:
        path = caltech_video(tmp_path / "V000.seq", known_frames(2, *SIZE))
        content = bytearray(path.read_bytes())
        content[offset : offset + len(data)] = data
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"V000\.seq: {error}") as caught:
            read_index(path)
        assert "\n" not in str(caught.value)

    def test_a_damaged_picture_is_named(self, tmp_path: Path) -> None:
        path = caltech_video(tmp_path / "V000.seq", known_frames(3, *SIZE))
        offset, length = read_index(path).pictures[1]
        content = bytearray(path.read_bytes())
        content[offset + 2 : offset + length] = bytes(length - 2)
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"V000\.seq: frame 1 does not decode: .*; get the file again"):
            read_pictures(path, [0, 1])


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
