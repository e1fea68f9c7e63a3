"""Disks that fail, as work for :mod:`warm`: functions of Python are replaced, so use them only in children.

Every operation that changes files below a folder is counted; writes are counted where a buffer reaches the file.
"""

from __future__ import annotations

import builtins
import ctypes
import io
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpbench.cli.main import _run

CHANGES = ("replace", "rename", "link", "mkdir", "unlink", "remove", "rmdir")
"""Functions of ``os`` that change a folder; their first argument is a path."""
KILL, STOP, REMOVE = -1, -2, -3
"""Faults that are no error numbers: the process is killed or stopped, or another one removes the folder."""


@dataclass(frozen=True)
class FailingDisk:
    """Counts operations below a folder; number ``at`` (from 1) meets a fault."""

    root: Path
    at: int = 0
    fault: int = 0
    """A number of an error, :data:`KILL`, :data:`STOP` or :data:`REMOVE`."""
    lasting: bool = False
    """All later operations fail, too."""

    def __call__(self, words: Sequence[str]) -> int:
        """Run a command; each operation is written into a file next to ``root``."""
        log = os.open(_operations_file(self.root), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        counter = _Counter(self, log, os.write)
        for name in CHANGES:
            setattr(os, name, counter.counted(name, getattr(os, name)))
        os.fsync = counter.counted("fsync", os.fsync)
        os.open = counter.counted_open(os.open)
        builtins.open = io.open = counter.opener(io.open)
        return _run(list(words))


def operations(root: Path) -> list[str]:
    """Return the operations of the last process, in order."""
    return _operations_file(root).read_text().splitlines()


def _operations_file(root: Path) -> Path:
    return root.with_name(f"{root.name}.operations")


class _Counter:
    def __init__(self, disk: FailingDisk, log: int, write: Callable[[int, bytes], int]) -> None:
        self.disk, self.count, self.log, self.write = disk, 0, log, write

    def tick(self, operation: str, place: Any) -> None:
        """Count an operation on a path or a file descriptor, or let it fail."""
        path = Path(f"/proc/self/fd/{place}").readlink() if isinstance(place, int) else Path(os.fsdecode(place))
        if not path.is_relative_to(self.disk.root):
            return
        self.count += 1
        self.write(self.log, f"{operation} {path.name}\n".encode())
        if self.count == self.disk.at or (self.disk.lasting and self.count > self.disk.at):
            self._fail(path)

    def _fail(self, path: Path) -> None:
        match self.disk.fault:
            case 0:
                return
            case fault if fault == KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case fault if fault == STOP:
                os.kill(os.getpid(), signal.SIGSTOP)
            case fault if fault == REMOVE:
                shutil.rmtree(self.disk.root)
            case fault:
                raise OSError(fault, os.strerror(fault), str(path))

    def counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(place: Any, *args: Any, **settings: Any) -> Any:
            if "dir_fd" not in settings:  # shutil.rmtree names it
                self.tick(name, place)
            return function(place, *args, **settings)

        return call

    def counted_open(self, function: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, *args: Any, **settings: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR):
                self.tick("open", path)
            return function(path, flags, *args, **settings)

        return call

    def opener(self, function: Callable[..., Any]) -> Callable[..., Any]:
        counter = self

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                counter.tick("write", self.fileno())
                return super().write(data)

        def call(file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None,
                 newline: Any = None, **settings: Any) -> Any:  # fmt: skip
            if not set(mode) & set("wax+") or isinstance(file, int) or settings:
                return function(file, mode, buffering, encoding, errors, newline, **settings)
            counter.tick("open", file)
            raw = Raw(file, mode.replace("b", "").replace("t", ""))
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)

        return call


@dataclass(frozen=True)
class OddDisk:
    """A file system without hard links or with slow renames, under a clock that may jump."""

    link_error: int = 0
    """Number of the error of every hard link; 0 for none."""
    rename_seconds: float = 0.0
    clock_jump: float = 0.0
    """Seconds by which each look at the clock is further off than the last one, in turns later and earlier."""

    def __call__(self, words: Sequence[str]) -> int:
        """Run a command."""
        if self.link_error:
            os.link = self._no_link
        if self.rename_seconds:
            os.replace, os.rename = self._slow(os.replace), self._slow(os.rename)
        if self.clock_jump:
            self._let_the_clock_jump()
        return _run(list(words))

    def _no_link(self, source: Any, target: Any, **settings: Any) -> None:
        raise OSError(self.link_error, os.strerror(self.link_error), target)

    def _slow(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **settings: Any) -> Any:
            time.sleep(self.rename_seconds)
            return function(*args, **settings)

        return call

    def _let_the_clock_jump(self) -> None:
        real, gmtime, looks = time.time, time.gmtime, iter(range(1, 10**9))

        def jumping() -> float:
            look = next(looks)
            return real() + self.clock_jump * look * (-1) ** look

        time.time = jumping
        time.gmtime = lambda seconds=None: gmtime(jumping() if seconds is None else seconds)


@dataclass(frozen=True)
class SmallDisk:
    """A tmpfs that becomes full, and is enlarged then; the folder's content is copied out at the end."""

    root: Path
    kibibytes: int
    copy: Path

    def __call__(self, words: Sequence[str]) -> int:
        """Run a command twice: on the small disk, where it must fail, and on a larger one.

        Returns:
            77 if this system lets no user mount a tmpfs; 78 if the command did not fail.
        """
        if not self._mounted():
            return 77
        if _run(list(words)) != 1:
            return 78
        self._mount(b"size=64m", remount=True)
        code = _run(list(words))
        shutil.copytree(self.root, self.copy, dirs_exist_ok=True)
        return code

    def _mounted(self) -> bool:
        user, group = os.getuid(), os.getgid()
        if ctypes.CDLL(None, use_errno=True).unshare(0x10000000 | 0x00020000):  # new namespaces of users and mounts
            return False
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        return self._mount(f"size={self.kibibytes}k".encode(), remount=False)

    def _mount(self, options: bytes, *, remount: bool) -> bool:
        mount = ctypes.CDLL(None, use_errno=True).mount
        return not mount(b"tmpfs", bytes(self.root), b"tmpfs", ctypes.c_ulong(32 if remount else 0), options)
