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

from vpbench.cli.main import _run

TESTS = Path(__file__).parent
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["warm_imports"])
Work = Callable[[Sequence[str]], int]
"""Runs a command and returns its exit code. It may replace functions, since the child ends with it."""


def start(arguments: Sequence[object], log: Path, environment: Mapping[str, str], work: Work = _run) -> BaseProcess:
    """Start ``vpbench ARGUMENTS`` in the folder of ``log``, which gets all that it prints."""
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (TESTS, os.environ.get("PYTHONPATH", ""))))
    words = [str(argument) for argument in arguments]
    process = _CONTEXT.Process(target=_child, args=(words, log, dict(environment), work))
    process.start()
    return process


def _child(words: Sequence[str], log: Path, environment: Mapping[str, str], work: Work) -> None:
    os.environ.update(environment)
    os.chdir(log.parent)
    number = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(number, stream.fileno())
    code = work(words)
    sys.stdout.flush()
    os._exit(code)
