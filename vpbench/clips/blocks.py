"""Files of a prepared store: up to some dozen entries of one sequence and modality, mapped or compressed.

A mapped block is a ``.npy`` file. A compressed block is zlib over one. Annotated flow, whose values are multiples of
1/64 pixel (:func:`vpbench.clips.annotations.annotate`), is stored as differences of int16 along the rows; beyond 512
pixels it stays float32. Both forms give back the stored bits.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vpbench.plugin.annotator import FLOW_STEPS
from vpbench.plugin.modality import Modality
from vpbench.toolkit.arrays import load_array

MAPPED, COMPRESSED = ".npy", ".z"
"""Suffixes of the two forms."""
_LEVEL: Final = 1  # of RAFT's flow, level 6 saves another tenth and takes six times as long
_RANGE: Final = np.iinfo(np.int16)


def block_path(folder: Path, sequence: str, modality: Modality, row: int, suffix: str = MAPPED) -> Path:
    """Return the file of the block that begins with a row."""
    return folder / f"{hashlib.sha256(sequence.encode()).hexdigest()[:32]}.{modality}.{row}{suffix}"


def encode_block(array: NDArray[Any], suffix: str, *, flow: bool) -> bytes:
    """Return the content of a block's file; ``flow`` says that the entries are flow, float32 [N,H,W,2]."""
    if suffix == MAPPED:
        return _npy(array)
    steps = np.rint(array * FLOW_STEPS) if flow else array
    if flow and np.array_equal(steps / FLOW_STEPS, array) and _RANGE.min <= steps.min() and steps.max() <= _RANGE.max:
        planes = np.moveaxis(steps.astype(np.int16), -1, 1)
        array = np.diff(planes, axis=-1, prepend=np.int16(0))
    return zlib.compress(_npy(array), _LEVEL)


def load_block(path: Path, length: int, *, flow: bool) -> NDArray[Any] | None:
    """Map or decompress a block; None if there is none of that length, or if it is damaged."""
    try:
        if path.suffix == MAPPED:
            block = load_array(path, mapped=True)
        else:
            block = load_array(io.BytesIO(zlib.decompress(path.read_bytes())))
    except (OSError, ValueError, zlib.error):
        return None
    if block.shape[:1] != (length,):
        return None
    if flow and block.dtype == np.int16:
        planes = np.cumsum(block, axis=-1, dtype=np.int16)
        block = np.ascontiguousarray(np.moveaxis(planes, 1, -1), dtype=np.float32) / np.float32(FLOW_STEPS)
    return block


def checksum(array: NDArray[Any]) -> int:
    """Return a checksum of contiguous entries: against damage, not against forgery."""
    return zlib.crc32(array.data)


def stored_bytes(folder: Path) -> int:
    """Return the size of all blocks of a store."""
    return sum(path.stat().st_size for suffix in (MAPPED, COMPRESSED) for path in folder.glob(f"[!.]*{suffix}"))


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
