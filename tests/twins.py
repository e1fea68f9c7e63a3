"""Synthetic twins of data sets that may not be passed on: official names and encodings, and frames that tests know.

A twin is written with pictures of a given size (height, width), or with empty files where only names count.
"""

from __future__ import annotations

import functools
import gzip
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tiny_video import write_video

Size = tuple[int, int]

KITTI_TEST = {"0060": 78, "0084": 383, "0093": 433, "0096": 475}
"""Lengths of the four test drives of KITTI raw."""
CITYSCAPES_VAL = {"frankfurt": 267, "lindau": 59, "munster": 174}
"""Snippets of each city of Cityscapes' val."""


def picture(key: str, size: Size) -> NDArray[np.uint8]:
    """A smooth picture [H,W,3] of its own for every key."""
    rng = np.random.default_rng(list(key.encode()))
    small = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR)


def label_ids(key: str, size: Size) -> NDArray[np.uint8]:
    """A picture [H,W] of Cityscapes' label ids, all 34 of them if it is large enough."""
    rng = np.random.default_rng(list(key.encode()))
    blocks = rng.permutation(np.arange(34, dtype=np.uint8)).reshape(2, 17)
    rows, columns = np.arange(size[0]) * 2 // size[0], np.arange(size[1]) * 17 // size[1]
    return blocks[rows[:, None], columns]


def write(path: Path, size: Size | None) -> Path:
    """Write the picture whose key is the file's name; an empty file where there is no size."""
    if size is None:
        empty([str(path)])
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), picture(path.name, size)[..., ::-1])
    return path


def empty(paths: Iterable[str]) -> None:
    """Make empty files, many in little time."""
    for path in paths:
        try:
            os.mknod(path)
        except FileNotFoundError:
            Path(path).parent.mkdir(parents=True)
            os.mknod(path)


def cityscapes_snippet(
    root: Path, split: str, drive: str, first: int, size: Size | None = None, *, labels: bool = True
) -> None:
    """A snippet of 30 frames, with the annotation of the 20th; ``drive`` is ``<city>_<6 digits>``."""
    city = drive.rpartition("_")[0]
    stem = f"{root}/leftImg8bit_sequence/{split}/{city}/{drive}"
    files = [f"{stem}_{number:06d}_leftImg8bit.png" for number in range(first, first + 30)]
    if size is None:
        empty(files)
    else:
        for file in files:
            write(Path(file), size)
    if labels:
        path = root / f"gtFine/{split}/{city}/{drive}_{first + 19:06d}_gtFine_labelIds.png"
        write(path, None)
        if size is not None:
            assert cv2.imwrite(str(path), label_ids(path.name, size))


def cityscapes_val(root: Path, *, labels: bool = True) -> dict[str, list[int]]:
    """All 500 snippets of val as empty files; returns the first frames by drive.

    As in the official tree, drives of lindau and munster are single snippets, while frankfurt has two long ones, here
    with gaps between some of their snippets and none between others.
    """
    frankfurt = np.cumsum([275, *([30, 30, 86, 285] * 67)]).tolist()[: CITYSCAPES_VAL["frankfurt"]]
    drives = {"frankfurt_000000": frankfurt[:65], "frankfurt_000001": frankfurt[65:]}
    for city in ("lindau", "munster"):
        drives |= {f"{city}_{i:06d}": [0] for i in range(CITYSCAPES_VAL[city])}
    for drive, firsts in drives.items():
        for first in firsts:
            cityscapes_snippet(root, "val", drive, first, labels=labels)
    return drives


def kitti_drive(
    root: Path, number: str, frames: Iterable[int], size: Size | None = None, date: str = "2011_09_26", camera: int = 2
) -> Path:
    """One camera of a drive of KITTI raw, synced; returns the folder of its frames."""
    folder = root / date / f"{date}_drive_{number}_sync" / f"image_{camera:02d}" / "data"
    for frame in frames:
        write(folder / f"{frame:010d}.png", size)
    return folder


def caltech_video(path: Path, frames: NDArray[np.uint8], *, claimed: int | None = None, gap: int = 16) -> Path:
    """A ``.seq`` file of JPEG pictures; ``gap`` bytes, a time and empty ones, follow each picture."""
    header = bytearray(1024)
    header[:28] = struct.pack("<I24s", 0xFEED, "Norpix seq".encode("utf-16-le"))
    height, width = frames.shape[1:3]
    count = len(frames) if claimed is None else claimed
    struct.pack_into("<iI", header, 28, 3, len(header))
    struct.pack_into("<9Id", header, 548, width, height, 24, 8, width * height * 3, 102, count, 0, 0, 30.0)
    body = b""
    for number, frame in enumerate(frames):
        data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
        body += (
            struct.pack("<I", len(data) + 4) + data + struct.pack("<IH", 1_200_000_000 + number, 33).ljust(gap, b"\0")
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(header) + body)
    return path


