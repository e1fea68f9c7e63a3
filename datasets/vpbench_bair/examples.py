"""Read TensorFlow's ``Example`` messages: features by name, as bytes or as floats."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_FIXED = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}
_BYTES_LIST, _FLOAT_LIST = 1, 2

Feature = bytes | NDArray[np.float32]


def parse_example(data: bytes) -> dict[str, Feature]:
    """Return the features: the first of a list of bytes, or all floats of a list. Integers are left out.

    Raises:
        ValueError: not a message of this kind.
    """
    features: dict[str, Feature] = {}
    for field, part in _fields(memoryview(data)):
        for inner, entry in _fields(part) if field == 1 else ():
            pair = dict(_fields(entry)) if inner == 1 else {}
            if 1 in pair and (feature := _feature(pair.get(2, memoryview(b"")))) is not None:
                features[bytes(pair[1]).decode()] = feature
    return features


def _feature(data: memoryview) -> Feature | None:
    for kind, values in _fields(data):
        items = [value for field, value in _fields(values) if field == 1]
        if kind == _BYTES_LIST and items:
            return bytes(items[0])
        if kind == _FLOAT_LIST:
            return np.frombuffer(b"".join(items), "<f4").astype(np.float32)
    return None


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and the bytes of each field; a varint is left empty."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == _VARINT:
            _, place = _varint(data, place)
            yield key >> 3, data[:0]
            continue
        if kind == _LENGTH:
            length, place = _varint(data, place)
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise ValueError(f"a field of wire type {kind}")
        if place + length > len(data):
            raise ValueError("a field that is cut off")
        yield key >> 3, data[place : place + length]
        place += length


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise ValueError("a number that is cut off")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number of more than 10 bytes")
