"""The prepared store: a protocol's clips decoded, cropped and resized once, then read from memory-mapped files.

It holds exactly the arrays that reading and transforming give, so prepared and unprepared runs agree to the bit. One
folder per protocol, split and state of the data, in the cache::

    <cache>/prepared/<protocol>-<split>-<key>/
      index.json                what is stored of each sequence, and where
      frames.bin, ...           one file per modality
    <the same>.part/            while it is made: one file per sequence and modality

A store is used once it is complete, which one rename makes it. Making it may stop anywhere and goes on where it
stopped; two processes that make the same one spoil nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import DataError
from vpbench.paths import cache_dir
from vpbench.plugin.clip import PAIRWISE, Modality
from vpbench.plugin.dataset import Dataset, SequenceInfo, check_array
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.sampling import ClipRef
from vpbench.protocol.transforms import transform
from vpbench.protocol.units import Manifest
from vpbench.results.store import explained, read_json, write_atomic

__all__ = ["PreparedDataset", "find_prepared", "prepare", "store_folder"]

SCHEMA = 1
_CHUNK = 32  # original frames in memory at a time
Key = tuple[int, ...]
"""One frame, or (frame before, frame)."""


def store_folder(protocol: Protocol, manifest: Manifest) -> Path:
    """Return where the store of a protocol's clips belongs: named by the protocol and the state of the data."""
    key = hashlib.sha256(f"{SCHEMA} {protocol.hash} {manifest.data}".encode()).hexdigest()
    return cache_dir() / "prepared" / f"{protocol.name}-{protocol.dataset.split}-{key[:16]}"


def find_prepared(
    protocol: Protocol, dataset: Dataset, manifest: Manifest, modalities: Collection[str]
) -> PreparedDataset | None:
    """Return the complete store of these clips, if there is one and it has these modalities."""
    folder = store_folder(protocol, manifest)
    if not (folder / "index.json").is_file():
        return None
    prepared = PreparedDataset(folder, dataset)
    return prepared if set(modalities) <= prepared.modalities else None


def prepare(
    protocol: Protocol,
    dataset: Dataset,
    manifest: Manifest,
    modalities: Sequence[Modality],
    progress: Callable[[int, int], None],
) -> Path:
    """Make the store, or finish making it, and return its folder.

    What is in memory at a time is one sequence at the protocol's size, and a few frames of it at their original size.

    Raises:
        DataError: a sequence cannot be read. ResultError: the store cannot be written. What is done stays.
    """
    if (there := find_prepared(protocol, dataset, manifest, modalities)) is not None:
        return there.folder
    folder = store_folder(protocol, manifest)
    part = folder.with_name(f"{folder.name}.part")
    windows: dict[str, list[ClipRef]] = {}
    for clip in manifest.clips:
        windows.setdefault(clip.sequence, []).append(clip)
    for done, (sequence, refs) in enumerate(windows.items()):
        progress(done, len(windows))
        for modality in modalities:
            if not (path := _part_file(part, sequence, modality)).is_file():
                buffer = io.BytesIO()
                np.save(buffer, _read(protocol, dataset, sequence, _keys(refs, dataset, modality), modality))
                write_atomic(path, buffer.getvalue())
    progress(len(windows), len(windows))
    with explained(folder):
        try:
            keys = {sequence: {m: _keys(refs, dataset, m) for m in modalities} for sequence, refs in windows.items()}
            _publish(folder, part, keys)
        except FileNotFoundError:  # another process has published, and removed the parts that both made
            if find_prepared(protocol, dataset, manifest, modalities) is None:
                raise
    return folder


