"""Where and with what a process computed: for people who ask why a number differs. Never part of the identity."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("vpbench", "torch", "torchvision", "numpy", "opencv-python-headless", "av", "scikit-image")


def describe_process() -> dict[str, Any]:
    """Return host, platform, versions, git commit and command line of this process."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "git": _git(),
        "command": sys.argv,
    }


def peak_memory() -> int:
    """Return this process's peak resident memory in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def memory_growth() -> Iterator[Callable[[], int]]:
    """Measure how far the resident memory of this process grows in the block, in bytes.

    Memory that was freed before is given back to the system first, so that the block does not reuse it unseen. The
    yielded function returns the growth up to its call. Linux resets the peak; elsewhere an earlier peak hides growth.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    yield lambda: max(0, _memory("VmHWM") - before)


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def cpu_model() -> str:
    """Return the model of the CPU."""
    return _cpu() or platform.machine()


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


@cache
def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


@cache
def _git() -> str:
    """Return the commit of the checkout that vpbench is imported from; "" where it is not one."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""
