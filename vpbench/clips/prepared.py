"""A store of arrays: frames or annotations of sequences, put together once, then read from memory-mapped files.

::

    <folder>/
      index.json                what is stored of each sequence, and where
      frames.bin, ...           one file per modality

:mod:`vpbench.clips.store_making` makes a store. The index holds a checksum of every part; a process verifies a part
when it first reads from it.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import DataError
from vpbench.files import RUN, parse_json, read_text
from vpbench.plugin.clip import PAIRWISE, Modality
from vpbench.plugin.dataset import Dataset, SequenceInfo

__all__ = ["Contents", "Key", "PreparedDataset", "checksum", "cut", "keys_of", "open_store"]

Key = tuple[int, ...]
"""One frame, or (frame before, frame)."""
Contents = Mapping[str, Mapping[Modality, Sequence[Key]]]
"""What a store holds: by sequence and modality, the same modalities of each."""


def keys_of(frames: Sequence[int], modality: str) -> list[Key]:
    """Return what a modality has an entry for in a window: its frames, or its pairs of consecutive frames."""
    return list(pairwise(frames)) if modality in PAIRWISE else [(frame,) for frame in frames]


def cut(windows: Iterable[Sequence[int]], modality: Modality) -> list[Key]:
    """Return what a modality has an entry for in any of the windows, ascending and once each."""
    return sorted({key for window in windows for key in keys_of(window, modality)})


class PreparedDataset:
    """A complete store as a dataset: the same sequences, at the protocol's size; its arrays need no transform."""

    def __init__(self, folder: Path, dataset: Dataset, index: Mapping[str, Any]) -> None:
        self.folder = folder
        self.info = dataset.info
        self._sequences = dataset.sequences
        self._places: Mapping[str, Mapping[Modality, Mapping[str, Any]]] = index["sequences"]
        self._files: dict[str, NDArray[np.uint8]] = {}
        self._latest: dict[str, tuple[str, NDArray[Any], dict[Key, int]]] = {}
        self._verified: set[tuple[str, str, int]] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is mapped and verified: another process does it itself."""
        return self.__dict__ | {"_files": {}, "_latest": {}, "_verified": set()}

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return what the original dataset returns."""
        return self._sequences(split)

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Return a copy of prepared arrays, in the layout of :meth:`vpbench.plugin.dataset.Dataset.read`.

        Raises:
            DataError: frames that no clip of the protocol needs, or a part that is damaged.
        """
        array, row_of = self._stored(sequence, modality)
        keys = keys_of(frames, modality)
        if missing := [key for key in keys if key not in row_of]:
            raise DataError(f"{self.folder}: prepared without {modality} of {sequence!r}, frame {missing[0][-1]}")
        rows = [row_of[key] for key in keys]
        self._verify(sequence, modality, array, rows)
        if rows and rows == list(range(rows[0], rows[0] + len(rows))):
            return array[rows[0] : rows[0] + len(rows)].copy()
        return array[rows]

    def verify(self) -> None:
        """Read the whole store (raises as :meth:`read` where a part is damaged)."""
        for sequence, modalities in self._places.items():
            for modality in modalities:
                array, row_of = self._stored(sequence, modality)
                self._verify(sequence, modality, array, list(row_of.values()))

    def _verify(self, sequence: str, modality: Modality, array: NDArray[Any], rows: Sequence[int]) -> None:
        """Check the parts that hold these rows, each once per process."""
        place = self._places[sequence][modality]
        size = place["part"]
        for part in sorted({row // size for row in rows}):
            if (sequence, modality, part) in self._verified:
                continue
            stored = array[part * size : (part + 1) * size]
            if checksum(stored) != place["checksums"][part]:
                first, last = (place["keys"][row][-1] for row in (part * size, part * size + len(stored) - 1))
                raise DataError(
                    f"{self.folder}: is damaged: {modality} of {sequence!r}, frames {first} to {last}, are not what "
                    f"was stored; make it again with `vpbench data prepare`, or remove it"
                )
            self._verified.add((sequence, modality, part))

    def _stored(self, sequence: str, modality: Modality) -> tuple[NDArray[Any], dict[Key, int]]:
        """Return all that is stored of a sequence's modality, mapped, and the row of each key."""
        if modality not in self._latest or self._latest[modality][0] != sequence:
            if modality not in self._files:
                self._files[modality] = np.asarray(np.memmap(self.folder / f"{modality}.bin", np.uint8, mode="r"))
            place = self._places[sequence][modality]
            shape = (len(place["keys"]), *place["shape"])
            end = place["start"] + math.prod(shape) * np.dtype(place["dtype"]).itemsize
            array = self._files[modality][place["start"] : end].view(place["dtype"]).reshape(shape)
            self._latest[modality] = sequence, array, {tuple(key): row for row, key in enumerate(place["keys"])}
        return self._latest[modality][1:]


def open_store(folder: Path, dataset: Dataset, modalities: Collection[str]) -> PreparedDataset | None:
    """Return the complete store in a folder, if there is one with these modalities.

    Raises:
        DataError: it was cut off, or its index is damaged.
    """
    if not folder.is_dir():
        return None
    try:
        index = parse_json(read_text(folder / "index.json", RUN))
        whole = index.pop("checksum") == zlib.crc32(json.dumps(index).encode()) and all(
            (folder / f"{m}.bin").stat().st_size == size for m, size in index["sizes"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # also JSON of another form
        whole = False
    if not whole:
        raise DataError(f"{folder} was cut off or is damaged: make it again with `vpbench data prepare`, or remove it")
    return PreparedDataset(folder, dataset, index) if set(modalities) <= set(index["sizes"]) else None


def checksum(array: NDArray[Any]) -> int:
    """Return a checksum of contiguous entries: against damage, not against forgery."""
    return zlib.crc32(array.data)
