"""Listing the folders of a data root, for dataset authors: fast, and never out of the root."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vpbench.errors import DataError
from vpbench.files import kind_of

_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@dataclass(frozen=True)
class Listing:
    """The names in one folder, each kind sorted."""

    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    """Symbolic links that are not followed: to folders, to files out of the data root, to nothing."""


def list_folder(folder: Path, root: Path) -> Listing:
    """List one folder within a data root, without its hidden files and folders; one that does not exist is empty.

    The kind of an entry comes with its name: nothing is opened. ``root`` is the resolved data root.

    Raises:
        DataError: the folder cannot be read, or is reached by a symbolic link out of the root.
    """
    if not folder.resolve().is_relative_to(root):
        raise DataError(f"{folder}: is reached by a symbolic link out of the data root; put the folder itself there")
    kinds: tuple[list[str], list[str], list[str]] = ([], [], [])
    folders, files, links = kinds
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if entry.is_symlink():
                    inside = entry.is_file() and Path(entry.path).resolve().is_relative_to(root)
                    (files if inside else links).append(entry.name)
                else:
                    (folders if entry.is_dir() else files).append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return Listing()
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from error
    return Listing(*(tuple(sorted(names)) for names in kinds))


def walk_folders(root: Path) -> Iterator[tuple[Path, Listing]]:
    """Yield the root and every folder below it with its listing, in the order of their names.

    Links to folders are not followed.

    Raises:
        DataError: as :func:`list_folder`.
    """
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        listing = list_folder(folder, root)
        yield folder, listing
        waiting += [folder / name for name in reversed(listing.folders)]


def list_files(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """Return the files below a folder with one of these suffixes, in any case, by their path below it and sorted by it.

    Hidden files, and those in hidden folders, are left out.
    """
    paths = {path.relative_to(folder): path for path in folder.rglob("*")}
    return {
        name.as_posix(): path
        for name, path in sorted(paths.items(), key=lambda item: item[0].as_posix())
        if name.suffix.lower() in suffixes and not any(map(is_hidden, name.parts)) and path.is_file()
    }


def hash_files(files: Mapping[str, Path]) -> str:
    """Return the sha256 of names and of the sha256 of each file's content, in their order."""
    sha256 = hashlib.sha256()
    for name, path in files.items():
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        sha256.update(f"{name}\0{content}\n".encode())
    return sha256.hexdigest()


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or belongs to the operating system: ``._0001.png``, ``Thumbs.db``."""
    return name.startswith(".") or name.lower() in _SYSTEM_FILES


def regular_file(path: Path) -> Path:
    """Return a path, checked: it is a regular file. It is not opened, since opening a FIFO or a device may never end.

    Raises:
        DataError: it is a folder, a FIFO, a device or a socket, or cannot be looked at.
        FileNotFoundError: it does not exist.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if kind := kind_of(mode):
        raise DataError(f"{path}: is {kind}, not a regular file; name a file")
    return path


def check_regular(folder: Path, names: Iterable[str]) -> None:
    """Check that entries of a folder are regular files, without a look at each of them.

    Raises:
        DataError: as :func:`regular_file`, or a link leads nowhere.
    """
    expected = frozenset(names)
    with os.scandir(folder) as entries:
        irregular = sorted(entry.name for entry in entries if entry.name in expected and not entry.is_file())
    for name in irregular:
        try:
            regular_file(folder / name)
        except FileNotFoundError as error:
            raise DataError(f"{folder / name}: is a symbolic link to nothing; remove it") from error


def file_stamp(path: Path) -> str:
    """Return what changes when a file changes, or any file that lies directly in a folder, and is not hidden.

    Only names, sizes and times are looked at, not the contents.
    """
    state = path.stat()
    if not stat.S_ISDIR(state.st_mode):
        return f"{state.st_size}-{state.st_mtime_ns}"
    with os.scandir(path) as entries:
        lines = sorted(_stamp_line(entry) for entry in entries if not is_hidden(entry.name))
    return f"{len(lines)}-{hashlib.sha256(''.join(lines).encode(errors='surrogateescape')).hexdigest()[:16]}"


def _stamp_line(entry: os.DirEntry[str]) -> str:
    try:
        state = entry.stat()
    except OSError:  # a link to nothing
        return f"{entry.name}\0\n"
    return f"{entry.name}\0{state.st_size} {state.st_mtime_ns}\n"


def data_file(path: Path, root: Path, advice: str) -> Path:
    """Return the path of a file, checked: it exists, within the resolved data root.

    The error for a missing file ends in ``advice``, such as ``"unpack gtFine_trainvaltest.zip"``.

    Raises:
        DataError: it is missing, no regular file, or a symbolic link out of the root.
    """
    if not path.resolve().is_relative_to(root):
        raise DataError(f"{path}: is a symbolic link out of the data root; put the file itself there")
    try:
        return regular_file(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: is missing; {advice}") from error


def evenly(numbers: Sequence[int]) -> Sequence[int]:
    """Return ascending frame numbers as a range where they are evenly spaced, else as a tuple."""
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    if numbers and numbers[-1] - numbers[0] == step * (len(numbers) - 1):
        candidate = range(numbers[0], numbers[-1] + 1, step)
        if all(a == b for a, b in zip(candidate, numbers, strict=True)):
            return candidate
    return tuple(numbers)
