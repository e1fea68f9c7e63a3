"""The manifest (which clips) and its division into units of work."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, NamedTuple

from pydantic import Field

from vpbench.errors import DataError, Remedy
from vpbench.names import clip_problem
from vpbench.plugin.dataset import Dataset, SequenceInfo
from vpbench.protocol.protocol import Length, Protocol
from vpbench.protocol.sampling import ClipRef, sample
from vpbench.validation import ClipId


class ManifestEntry(NamedTuple):
    """A clip of a run, as ``run.json`` lists it."""

    clip: ClipId
    steps: Annotated[tuple[Length, ...], Field(min_length=1, strict=False)]
    """The scored steps."""
    recording: Annotated[str, Field(min_length=1, max_length=10_000)]
    """The recording that the clip was cut from."""


UNIT_CLIPS = 16
"""Clips that are published together: fixed, whatever the number of processes."""


@dataclass(frozen=True)
class Unit:
    """Clips that are published together."""

    number: int
    clips: tuple[ClipRef, ...]


@dataclass(frozen=True)
class Manifest:
    """The clips of a run, in order. ``partial`` says why they are not the whole test set ("" if they are)."""

    clips: tuple[ClipRef, ...]
    dropped: tuple[str, ...] = ()
    partial: str = ""
    data: str = ""
    """sha256 over all clips that the data give and the stamps of their sequences: the state of the data."""
    sequences: Mapping[str, SequenceInfo] = field(default_factory=dict)
    """The sequences of the clips, by name."""

    @cached_property
    def hash(self) -> str:
        """sha256 of the entries."""
        return hash_entries(self.entries)

    @cached_property
    def entries(self) -> tuple[ManifestEntry, ...]:
        """The clips as ``run.json`` lists them."""
        return tuple(ManifestEntry(ref.id, ref.steps, self.recording(ref.sequence)) for ref in self.clips)

    def recording(self, sequence: str) -> str:
        """Return the recording that a sequence was cut from: itself, unless the dataset knows better."""
        info = self.sequences.get(sequence)
        return (info.source if info else "") or sequence

    def stamp(self, unit: Unit) -> str:
        """Return a digest of the stamps of a unit's sequences: it changes when their files do."""
        names = sorted({ref.sequence for ref in unit.clips})
        stamps = "".join(f"{name} {self.sequences[name].stamp}\n" for name in names)
        return hashlib.sha256(stamps.encode()).hexdigest()[:16]

    @property
    def units(self) -> list[Unit]:
        """The clips in units of ``UNIT_CLIPS``, the last one shorter."""
        starts = range(0, len(self.clips), UNIT_CLIPS)
        return [Unit(i, self.clips[start : start + UNIT_CLIPS]) for i, start in enumerate(starts)]


def build_manifest(
    protocol: Protocol,
    dataset: Dataset,
    *,
    limit: int | None = None,
    allow_partial: bool = False,
    problems: Mapping[str, str] | None = None,
) -> Manifest:
    """List the clips of a protocol's test split.

    Args:
        protocol: the protocol.
        dataset: the opened dataset.
        limit: take that many clips, spread evenly over all: a look, not a result.
        allow_partial: leave out what is missing or unreadable and say so, instead of failing.
        problems: sequences that turned out to be unreadable, each with its problem.

    Raises:
        DataError: sequences that cannot be read, a clip count other than the protocol's, no clip at all, two clips
            with one id.
    """
    reasons: list[str] = []
    listed = dataset.sequences(protocol.dataset.split)
    sequences = [_named(replace(s, problem=problems[s.name]) if problems and s.name in problems else s) for s in listed]
    broken = [s for s in sequences if s.problem]
    if broken and not allow_partial:
        count = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise DataError(f"{broken[0].problem}{count}; allow a partial result to leave it out", Remedy.ALLOW_PARTIAL)
    if broken:
        reasons.append(f"{len(broken)} unreadable sequences left out")
    sampled = sample(protocol.sampling, [s for s in sequences if not s.problem])
    clips = sampled.clips
    if not clips:
        window = protocol.sampling
        reason = f"{len(sampled.dropped)} are too short for {window.context} + {window.horizon} frames "
        reason += f"at frame step {window.frame_step}"
        if broken:
            reason += f"; {len(broken)} are missing or unreadable: {broken[0].problem}"
        raise DataError(
            f"protocol {protocol.name}: no clip in {len(sequences)} sequences of {protocol.dataset.name} "
            f"(split {protocol.dataset.split!r}; {reason})"
        )
    if protocol.clips is not None and len(clips) != protocol.clips:
        if not allow_partial:
            raise DataError(
                f"protocol {protocol.name} has {protocol.clips} clips, the data give {len(clips)}: complete the data, "
                f"or allow a partial result, which is marked partial and never ranked",
                Remedy.ALLOW_PARTIAL,
            )
        reasons.append(f"{len(clips)} of {protocol.clips} clips")
    _check_unique(clips)
    stamps = "".join(f"{sequence.name} {sequence.stamp}\n" for sequence in sequences)
    state = hashlib.sha256(f"{_hash(clips)}\n{stamps}".encode()).hexdigest()
    if limit is not None and limit < len(clips):
        reasons.append(f"limited to {limit} of {len(clips)} clips")
        clips = tuple(clips[i * len(clips) // limit] for i in range(limit))
    by_name = {sequence.name: sequence for sequence in sequences}
    return Manifest(clips, sampled.dropped, "; ".join(reasons), state, by_name)


def hash_entries(entries: Sequence[ManifestEntry]) -> str:
    """Return the sha256 of a manifest's entries."""
    text = json.dumps(list(entries), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _hash(clips: Sequence[ClipRef]) -> str:
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(f"{clip.id} {clip.frames} {clip.context} {clip.steps}\n".encode())
    return digest.hexdigest()


def _named(sequence: SequenceInfo) -> SequenceInfo:
    """Return a sequence whose name can be the id of clips; another one is a problem, shown readably."""
    try:
        sequence.name.encode()
    except UnicodeEncodeError:
        name = sequence.name.encode("utf-8", "backslashreplace").decode()
        return SequenceInfo(name, range(0), f"{name}: the name of the file is not UTF-8; rename it")
    if problem := clip_problem(sequence.name):
        return SequenceInfo(sequence.name, range(0), f"{sequence.name!r} cannot name a sequence: {problem}; rename it")
    return sequence


def _check_unique(clips: Sequence[ClipRef]) -> None:
    ids = Counter(clip.id for clip in clips)
    if duplicates := [clip_id for clip_id, count in ids.items() if count > 1]:
        raise DataError(f"two clips have the id {duplicates[0]!r}: sequence names must be unique")
