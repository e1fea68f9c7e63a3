"""Targets of children: handlers that answer, raise, warn, or end their process."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
import warnings

from vpbench.errors import DataError, Remedy, VpbenchWarning
from vpbench.toolkit.processes import note


def echo(argument):
    return lambda request: (argument, request, os.getpid())


def act(_):
    return lambda name: ACTIONS[name]()


def fail():
    raise DataError("no such file", Remedy.DATA_ROOT, "kth")


def crash_with_note():
    note("first file, with a longer name")
    note("file é")
    ctypes.string_at(0)


def warn():
    warnings.warn("look here", VpbenchWarning, stacklevel=1)
    return 1


def leak():
    blocks = []
    while True:
        blocks.append(b"x" * 2**24)
        time.sleep(0.001)


def leave():
    return subprocess.Popen(["sleep", "87654"]).pid


def stop():
    signal.raise_signal(signal.SIGINT)
    return "still here"


ACTIONS = {
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(3),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda: time.sleep(1e6),
    "raise": lambda: {}["absent"],
    "fail": fail,
    "note": crash_with_note,
    "warn": warn,
    "leak": leak,
    "leave": leave,
    "stop": stop,
    "large": lambda: bytes(2**25),
    "odd": lambda: lambda: None,
}
