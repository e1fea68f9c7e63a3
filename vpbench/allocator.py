"""Settings of a process's memory: keep memory that was freed, and pause the search for reference cycles.

By default glibc gives large blocks back when they are freed. The system then clears each page again at the next
allocation. On a CPU, predictions of large frames lose time to that (``benchmarks/allocator.py``).
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""Parameters of ``mallopt`` (glibc's malloc.h)."""
_SETTINGS = {
    _M_MMAP_MAX: 0,  # no block of its own mapping, which is unmapped when it is freed
    _M_TRIM_THRESHOLD: 2**31 - 1,  # the top of the heap is given back only beyond 2 GiB
    _M_TOP_PAD: 2**26,  # the heap grows by 64 MiB at once
}


def keep_memory() -> bool:
    """Let glibc's malloc keep freed memory in this process and those that it forks.

    It affects the whole process, so a library should not call it. The command line does, at its start. Other
    allocators and systems are left alone, and so are environments that set ``MALLOC_*`` or ``glibc.malloc`` tunables.

    Returns:
        Whether glibc accepted the settings.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.getenv("GLIBC_TUNABLES", ""):
        return False
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # TypeError: on Windows there is no library of the process
        return False
    if not (hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt")):  # musl, macOS
        return False
    accepted = [libc.mallopt(parameter, value) == 1 for parameter, value in _SETTINGS.items()]
    return all(accepted)


@contextmanager
def paused_collection() -> Iterator[None]:
    """Do without Python's search for reference cycles within the block, which makes millions of small objects.

    The search looks at all of them again and again: it took an eighth of the time of ``vpbench leaderboard``
    (``benchmarks/report.py``). Cycles that the block leaves are found afterwards.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
