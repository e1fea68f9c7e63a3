"""A result folder: written atomically, read strictly. See docs/results.md for the format.

::

    run.json              what this is a result of; written first
    units/000017.jsonl    the rows of 16 clips; the file existing means the unit is complete; in an archive, .jsonl.gz
    features/000017.safetensors   vectors of set metrics, which the rows name by digest
    attempts/*.json       one per process: host, versions, the sha256 of each unit it published, the stamp of its data
    summary.json          written by whoever finds every unit there
    set-aside/            units of data that have changed since
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vpbench.errors import ResultError
from vpbench.files import UNIT, canonical, write_atomic, write_errors, write_exclusive
from vpbench.plugin.set_metric import FeatureSet
from vpbench.protocol.units import UNIT_CLIPS, ManifestEntry
from vpbench.results.features import read_features
from vpbench.results.reading import read_attempt, read_digest, read_run, read_text
from vpbench.results.records import AttemptRecord, RunRecord
from vpbench.results.rows import ALL_STEPS, Row, read_rows

_CLAIMS = 256
"""The most units of one record."""


class Store:
    """One result folder; ``run`` is its ``run.json``."""

    def __init__(self, folder: Path, run: RunRecord) -> None:
        self.folder = folder
        self.run = run

    @classmethod
    def create(cls, folder: Path, run: RunRecord) -> Store:
        """Begin a result, or resume the existing one.

        Raises:
            ResultError: the folder holds another result, one of a newer schema, or cannot be written.
        """
        path = folder / "run.json"
        text = _run_text(run)
        with write_errors(folder):
            (folder / "units").mkdir(parents=True, exist_ok=True)
            (folder / "attempts").mkdir(exist_ok=True)
        if not os.path.lexists(path):
            write_atomic(path, text)
        existing = read_run(path)
        if existing.identity != run.identity:  # prose may change; what decides the numbers may not
            raise ResultError(f"{path} describes another result than this run; choose another folder, or remove it")
        return cls(folder, existing)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open a result for reading.

        Raises:
            ResultError: it is not a result folder, or of a newer schema.
        """
        path = folder / "run.json"
        if not os.path.lexists(path):
            raise ResultError(f"{folder} is not a result: there is no run.json in it")
        return cls(folder, read_run(path))

    @property
    def units(self) -> int:
        """The number of units that a complete result has."""
        return -(-len(self.run.manifest) // UNIT_CLIPS)

    def unit_path(self, number: int) -> Path:
        """Return the file of a unit; in an archive, that is a compressed one."""
        path = self.folder / "units" / f"{number:06d}.jsonl"
        archived = path.with_name(f"{path.name}.gz")
        return archived if os.path.lexists(archived) and not os.path.lexists(path) else path

    def published(self) -> list[int]:
        """Return the numbers of the units that are there, ascending."""
        with suppress(OSError):  # there is no folder that can be listed
            names = {path.name.removesuffix(".gz") for path in (self.folder / "units").iterdir()}
            return [number for number in range(self.units) if f"{number:06d}.jsonl" in names]
        return []

    def without_features(self) -> frozenset[int]:
        """Return the numbers of the units that a set metric scored and whose features somebody removed."""
        if all(metric.kind != "set" for metric in self.run.metrics.values()):
            return frozenset()
        return frozenset(number for number in self.published() if not os.path.lexists(self.features_path(number)))

    def features_path(self, number: int) -> Path:
        """Return the file of a unit's features."""
        return self.folder / "features" / f"{number:06d}.safetensors"

    def publish(self, number: int, rows: Sequence[Row], attempt: Attempt, stamp: str, features: bytes = b"") -> None:
        """Publish the rows of a unit: one atomic rename; the claim in ``attempts/`` and the features come first.

        ``stamp`` is that of the data, which :meth:`stamps` returns to later processes.

        Raises:
            ResultError: another process published other rows, or the disk is full or read-only.
        """
        ordered = sorted(rows, key=lambda r: (r["clip"], r.get("sample", 0), r["step"], r["metric"]))
        text = "".join(canonical(row) + "\n" for row in ordered)
        path = self.unit_path(number)
        if not os.path.lexists(self.folder / "run.json"):  # a process that failed took it for empty
            Store.create(self.folder, self.run)
        attempt.claim(number, hashlib.sha256(text.encode()).hexdigest(), stamp)
        features_path = self.features_path(number)
        if features and not (os.path.lexists(path) and os.path.lexists(features_path)):
            write_atomic(features_path, features)
        if write_exclusive(path, text):
            return
        if (published := read_text(path, UNIT)) != text:
            copy = attempt.path.with_name(f"{attempt.path.stem}-unit-{number:06d}.jsonl")
            attempt.withdraw(number)
            write_atomic(copy, text)
            lines = zip(published.split("\n"), text.split("\n"), strict=False)
            first = next((i for i, (a, b) in enumerate(lines, 1) if a != b), "the last")
            raise ResultError(
                f"{path} was published with other rows than this process computed, see {copy} (they differ from line "
                f"{first}); one identity must give one result: find out which machine is wrong and remove its unit"
            )

    def remove_if_empty(self) -> None:
        """Remove a result that has neither a unit nor an attempt, and the folders that are empty then."""
        parts = self.folder / "attempts", self.folder / "units"
        with suppress(OSError):  # a folder is gone, or holds other results
            if not any(file for folder in parts for file in folder.iterdir()):
                (self.folder / "run.json").unlink()  # first: a process that misses it makes the folders again
                for folder in (*parts, self.folder, *self.folder.parents[:2]):
                    folder.rmdir()

    def set_aside(self, number: int) -> None:
        """Move a unit, and the summary, out of the way: they are of other data.

        Raises:
            ResultError: the folder cannot be written.
        """
        aside = self.folder / "set-aside"
        with write_errors(aside):
            aside.mkdir(exist_ok=True)
            for path in (self.folder / "summary.json", self.unit_path(number), self.features_path(number)):
                with suppress(FileNotFoundError):  # another process was faster
                    path.replace(aside / f"{path.stem}-{secrets.token_hex(4)}{path.suffix}")

    def stamps(self) -> dict[int, set[str]]:
        """Return the stamps of the data that each unit was computed from, or compared with later."""
        stamps: dict[int, set[str]] = {}
        for attempt in self.attempts():
            for number, stamp in attempt.stamps.items():
                stamps.setdefault(int(number), set()).add(stamp)
        return stamps

    def rows(self) -> Iterator[Row]:
        """Yield every published row, in order.

        Raises:
            ResultError: a unit file that is not what was published.
        """
        for number in self.published():
            yield from self.unit_rows(number)

    def unit_rows(self, number: int) -> list[Row]:
        """Read and check one unit: every clip, step and metric of the manifest, once, and nothing else.

        Raises:
            ResultError: it is cut off, edited, or of another result.
        """
        path, clips = self.unit_path(number), self._clips(number)
        samples, kinds = self.run.identity.samples, Counter(metric.kind for metric in self.run.metrics.values())
        steps = sum(len(entry.steps) for entry in clips)
        count = (steps * kinds["frame"] + len(clips) * kinds["set"]) * samples + steps * kinds["samples"]
        rows = read_rows(path, count)
        expected = {
            (entry.clip, sample, step, name)
            for name, metric in self.run.metrics.items()
            for entry in clips
            for sample in range(1 if metric.kind == "samples" else samples)
            for step in ((ALL_STEPS,) if metric.kind == "set" else entry.steps)
        }
        keys = {(row["clip"], row.get("sample", 0), row["step"], row["metric"]) for row in rows}
        if keys != expected:
            missing = f"{len(expected - keys)} of the {len(expected)} rows of its clips"
            raise ResultError(f"{path} lacks {missing}; remove the file and run again")
        return rows

    def feature_set(self, metric: str, predicted: Mapping[tuple[str, int], str], true: Mapping[str, str]) -> FeatureSet:
        """Return the features of a set metric whose digests the rows name.

        Args:
            metric: its name.
            predicted: digests by (clip, sample).
            true: digests by clip.

        Raises:
            ResultError: a file is missing, or is not what was published.
        """
        units = ((self.features_path(n), [entry.clip for entry in self._clips(n)]) for n in self.published())
        return read_features(metric, units, predicted, true)

    def _clips(self, number: int) -> Sequence[ManifestEntry]:
        return self.run.manifest[number * UNIT_CLIPS : (number + 1) * UNIT_CLIPS]

    def attempts(self) -> list[AttemptRecord]:
        """Return the records of all processes that worked on this result."""
        return [read_attempt(path) for path in sorted((self.folder / "attempts").glob("*.json"))]

    def check_claims(self) -> None:
        """Check that ``run.json`` and every unit file are, byte for byte, what some process said that it worked on.

        Raises:
            ResultError: names the first that is not.
        """
        published = self.published()  # first: a unit that appears from here on has a claim that is not read any more
        run = self.folder / "run.json"
        digest = read_digest(run)
        attempts = [attempt for attempt in self.attempts() if attempt.run == digest]
        if published and not attempts:
            raise ResultError(f"{run} is not what this result was computed with, or attempts/ is missing; run again")
        claims = {claim for attempt in attempts for claim in attempt.units.items()}
        for number in published:
            path = self.unit_path(number)
            if (str(number), read_digest(path)) not in claims:
                raise ResultError(f"{path} is not what was published; remove the file and run again")

    def mixed(self) -> list[str]:
        """Return "LIBRARIES on DEVICE" for the published units, where they are more than one."""
        published = {str(number) for number in self.published()}
        kinds = {
            f"{attempt.engine} on {attempt.device}" for attempt in self.attempts() if published & attempt.units.keys()
        }
        return sorted(kinds) if len(kinds) > 1 else []


def _run_text(run: RunRecord) -> str:
    """Return run.json with one clip of the manifest per line."""
    value = run.to_json()
    manifest = ",\n  ".join(map(canonical, value["manifest"]))
    head = json.dumps({**value, "manifest": 0}, indent=1, allow_nan=False, ensure_ascii=False)
    return head.replace('"manifest": 0', f'"manifest": [\n  {manifest}\n ]') + "\n"


class Attempt:
    """Writes the records of one process, before each publication, so that a kill loses nothing.

    A record is written again for each unit, so a process begins another one before it becomes large.
    """

    def __init__(self, store: Store, process: Mapping[str, Any]) -> None:
        """Begin a record; ``process`` holds the fields of :class:`AttemptRecord` that describe the process."""
        run = hashlib.sha256((store.folder / "run.json").read_bytes()).hexdigest()
        self._folder = store.folder / "attempts"
        self._begin(AttemptRecord(run=run, **process))

    def _begin(self, record: AttemptRecord) -> None:
        self.record = record
        time_of_day = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self.path = self._folder / f"{time_of_day}-{record.host}-{record.pid}-{secrets.token_hex(3)}.json"

    def claim(self, number: int, digest: str, stamp: str) -> None:
        """Record that this process is about to publish a unit: its sha256, and the stamp of its data."""
        self._make_room()
        units = {**self.record.units, str(number): digest}
        self.write(units=units, stamps={**self.record.stamps, str(number): stamp})

    def stamp(self, number: int, stamp: str) -> None:
        """Record the stamp of a unit's data."""
        self._make_room()
        self.write(stamps={**self.record.stamps, str(number): stamp})

    def _make_room(self) -> None:
        if len(self.record.stamps) >= _CLAIMS:
            self._begin(self.record.model_copy(update={"units": {}, "stamps": {}}))

    def withdraw(self, number: int) -> None:
        """Remove a claim: another process has published other rows."""
        units, stamps = ({k: v for k, v in claims.items() if k != str(number)}
                         for claims in (self.record.units, self.record.stamps))  # fmt: skip
        self.write(units=units, stamps=stamps)

    def write(self, **changes: Any) -> None:
        """Change fields of the record, and write it."""
        self.record = self.record.model_copy(update=changes)
        write_atomic(self.path, json.dumps(self.record.to_json(), indent=1, sort_keys=True) + "\n")
