"""Settings of the whole process that a plugin may change: whatever it sets, the next plugin starts from ours.

Kept are the working directory, the default dtype and device, gradient mode, threads, deterministic and TF32 switches of
torch, numpy's error handling, the global random states of Python, numpy and torch, and ``sys.stdout`` and
``sys.stderr``.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vpbench.errors import VpbenchError


def _attribute(owner: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


_Access = tuple[Callable[[], Any], Callable[[Any], Any]]
_SETTINGS: Mapping[str, _Access] = {
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (
        torch.get_default_device,
        lambda device: torch.set_default_device(None if device.type == "cpu" else device),
    ),
    "torch's gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's deterministic algorithms": (
        _deterministic,
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
    "torch's float32 matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "torch's autocast on the CPU": (
        lambda: torch.is_autocast_enabled("cpu"),
        lambda on: torch.set_autocast_enabled("cpu", on),
    ),
    "torch's autocast on GPUs": (
        lambda: torch.is_autocast_enabled("cuda"),
        lambda on: torch.set_autocast_enabled("cuda", on),
    ),
    **{
        f"torch.backends.cudnn.{name}": _attribute(torch.backends.cudnn, name)
        for name in ("enabled", "benchmark", "deterministic", "allow_tf32")
    },
    "numpy's error handling": (np.geterr, lambda value: np.seterr(**value)),
    "the warning filters": (
        lambda: list(warnings.filters),
        lambda value: setattr(warnings, "filters", value),
    ),
    "sys.stdout": _attribute(sys, "stdout"),
    "sys.stderr": _attribute(sys, "stderr"),
}
"""How each setting is read and written, by its name in messages."""
_WATCHED: Mapping[str, Callable[[], Any]] = {
    "Python's global random state": random.getstate,
    "numpy's global random state": lambda: str(np.random.get_state(legacy=False)),
    "torch's global random state": lambda: torch.get_rng_state().numpy().tobytes(),
    "the working directory": lambda: _directory(),
    "the environment variables": lambda: dict(os.environ),
}
"""State that is compared as well."""


@contextmanager
def process_state() -> Iterator[None]:
    """Restore the settings of the process after the block.

    Raises:
        VpbenchError: the block changed the working directory, or closed an output; both are restored, too.
    """
    directory = _directory()
    with _random_state():
        before = {name: read() for name, (read, _) in _SETTINGS.items()}
        try:
            yield
        finally:
            _restore(before)
            moved = directory is not None and _directory() != directory
            if directory is not None and moved:
                with suppress(OSError):  # it was removed
                    os.chdir(directory)
    if _reopen_streams():
        raise VpbenchError("it closes sys.stdout or sys.stderr, which the whole process shares")
    if moved:
        raise VpbenchError("it changes the working directory, which the whole process shares: use absolute paths")


def _restore(before: Mapping[str, Any]) -> None:
    for name, (read, write) in _SETTINGS.items():
        if read() != before[name]:
            write(before[name])


@contextmanager
def settings_changes() -> Iterator[list[str]]:
    """List the settings and random states that the block changes, by name, and restore them.

    The list is filled when the block ends. The working directory and environment variables are compared, too.
    """
    changes: list[str] = []
    readers = {name: read for name, (read, _) in _SETTINGS.items()} | dict(_WATCHED)
    environment = dict(os.environ)
    with process_state():
        before = {name: read() for name, read in readers.items()}
        try:
            yield changes
        finally:
            changes += [name for name, read in readers.items() if read() != before[name]]
            directory = before["the working directory"]
            if directory is not None and "the working directory" in changes:
                os.chdir(directory)
            if dict(os.environ) != environment:
                os.environ.clear()
                os.environ.update(environment)


@contextmanager
def other_randomness(seed: int) -> Iterator[None]:
    """Seed every global random state during the block, and restore them afterwards."""
    with _random_state():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield


@contextmanager
def _random_state() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _reopen_streams() -> bool:
    """Open the standard streams again that the block closed; return whether it closed one."""
    closed = [name for name in ("stdout", "stderr") if getattr(getattr(sys, name), "closed", False)]
    for name in closed:
        number = 1 if name == "stdout" else 2
        setattr(sys, name, open(number, "w", encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115
    return bool(closed)


def _directory() -> str | None:
    with suppress(OSError):  # it was removed
        return str(Path.cwd())
    return None
