"""The messages between vpbench and a worker: a JSON header, then the arrays that it names, each as a ``.npy`` file.

Every header and every array is preceded by its length (``docs/external.md`` states the protocol).
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vpbench.plugin.predictor import PredictorInfo
from vpbench.validation import validation_line

VERSION = 1
MAGIC = b"vpb1"
HEAD = struct.Struct("<4sQ")
"""Precedes a header or an array: the magic bytes, and its length in bytes."""
HEADER_LIMIT = 2**20
"""The largest header, in bytes."""
NPY_LIMIT = 4096
"""The most bytes of a ``.npy`` file before its values."""


class MessageError(Exception):
    """A message breaks the protocol."""


class Hello(BaseModel):
    """The first header that a worker sends: its version of the protocol, and what it predicts from what."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: int
    outputs: list[str] = ["frames"]
    requires: list[str] = ["frames"]
    uses: list[str] = []
    stochastic: bool = False
    causal: bool = True
    horizon: int | None = Field(default=None, ge=1)
    context: int | list[int | None] | None = None
    size: int | list[int] | None = None
    name: str = ""
    paper: str = ""
    licence: str = ""
    trained_on: list[str] = []

    def info(self) -> PredictorInfo:
        """Return the description of the predictor.

        Raises:
            PluginError: a field has a value that no predictor may have.
        """
        limits = {"horizon": self.horizon, "context": _as_tuple(self.context), "size": _as_tuple(self.size)}
        return PredictorInfo(
            outputs=tuple(self.outputs),
            requires=tuple(self.requires),
            uses=tuple(self.uses),
            trained_on=tuple(self.trained_on),
            stochastic=self.stochastic,
            causal=self.causal,
            paper=self.paper,
            licence=self.licence,
            **{name: value for name, value in limits.items() if value is not None},
        )


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def parse_hello(header: bytearray) -> Hello:
    """Parse a worker's first header.

    Raises:
        MessageError: it is no JSON, of another version of the protocol, or has a wrong field.
    """
    value = parse_header(header)
    version = value.get("version")
    if version != VERSION:
        raise MessageError(f"speaks version {version!r} of the protocol; this vpbench speaks {VERSION}")
    try:
        return Hello.model_validate(value)
    except ValidationError as error:
        raise MessageError(f"sends a wrong first header: {validation_line(error)}") from error


def parse_header(header: bytearray) -> dict[str, Any]:
    """Parse a header.

    Raises:
        MessageError: it is no JSON object.
    """
    try:
        value = json.loads(header.decode())
    except (ValueError, RecursionError) as error:
        raise MessageError(f"sends a header that is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise MessageError("sends a header that is no JSON object")
    return value


def message(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> list[bytes | memoryview]:
    """Return the buffers of a message; the header gets the names of the arrays."""
    buffers: list[bytes | memoryview] = []
    pieces: list[list[bytes | memoryview]] = [[json.dumps({**header, "arrays": list(arrays)}).encode()]]
    for data in pieces + [_npy(array) for array in arrays.values()]:
        buffers += [HEAD.pack(MAGIC, sum(len(piece) for piece in data)), *data]
    return buffers


def _npy(array: NDArray[Any]) -> list[bytes | memoryview]:
    """Return a ``.npy`` file in two pieces, of which the second is the array itself, uncopied."""
    contiguous, buffer = np.ascontiguousarray(array), io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, np.lib.format.header_data_from_array_1_0(contiguous))
    return [buffer.getvalue(), contiguous.reshape(-1).view(np.uint8).data]


def parse_array(data: bytearray, name: str) -> NDArray[Any]:
    """Return the array of a ``.npy`` file, which shares the memory of ``data``.

    Raises:
        MessageError: it is none, holds Python objects, or has more or fewer bytes than its shape needs.
    """
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, is_fortran, dtype = reader(file)
    except Exception as error:  # the header is an expression that numpy parses
        raise MessageError(f"sends {name} that are no .npy file ({error})") from error
    count, start = int(np.prod(shape, dtype=object)), file.tell()
    if dtype.hasobject or count < 0 or start + count * dtype.itemsize != len(data):
        raise MessageError(f"sends {name} in {len(data)} bytes, which are no {dtype} array of shape {list(shape)}")
    values = np.frombuffer(data, dtype, count, start)
    return values.reshape(shape, order="F" if is_fortran else "C")


def check_shape(array: NDArray[Any], name: str, shapes: Sequence[tuple[int | None, ...]], kinds: str) -> None:
    """Check an array's type and shape, in which None stands for any length.

    Raises:
        MessageError: it has others.
    """
    expected = " or ".join(str([size or "C" for size in shape]).replace("'", "") for shape in shapes)
    if array.dtype.kind not in kinds or not any(_fits(array.shape, shape) for shape in shapes):
        raise MessageError(f"sends {name} as {array.dtype} {list(array.shape)}; they must be {_KINDS[name]} {expected}")
    if array.dtype.kind == "f" and not np.isfinite(array.sum(dtype=np.float64)):
        raise MessageError(f"sends {name} that hold NaN or infinite values")


_KINDS = {
    "frames": "floating point",
    "semantics": "integer labels or floating-point scores",
    "flow": "floating point",
    "disocclusion": "bool",
}


def _fits(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    return len(shape) == len(expected) and all(b is None or a == b for a, b in zip(shape, expected, strict=True))