class PreparedDataset:
    """A complete store as a dataset: the same sequences, at the protocol's size; its arrays need no transform."""

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        self.folder = folder
        self.info = dataset.info
        self._sequences = dataset.sequences
        self._index = read_json(folder / "index.json")
        self.modalities = frozenset(self._index["modalities"])

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return what the original dataset returns."""
        return self._sequences(split)

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Return a copy of prepared arrays, in the layout of :meth:`vpbench.plugin.dataset.Dataset.read`.

        Raises:
            DataError: frames that no clip of the protocol needs, or a store that was cut off.
        """
        place = self._index["sequences"][sequence][modality]
        asked = list(pairwise(frames)) if modality in PAIRWISE else [(frame,) for frame in frames]
        rows = {tuple(key): row for row, key in enumerate(place["keys"])}
        if missing := [key for key in asked if key not in rows]:
            raise DataError(f"{self.folder}: prepared without {modality} of {sequence!r}, frame {missing[0]}")
        at = [rows[key] for key in asked]
        array = self._array(modality, place)
        if at and at == list(range(at[0], at[0] + len(at))):
            return np.array(array[at[0] : at[0] + len(at)])
        return np.array(array[at])

    def _array(self, modality: str, place: Mapping[str, Any]) -> NDArray[Any]:
        whole = _mapped(self.folder / f"{modality}.bin")
        end = place["start"] + int(np.prod(place["shape"])) * np.dtype(place["dtype"]).itemsize
        if end > len(whole):
            raise DataError(f"{self.folder} is cut off: remove it and prepare again")
        array: NDArray[Any] = whole[place["start"] : end].view(place["dtype"])
        return array.reshape(place["shape"])


@lru_cache(maxsize=32)
def _mapped(path: Path) -> NDArray[np.uint8]:
    return np.memmap(path, dtype=np.uint8, mode="r")


def _keys(refs: Sequence[ClipRef], dataset: Dataset, modality: Modality) -> list[Key]:
    """Return what is stored of a sequence, ascending and once each."""
    if modality in PAIRWISE:
        return sorted({pair for ref in refs for pair in pairwise(ref.frames)}, key=lambda pair: pair[::-1])
    if modality in dataset.info.truth_only:
        return sorted({(ref.frames[ref.context + step - 1],) for ref in refs for step in ref.steps})
    return sorted({(frame,) for ref in refs for frame in ref.frames})


def _read(protocol: Protocol, dataset: Dataset, sequence: str, keys: Sequence[Key], modality: Modality) -> NDArray[Any]:
    """Read and transform what is stored of a sequence, a few original frames at a time."""
    where = f"dataset {protocol.dataset.name!r}, sequence {sequence!r}"
    parts = []
    for start in range(0, len(keys), 1 if modality in PAIRWISE else _CHUNK):
        frames = keys[start] if modality in PAIRWISE else [key[0] for key in keys[start : start + _CHUNK]]
        array = dataset.read(sequence, frames, modality)
        check_array(array, modality, len(frames), where)
        parts.append(transform(array, protocol.pixels, modality))
    if len({part.shape[1:] for part in parts}) > 1:
        raise DataError(f"{where}: the frame size changes within the sequence")
    return np.concatenate(parts)


def _part_file(part: Path, sequence: str, modality: str) -> Path:
    return part / f"{hashlib.sha256(sequence.encode()).hexdigest()[:32]}.{modality}.npy"


def _publish(folder: Path, part: Path, keys: Mapping[str, Mapping[Modality, list[Key]]]) -> None:
    """Put the parts together in a folder of this process's own, and rename it into place."""
    own = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.tmp")
    own.mkdir(parents=True)
    modalities = list(next(iter(keys.values())))
    try:
        places: dict[str, dict[str, Any]] = {sequence: {} for sequence in keys}
        for modality in modalities:
            with (own / f"{modality}.bin").open("wb") as file:
                for sequence, stored in keys.items():
                    array = np.load(_part_file(part, sequence, modality), mmap_mode="r")
                    places[sequence][modality] = {
                        "start": file.tell(),
                        "shape": list(array.shape),
                        "dtype": array.dtype.str,
                        "keys": stored[modality],
                    }
                    file.write(array.data)
                    file.write(bytes(-file.tell() % 64))
        index = {"schema": SCHEMA, "modalities": modalities, "sequences": places}
        write_atomic(own / "index.json", json.dumps(index))
        if folder.exists():  # with other modalities, or by another process a moment ago
            shutil.rmtree(folder)
        own.rename(folder)
    finally:
        shutil.rmtree(own, ignore_errors=True)
    shutil.rmtree(part, ignore_errors=True)
