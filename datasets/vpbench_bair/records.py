"""Read TFRecord files without TensorFlow: length, masked CRC-32C of the length, data, masked CRC-32C of the data."""

from __future__ import annotations

import functools
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import DataError

_HEADER, _FOOTER = 12, 4
_POLYNOMIAL = 0x82F63B78
_MASK = 0xA282EAD8
_ROWS = 256
"""Parts of a record whose checksums are computed at once."""
_ADVICE = "get the file again"

Place = tuple[int, int]
"""Offset and length of a record's data."""


def find_records(path: Path) -> list[Place]:
    """Return the place of every record; reads only the lengths.

    Raises:
        DataError: the file is empty, cut off, or no TFRecord file.
    """
    size, places, offset = path.stat().st_size, list[Place](), 0
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            header = file.read(_HEADER)
            if len(header) == _HEADER and _masked(crc32c(header[:8])) != struct.unpack("<I", header[8:])[0]:
                fault = f"is damaged at record {len(places)}" if places else "is not a TFRecord file"
                raise DataError(f"{path}: {fault} (the checksum of a length does not match); {_ADVICE}")
            length = struct.unpack("<Q", header[:8])[0] if len(header) == _HEADER else 0
            offset += _HEADER + length + _FOOTER
            if len(header) < _HEADER or offset > size:
                raise DataError(f"{path}: is cut off in record {len(places)} ({size} bytes); {_ADVICE}")
            places.append((offset - length - _FOOTER, length))
    if not places:
        raise DataError(f"{path}: is not a TFRecord file (0 bytes); {_ADVICE}")
    return places


def read_record(path: Path, place: Place) -> bytes:
    """Return the data of a record.

    Raises:
        DataError: the data do not match their checksum, or the file became shorter.
    """
    offset, length = place
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(length + _FOOTER)
    if len(data) < length + _FOOTER:
        raise DataError(f"{path}: is cut off at byte {offset + len(data)}; {_ADVICE}")
    if _masked(crc32c(data[:length])) != struct.unpack("<I", data[length:])[0]:
        raise DataError(f"{path}: is damaged at byte {offset} (the checksum of a record does not match); {_ADVICE}")
    return data[:length]


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of data (Castagnoli, RFC 3720).

    Long data are cut into parts whose checksums advance together: a clip's record takes a fifth of the time.
    """
    if len(data) < 4 * _ROWS:
        state, table = 0xFFFFFFFF, _table().tolist()
        for byte in data:
            state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
        return int(state ^ 0xFFFFFFFF)
    # Leading zeros do not change a checksum that starts at 0; starting at ~0 inverts the first four bytes.
    width = -(-len(data) // _ROWS)
    parts = np.zeros(_ROWS * width, np.uint8)
    parts[-len(data) :] = np.frombuffer(data, np.uint8)
    parts[-len(data) : len(parts) - len(data) + 4] ^= 0xFF
    states = np.zeros(_ROWS, np.uint32)
    for column in parts.reshape(_ROWS, width).T:
        states = _table()[(states ^ column) & 0xFF] ^ (states >> 8)
    state, shifted = 0, _after_zeros(width)
    for part in states.tolist():
        for bit, value in enumerate(shifted):
            part ^= value if state >> bit & 1 else 0
        state = part
    return int(state ^ 0xFFFFFFFF)


@functools.cache
def _table() -> NDArray[np.uint32]:
    """The checksum of each byte."""
    states = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        states = (states >> 1) ^ np.where(states & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    return states


@functools.lru_cache(maxsize=8)
def _after_zeros(count: int) -> list[int]:
    """Return the state of each bit after so many zero bytes. States are sums of bits, so this moves any state."""
    states = np.uint32(1) << np.arange(32, dtype=np.uint32)
    for _ in range(count):
        states = _table()[states & 0xFF] ^ (states >> 8)
    return [int(state) for state in states]


def _masked(checksum: int) -> int:
    return ((checksum >> 15 | checksum << 17) + _MASK) & 0xFFFFFFFF
