"""Listing the folders of a data root, for dataset authors: fast, and never out of the root."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vpbench.errors import DataError

__all__ = ["Listing", "data_file", "evenly", "list_folder", "walk_folders"]


@dataclass(frozen=True)
class Listing:
    """The names in one folder, each kind sorted."""

    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    """Symbolic links that are not followed: to folders, to files out of the data root, to nothing."""


def list_folder(folder: Path, root: Path) -> Listing:
    """List one folder within a data root; one that does not exist is empty.

    The kind of an entry comes with its name: no file is looked at, and nothing is opened.

    Args:
        folder: the folder.
        root: the data root, resolved.

    Raises:
        DataError: the folder cannot be read, or is reached by a symbolic link out of the root.
    """
    if not folder.resolve().is_relative_to(root):
        raise DataError(f"{folder}: is reached by a symbolic link out of the data root; put the folder itself there")
    found: tuple[list[str], list[str], list[str]] = ([], [], [])
    folders, files, links = found
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    inside = entry.is_file() and Path(entry.path).resolve().is_relative_to(root)
                    (files if inside else links).append(entry.name)
                else:
                    (folders if entry.is_dir() else files).append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return Listing()
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from error
    return Listing(*(tuple(sorted(names)) for names in found))


def walk_folders(root: Path) -> Iterator[tuple[Path, Listing]]:
    """Yield the root and every folder below it with its listing, in the order of their names.

    Hidden folders and links to folders are passed over.

    Raises:
        DataError: as :func:`list_folder`.
    """
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        listing = list_folder(folder, root)
        yield folder, listing
        waiting += [folder / name for name in reversed(listing.folders) if not name.startswith(".")]


def data_file(path: Path, root: Path, again: str) -> Path:
    """Return the path of a file, checked: it exists, within the data root.

    Args:
        path: the file.
        root: the data root, resolved.
        again: what gives a missing file: ``"unpack gtFine_trainvaltest.zip"``.

    Raises:
        DataError: it is missing, or a symbolic link out of the root.
    """
    if not path.resolve().is_relative_to(root):
        raise DataError(f"{path}: is a symbolic link out of the data root; put the file itself there")
    if not path.is_file():
        raise DataError(f"{path}: is missing; {again}")
    return path


def evenly(numbers: Sequence[int]) -> Sequence[int]:
    """Return ascending frame numbers as a range where they are evenly spaced, else as a tuple."""
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    if numbers and numbers[-1] - numbers[0] == step * (len(numbers) - 1):
        candidate = range(numbers[0], numbers[-1] + 1, step)
        if all(a == b for a, b in zip(candidate, numbers, strict=True)):
            return candidate
    return tuple(numbers)
