"""Let only one process train in a folder."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpbench.errors import UsageError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder, until this one leaves the context or dies.

    The lock is a POSIX lock. Reading workers would inherit a lock of ``flock``, and they outlive a killed process by
    seconds. On a file system without locks, this does nothing.

    Raises:
        UsageError: another process trains there.
    """
    with (folder / "lock").open("w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise UsageError(
                    f"another process trains in {folder}: wait until it ends, or choose another folder"
                ) from None
        yield
