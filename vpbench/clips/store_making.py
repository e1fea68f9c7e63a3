"""Make a store of arrays (:mod:`vpbench.clips.prepared`), part by part.

::

    <folder>.part/              while it is made: a file for every few frames of a sequence and modality

A store is used once it is complete, which one rename makes it. Making it may stop anywhere and resumes where it
stopped; processes that make the same one share the work, and spoil nothing.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbench.clips.prepared import Contents, Key, PreparedDataset, checksum, open_store
from vpbench.errors import DataError, ResultError, VpbenchError, describe
from vpbench.files import write_atomic
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import Dataset
from vpbench.plugin.guard import plugin_errors

__all__ = ["make_store"]

_PART = 32
Read = Callable[[str, Sequence[Key], Modality], NDArray[Any]]
"""Called with a sequence, some of its keys and a modality; returns an entry for each key."""
_Part = tuple[Path, str, Modality, Sequence[Key]]


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
        except DataError:  # made again
            return None

    with suppress(DataError):  # damaged: made again
        if (store := finished()) is not None:
            store.verify()
            return store
    with _writing(folder), suppress(FileNotFoundError):  # cut off, damaged, or of fewer modalities
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
    where = f"sequence {sequence!r}, {modality} from {keys[0][0]} to {keys[-1][-1]}"

    def fail(error: BaseException) -> VpbenchError:
        return error if isinstance(error, VpbenchError) else DataError(f"{where}: {describe(error)}")

    with plugin_errors(fail):
        return read(sequence, keys, modality)


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
                        place |= {"keys": contents[sequence][modality], "part": part_size, "checksums": []}
                        places[sequence][modality] = place
                    places[sequence][modality]["checksums"].append(checksum(array))
                    file.write(array.data)
                sizes[modality] = file.tell()
                file.flush()
                os.fsync(file.fileno())
        index = {"sizes": sizes, "sequences": places}
        sealed = {"checksum": zlib.crc32(json.dumps(index).encode())} | index
        write_atomic(own / "index.json", json.dumps(sealed))
        own.rename(folder)  # fails where another process was faster
    finally:
        shutil.rmtree(own, ignore_errors=True)
