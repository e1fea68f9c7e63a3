"""Output folders that a command replaces whole: a JSON file in the folder names every file that the command wrote."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vpbench.errors import ResultError
from vpbench.files import RECORD, parse_json, read_text, write_errors

_TOKEN = 3
"""Random bytes in the name of a temporary folder."""


def check_replaceable(out: Path, mark: str, command: str) -> None:
    """Check that a command may write a folder: it is missing, empty, or holds only what the command wrote earlier.

    Args:
        out: the folder.
        mark: name of the file in it that names all files under ``files``.
        command: name of the command, for the message.

    Raises:
        ResultError: it is a file, holds anything else, or cannot be written; nothing of it was touched.
    """
    with write_errors(out):
        folder = out.expanduser().resolve()
        place = next(path for path in (*folder.parents, folder) if path.exists())
        for path in (folder, place):
            if path.exists() and not path.is_dir():
                raise ResultError(f"{path} is a file: choose another output folder")
        if not os.access(place, os.W_OK | os.X_OK):
            raise ResultError(f"{place} may not be written: choose another output folder")
        written = _written(folder / mark)
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            if name not in written and (path.is_symlink() or not path.is_dir()):
                raise ResultError(f"{out} holds {name}, which `{command}` did not write: choose another folder")


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """Yield a new folder next to ``out`` that takes its place at the end, and is removed on any error.

    Raises:
        ResultError: the folder cannot be written.
    """
    with write_errors(out), _staged(out.expanduser().resolve()) as folder:
        yield folder


def _written(mark: Path) -> set[str]:
    """Return the names of the files that an earlier command says it wrote."""
    try:
        document = parse_json(read_text(mark, RECORD))
        return {str(name) for name in document["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    out.parent.mkdir(parents=True, exist_ok=True)
    _clear_orphans(out)
    token = secrets.token_hex(_TOKEN)
    new, old = (out.with_name(f".{out.name}.{token}.{suffix}") for suffix in ("new", "old"))
    new.mkdir()
    try:
        with _in_use(new), _in_use(out):
            yield new
            if out.exists():
                out.rename(old)
            new.rename(out)
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _clear_orphans(out: Path) -> None:
    """Remove what killed processes left next to a folder; put back the earlier folder if one had moved it away."""
    pattern = re.compile(rf"\.{re.escape(out.name)}\.[0-9a-f]{{{2 * _TOKEN}}}\.(new|old)")
    for path in sorted(out.parent.iterdir()):
        if (match := pattern.fullmatch(path.name)) and _is_orphan(path):
            if match[1] == "old" and not out.exists():
                path.rename(out)
            else:
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Lock a folder, if it exists, until this process leaves the context or dies; the lock moves with the folder."""
    if not folder.exists():
        yield
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(number, fcntl.LOCK_SH)
        yield
    finally:
        os.close(number)


def _is_orphan(folder: Path) -> bool:
    """Return whether no process uses a folder; False where the file system has no locks."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        finally:
            os.close(number)
    return False
