"""The checks of a dataset, on the data at its root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbench.clips.decoding import decode, read_checked, spread
from vpbench.errors import one_line, type_name
from vpbench.names import clip_problem
from vpbench.plugin.dataset import BaseDataset, Dataset, DatasetInfo, SequenceInfo
from vpbench.plugin.loader import Plugins
from vpbench.plugin.members import member
from vpbench.plugin.modality import BUILT_IN
from vpbench.plugin.process_state import other_randomness, settings_changes
from vpbench.select.data import open_dataset
from vpbench.select.index import index_of
from vpbench.select.options import validate_options
from vpbench.testing.check import BreachError, Check, NotApplicableError, checks_into
from vpbench.testing.components import pickled, report_changes

CHECKS: list[Check[DatasetSubject]] = []
"""In the order in which they run."""
_check = checks_into(CHECKS)


@dataclass(frozen=True)
class DatasetSubject:
    """A registered dataset at its root."""

    plugins: Plugins
    text: str
    options: Mapping[str, Any] = field(default_factory=dict)
    roots: Mapping[str, Path] = field(default_factory=dict)
    """By dataset; under ``""`` the root of any."""
    extra: Sequence[str] = ()
    """Plugins that are not installed: files or modules."""

    def open(self) -> Dataset:
        """Return a new reader of the data."""
        return open_dataset(self.plugins, self.text, self.options, self.roots)

    @cached_property
    def dataset(self) -> Dataset:
        """The reader that most checks share."""
        return self.open()

    @cached_property
    def index(self) -> dict[str, list[SequenceInfo]]:
        """The sequences of every split."""
        return {split: list(self.dataset.sequences(split)) for split in self.dataset.info.splits}

    def readable(self) -> Iterator[SequenceInfo]:
        """Yield the first, middle and last readable sequence of every split."""
        for sequences in self.index.values():
            yield from spread([s for s in sequences if not s.problem and len(s.frames)])

    def frames(self, dataset: Dataset, sequence: SequenceInfo) -> NDArray[Any]:
        """Return the first, middle and last frame of a sequence."""
        return read_checked(dataset, sequence.name, spread(sequence.frames), BUILT_IN["frames"])


@_check(
    "builds",
    "It can be opened, and its `info` is a `vpbench.DatasetInfo` with frames and distinct splits.",
    gate=True,
)
def _builds(subject: DatasetSubject) -> None:
    info = subject.dataset.info
    if not isinstance(info, DatasetInfo):
        raise BreachError(f"its `info` must be a vpbench.DatasetInfo, not {type_name(info)}")
    if "frames" not in info.context_modalities:
        raise BreachError("its `info.modalities` lacks frames, or has them for target frames only: every clip has them")
    if not info.splits:
        raise BreachError("its `info.splits` is empty: name at least one")
    if len(set(info.splits)) < len(info.splits):
        raise BreachError(f"its `info.splits` is {info.splits}: name each split once")


@_check("options", "Options survive JSON, since protocols and results record them so.")
def _options(subject: DatasetSubject) -> None:
    model = member(subject.plugins.load("dataset", subject.text), BaseDataset, "Options")
    if model is None:
        raise NotApplicableError("it has no options")
    values = json.loads(validate_options(model, subject.options, subject.text).model_dump_json())
    repeated = json.loads(validate_options(model, values, subject.text).model_dump_json())
    if changed := [name for name, value in values.items() if repeated[name] != value]:
        raise BreachError(f"the option {changed[0]!r} differs once read back from JSON: use types that JSON holds")


@_check("sequences", "Every split has readable sequences with ascending frame numbers.", gate=True)
def _sequences(subject: DatasetSubject) -> None:
    for split, sequences in subject.index.items():
        wrong = [type_name(s) for s in sequences if not isinstance(s, SequenceInfo)]
        if wrong:
            raise BreachError(f"split {split!r} lists a {wrong[0]}: list vpbench.SequenceInfo objects")
        readable = [s for s in sequences if not s.problem]
        if not readable:
            reason = f"no readable sequence: {sequences[0].problem}" if sequences else "no sequences"
            raise BreachError(f"split {split!r} has {reason}: complete the data, or leave it out of `info.splits`")
        for sequence in readable:
            _check_frames(split, sequence)


def _check_frames(split: str, sequence: SequenceInfo) -> None:
    frames = sequence.frames
    if not len(frames):
        raise BreachError(f"split {split!r}, {sequence.name!r} has no frames: say why in `problem`, or leave it out")
    ascends = frames.step > 0 if isinstance(frames, range) else all(np.diff(np.asarray(frames)) > 0)
    if not ascends:
        raise BreachError(f"split {split!r}, {sequence.name!r}: its frame numbers do not ascend: sort them")


@_check("names", "The names of sequences are unique in a split, and paths below a folder.")
def _names(subject: DatasetSubject) -> None:
    for split, sequences in subject.index.items():
        name, count = Counter(s.name for s in sequences).most_common(1)[0]
        if count > 1:
            raise BreachError(f"split {split!r} has {count} sequences named {name!r}: clips need unique names")
        for sequence in sequences:
            if problem := clip_problem(sequence.name):
                raise BreachError(f"split {split!r}: {one_line(repr(sequence.name))} cannot name a sequence: {problem}")


@_check("order", "Sequences are sorted by name.")
def _order(subject: DatasetSubject) -> None:
    for split, sequences in subject.index.items():
        names = [sequence.name for sequence in sequences]
        for name, expected in zip(names, sorted(names), strict=True):
            if name != expected:
                raise BreachError(f"split {split!r} lists {name!r} before {expected!r}: sort by name")


@_check("stable index", "A second reader lists the same sequences.")
def _stable(subject: DatasetSubject) -> None:
    with other_randomness(1):
        dataset = subject.open()
        for split, sequences in subject.index.items():
            _same_index(split, sequences, list(dataset.sequences(split)), "a second reader")
            _same_index(split, sequences, list(dataset.sequences(split)), "a second call")


def _same_index(split: str, first: Sequence[SequenceInfo], second: Sequence[SequenceInfo], whose_index: str) -> None:
    if first == second:
        return
    pairs = zip(first, second, strict=False)
    name = next((a.name for a, b in pairs if a != b), f"sequence {min(len(first), len(second)) + 1}")
    raise BreachError(
        f"split {split!r}: {whose_index} lists other sequences, from {one_line(name)!r}: let the index follow "
        f"from files and options alone"
    )


@_check("fresh process", "Another process lists the same sequences.")
def _fresh(subject: DatasetSubject) -> None:
    root = {name: str(path) for name, path in subject.roots.items()}
    request = {"extra": list(subject.extra), "name": subject.text, "options": dict(subject.options), "roots": root}
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.run(
        [sys.executable, "-m", "vpbench.select.index"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if process.returncode:
        last_line = (process.stderr.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise BreachError(f"it cannot be opened in another process: {one_line(last_line)}")
    if json.loads(process.stdout) != index_of(subject.dataset):
        raise BreachError("another process lists other sequences: do not depend on hash() or the order of sets")


@_check("decoding", "First, middle and last frames of every split decode as declared, in every modality.", gate=True)
def _decoding(subject: DatasetSubject) -> None:
    for sequence in subject.readable():
        decode(subject.dataset, sequence)


@_check("purity", "The same frames read again, alone or after others, are the same.")
def _purity(subject: DatasetSubject) -> None:
    for sequence in subject.readable():
        first = subject.frames(subject.dataset, sequence).copy()
        subject.dataset.read(sequence.name, list(sequence.frames[:1]), "frames")
        with other_randomness(1):
            repeated = subject.frames(subject.dataset, sequence)
        if not np.array_equal(first, repeated):
            raise BreachError(f"{sequence.name!r}: the same frames differ when read again: draw no random numbers")
        for place, number in enumerate(spread(sequence.frames)):
            single = read_checked(subject.dataset, sequence.name, [number], BUILT_IN["frames"])
            if not np.array_equal(first[place], single[0]):
                raise BreachError(f"{sequence.name!r}: frame {number} read alone differs from the one in a window")


@_check("own arrays", "Arrays that were returned can be written to without an effect on later reads.")
def _arrays(subject: DatasetSubject) -> None:
    for sequence in subject.readable():
        array = subject.frames(subject.dataset, sequence)
        before = array.copy()
        if array.flags.writeable:
            array[:] = 255 - array
        if not np.array_equal(before, subject.frames(subject.dataset, sequence)):
            raise BreachError(f"{sequence.name!r}: what a caller writes into an array is read again: return copies")


@_check("pickling", "It can be pickled, since reading processes hold copies; the copy reads the same.")
def _pickling(subject: DatasetSubject) -> None:
    copied = pickled(subject.dataset)
    for split, sequences in subject.index.items():
        _same_index(split, sequences, list(copied.sequences(split)), "its pickled copy")
    for sequence in subject.readable():
        if not np.array_equal(subject.frames(subject.dataset, sequence), subject.frames(copied, sequence)):
            raise BreachError(f"{sequence.name!r}: the pickled copy reads other frames: keep all that decides in it")


@_check("root", "It never writes to its root.")
def _root(subject: DatasetSubject) -> None:
    root = subject.roots.get(subject.text, subject.roots.get(""))
    if root is None or not subject.dataset.info.needs_root:
        raise NotApplicableError("it has no root" if root is None else "it needs no root")
    before, dataset = _listing(root), subject.open()
    for sequences in map(dataset.sequences, dataset.info.splits):
        for sequence in spread([s for s in sequences if not s.problem]):
            subject.frames(dataset, sequence)
    after = _listing(root)
    if changed := sorted({path for path, _ in before.items() ^ after.items()}):
        raise BreachError(f"it writes to its root: {changed[0]}: write to a cache folder of the user's instead")


def _listing(root: Path) -> dict[str, tuple[int, int]]:
    paths = [root, *root.rglob("*")] if root.is_dir() else [root]
    states = {path: path.lstat() for path in paths}
    return {str(path.relative_to(root)): (state.st_size, state.st_mtime_ns) for path, state in states.items()}


@_check("state", "Reading leaves settings and random states of the process as they are.")
def _state(subject: DatasetSubject) -> None:
    with settings_changes() as changes:
        dataset = subject.open()
        for split in dataset.info.splits:
            dataset.sequences(split)
        for sequence in subject.readable():
            dataset.read(sequence.name, list(spread(sequence.frames)), "frames")
    report_changes("read", changes)
