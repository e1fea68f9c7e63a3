"""Split hygiene: whether a frame of one split is a frame of another, by its name, its recording or its pixels.

All frames are decoded, a few at a time. What is kept of each is a hash of its size and pixels, in a temporary file of
SQLite's: memory stays the same however many there are.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import DataError, UsageError, describe
from vpbench.plugin.dataset import Dataset, Finding, SequenceInfo, check_array
from vpbench.plugin.modality import BUILT_IN

__all__ = ["find_leaks"]

_CHUNK = 8  # frames in memory at a time
_NAMED = 3  # offenders that are named
_TRAIN = "train"


def find_leaks(
    dataset: Dataset,
    progress: Callable[[int, int], None],
    *,
    split: str = "",
    shown: Mapping[str, Sequence[int]] | None = None,
) -> list[Finding]:
    """Compare each split with those before it, ``train`` first.

    Frames of a single colour are left out of the comparison of pixels: they say nothing of where they come from.

    Args:
        dataset: the dataset, opened.
        progress: called with (frames read, frames to read).
        split: compare this one with every other one, and not the others among themselves.
        shown: the frames of ``split`` that count, by sequence; by default all.

    Returns:
        Four findings per pair of splits: frames of one name, sequences of one recording, equal frames, unreadable
        ones; then what is known of published splits (``DatasetInfo.known_leaks``).

    Raises:
        UsageError: there is one split only. DataError: the data root does not hold the dataset, or there is no room for
            the temporary file.
    """
    splits = sorted(dataset.info.splits, key=lambda name: (name == split, name != _TRAIN))
    if len(splits) < 2:
        raise UsageError(f"--leaks compares splits, and this dataset has {splits[0]!r} alone")
    pairs = [(a, b) for a, b in combinations(splits, 2) if split in ("", b)]
    listed = {name: dataset.sequences(name) for name in splits}
    frames = {name: {s.name: s.frames for s in listed[name] if not s.problem} for name in splits}
    if shown is not None:
        frames[split] = {name: shown[name] for name in frames[split] if name in shown}
    total = sum(len(numbers) for of in frames.values() for numbers in of.values())
    why = dataset.info.shared_recordings
    findings: list[Finding] = []
    try:
        with closing(_Hashes()) as hashes:
            done = 0
            for name in splits:
                for count in hashes.add(dataset, name, frames[name]):
                    done += count
                    progress(done, total)
            for a, b in pairs:
                findings.append(_same_names(a, b, frames[a], frames[b]))
                findings.append(_same_recordings(a, b, listed[a], listed[b], why))
                findings.append(hashes.same_pixels(a, b, why))
            findings += [hashes.readable(name) for name in splits]
    except sqlite3.Error as error:
        raise DataError(f"the temporary file of --leaks: {error}; $TMPDIR names the folder for it") from error
    return [*findings, *dataset.info.known_leaks]


def _same_names(a: str, b: str, ours: Mapping[str, Sequence[int]], theirs: Mapping[str, Sequence[int]]) -> Finding:
    total = sum(map(len, theirs.values()))
    both = {name: set(ours[name]).intersection(theirs[name]) for name in ours.keys() & theirs.keys()}
    named = [f"{name}, frame {min(numbers)}" for name, numbers in sorted(both.items()) if numbers]
    count = sum(map(len, both.values()))
    return Finding(
        f"{b}: frames of {a}, by name", f"{count} of {total}", "0", _holds(count, ours, theirs), tuple(named[:_NAMED])
    )


def _same_recordings(a: str, b: str, ours: Sequence[SequenceInfo], theirs: Sequence[SequenceInfo], why: str) -> Finding:
    recorded = {s.source or s.name: s.name for s in reversed(ours)}
    shared = [s for s in theirs if (s.source or s.name) in recorded]
    named = [f"{s.name} is of one recording with {recorded[s.source or s.name]} of {a}" for s in shared[:_NAMED]]
    return Finding(
        f"{b}: sequences of a recording in {a}",
        f"{len(shared)} of {len(theirs)}",
        "some, by design" if why else "0",
        None if why else _holds(len(shared), ours, theirs),
        tuple([why, *named] if why else named),
    )


def _holds(count: int, ours: object, theirs: object) -> bool | None:
    """Return whether nothing is shared; None where one side is empty, so that nothing is shown by it."""
    return count == 0 if count or (ours and theirs) else None


class _Hashes:
    """One row per frame read, in a temporary file that goes when it is closed."""

    def __init__(self) -> None:
        self._file = sqlite3.connect("", isolation_level=None)  # "" is a file, not memory
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute("CREATE TABLE frames (split TEXT, sequence TEXT, frame INT, hash BLOB)")
        self._file.execute("CREATE INDEX by_hash ON frames (hash, split)")
        self._file.execute("CREATE TABLE broken (split TEXT, frames INT, problem TEXT)")

    def close(self) -> None:
        self._file.close()

    def add(self, dataset: Dataset, split: str, frames: Mapping[str, Sequence[int]]) -> Iterator[int]:
        """Read and hash the frames of a split; yield how many were dealt with. What cannot be read is kept in mind."""
        for sequence, numbers in frames.items():
            for start in range(0, len(numbers), _CHUNK):
                chunk = list(numbers[start : start + _CHUNK])
                try:
                    pictures = dataset.read(sequence, chunk, "frames")
                    check_array(pictures, BUILT_IN["frames"], len(chunk), sequence)
                except Exception as error:
                    problem = str(error) if isinstance(error, DataError) else f"{sequence}: {describe(error)}"
                    left = len(numbers) - start
                    self._file.execute("INSERT INTO broken VALUES (?, ?, ?)", (split, left, problem))
                    yield left
                    break
                rows = [(split, sequence, n, _hash(picture)) for n, picture in zip(chunk, pictures, strict=True)]
                self._file.executemany("INSERT INTO frames VALUES (?, ?, ?, ?)", rows)
                yield len(chunk)

    def same_pixels(self, a: str, b: str, why: str) -> Finding:
        """Compare the frames of two splits."""
        ours, theirs = (self._number("COUNT(*) FROM frames WHERE split = ?", split) for split in (a, b))
        plain = self._number("COUNT(*) FROM frames WHERE split = ? AND hash IS NULL", b)
        equal = (
            "FROM frames AS theirs WHERE split = ? AND EXISTS "
            "(SELECT 1 FROM frames AS ours WHERE ours.split = ? AND ours.hash = theirs.hash)"
        )
        count = self._number(f"COUNT(*) {equal}", b, a)
        named = []
        few = f"SELECT sequence, frame, hash {equal} ORDER BY rowid LIMIT {_NAMED}"
        first = "SELECT sequence, frame FROM frames WHERE split = ? AND hash = ? ORDER BY rowid LIMIT 1"
        for sequence, frame, digest in self._file.execute(few, (b, a)).fetchall():
            other, number = self._file.execute(first, (a, digest)).fetchone()
            named.append(f"{sequence}, frame {frame} is {other}, frame {number} of {a}")
        found = f"{count} of {theirs} ({a} has {ours})" + (f"; {plain} of a single colour left out" if plain else "")
        holds = None if why and count else _holds(count, ours, theirs)
        return Finding(f"{b}: frames of {a}, by pixels", found, "0", holds, tuple(named))

    def readable(self, split: str) -> Finding:
        """Tell what of a split could not be read."""
        count = self._number("IFNULL(SUM(frames), 0) FROM broken WHERE split = ?", split)
        read = self._number("COUNT(*) FROM frames WHERE split = ?", split)
        named = self._file.execute(f"SELECT problem FROM broken WHERE split = ? LIMIT {_NAMED}", (split,))
        return Finding(
            f"{split}: frames that do not decode",
            str(count),
            "0",
            count == 0 if count or read else None,
            tuple(line for (line,) in named),
        )

    def _number(self, query: str, *values: str) -> int:
        return int(self._file.execute(f"SELECT {query}", values).fetchone()[0])


def _hash(picture: NDArray[np.uint8]) -> bytes | None:
    """Return a hash of size and pixels; None for a picture of a single colour."""
    if (picture == picture[:1, :1]).all():
        return None
    return hashlib.blake2b(picture.tobytes(), digest_size=16, key=repr(picture.shape).encode()).digest()
