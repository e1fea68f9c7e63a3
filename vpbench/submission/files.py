"""Look at the files of a bundle before anything in them is read: names, kinds and sizes."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vpbench.errors import ResultError
from vpbench.files import GZIP_HEADER, kind_of
from vpbench.output import brief
from vpbench.results.card import CARD
from vpbench.results.store import Store

MAX_FILES = 20_000
"""Files and folders of a bundle: about 150 000 clips with features."""
MAX_BYTES = 256 * 2**20
"""Bytes of a bundle, compressed as it is."""
_DEPTH = 8
"""Folders within each other; an archive has five."""
_NAMED = 10
"""Foreign files that are listed by name."""
_ATTEMPT = re.compile(r"attempts/\d{2,4}\.json")


@dataclass(frozen=True)
class BundleFile:
    """A file of a bundle: its name below the folder, and its size in bytes."""

    name: str
    size: int


def list_files(folder: Path, max_files: int | None = None, max_bytes: int | None = None) -> list[BundleFile]:
    """Return the files of a folder, sorted by name; nothing is opened, and no link is followed.

    Args:
        folder: a bundle, or an archive of bundles.
        max_files: files and folders that it may have; by default those of a bundle.
        max_bytes: bytes that it may have; by default those of a bundle.

    Raises:
        ResultError: the folder, or anything in it, is a link or a special file; there are too many, or too large ones.
    """
    if kind := _kind(folder.lstat().st_mode, folder=True) if os.path.lexists(folder) else "missing":
        raise ResultError(f"{folder} is {kind}, not a folder of bundles")
    max_files, max_bytes = max_files or MAX_FILES, max_bytes or MAX_BYTES
    bundle_files: list[BundleFile] = []
    for count, (path, status) in enumerate(_entries(folder), 1):
        if count > max_files:
            raise ResultError(f"{folder} holds more than {max_files} files and folders: no bundle does")
        name = path.relative_to(folder).as_posix()
        if stat.S_ISDIR(status.st_mode):
            continue
        if kind := _kind(status.st_mode):
            raise ResultError(f"{folder}: {brief(name)} is {kind}: a bundle holds regular files only; remove it")
        bundle_files.append(BundleFile(name, status.st_size))
    total = sum(file.size for file in bundle_files)
    if total > max_bytes:
        raise ResultError(f"{folder} has {total // 2**20} MiB: a bundle may have {max_bytes // 2**20} MiB")
    return sorted(bundle_files, key=lambda file: file.name)


def _kind(mode: int, *, folder: bool = False) -> str:
    if stat.S_ISLNK(mode):
        return "a link"
    if folder:
        return "" if stat.S_ISDIR(mode) else "a file"
    return kind_of(mode)


def _entries(folder: Path, depth: int = 1) -> Iterator[tuple[Path, os.stat_result]]:
    if depth > _DEPTH:
        raise ResultError(f"{folder} lies too deep: no bundle nests {_DEPTH} folders")
    with os.scandir(folder) as entries:
        for entry in entries:
            yield Path(entry), entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry), depth + 1)


def name_faults(bundle_files: list[BundleFile], store: Store) -> list[str]:
    """Return a line for each file that a bundle lacks, or that does not belong to it."""
    names = {file.name for file in bundle_files}
    units = range(store.units)
    expected = {"run.json", "summary.json", CARD, *(f"units/{number:06d}.jsonl.gz" for number in units)}
    if any(metric.kind == "set" for metric in store.run.metrics.values()):
        expected |= {f"features/{number:06d}.safetensors" for number in units}
    foreign = sorted(name for name in names - expected if not _ATTEMPT.fullmatch(name))
    faults = [f"{brief(name)}: a bundle has no such file; remove it" for name in foreign[:_NAMED]]
    if len(foreign) > _NAMED:
        faults.append(f"{len(foreign) - _NAMED} more files do not belong to a bundle")
    missing = sorted(expected - names)
    faults += [f"{name}: it is missing" for name in missing[:_NAMED]]
    if len(missing) > _NAMED:
        faults.append(f"{len(missing) - _NAMED} more files are missing")
    return faults


def header_faults(folder: Path, bundle_files: list[BundleFile]) -> list[str]:
    """Return a line for the first compressed file with a time or a name in its header, which is never the same twice.

    The first eight bytes hold flags and time; the next two depend on the program that compressed the file.
    """
    for file in bundle_files:
        if file.name.endswith(".gz"):
            with (folder / file.name).open("rb") as stream:
                if stream.read(8) != GZIP_HEADER[:8]:
                    return [f"{brief(file.name)}: its gzip header is not the one that vpbench writes; pack it again"]
    return []
