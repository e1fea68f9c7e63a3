"""Read Norpix ``.seq`` files as Caltech Pedestrian has them: a header of 1,024 bytes, then JPEG pictures with times."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vpbench.errors import DataError
from vpbench.toolkit.folders import regular_file
from vpbench.toolkit.pictures import stack

_HEADER = 1024
_MAGIC = struct.pack("<I", 0xFEED) + "Norpix seq".encode("utf-16-le")
_FORMAT, _COUNT = 568, 572
"""Bytes of the header at which the format of pictures and their number are stored."""
_JPEG_FORMATS = {102, 201}
_JPEG_START = b"\xff\xd8"
_TIME = 8
"""Bytes after a picture: its time, and two that are empty. Some writers add as many empty ones."""
_ADVICE = "get the file again"


@dataclass(frozen=True)
class SeqIndex:
    """Positions of the pictures of one file."""

    claimed: int
    """How many pictures the header claims; 0 where it does not say."""
    pictures: tuple[tuple[int, int], ...]
    """Offset and length in bytes of each whole picture."""


def read_index(path: Path) -> SeqIndex:
    """Find the pictures of a file; decodes none. A file that is cut off has those before the cut.

    Raises:
        DataError: no regular file, no ``.seq`` file, pictures that are no JPEG, or no whole picture.
    """
    with regular_file(path).open("rb") as file:
        header, size = file.read(_HEADER), os.fstat(file.fileno()).st_size
        if len(header) < _HEADER or not header.startswith(_MAGIC):
            raise DataError(f"{path}: is not a .seq file of Norpix ({size} bytes); {_ADVICE}")
        kind, count = struct.unpack_from("<II", header, _FORMAT)
        if kind not in _JPEG_FORMATS:
            raise DataError(f"{path}: has pictures of format {kind}, not JPEG (102, 201); {_ADVICE}")
        pictures = tuple(_find_pictures(file.fileno(), size, count, path))
    if not pictures:
        raise DataError(f"{path}: holds no whole picture; {_ADVICE}")
    return SeqIndex(count, pictures)


def read_pictures(path: Path, numbers: Sequence[int]) -> NDArray[np.uint8]:
    """Read pictures as uint8 RGB [N,H,W,3]; numbers count from 0.

    Raises:
        DataError: as :func:`read_index`, or a picture that does not exist or does not decode.
    """
    pictures = read_index(path).pictures
    if outside := [number for number in numbers if not 0 <= number < len(pictures)]:
        raise DataError(f"{path}: frame {outside[0]} was asked for, but it has {len(pictures)} frames")
    images = []
    with path.open("rb") as file:
        for number in numbers:
            offset, length = pictures[number]
            file.seek(offset)
            images.append(_decode(file.read(length), f"{path}: frame {number}"))
    return stack(images, str(path))


def _find_pictures(descriptor: int, size: int, count: int, path: Path) -> Iterator[tuple[int, int]]:
    offset = _HEADER
    for number in range(count or size):
        length = _word(descriptor, offset)
        if length == 0 or offset + length > size:
            return
        if length < 4 + len(_JPEG_START) or os.pread(descriptor, len(_JPEG_START), offset + 4) != _JPEG_START:
            raise DataError(f"{path}: frame {number} is no JPEG picture; {_ADVICE}")
        yield offset + 4, length - 4
        offset += length
        offset += _TIME if _word(descriptor, offset + _TIME) else 2 * _TIME


def _word(descriptor: int, offset: int) -> int:
    """Return the unsigned number of 4 bytes at an offset; 0 behind the end."""
    return int.from_bytes(os.pread(descriptor, 4, offset), "little")


def _decode(data: bytes, place: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            return np.array(picture.convert("RGB"), dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{place} does not decode: {error}; {_ADVICE}") from error
