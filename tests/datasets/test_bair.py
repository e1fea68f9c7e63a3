"""BAIR: frames and actions from TFRecords; files that are cut off, damaged or of another kind."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from twins import bair_example, bair_file, tf_record

from vpbench.errors import DataError
from vpbench.plugin.dataset import check_array
from vpbench_bair.dataset import BAIR
from vpbench_bair.examples import parse_example
from vpbench_bair.records import crc32c, find_records, read_record

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (2, 30, 64, 64, 3), dtype=np.uint8)
ACTIONS = RNG.normal(size=(2, 30, 4)).astype(np.float32)
NAME = "test/traj_0_to_255/001"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bair")
    bair_file(root, "test", "traj_0_to_255", FRAMES, ACTIONS)
    return root


def broken(root: Path, data: bytes) -> Path:
    path = root / "softmotion30_44k/test/traj_0_to_255.tfrecords"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


def test_frames_and_actions_are_those_of_the_record(root: Path) -> None:
    data = BAIR(root)
    assert [(s.name, s.frames) for s in data.sequences("test")] == [
        ("test/traj_0_to_255/000", range(30)),
        (NAME, range(30)),
    ]
    assert data.sequences("train") == []
    np.testing.assert_array_equal(data.read(NAME, [0, 7, 29], "frames"), FRAMES[1, [0, 7, 29]])
    actions = data.read(NAME, [3, 4], "actions")
    check_array(actions, data.info.declares[0], 2, NAME)
    np.testing.assert_array_equal(actions, ACTIONS[1, [3, 4]])
    np.testing.assert_array_equal(data.read("test/traj_0_to_255/000", [2], "frames"), FRAMES[0, [2]])
    assert [(f.name, f.found, f.expected, f.holds) for f in data.check()] == [
        ("train: clips", "0", "43264", False),
        ("test: clips", "2", "256", False),
    ]


@pytest.mark.parametrize(
    ("name", "frame", "error"),
    [
        ("test/traj_0_to_255/002", 0, "has no record 2, only 0 to 1"),
        (NAME, 30, "has no frame 30, only 0 to 29"),
        ("test/traj_0_to_255", 0, "is not the name of a clip of BAIR"),
    ],
)
def test_another_clip_is_refused(root: Path, name: str, frame: int, error: str) -> None:
    with pytest.raises(DataError, match=error):
        BAIR(root).read(name, [frame], "frames")


@pytest.mark.parametrize(
    ("text", "checksum"),
    [(b"123456789", 0xE3069283), (b"", 0), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)],
)
def test_crc32c_has_the_published_values(text: bytes, checksum: int) -> None:
    assert crc32c(text) == checksum


@pytest.mark.parametrize("size", [1023, 1024, 1025, 2048, 5000])
def test_the_fast_form_of_crc32c_equals_the_plain_one(size: int) -> None:
    data = RNG.integers(0, 256, size, dtype=np.uint8).tobytes()
    record = tf_record(data)
    checksum = crc32c(data)
    masked = ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert record[-4:] == struct.pack("<I", masked)


RECORDS = [tf_record(b"first" * 300), tf_record(b"second")]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (RECORDS[0] + RECORDS[1][:-1], r"is cut off in record 1 \(1537 bytes\)"),
        (RECORDS[0] + RECORDS[1][:7], "is cut off in record 1"),
        (RECORDS[0][:900], r"is cut off in record 0 \(900 bytes\)"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is not a TFRecord file"),
        (b"", r"is not a TFRecord file \(0 bytes\)"),
        (RECORDS[0] + bytes(20) + RECORDS[1], "is damaged at record 1"),
    ],
)
def test_a_file_that_does_not_read_is_one_problem(tmp_path: Path, data: bytes, error: str) -> None:
    broken(tmp_path, data)
    (sequence,) = BAIR(tmp_path).sequences("test")
    with pytest.raises(DataError, match=error):
        raise DataError(sequence.problem)
    assert sequence.problem.endswith("; get the file again") and "\n" not in sequence.problem


def test_a_damaged_record_and_a_foreign_one_are_refused(tmp_path: Path) -> None:
    first = bytearray(RECORDS[0])
    first[500] ^= 1
    path = broken(tmp_path, bytes(first) + RECORDS[1] + tf_record(bair_example(FRAMES[0, :2, :8], ACTIONS[0, :2])))
    with path.open("ab") as file:
        file.write(tf_record(bair_example(FRAMES[0, :1], ACTIONS[0, :1, :3])))
    with pytest.raises(DataError, match="is damaged at byte 12 "):
        read_record(path, find_records(path)[0])
    data = BAIR(tmp_path)
    with pytest.raises(DataError, match="record 1 is no Example "):
        data.read(NAME, [0], "frames")
    with pytest.raises(DataError, match="frame 0 has no raw picture of 64x64"):
        data.read("test/traj_0_to_255/002", [0], "frames")
    with pytest.raises(DataError, match="frame 2 has no action"):
        data.read("test/traj_0_to_255/002", [2], "actions")
    assert data.read("test/traj_0_to_255/002", [1], "actions").tolist() == ACTIONS[0, [1]].tolist()
    with pytest.raises(DataError, match="frame 0 has no action of four numbers"):
        data.read("test/traj_0_to_255/003", [0], "actions")


def test_floats_need_not_be_packed_and_integers_are_left_out() -> None:
    single = b"".join(b"\x0d" + struct.pack("<f", value) for value in (1.5, -2.0))
    entries = [b"\x0a\x01a\x12" + bytes([len(single) + 2]) + b"\x12" + bytes([len(single)]) + single]
    entries += [b"\x0a\x01b\x12\x04\x1a\x02\x08\x05"]
    features = b"".join(b"\x0a" + bytes([len(entry)]) + entry for entry in entries)
    example = parse_example(b"\x0a" + bytes([len(features)]) + features)
    assert {name: value.tolist() for name, value in example.items()} == {"a": [1.5, -2.0]}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\x0a\x03\x0a\x00", "a field that is cut off"),
        (b"\x0b", "wire type 3"),
        (b"\x0a\x80", "a number that is cut off"),
    ],
)
def test_a_message_of_another_kind_is_a_value_error(data: bytes, error: str) -> None:
    assert parse_example(b"\x0a\x02\x0a\x00") == {}
    with pytest.raises(ValueError, match=error):
        parse_example(data)
