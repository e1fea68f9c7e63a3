"""From sequences to clips: the four sampling kinds as pure functions of raw frame numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vpbench.errors import DataError
from vpbench.plugin.dataset import SequenceInfo
from vpbench.protocol.protocol import Anchored, First, Random, Sampling, Sliding


@dataclass(frozen=True)
class ClipRef:
    """One clip by reference: raw ``frames`` of a sequence, the first ``context`` given, the rest to predict.

    They are evenly spaced; in a window padded at its start the first of them is repeated.
    """

    sequence: str
    frames: tuple[int, ...]
    context: int
    steps: tuple[int, ...]
    """The steps that are scored (1 = the first frame after the context)."""

    @property
    def id(self) -> str:
        """``<sequence>@<first raw frame>``, or what its number would be (-3) where the window is padded."""
        first, second = self.frames[:2]
        if first == second:
            *earlier, before, last = self.frames
            first = before - len(earlier) * (last - before)
        return f"{self.sequence}@{first}"

    @property
    def horizon(self) -> int:
        """The number of steps to predict."""
        return len(self.frames) - self.context


@dataclass(frozen=True)
class Sampled:
    """The clips of a split, and the names of the sequences that were too short for one."""

    clips: tuple[ClipRef, ...]
    dropped: tuple[str, ...]


def sample(sampling: Sampling, sequences: Sequence[SequenceInfo]) -> Sampled:
    """Cut every sequence into clips, in the order of the sequences.

    Raises:
        DataError: a sequence holds no window and the protocol calls that an error.
    """
    clips: list[ClipRef] = []
    dropped: list[str] = []
    for sequence in sequences:
        windows = list(_windows(sampling, sequence))
        clips += windows
        if not windows:
            if sampling.short == "error":
                raise DataError(
                    f"sequence {sequence.name!r} has {len(sequence.frames)} frames and holds no window of this "
                    f"protocol: context {sampling.context}, horizon {sampling.horizon}, "
                    f"frame step {sampling.frame_step}"
                )
            dropped.append(sequence.name)
    return Sampled(tuple(clips), tuple(dropped))


def _windows(sampling: Sampling, sequence: SequenceInfo) -> Iterator[ClipRef]:
    if not len(sequence.frames):
        return
    if isinstance(sampling, Anchored):
        yield from _anchored(sampling, sequence)
        return
    length = sampling.context + sampling.horizon
    steps = tuple(range(1, sampling.horizon + 1))
    exists = _membership(sequence.frames)
    span = (length - 1) * sampling.frame_step

    def window(start: int) -> ClipRef | None:
        numbers = range(start, start + span + 1, sampling.frame_step)
        earliest = next(number for number in numbers if number >= sequence.frames[0])
        frames = tuple(max(number, earliest) for number in numbers)
        return ClipRef(sequence.name, frames, sampling.context, steps) if all(f in exists for f in frames) else None

    first, last = sequence.frames[0], sequence.frames[-1] - span
    if isinstance(sampling, Sliding) and sampling.pad == "replicate":
        first -= (sampling.context - 1) * sampling.frame_step
    match sampling:
        case First():
            starts: Sequence[int] = [first + sampling.start]
        case Sliding():
            starts = range(first + _offset(sampling, last - first), last + 1, sampling.stride)
        case Random():
            starts = [s for s in range(first, last + 1) if window(s) is not None]
            starts = sorted(sorted(starts, key=lambda s: _draw(sampling.seed, sequence.name, s))[: sampling.count])
    for start in starts:
        if (clip := window(start)) is not None:
            yield clip


def _offset(sampling: Sliding, room: int) -> int:
    """Return the first window's start where windows start at 0 to ``room`` (below 0: none fits)."""
    match sampling.start:
        case "centred":
            return max(room, 0) % sampling.stride // 2
        case "from-end":
            return max(room, 0) % sampling.stride
        case start:
            return start


def _anchored(sampling: Anchored, sequence: SequenceInfo) -> Iterator[ClipRef]:
    exists = _membership(sequence.frames)
    target = sequence.frames[0] + sampling.target
    for step in sorted(sampling.steps):
        first = target - (sampling.context - 1 + step) * sampling.frame_step
        frames = tuple(range(first, target + 1, sampling.frame_step))
        if all(f in exists for f in frames):
            yield ClipRef(sequence.name, frames, sampling.context, (step,))


def _membership(frames: Sequence[int]) -> range | frozenset[int]:
    return frames if isinstance(frames, range) else frozenset(frames)


def _draw(seed: int, sequence: str, start: int) -> bytes:
    return hashlib.sha256(f"{seed}/{sequence}/{start}".encode()).digest()