def kitti_scenes(root: Path, folder: str, scenes: Iterable[int], size: Size | None = None) -> None:
    """Scenes of the multi-view extension of KITTI scene flow 2015, 21 frames each."""
    for scene in scenes:
        for frame in range(21):
            write(root / folder / "image_2" / f"{scene:06d}_{frame:02d}.png", size)


def human36m_images(folder: Path, name: str, numbers: Iterable[int], size: Size | None = None) -> None:
    """Images of ``S11_Walking_1.54138969`` and the like, as extracted from a video."""
    for number in numbers:
        write(folder / f"{name}_{number:06d}.jpg", size)


def human36m_video(root: Path, subject: str, stem: str, frames: NDArray[np.uint8]) -> Path:
    """An original video; ``stem`` is ``Walking 1.54138969`` and the like. Its frames are kept without loss."""
    path = root / subject / "Videos" / f"{stem}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_video(path, frames, rate=50)


def walking(subjects: Sequence[str]) -> list[str]:
    """The names of the eight Walking videos of each subject: two trials by four cameras."""
    cameras = ("54138969", "55011271", "58860488", "60457274")
    return [f"{s}_Walking{trial}.{camera}" for s in subjects for trial in ("", "_1") for camera in cameras]


def kth_video(root: Path, video: str, frames: NDArray[np.uint8]) -> Path:
    """A video of KTH, ``person01_boxing_d1``, in the folder of its action. Its frames are kept without loss."""
    return write_video(root / video.split("_")[1] / f"{video}_uncomp.avi", frames)


def kth_list(root: Path, ranges: Mapping[str, str]) -> Path:
    """The official list of frame ranges, by video: ``{"person01_boxing_d1": "1-95, 96-185"}``."""
    lines = [f"{video}\t\tframes\t{numbers}" for video, numbers in ranges.items()]
    text = "\n".join(["This database contains ...", "Training:   person11, 12, 13", "", *lines])
    path = root / "00sequences.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\nperson13_handclapping_d3    *missing*\n", encoding="ascii")
    return path


def moving_mnist_test(root: Path, clips: int) -> NDArray[np.uint8]:
    """The file of Moving MNIST's test clips, uint8 [20,N,64,64]; returns its content."""
    array = np.random.default_rng(clips).integers(0, 256, (20, clips, 64, 64), dtype=np.uint8)
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / "mnist_test_seq.npy", array)
    return array


def mnist_digits(path: Path, digits: NDArray[np.uint8]) -> Path:
    """An idx file of pictures [M,H,W], compressed if its name ends in .gz."""
    data = struct.pack(">IIII", 2051, *digits.shape) + digits.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def bair_file(root: Path, split: str, name: str, frames: NDArray[np.uint8], actions: NDArray[np.float32]) -> Path:
    """A TFRecord file of BAIR: frames [N,30,64,64,3] and actions [N,30,4], one record per clip."""
    path = root / "softmotion30_44k" / split / f"{name}.tfrecords"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(tf_record, map(bair_example, frames, actions))))
    return path


def bair_example(frames: NDArray[np.uint8], actions: NDArray[np.float32]) -> bytes:
    """The Example of a clip, with the features of the official files; the second camera is cut short."""
    entries = []
    for number, (frame, action) in enumerate(zip(frames, actions, strict=True)):
        entries += [
            _feature(f"{number}/image_main/encoded", _field(1, _field(1, bytes(12)))),
            _feature(f"{number}/image_aux1/encoded", _field(1, _field(1, frame.tobytes()))),
            _feature(f"{number}/action", _field(2, _field(1, action.astype("<f4").tobytes()))),
            _feature(f"{number}/endeffector_pos", _field(2, _field(1, np.zeros(3, "<f4").tobytes()))),
        ]
    return _field(1, b"".join(entries))


def tf_record(data: bytes) -> bytes:
    """A record with its checksums, which are computed bit by bit."""
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _masked_crc(data: bytes) -> bytes:
    state = 0xFFFFFFFF
    for byte in data:
        state = _crc_steps()[(state ^ byte) & 0xFF] ^ (state >> 8)
    state ^= 0xFFFFFFFF
    return struct.pack("<I", ((state >> 15 | state << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@functools.cache
def _crc_steps() -> list[int]:
    steps = []
    for step in range(256):
        for _ in range(8):
            step = step >> 1 ^ (0x82F63B78 if step & 1 else 0)
        steps.append(step)
    return steps


def _feature(name: str, value: bytes) -> bytes:
    return _field(1, _field(1, name.encode()) + _field(2, value))


def _field(number: int, data: bytes) -> bytes:
    length, size = b"", len(data)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data
