"""One process at a time trains in a folder."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpbench.errors import UsageError

__all__ = ["locked"]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder, until this one leaves the context or dies.

    A POSIX lock rather than ``flock``'s: the workers that read ahead would inherit that one, and outlive a killed
    process by seconds. Where the file system has no locks, nothing is kept from anything.

    Raises:
        UsageError: another process trains there.
    """
    with (folder / "lock").open("w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise UsageError(
                    f"another process trains in {folder}: wait for its end, or give another --out"
                ) from None
        yield
