"""Read a prepared store: frames or annotations of sequences, made once and then mapped into memory.

::

    <folder>/
      <sequence>.frames.32.npy      up to 32 entries of one modality, from row 32 on (annotations: .z)
      index.json                    the frames of every row, and a checksum of every block; written last

:mod:`vpbench.clips.store_making` makes a store. A process verifies a block when it first reads from it.
"""

from __future__ import annotations

import glob
import warnings
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbench.clips.blocks import MAPPED, block_path, checksum, load_block, stored_bytes
from vpbench.errors import DataError, VpbenchWarning
from vpbench.files import RUN, canonical, parse_json, read_text
from vpbench.plugin.dataset import Dataset, SequenceInfo
from vpbench.plugin.modality import Modality, ModalitySpec

INDEX = "index.json"
FORMAT = 5
"""Raised when the format of a store changes, or the harness's pixel operations; part of every key."""
_BLOCKS_IN_MEMORY = 2
"""Compressed blocks of a modality that stay in memory."""
Key = tuple[int, ...]
"""A frame, or (frame before, frame)."""
Contents = Mapping[str, Mapping[ModalitySpec, Sequence[Key]]]
"""The keys of a store, by sequence and modality. Every sequence has the same modalities."""


def keys_of(frames: Sequence[int], spec: ModalitySpec) -> list[Key]:
    """Return the keys of a modality's entries in a window: its frames, or its pairs of consecutive frames."""
    return list(pairwise(frames)) if spec.pairwise else [(frame,) for frame in frames]


def cut(windows: Iterable[Sequence[int]], spec: ModalitySpec) -> list[Key]:
    """Return the keys of a modality's entries in any of the windows, ascending and once each."""
    return sorted({key for window in windows for key in keys_of(window, spec)})


class PreparedDataset:
    """A complete store as a dataset: the same sequences, at the protocol's size."""

    def __init__(self, folder: Path, dataset: Dataset, index: Mapping[str, Any]) -> None:
        self.folder = folder
        self.info = dataset.info
        self._sequences = dataset.sequences
        self._size: int = index["block"]
        self._suffix: str = index["suffix"]
        self._kinds: Mapping[Modality, Mapping[str, bool]] = index["modalities"]
        self._places: Mapping[str, Mapping[Modality, Mapping[str, Any]]] = index["sequences"]
        self._latest: dict[Modality, tuple[str, dict[Key, int], dict[int, NDArray[Any]]]] = {}
        self._verified: set[tuple[str, str, int]] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out mapped and verified blocks: another process maps and verifies them itself."""
        return self.__dict__ | {"_latest": {}, "_verified": set()}

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the sequences of the original dataset."""
        return self._sequences(split)

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Return a copy of prepared arrays, in the layout of :meth:`vpbench.plugin.dataset.Dataset.read`.

        Raises:
            DataError: frames that no clip of the protocol needs, or a block that is damaged.
        """
        row_of = self._rows(sequence, modality)
        keys: list[Key] = (
            list(pairwise(frames)) if self._kinds[modality]["pairwise"] else [(frame,) for frame in frames]
        )
        if missing := [key for key in keys if key not in row_of]:
            raise DataError(f"{self.folder}: prepared without {modality} of {sequence!r}, frame {missing[0][-1]}")
        if not keys:
            return self._block(sequence, modality, 0)[:0].copy()
        rows = groupby((row_of[key] for key in keys), key=lambda row: row // self._size)
        return np.concatenate([self._entries(sequence, modality, number, list(group)) for number, group in rows])

    def verify(self) -> None:
        """Read the whole store (raises as :meth:`read` if a block is damaged)."""
        for sequence, places in self._places.items():
            for modality, place in places.items():
                self._rows(sequence, modality)
                for number in range(len(place["checksums"])):
                    self._block(sequence, modality, number)

    def _entries(self, sequence: str, modality: Modality, number: int, rows: Sequence[int]) -> NDArray[Any]:
        """Return rows of one block, without a copy if they are consecutive."""
        block, first = self._block(sequence, modality, number), rows[0] - number * self._size
        if list(rows) == list(range(rows[0], rows[0] + len(rows))):
            return block[first : first + len(rows)]
        return block[[row - number * self._size for row in rows]]

    def _rows(self, sequence: str, modality: Modality) -> dict[Key, int]:
        """Return the row of each key of a sequence's modality."""
        if modality not in self._latest or self._latest[modality][0] != sequence:
            keys = self._places[sequence][modality]["keys"]
            self._latest[modality] = sequence, {tuple(key): row for row, key in enumerate(keys)}, {}
        return self._latest[modality][1]

    def _block(self, sequence: str, modality: Modality, number: int) -> NDArray[Any]:
        """Load a block of the latest sequence, and verify it once per process."""
        blocks = self._latest[modality][2]
        if number not in blocks:
            place, first = self._places[sequence][modality], number * self._size
            keys = place["keys"][first : first + self._size]
            path = block_path(self.folder, sequence, modality, first, self._suffix)
            block = load_block(path, len(keys), flow=self._kinds[modality]["flow"])
            verified = (sequence, modality, number) in self._verified
            if block is None or not (verified or checksum(block) == place["checksums"][number]):
                raise DataError(
                    f"{self.folder}: is damaged: {modality} of {sequence!r}, frames {keys[0][-1]} to {keys[-1][-1]}, "
                    f"are not what was stored; make it again with `vpbench data prepare`, or remove it"
                )
            self._verified.add((sequence, modality, number))
            if self._suffix != MAPPED and len(blocks) >= _BLOCKS_IN_MEMORY:
                del blocks[next(iter(blocks))]
            blocks[number] = block
        return blocks[number]


def open_store(folder: Path, dataset: Dataset, modalities: Collection[str]) -> PreparedDataset | None:
    """Return the complete store in a folder, if there is one with these modalities.

    Raises:
        DataError: it was cut off, or its index is damaged.
    """
    if not (folder / INDEX).exists():
        return None
    try:
        index = parse_json(read_text(folder / INDEX, RUN))
        intact = seal(index) == index["checksum"] and stored_bytes(folder) == index["bytes"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # also JSON of another form
        intact = False
    if not intact:
        raise DataError(f"{folder} was cut off or is damaged: make it again with `vpbench data prepare`, or remove it")
    return PreparedDataset(folder, dataset, index) if set(modalities) <= set(index["modalities"]) else None


def seal(index: Mapping[str, Any]) -> int:
    """Return a checksum of an index, apart from its own checksum."""
    return zlib.crc32(canonical({key: value for key, value in index.items() if key != "checksum"}).encode())


def warn_of_outdated(folder: Path) -> None:
    """Warn of a store of the same protocol and split in the format of another version, which nobody reads."""
    stem = glob.escape(folder.name.rpartition("-")[0])
    for earlier in sorted(folder.parent.glob(f"{stem}-{'[0-9a-f]' * 16}")):
        try:
            outdated = parse_json(read_text(earlier / INDEX, RUN)).get("format") != FORMAT
        except (OSError, ValueError, AttributeError):  # not complete, or damaged
            continue
        if outdated:
            warnings.warn(
                f"{earlier} was prepared by another version of vpbench, and is not used: remove it and what begins "
                f"with its name, and run `vpbench data prepare` again",
                VpbenchWarning,
                stacklevel=2,
            )
            return
