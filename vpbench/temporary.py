"""Temporary files that become files: written next to their place, flushed to the disk, then renamed or linked.

A process may be killed at any time, and others may work in the same folder. Errors are those of the file system.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeAlias

_SUFFIX = ".tmp"
_TRIES = 100
"""How often a file is written. Each process that ends a run removes the temporary files of all others, once."""
Move: TypeAlias = Callable[[Path, Path], object]
"""Moves a temporary file to its place."""


def publish(path: Path, data: bytes, move: Move) -> None:
    """Write a file so that it exists whole or not at all.

    Another process may remove the folder or the temporary file meanwhile: both are made again.
    """
    for _ in range(_TRIES - 1):
        with suppress(FileNotFoundError):
            return _publish(path, data, move)
    return _publish(path, data, move)


def _publish(path: Path, data: bytes, move: Move) -> None:
    with temporary_file(path, move) as file:
        file.write(data)


@contextmanager
def temporary_file(path: Path, move: Move) -> Iterator[BinaryIO]:
    """Open a new file next to a path; after the block, it is flushed and moved there. An exception removes it."""
    # Processes in containers may share a process number.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}{_SUFFIX}")
    try:
        with _open_new(temporary) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        move(temporary, path)
        _flush_folder(path.parent)
    except BaseException:
        with suppress(OSError):  # the exception says more
            temporary.unlink()
        raise


def remove_temporary_files(root: Path) -> None:
    """Remove what killed processes left below a folder. A process that is still writing there writes its file again."""
    for path in root.rglob(f".*{_SUFFIX}"):
        path.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Return whether a file is a temporary one, of a process that writes or was killed."""
    return path.name.startswith(".") and path.suffix == _SUFFIX


def rename(temporary: Path, path: Path) -> None:
    """Move a file, in place of an earlier one; an error removes it."""
    try:
        temporary.replace(path)
    except OSError:
        with suppress(OSError):  # the first error says more
            temporary.unlink()
        raise


def link(temporary: Path, path: Path) -> None:
    """Move a file to a place where no file is.

    Raises:
        FileExistsError: there is one. A file system without hard links may miss one of the same moment.
    """
    try:
        os.link(temporary, path)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError as error:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        rename(temporary, path)
    else:
        temporary.unlink(missing_ok=True)


def _open_new(path: Path) -> BinaryIO:
    try:
        return path.open("xb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")


def _flush_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems flush no folders
            raise
    finally:
        os.close(number)
