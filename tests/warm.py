"""Commands in children of a process that has imported torch and Lightning: a start takes milliseconds, not seconds.

That process runs no command itself, so every child begins alike.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from vpbench.cli.main import _run

TESTS = Path(__file__).parent
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["warm_imports"])
Work = Callable[[Sequence[str]], int]
"""Runs a command and returns its exit code. It may replace functions, since the child ends with it."""


def start(arguments: Sequence[object], log: Path, environment: Mapping[str, str], work: Work = _run) -> BaseProcess:
    """Start ``vpbench ARGUMENTS`` in the folder of ``log``; all that it prints is added to that file."""
    words = [str(argument) for argument in arguments]
    process = _CONTEXT.Process(target=_child, args=(words, log, dict(environment), work))
    path = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path))  # for the process that imports, started with the first child
        process.start()
    return process


def _child(words: Sequence[str], log: Path, environment: Mapping[str, str], work: Work) -> None:
    os.environ.update(environment)
    os.chdir(log.parent)
    number = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(number, stream.fileno())
    code = work(words)
    sys.stdout.flush()
    os._exit(code)
