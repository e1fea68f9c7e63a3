"""Read a pickle of float32 arrays, and of nothing else, without running anything in it.

A pickle names the functions that rebuild its objects. Here, the three names that numpy's arrays need stand for records
of this module, and every other name is refused. numpy's own unpickling is not used either.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import DataError, one_line
from vpbench.output import brief


class _Type:
    """Stand for a ``numpy.dtype``."""

    order = ""

    def __init__(self, code: str, *flags: bool) -> None:
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


class _Array:
    """Stand for a ``numpy.ndarray``."""

    values: NDArray[np.float32]

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, column_major, data = state
        if (kind.order + kind.code, column_major) != ("<f4", False):
            raise pickle.UnpicklingError("an array is not float32, little-endian and row-major")
        self.values = np.frombuffer(data, "<f4").reshape(shape)


_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {brief(f'{module}.{name}')}, and nothing was run") from None


def read_arrays(data: bytes, source: str) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of nested dictionaries, named by their keys: ``outer.inner.kernel``.

    Args:
        data: the pickle.
        source: the file's name, for messages.

    Raises:
        DataError: it holds anything else, or is broken.
    """
    try:
        return dict(_flat(_Unpickler(io.BytesIO(data)).load(), ""))
    except Exception as error:  # a broken pickle may raise anything
        raise DataError(f"{source}: is not a pickle of arrays ({one_line(str(error))})") from error


def _flat(content: Any, name: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    if isinstance(content, _Array):
        yield name, content.values
        return
    if not isinstance(content, Mapping):
        raise pickle.UnpicklingError(f"{brief(name)} is neither an array nor a dictionary")
    for key, value in content.items():
        yield from _flat(value, f"{name}.{key}" if name else str(key))
