"""Moving MNIST and moving digits: the fixed test clips, the drawn ones, and files of another kind."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from twins import mnist_digits, moving_mnist_test

from vpbench.errors import DataError
from vpbench_moving_mnist.digits import MovingDigits, enlarged_digits
from vpbench_moving_mnist.mnist import MovingMNIST
from vpbench_moving_mnist.motion import draw_clip

DIGITS = np.full((3, 28, 28), 200, np.uint8)


def test_test_clips_are_those_of_the_file_as_three_equal_channels(tmp_path: Path) -> None:
    array = moving_mnist_test(tmp_path, 3)
    data = MovingMNIST(tmp_path)
    sequences = data.sequences("test")
    assert [(s.name, s.frames) for s in sequences] == [(f"mnist_test_seq/0000{i}", range(20)) for i in range(3)]
    frames = data.read("mnist_test_seq/00002", [0, 5, 19], "frames")
    np.testing.assert_array_equal(frames, np.stack([array[[0, 5, 19], 2]] * 3, axis=-1))
    for name, number, error in (
        ("mnist_test_seq/00003", 0, "has no clip 3, only 0 to 2"),
        ("mnist_test_seq/00002", 20, "has no frame 20, only 0 to 19"),
        ("mnist_test_seq/2", 0, "is no clip of Moving MNIST"),
    ):
        with pytest.raises(DataError, match=error):
            data.read(name, [number], "frames")


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (
            np.zeros((3, 20, 64, 64), np.uint8),
            r"another order or number: uint8 \[3, 20, 64, 64\], not uint8 \[20, N, 64, 64\]; transpose or reshape it",
        ),
        (np.zeros((20, 64, 64, 3), np.uint8), r"in another order .*: uint8 \[20, 64, 64, 3\], .*; transpose or"),
        (
            np.zeros((3, 20, 1, 64, 64), np.uint8),
            r"another order or number: uint8 \[3, 20, 1, 64, 64\], .*; transpose or",
        ),
        (
            np.zeros((20, 64, 64), np.uint8),
            r"another order or number: uint8 \[20, 64, 64\], .*; transpose or reshape it",
        ),
        (np.zeros((20, 3, 64, 32), np.uint8), r"npy: has uint8 \[20, 3, 64, 32\], not .*; get mnist_test_seq"),
        (np.zeros((20, 3, 64, 64), np.float32), r"npy: has float32 \[20, 3, 64, 64\], not .*; get mnist_test_seq"),
        (np.zeros((20, 3, 32, 32), np.uint8), r"npy: has uint8 \[20, 3, 32, 32\], not .*; get mnist_test_seq"),
        (np.zeros((20, 0, 64, 64), np.uint8), r"npy: has uint8 \[20, 0, 64, 64\], not .*; get mnist_test_seq"),
        (np.array([{"a": 1}], dtype=object), r"is not a readable npy file \(\d+ bytes; "),
    ],
)
def test_another_array_is_told_in_one_line(tmp_path: Path, array: np.ndarray, error: str) -> None:
    np.save(tmp_path / "mnist_test_seq.npy", array)
    (sequence,) = MovingMNIST(tmp_path).sequences("test")
    with pytest.raises(DataError, match=error):
        raise DataError(sequence.problem)
    assert "\n" not in sequence.problem


def test_a_file_that_is_cut_off_or_missing_is_a_problem(tmp_path: Path) -> None:
    moving_mnist_test(tmp_path, 2)
    (train,) = MovingMNIST(tmp_path).sequences("train")
    assert train.problem.endswith("train-images-idx3-ubyte: is missing; download it: only training needs it")
    path = tmp_path / "mnist_test_seq.npy"
    path.write_bytes(path.read_bytes()[:-100])
    (test,) = MovingMNIST(tmp_path).sequences("test")
    assert "is not a readable npy file" in test.problem


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "MNIST/raw/train-images.idx3-ubyte.gz"])
def test_training_clips_are_drawn_from_the_digits(tmp_path: Path, name: str) -> None:
    mnist_digits(tmp_path / name, DIGITS)
    data = MovingMNIST(tmp_path, options=MovingMNIST.Options(seed=7, train_clips=2))
    assert [s.name for s in data.sequences("train")] == ["drawn-7/00000", "drawn-7/00001"]
    frames = data.read("drawn-7/00001", range(20), "frames")
    np.testing.assert_array_equal(frames[..., 0], draw_clip(DIGITS, 7, "00001"))
    assert (frames == frames[..., :1]).all()
    assert [(f.name, f.found, f.holds) for f in data.check()] == [
        ("test: clips", "0", False),
        ("train: digits", "3", False),
    ]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\0\0\x08\x01" + bytes(20), "is no idx file of pictures"),
        (b"\0\0\x08\x03\0\0\0\1\0\0\0\x1c\0\0\0\x1c" + bytes(783), "has 799 bytes, expected 800"),
        (b"\0\0\x08\x03\0\0\0\1\0\0\0\x10\0\0\0\x10" + bytes(256), "has 1 pictures of 16x16, not of 28x28"),
        (gzip.compress(bytes(900), mtime=0)[:-9], "does not decompress"),
    ],
    ids=["labels", "cut off", "small pictures", "broken gzip"],
)
def test_another_file_of_digits_is_told_in_one_line(tmp_path: Path, data: bytes, error: str) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(data)
    (sequence,) = MovingMNIST(tmp_path).sequences("train")
    assert error in sequence.problem and "\n" not in sequence.problem


def corners(clip: np.ndarray) -> np.ndarray:
    """The top left corner [20,2] of what is bright."""
    return np.array([[np.flatnonzero(frame.any(axis=axis))[0] for axis in (1, 0)] for frame in clip])


def test_digits_move_straight_and_bounce() -> None:
    clips = [draw_clip(DIGITS, 0, f"{number:05d}") for number in range(40)]
    assert all(clip.shape == (20, 64, 64) and set(np.unique(clip)) == {0, 200} for clip in clips)
    areas = np.array([(clip > 0).sum(axis=(1, 2)) for clip in clips])
    assert areas.min() >= 28 * 28 and areas.max() <= 2 * 28 * 28
    steps = np.diff([corners(clip) for clip in clips], axis=1)
    assert np.abs(steps).max() <= 37 and (np.abs(steps) <= 4).mean() > 0.9
    assert (steps > 0).any() and (steps < 0).any()
    touched = [clip.any(axis=(0, 1))[[0, -1]].any() or clip.any(axis=(0, 2))[[0, -1]].any() for clip in clips]
    assert np.mean(touched) > 0.9


def test_a_drawn_clip_has_these_bytes_on_every_machine() -> None:
    digits = np.arange(5 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(5, 28, 28)
    assert hashlib.sha256(draw_clip(digits, 3, "00011").tobytes()).hexdigest().startswith("b4c42f7d0a7c2583")
    assert hashlib.sha256(enlarged_digits().tobytes()).hexdigest().startswith("93730613698e02b8")


def test_moving_digits_need_no_root_and_divide_digits() -> None:
    data = MovingDigits(options=MovingDigits.Options(seed=5, train_clips=3))
    assert [s.name for s in data.sequences("train")] == ["train-5/00000", "train-5/00001", "train-5/00002"]
    assert len(data.sequences("test")) == 256
    digits = enlarged_digits()
    assert digits.shape == (1797, 28, 28) and digits.max() == 255 and digits.min() == 0
    test, train = data.read("test/00002", range(20), "frames"), data.read("train-5/00002", range(20), "frames")
    np.testing.assert_array_equal(test[..., 1], draw_clip(digits[1297:], 0, "00002"))
    np.testing.assert_array_equal(train[..., 2], draw_clip(digits[:1297], 5, "00002"))
    assert (MovingDigits(None).read("test/00002", [4], "frames") == test[4:5]).all()
    with pytest.raises(DataError, match="has no frame 20"):
        data.read("test/00002", [20], "frames")
