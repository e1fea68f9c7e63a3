"""Which clips are trained on: the training and validation sequences, and random windows of them, epoch by epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import DataError, UsageError, did_you_mean
from vpbench.plugin.dataset import Dataset, SequenceInfo
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.sampling import ClipRef
from vpbench.protocol.units import Manifest


@dataclass(frozen=True)
class TrainingClips:
    """The windows of an epoch: drawn at random, in an order that follows from (seed, stage, epoch) alone."""

    sequences: tuple[SequenceInfo, ...]
    starts: tuple[Sequence[int], ...]
    """For each sequence, the raw frames that a window may begin with."""
    slots: NDArray[np.int64]
    """[S] indices of sequences: each as often as it holds windows side by side."""
    context: int
    horizon: int
    frame_step: int
    per_epoch: int
    seed: int

    @classmethod
    def of(
        cls,
        protocol: Protocol,
        sequences: Sequence[SequenceInfo],
        seed: int,
        frames: int | None = None,
        per_epoch: int | None = None,
    ) -> TrainingClips:
        """Find the windows of the protocol's context, horizon and frame step.

        Args:
            protocol: with a training split.
            sequences: of that split.
            seed: of the draws.
            frames: frames of a window, if its future differs from the protocol's horizon.
            per_epoch: clips of an epoch; by default the protocol's number.

        Raises:
            UsageError: a window has no future. DataError: no sequence is long enough.
        """
        sampling = protocol.sampling
        horizon = sampling.horizon if frames is None else frames - sampling.context
        if horizon < 1:
            raise UsageError(
                f"protocol {protocol.name}: training clips of {frames} frames have no future after {sampling.context} "
                f"context frames: choose longer clips"
            )
        span = (sampling.context + horizon - 1) * sampling.frame_step
        windows = [(s, _starts(s.frames, span, sampling.frame_step)) for s in sequences]
        usable = [(s, starts) for s, starts in windows if len(starts)]
        if not usable:
            advice = "" if frames is None else ": train on shorter clips"
            raise DataError(
                f"protocol {protocol.name}: none of {len(sequences)} training sequences holds {sampling.context} + "
                f"{horizon} frames at frame step {sampling.frame_step}{advice}"
            )
        counts = [1 + (starts[-1] - starts[0]) // (span + 1) for _, starts in usable]
        slots = np.repeat(np.arange(len(usable)), counts)
        per_epoch = per_epoch or protocol.training.clips or len(slots)
        return cls(
            tuple(s for s, _ in usable),
            tuple(starts for _, starts in usable),
            slots,
            sampling.context,
            horizon,
            sampling.frame_step,
            per_epoch,
            seed,
        )

    def batches(self, batch_size: int, accumulate: int) -> int:
        """Return the number of batches of an epoch, which is a multiple of ``accumulate``.

        Raises:
            UsageError: an epoch does not hold one optimizer step.
        """
        steps = self.per_epoch // (batch_size * accumulate)
        if not steps:
            raise UsageError(
                f"an epoch of {self.per_epoch} clips does not hold one step of {batch_size} clips x {accumulate} "
                f"batches: use smaller or fewer accumulated batches, or an epoch of more clips"
            )
        return steps * accumulate

    @property
    def hash(self) -> str:
        """sha256 of the sequences and their windows."""
        lines = [f"{s.name} {list(starts)}" for s, starts in zip(self.sequences, self.starts, strict=True)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def draw(self, stage: int, epoch: int) -> list[ClipRef]:
        """Return the clips of an epoch, in order: each slot once, then again where the epoch is longer.

        A clip's ``context`` is the whole window: past and future frames are read, and annotated, together.
        """
        digest = hashlib.sha256(f"{self.seed}/{stage}/{epoch}".encode()).digest()
        bits = np.random.Philox(key=int.from_bytes(digest[:16], "big"))  # raw bits: the same on every numpy
        passes = -(-self.per_epoch // len(self.slots))
        order = [np.argsort(bits.random_raw(len(self.slots)), kind="stable") for _ in range(passes)]
        chosen = self.slots[np.concatenate(order)[: self.per_epoch]]
        draws = bits.random_raw(self.per_epoch)
        return [self._window(int(i), int(draw)) for i, draw in zip(chosen, draws, strict=True)]

    def _window(self, index: int, draw: int) -> ClipRef:
        starts, length = self.starts[index], self.context + self.horizon
        first = starts[draw % len(starts)]
        frames = tuple(range(first, first + length * self.frame_step, self.frame_step))
        return ClipRef(self.sequences[index].name, frames, length, ())


def _starts(frames: Sequence[int], span: int, step: int) -> Sequence[int]:
    """Return the raw frames from which a window of ``span`` + 1 raw frames has all its frames."""
    if not len(frames):
        return range(0)
    first, last = frames[0], frames[-1]
    if last - first + 1 == len(frames):
        return range(first, max(first, last - span + 1))
    exists = frozenset(frames)
    return [f for f in frames if all(f + k in exists for k in range(0, span + 1, step))]


def training_protocol(protocol: Protocol) -> Protocol:
    """Return the protocol with its training split in place of the scored one.

    Raises:
        UsageError: they are the same.
    """
    split = protocol.training.split
    if split == protocol.dataset.split:
        raise UsageError(
            f"protocol {protocol.name} scores the split {split!r} and cannot train on it: name another one in its "
            f"[training] table, split = ..."
        )
    return _on(protocol, split)


def validation_protocol(protocol: Protocol, dataset: Dataset) -> Protocol:
    """Return the protocol on its validation split: that of the training sequences where a part of them is held out.

    Raises:
        UsageError: the named one is the scored one, or does not exist.
    """
    named, splits = protocol.training.validation, dataset.info.splits
    if named == protocol.dataset.split:
        raise UsageError(f"protocol {protocol.name}: [training] validation: {named!r} is the split that is scored")
    if named and named not in splits:
        raise UsageError(
            f"protocol {protocol.name}: {protocol.dataset.name!r} has no split {named!r} to validate on"
            f"{did_you_mean(named, splits)}"
        )
    default = "val" if "val" in splits and protocol.dataset.split != "val" else protocol.training.split
    return _on(protocol, named or default)


def _on(protocol: Protocol, split: str) -> Protocol:
    dataset = protocol.dataset.model_copy(update={"split": split})
    sampling = protocol.sampling.model_copy(update={"short": "drop"})
    return protocol.model_copy(update={"dataset": dataset, "sampling": sampling, "clips": None})


def split_sequences(
    protocol: Protocol, dataset: Dataset
) -> tuple[list[SequenceInfo], list[SequenceInfo], list[SequenceInfo]]:
    """Return the sequences to train on, those to validate on, and those of both that cannot be read.

    Raises:
        UsageError: the dataset has no such splits. DataError: there is no sequence to train or to validate on.
    """
    split, splits = training_protocol(protocol).dataset.split, dataset.info.splits
    if split not in splits:
        way = "name one in the protocol's [training] table, split = ..."
        if not set(splits) - {protocol.dataset.split}:
            way = "train on another protocol; the weights can be evaluated on this one"
        raise UsageError(
            f"protocol {protocol.name}: {protocol.dataset.name!r} has no split {split!r} to train on (it has "
            f"{', '.join(splits)}); {way}"
        )
    train = list(dataset.sequences(split))
    validation = validation_protocol(protocol, dataset).dataset.split
    if validation != split:
        val = list(dataset.sequences(validation))
    else:
        val = _held_out([s for s in train if not s.problem], protocol.training.held_out)
        names = {s.name for s in val}
        train = [s for s in train if s.name not in names]
    good = [[s for s in sequences if not s.problem] for sequences in (train, val)]
    purposes = f"train on (split {split!r})", f"validate on (split {validation!r})"
    for sequences, purpose in zip(good, purposes, strict=True):
        if not sequences:
            raise DataError(f"protocol {protocol.name}: {protocol.dataset.name!r} has no sequence here to {purpose}")
    return good[0], good[1], [s for s in (*train, *val) if s.problem]


def _held_out(sequences: Sequence[SequenceInfo], fraction: float) -> list[SequenceInfo]:
    """Return the sequences whose name hashes below ``fraction``; if there are none, the one of the lowest hash.

    Adding data therefore moves a sequence between the splits only while there are few.
    """
    low = {s.name: hashlib.sha256(s.name.encode()).digest()[:8] for s in sequences}
    bound = int(fraction * 2**64).to_bytes(8, "big")
    first = min(low.values(), default=b"")
    return [s for s in sequences if low[s.name] < bound or low[s.name] == first]


def training_manifest(protocol: Protocol, dataset: Dataset) -> Manifest:
    """Return "clips" that cover every frame, and every pair of sampled frames, of the training sequences.

    They are the content of a prepared store for training, which includes held-out sequences.
    """
    sequences = [s for s in dataset.sequences(training_protocol(protocol).dataset.split) if not s.problem]
    step = protocol.sampling.frame_step
    refs = [
        ClipRef(s.name, run, len(run), ())
        for s in sequences
        for phase in range(step)
        for run in _runs(s.frames, phase, step)
    ]
    state = "".join(f"{s.name} {s.frames} {s.stamp}\n" for s in sequences)
    return Manifest(tuple(refs), data=hashlib.sha256(f"train {step}\n{state}".encode()).hexdigest())


def validation_manifest(manifest: Manifest) -> Manifest:
    """Return the manifest of validation clips, with a store that holds these clips of the split and no others."""
    return replace(manifest, data=hashlib.sha256(f"{manifest.data} {manifest.hash}".encode()).hexdigest())


def _runs(frames: Sequence[int], phase: int, step: int) -> list[tuple[int, ...]]:
    """Return the frames of one phase (frame number modulo ``step``) in unbroken runs."""
    phase_frames = [f for f in frames if f % step == phase]
    runs = groupby(enumerate(phase_frames), key=lambda pair: pair[1] - pair[0] * step)
    return [tuple(frame for _, frame in run) for _, run in runs]
