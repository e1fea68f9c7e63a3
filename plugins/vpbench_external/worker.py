"""A worker's process: started, written to and read from within a time limit, and ended without leaving anything."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

from vpbench.errors import PredictorError, one_line
from vpbench.files import why_no_file
from vpbench_external.messages import HEAD, MAGIC

_START = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    except OSError as error:
        sys.stderr.write(f"{sys.argv[2]}: {error.strerror}")
os._exit(127)
"""
"""Becomes the worker. PR_SET_PDEATHSIG ends it if vpbench is killed, however the worker behaves."""
_PIPE = 2**20
"""Bytes that a pipe holds, if the system allows: larger pieces need fewer switches between the processes."""
_TAIL = 4000
"""Bytes of standard error that are remembered."""
_GRACE = 1.0
"""Seconds for a worker to end by itself after its standard input is closed."""


class Worker:
    """A running worker.

    Args:
        command: its words.

    Raises:
        PredictorError: there is no such program.
    """

    def __init__(self, command: Sequence[str]) -> None:
        if shutil.which(command[0]) is None:
            if not why_no_file(Path(command[0])) and not os.access(command[0], os.X_OK):
                raise PredictorError(
                    f"{command[0]!r} is not executable: write its interpreter before it, such as python3 {command[0]}"
                )
            raise PredictorError(f"there is no program {command[0]!r} to start the worker; name it by its path")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START, str(os.getpid()), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        streams = self._process.stdin, self._process.stdout, self._process.stderr
        self._input, self._output, self._error = (stream.fileno() for stream in streams if stream is not None)
        for number in (self._input, self._output, self._error):
            os.set_blocking(number, False)
            with contextlib.suppress(OSError):
                fcntl.fcntl(number, fcntl.F_SETPIPE_SZ, _PIPE)
        self._tail = b""
        self.close = weakref.finalize(self, _end, self._process, os.getpid())

    @property
    def runs(self) -> bool:
        """Whether the process runs."""
        return self.close.alive and self._process.poll() is None

    def send(self, buffers: Sequence[bytes | memoryview], deadline: float) -> None:
        """Write all buffers.

        Raises:
            PredictorError: the worker ended, or did not read them before ``deadline`` (of ``time.monotonic``).
        """
        for buffer in buffers:
            unsent = memoryview(buffer)
            while unsent:
                self._wait(self._input, select.POLLOUT, deadline, "read its input")
                try:
                    unsent = unsent[os.write(self._input, unsent) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    raise self._ended("closed its standard input") from None

    def receive(self, limit: int, name: str, deadline: float) -> bytearray:
        """Read one header or array of at most ``limit`` bytes.

        Raises:
            PredictorError: the worker ended or sent anything else, or nothing before ``deadline``.
        """
        magic, length = HEAD.unpack(self._read(HEAD.size, name, deadline))
        if magic != MAGIC:
            text = HEAD.pack(magic, length) + self._available(200)
            raise self.failure(
                f"prints {one_line(text.decode(errors='replace'))[:80]!r} on standard output, which carries the "
                f"answers: print on standard error"
            )
        if length > limit:
            raise self.failure(f"sends {length} bytes of {name}; at most {limit} are expected")
        return self._read(length, name, deadline)

    def failure(self, problem: str) -> PredictorError:
        """Return the error of a worker that ``problem`` is wrong with; the worker is ended."""
        self._drain()
        self.close()
        lines = [line.strip() for line in self._tail.decode(errors="replace").splitlines() if line.strip()]
        # Errors are short, and the last line of a traceback says most.
        tail = "".join(one_line(" | ".join(lines[-2:]))[-120:])
        return PredictorError(f"its worker {problem}" + (f"; its standard error ends: {tail}" if tail else ""))

    def _read(self, count: int, name: str, deadline: float) -> bytearray:
        data = bytearray(count)
        missing = memoryview(data)
        while missing:
            self._wait(self._output, select.POLLIN, deadline, f"send {name}")
            try:
                received = os.readv(self._output, [missing])
            except BlockingIOError:
                continue
            if not received:
                printed = bytes(data[: count - len(missing)])
                is_text = count == HEAD.size and not MAGIC.startswith(printed[: len(MAGIC)])
                raise self._ended("closed its standard output", printed if is_text else b"")
            missing = missing[received:]
        return data

    def _available(self, count: int) -> bytes:
        """Return what the worker has written to standard output so far, at most ``count`` bytes."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._output, count)
        return b""

    def _wait(self, number: int, event: int, deadline: float, purpose: str) -> None:
        """Wait until a pipe is ready; meanwhile, let the worker write to standard error."""
        poll = select.poll()
        poll.register(number, event)
        poll.register(self._error, select.POLLIN)
        while True:
            remaining = deadline - time.monotonic()
            ready = dict(poll.poll(max(0.0, remaining) * 1000))
            if not self._drain():
                poll.unregister(self._error) if self._error in ready else None
            if number in ready:
                return
            if remaining <= 0:
                raise self.failure(f"did not {purpose} in time: it hangs, or the option timeout is too short")

    def _drain(self) -> bool:
        """Read what is on standard error; return whether more may follow."""
        while True:
            try:
                data = os.read(self._error, _PIPE)
            except (BlockingIOError, OSError):
                return self.close.alive
            if not data:
                return False
            self._tail = (self._tail + data)[-_TAIL:]

    def _ended(self, closed: str, printed: bytes = b"") -> PredictorError:
        """Return the error of a worker that closed a pipe, most likely because it ended, and what it had printed."""
        after = (
            f" after it printed {one_line(printed.decode(errors='replace'))!r} on standard output" if printed else ""
        )
        try:
            code = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return self.failure(closed + after)
        if code < 0:
            return self.failure(f"was ended by {signal.Signals(-code).name}{after}")
        return self.failure(f"ended with exit code {code}{after}")


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    """End a worker and every process that it started in its group, and collect it; a fork of its owner does nothing."""
    if os.getpid() != owner:
        return
    if process.stdin is not None:
        process.stdin.close()
    deadline = time.monotonic() + _GRACE
    while process.returncode is None and _is_running(process.pid) and time.monotonic() < deadline:
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):  # before it is collected, no other process can have its number
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _is_running(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
