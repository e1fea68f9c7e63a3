"""Find frames of one split in another: by name, by recording, and by pixels.

All frames are decoded, a few at a time. Only a 64-bit hash of each frame's size and pixels stays in memory: 80 MB for
ten million frames. Two different ones among them share a hash with a probability below 1 in 100,000.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import DataError, UsageError, describe
from vpbench.plugin.dataset import Dataset, Finding, SequenceInfo, check_array
from vpbench.plugin.modality import BUILT_IN

_CHUNK = 8  # frames in memory at a time
_NAMED = 3  # offenders that are named
_TRAIN = "train"
_PLAIN = 0  # instead of the hash of a picture of a single colour


def find_leaks(
    dataset: Dataset,
    progress: Callable[[int, int], None],
    *,
    split: str = "",
    clips: Mapping[str, Sequence[int]] | None = None,
) -> list[Finding]:
    """Compare each split with those before it, ``train`` first.

    Frames of a single colour are left out of the comparison of pixels, since unrelated videos share them.

    Args:
        dataset: the dataset, opened.
        progress: called with (frames read, frames to read).
        split: compare only this split with all others.
        clips: the frames of ``split`` that count, by sequence; by default all.

    Returns:
        Four findings per pair of splits: frames of one name, sequences of one recording, equal frames, unreadable
        ones; then what is known of published splits (``DatasetInfo.known_leaks``).

    Raises:
        UsageError: there is one split only. DataError: the data root does not hold the dataset.
    """
    splits = sorted(dataset.info.splits, key=lambda name: (name == split, name != _TRAIN))
    if len(splits) < 2:
        raise UsageError(f"leaks are searched between splits, and this dataset has {splits[0]!r} alone")
    pairs = [(a, b) for a, b in combinations(splits, 2) if split in ("", b)]
    listed = {name: dataset.sequences(name) for name in splits}
    frames = {name: {s.name: s.frames for s in listed[name] if not s.problem} for name in splits}
    if clips is not None:
        frames[split] = {name: clips[name] for name in frames[split] if name in clips}
    total = sum(len(numbers) for sequences in frames.values() for numbers in sequences.values())
    reason, frames_done = dataset.info.shared_recordings, 0
    findings: list[Finding] = []
    hashes = {name: _Hashes(name) for name in splits}
    for name in splits:
        for count in hashes[name].add(dataset, frames[name]):
            frames_done += count
            progress(frames_done, total)
    for a, b in pairs:
        findings.append(_same_names(a, b, frames[a], frames[b]))
        findings.append(_same_recordings(a, b, listed[a], listed[b], reason))
        findings.append(_same_pixels(hashes[a], hashes[b], reason))
    return [*findings, *(hashes[name].readable() for name in splits), *dataset.info.known_leaks]


def _same_names(a: str, b: str, first: Mapping[str, Sequence[int]], second: Mapping[str, Sequence[int]]) -> Finding:
    total = sum(map(len, second.values()))
    common = {name: set(first[name]).intersection(second[name]) for name in first.keys() & second.keys()}
    named = [f"{name}, frame {min(numbers)}" for name, numbers in sorted(common.items()) if numbers]
    count = sum(map(len, common.values()))
    holds = _holds(count, first, second)
    return Finding(f"{b}: frames of {a}, by name", f"{count} of {total}", "0", holds, tuple(named[:_NAMED]))


def _same_recordings(
    a: str, b: str, first: Sequence[SequenceInfo], second: Sequence[SequenceInfo], reason: str
) -> Finding:
    recorded = {s.source or s.name: s.name for s in reversed(first)}
    shared = [s for s in second if (s.source or s.name) in recorded]
    named = [f"{s.name} is of one recording with {recorded[s.source or s.name]} of {a}" for s in shared[:_NAMED]]
    return Finding(
        f"{b}: sequences of a recording in {a}",
        f"{len(shared)} of {len(second)}",
        "some, by design" if reason else "0",
        None if reason else _holds(len(shared), first, second),
        tuple([reason, *named] if reason else named),
    )


def _holds(count: int, first: object, second: object) -> bool | None:
    """Return whether nothing is shared; None if one side is empty, which shows nothing."""
    return count == 0 if count or (first and second) else None


@dataclass
class _Hashes:
    """The hash of every frame of a split that could be read, and where it lies."""

    split: str
    values: array[int] = field(default_factory=lambda: array("Q"))
    runs: list[tuple[str, Sequence[int]]] = field(default_factory=list)
    """The frames that the hashes are of, in order."""
    problems: list[str] = field(default_factory=list)
    unread: int = 0

    def add(self, dataset: Dataset, frames: Mapping[str, Sequence[int]]) -> Iterator[int]:
        """Read and hash frames; yield how many were dealt with. A sequence is left at the first frame that fails."""
        for sequence, numbers in frames.items():
            for start in range(0, len(numbers), _CHUNK):
                chunk = numbers[start : start + _CHUNK]
                try:
                    pictures = dataset.read(sequence, list(chunk), "frames")
                    check_array(pictures, BUILT_IN["frames"], len(chunk), sequence)
                except Exception as error:
                    remaining = len(numbers) - start
                    self.unread += remaining
                    self.problems.append(
                        str(error) if isinstance(error, DataError) else f"{sequence}: {describe(error)}"
                    )
                    yield remaining
                    break
                self.values.extend(map(_hash, pictures))
                self.runs.append((sequence, chunk))
                yield len(chunk)

    def frame(self, row: int) -> str:
        """Return the name of the frame that a hash is of."""
        for sequence, numbers in self.runs:
            if row < len(numbers):
                return f"{sequence}, frame {numbers[row]}"
            row -= len(numbers)
        raise IndexError(row)

    def readable(self) -> Finding:
        """Return the finding about frames that could not be read."""
        holds = self.unread == 0 if self.unread or self.values else None
        name = f"{self.split}: frames that do not decode"
        return Finding(name, str(self.unread), "0", holds, tuple(self.problems[:_NAMED]))


def _same_pixels(a: _Hashes, b: _Hashes, reason: str) -> Finding:
    first, second = np.frombuffer(a.values, np.uint64), np.frombuffer(b.values, np.uint64)
    equal = np.flatnonzero(np.isin(second, first) & (second != _PLAIN))
    plain, count = int((second == _PLAIN).sum()), len(equal)
    pairs = [(row, int(np.flatnonzero(first == second[row])[0])) for row in equal[:_NAMED]]
    named = [f"{b.frame(row)} is {a.frame(twin)} of {a.split}" for row, twin in pairs]
    counts = f"{count} of {len(second)} ({a.split} has {len(first)})"
    counts += f"; {plain} of a single colour left out" if plain else ""
    holds = None if reason and count else _holds(count, len(first), len(second))
    return Finding(f"{b.split}: frames of {a.split}, by pixels", counts, "0", holds, tuple(named))


def _hash(picture: NDArray[np.uint8]) -> int:
    """Return a hash of size and pixels; ``_PLAIN`` for a picture of a single colour."""
    if (picture == picture[:1, :1]).all():
        return _PLAIN
    digest = hashlib.blake2b(picture.tobytes(), digest_size=8, key=repr(picture.shape).encode())
    return int.from_bytes(digest.digest(), "big") or 1
