"""Read MNIST's idx files and ``mnist_test_seq.npy``."""

from __future__ import annotations

import functools
import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import DataError
from vpbench.toolkit.arrays import load_array
from vpbench_moving_mnist.motion import DIGIT, FRAMES, SIDE

_PICTURES = 2051
"""The idx format's number for unsigned bytes in three dimensions."""


@functools.lru_cache(maxsize=2)
def read_idx(path: Path, stamp: str) -> NDArray[np.uint8]:
    """Return the pictures [M,28,28] of an idx file, compressed with gzip or not.

    ``stamp`` is the file's stamp: a file that changes is read again.

    Raises:
        DataError: another kind of file, cut off, or pictures of another size.
    """
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path}: does not decompress ({error}); get the file again") from error
    if len(data) < 16 or struct.unpack(">I", data[:4])[0] != _PICTURES:
        raise DataError(f"{path}: is no idx file of pictures; get train-images-idx3-ubyte.gz of MNIST")
    count, *size = struct.unpack(">III", data[4:16])
    if size != [DIGIT, DIGIT] or not count:
        raise DataError(f"{path}: has {count} pictures of {size[0]}x{size[1]}, not of {DIGIT}x{DIGIT}; get MNIST's")
    if len(data) != 16 + count * DIGIT * DIGIT:
        raise DataError(f"{path}: has {len(data)} bytes, expected {16 + count * DIGIT * DIGIT}; get the file again")
    return np.frombuffer(data, np.uint8, offset=16).reshape(count, DIGIT, DIGIT)


def open_test_clips(path: Path) -> NDArray[np.uint8]:
    """Map ``mnist_test_seq.npy``, uint8 [20,N,64,64], into memory.

    Raises:
        DataError: no npy file, cut off, or an array of another type, shape or order of axes.
    """
    try:
        clips: NDArray[np.uint8] = load_array(path, mapped=True)
    except (OSError, ValueError) as error:
        size = path.stat().st_size
        raise DataError(f"{path}: is not a readable npy file ({size} bytes; {error}); get the file again") from error
    shape = clips.shape
    if clips.dtype == np.uint8 and len(shape) == 4 and shape[0] == FRAMES and shape[1] and shape[2:] == (SIDE, SIDE):
        return clips
    layout = f"{clips.dtype} {list(shape)}, not uint8 [{FRAMES}, N, {SIDE}, {SIDE}]"
    if clips.dtype == np.uint8 and _is_rearranged(shape):
        raise DataError(f"{path}: has its axes in another order or number: {layout}; transpose or reshape it")
    raise DataError(f"{path}: has {layout}; get mnist_test_seq.npy")


def _is_rearranged(shape: tuple[int, ...]) -> bool:
    """Return whether the shape is that of test clips but for the order of axes, and axes of length 1."""
    count = math.prod(shape) // (FRAMES * SIDE * SIDE)
    lengths = [FRAMES, count, SIDE, SIDE]
    return sorted(n for n in shape if n != 1) == sorted(n for n in lengths if n != 1) and count > 0
