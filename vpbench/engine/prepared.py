"""A store of arrays: frames or annotations of sequences, put together once, then read from memory-mapped files.

::

    <folder>/
      index.json                what is stored of each sequence, and where
      frames.bin, ...           one file per modality
    <folder>.part/              while it is made: a file for every few frames of a sequence and modality

A store is used once it is complete, which one rename makes it. Making it may stop anywhere and goes on where it
stopped; processes that make the same one share the work, and spoil nothing.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import DataError, ResultError, VpbenchError
from vpbench.plugin.clip import PAIRWISE, Modality
from vpbench.plugin.dataset import Dataset, SequenceInfo
from vpbench.results.store import write_atomic

__all__ = ["Contents", "Key", "PreparedDataset", "cut", "keys_of", "make_store", "open_store"]

_PART = 32
Key = tuple[int, ...]
"""One frame, or (frame before, frame)."""
Contents = Mapping[str, Mapping[Modality, Sequence[Key]]]
"""What a store holds: by sequence and modality, the same modalities of each."""
Read = Callable[[str, Sequence[Key], Modality], NDArray[Any]]
"""Called with a sequence, some of its keys and a modality; returns an entry for each key."""
_Part = tuple[Path, str, Modality, Sequence[Key]]


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
        self._places: Mapping[str, Mapping[str, Mapping[str, Any]]] = index["sequences"]
        self._files: dict[str, NDArray[np.uint8]] = {}
        self._latest: dict[str, tuple[str, NDArray[Any], dict[Key, int]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is mapped: another process maps it itself."""
        return self.__dict__ | {"_files": {}, "_latest": {}}

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return what the original dataset returns."""
        return self._sequences(split)

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Return a copy of prepared arrays, in the layout of :meth:`vpbench.plugin.dataset.Dataset.read`.

        Raises:
            DataError: frames that no clip of the protocol needs.
        """
        array, row_of = self._stored(sequence, modality)
        keys = keys_of(frames, modality)
        if missing := [key for key in keys if key not in row_of]:
            raise DataError(f"{self.folder}: prepared without {modality} of {sequence!r}, frame {missing[0][-1]}")
        rows = [row_of[key] for key in keys]
        if rows and rows == list(range(rows[0], rows[0] + len(rows))):
            return array[rows[0] : rows[0] + len(rows)].copy()
        return array[rows]

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
        DataError: it was cut off.
    """
    if not folder.is_dir():
        return None
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        whole = bool(index["sequences"]) and all(
            (folder / f"{m}.bin").stat().st_size == size for m, size in index["sizes"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # also JSON of another form
        whole = False
    if not whole:
        raise DataError(f"{folder} was cut off: make it anew with `vpbench data prepare`, or remove it")
    return PreparedDataset(folder, dataset, index) if set(modalities) <= set(index["sizes"]) else None


def make_store(
    folder: Path,
    dataset: Dataset,
    contents: Contents,
    read: Read,
    progress: Callable[[int, int], None],
    part_size: int = _PART,
) -> PreparedDataset:
    """Make a store, or finish making it. One part is in memory at a time, and processes that make the same share them.

    What another process has begun is left until the end, and then made if it is still not there.

    Args:
        folder: where it belongs.
        dataset: whose it is.
        contents: what it holds.
        read: gives its arrays, at most ``part_size`` entries at a time.
        progress: called with (keys done, keys to do).
        part_size: at most so many keys are done again after a stop.

    Raises:
        DataError: ``read`` fails, or a sequence changes its size.
        ResultError: there is no space, or no permission to write. What is done stays.
    """
    modalities = list(next(iter(contents.values())))

    def finished() -> PreparedDataset | None:
        try:
            return open_store(folder, dataset, modalities)
        except DataError:  # made anew
            return None

    if (store := finished()) is not None:
        return store
    with _writing(folder), suppress(FileNotFoundError):  # cut off, or of fewer modalities
        folder.rename(_beside(folder))
    parts = folder.with_name(f"{folder.name}.part")
    done, total = 0, sum(len(keys) for kinds in contents.values() for keys in kinds.values())
    sizes: dict[tuple[str, Modality], tuple[int, ...]] = {}
    left: list[_Part] = []
    once = ((part, False) for part in _parts(parts, contents, modalities, part_size))
    again = ((part, True) for part in left)
    try:
        for part, last in chain(once, again):
            path, sequence, modality, keys = part
            progress(done, total)
            if (array := _load(path, len(keys))) is None:
                if finished() is not None:  # another process was faster
                    break
                with _writing(folder):
                    claim = _claim(path)
                if claim is None and not last:
                    left.append(part)
                    continue
                try:
                    array = _read(read, sequence, keys, modality)
                    with _writing(folder):
                        write_atomic(path, _npy(array))
                finally:
                    if claim is not None:
                        claim.unlink(missing_ok=True)
            if sizes.setdefault((sequence, modality), array.shape[1:]) != array.shape[1:]:
                raise DataError(f"sequence {sequence!r}: the frame size changes within the sequence")
            done += len(keys)
        else:
            with _writing(folder):
                _publish(folder, parts, contents, modalities, part_size)
    except ResultError:  # another process may have published, and removed the parts
        if finished() is None:
            raise
    progress(total, total)
    for rest in (parts, *folder.parent.glob(f"{folder.name}.*.tmp")):
        shutil.rmtree(rest, ignore_errors=True)
    store = finished()
    assert store is not None
    return store


def _beside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.tmp")


def _claim(part: Path) -> Path | None:
    """Say with a file that this process makes a part, so that others make other ones first; None where one did."""
    claim = part.with_suffix(".claim")
    claim.parent.mkdir(parents=True, exist_ok=True)
    try:
        claim.open("x").close()
    except FileExistsError:
        return None
    return claim


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ResultError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        raise ResultError(
            f"cannot write {folder}: {getattr(cause, 'strerror', None) or error}; free some space there, or name "
            f"another cache with VPBENCH_CACHE, and run the same command again: what is done stays"
        ) from error


def _parts(folder: Path, contents: Contents, modalities: Collection[Modality], size: int) -> Iterator[_Part]:
    """Yield the file, sequence, modality and keys of each part."""
    for sequence, kinds in contents.items():
        name = hashlib.sha256(sequence.encode()).hexdigest()[:32]
        for modality in modalities:
            for start in range(0, len(kinds[modality]), size):
                path = folder / f"{name}.{modality}.{start}.npy"
                yield path, sequence, modality, kinds[modality][start : start + size]


def _read(read: Read, sequence: str, keys: Sequence[Key], modality: Modality) -> NDArray[Any]:
    try:
        return read(sequence, keys, modality)
    except VpbenchError:
        raise
    except Exception as error:  # a plugin's
        where = f"sequence {sequence!r}, {modality} from {keys[0][0]} to {keys[-1][-1]}"
        raise DataError(f"{where}: {type(error).__name__}: {error}") from error


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _load(path: Path, length: int) -> NDArray[Any] | None:
    """Map a part; None where there is none, or one that was cut off."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return array if len(array) == length else None


def _publish(folder: Path, parts: Path, contents: Contents, modalities: Sequence[Modality], part_size: int) -> None:
    """Put the parts together in a folder of this process's own, and rename it into place."""
    own = _beside(folder)
    own.mkdir(parents=True)
    try:
        places: dict[str, dict[str, dict[str, Any]]] = {sequence: {} for sequence in contents}
        sizes = {}
        for modality in modalities:
            with (own / f"{modality}.bin").open("wb") as file:
                for path, sequence, _, keys in _parts(parts, contents, [modality], part_size):
                    if (array := _load(path, len(keys))) is None:
                        raise FileNotFoundError(errno.ENOENT, f"{path} has gone")
                    if modality not in places[sequence]:
                        place = {"start": file.tell(), "shape": array.shape[1:], "dtype": array.dtype.str}
                        places[sequence][modality] = place | {"keys": contents[sequence][modality]}
                    file.write(array.data)
                sizes[modality] = file.tell()
                file.flush()
                os.fsync(file.fileno())
        write_atomic(own / "index.json", json.dumps({"sizes": sizes, "sequences": places}))
        own.rename(folder)  # fails where another process was faster
    finally:
        shutil.rmtree(own, ignore_errors=True)
