"""Make a prepared store (:mod:`vpbench.clips.prepared`), block by block, in the folder where it stays.

A store is complete once its index is written. Making it may stop anywhere and resumes with the first block that is
missing; processes that make the same store share its blocks.

A block holds a few entries rather than a whole sequence: a network may need half a minute for each annotation, and a
drive has over a thousand frames. A stop then costs one block, and memory does not grow with the length of a sequence.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbench.clips.blocks import MAPPED, block_path, checksum, encode_block, load_block, stored_bytes
from vpbench.clips.prepared import FORMAT, INDEX, Contents, Key, PreparedDataset, open_store, seal
from vpbench.errors import DataError, ResultError
from vpbench.files import canonical, write_atomic
from vpbench.plugin.dataset import Dataset
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.modality import ModalitySpec

_BLOCK = 32
Read = Callable[[str, Sequence[Key], ModalitySpec], NDArray[Any]]
"""Called with a sequence, some of its keys and a modality; returns an entry for each key."""


@dataclass(frozen=True)
class _Block:
    path: Path
    sequence: str
    spec: ModalitySpec
    keys: Sequence[Key]

    @property
    def flow(self) -> bool:
        """True if its entries are flow."""
        return self.spec.pixels == "flow"


def make_store(
    folder: Path,
    dataset: Dataset,
    contents: Contents,
    read: Read,
    progress: Callable[[int, int], None],
    size: int = _BLOCK,
    suffix: str = MAPPED,
) -> PreparedDataset:
    """Make a store, or finish making it. One block of at most ``size`` entries is read and in memory at a time.

    ``suffix`` says in which form blocks are stored (:mod:`vpbench.clips.blocks`).

    Blocks that another process has begun come last, and are made if they are still missing then. ``progress`` is
    called with (keys done, keys to do).

    Raises:
        DataError: ``read`` fails, or a sequence changes its size.
        ResultError: there is no space, or no permission to write. Finished blocks stay.
    """
    names = [spec.name for spec in next(iter(contents.values()))]
    with suppress(DataError):  # damaged: made again
        if (store := open_store(folder, dataset, names)) is not None:
            store.verify()
            return store
    with _writing(folder):
        if (folder / INDEX).exists():  # cut off, damaged, or of fewer modalities
            shutil.rmtree(folder)
    try:
        blocks = list(_blocks(folder, contents, size, suffix))
        checksums = _make_blocks(folder, blocks, read, progress)
        with _writing(folder):
            _complete(folder, contents, blocks, checksums, size, suffix)
    except ResultError:  # another process may have completed the store, and removed this one's temporary file
        if not (folder / INDEX).exists():
            raise
    store = open_store(folder, dataset, names)
    if store is None:
        raise ResultError(f"{folder} was removed while it was made: run the same command again")
    return store


def _make_blocks(
    folder: Path, blocks: Sequence[_Block], read: Read, progress: Callable[[int, int], None]
) -> dict[Path, int]:
    """Make the blocks that are missing; return the checksum of every block."""
    keys_done, total = 0, sum(len(block.keys) for block in blocks)
    shapes: dict[tuple[str, str], tuple[int, ...]] = {}
    checksums: dict[Path, int] = {}
    postponed: list[_Block] = []
    first_round = ((block, True) for block in blocks)
    second_round = ((block, False) for block in postponed)
    for block, may_postpone in chain(first_round, second_round):
        progress(keys_done, total)
        if (array := load_block(block.path, len(block.keys), flow=block.flow)) is None:
            array = _make(folder, block, read, may_postpone)
        if array is None:
            postponed.append(block)
            continue
        if shapes.setdefault((block.sequence, block.spec.name), array.shape[1:]) != array.shape[1:]:
            raise DataError(f"sequence {block.sequence!r}: the frame size changes within the sequence")
        checksums[block.path] = checksum(array)
        keys_done += len(block.keys)
    progress(total, total)
    return checksums


def _blocks(folder: Path, contents: Contents, size: int, suffix: str) -> Iterator[_Block]:
    for sequence, kinds in contents.items():
        for spec, keys in kinds.items():
            for row in range(0, len(keys), size):
                path = block_path(folder, sequence, spec.name, row, suffix)
                yield _Block(path, sequence, spec, keys[row : row + size])


def _make(folder: Path, block: _Block, read: Read, may_postpone: bool) -> NDArray[Any] | None:
    """Read a block and write it; None if another process has claimed it and it may be postponed."""
    with _writing(folder):
        claim = _claim(block.path)
    if claim is None and may_postpone:
        return None
    try:
        array = np.ascontiguousarray(_read(read, block))
        with _writing(folder):
            write_atomic(block.path, encode_block(array, block.path.suffix, flow=block.flow))
    finally:
        if claim is not None:
            claim.unlink(missing_ok=True)
    return array


def _claim(path: Path) -> Path | None:
    """Claim a block with a marker file, so that other processes start with others. Return None if it is claimed."""
    claim = path.with_suffix(".claim")
    claim.parent.mkdir(parents=True, exist_ok=True)
    try:
        claim.open("x").close()
    except FileExistsError:
        return None
    return claim


def _read(read: Read, block: _Block) -> NDArray[Any]:
    keys = block.keys
    source = f"sequence {block.sequence!r}, {block.spec.name} from {keys[0][0]} to {keys[-1][-1]}"
    with plugin_errors(failed_as(DataError, source)):
        return read(block.sequence, keys, block.spec)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ResultError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        raise ResultError(
            f"cannot write {folder}: {getattr(cause, 'strerror', None) or error}; free some space there, or name "
            f"another cache with VPBENCH_CACHE, and run the same command again: finished parts stay"
        ) from error


def _complete(
    folder: Path, contents: Contents, blocks: Iterable[_Block], checksums: Mapping[Path, int], size: int, suffix: str
) -> None:
    """Write the index, and remove what stopped processes left."""
    places: dict[str, dict[str, Any]] = {
        sequence: {spec.name: {"keys": keys, "checksums": []} for spec, keys in kinds.items()}
        for sequence, kinds in contents.items()
    }
    for block in blocks:
        places[block.sequence][block.spec.name]["checksums"].append(checksums[block.path])
    index = {
        "format": FORMAT,
        "block": size,
        "suffix": suffix,
        "bytes": stored_bytes(folder),
        "modalities": {
            spec.name: {"pairwise": spec.pairwise, "flow": spec.pixels == "flow"}
            for spec in next(iter(contents.values()))
        },
        "sequences": places,
    }
    write_atomic(folder / INDEX, canonical(index | {"checksum": seal(index)}))
    for path in chain(folder.glob("*.claim"), folder.glob(".*.tmp")):
        path.unlink(missing_ok=True)
