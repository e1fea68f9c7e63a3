"""Processes whose crash this process survives: started afresh, never forked, asked and answered over a socket.

A child imports what it needs, as a new Python does. So it inherits no threads and no locks, and a segmentation fault,
``os._exit`` or a signal ends the child alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import mmap
import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from vpbench.errors import VpbenchError, VpbenchWarning

_START = "import sys; from vpbench.toolkit.processes import serve; serve(*map(int, sys.argv[1:]))"
_PR_SET_PDEATHSIG = 1
_NOTE = 8192
"""Bytes of the note that a child leaves for its parent."""
_INTERVAL = 0.1
"""Seconds between two looks at a child that does not answer."""
_GRACE = 0.5
"""Seconds for a child to end by itself."""

Handler = Callable[[Any], Any]
"""Answers a request."""


class ChildEndedError(Exception):
    """A child ended before it answered; the message says how: ``was ended by SIGSEGV``."""


class TooSlowError(Exception):
    """A child did not answer in time."""


class TooLargeError(Exception):
    """A child used more memory than it may."""


class Child:
    """A process that answers requests, one after another.

    Args:
        target: ``"module:function"``. The child calls it with ``argument``; it returns the :data:`Handler`.
        argument: anything that can be pickled, as requests and answers can.
    """

    def __init__(self, target: str, argument: object) -> None:
        self._connection, remote = Pipe()
        self._note = os.memfd_create("vpbench-note")
        os.ftruncate(self._note, _NOTE)
        with remote:
            numbers = remote.fileno(), self._note
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, *map(str, (*numbers, os.getpid()))],
                stdin=subprocess.DEVNULL,
                pass_fds=numbers,
                start_new_session=True,  # Ctrl-C reaches this process, which ends its children
            )
        self.close = weakref.finalize(self, _end, self._process, self._connection, self._note, os.getpid())
        with contextlib.suppress(OSError):  # it ended at once: the first answer says so
            self._connection.send_bytes(pickle.dumps(sys.path))
            self._connection.send_bytes(pickle.dumps((target, argument)))

    @property
    def runs(self) -> bool:
        """True while the process runs."""
        return self.close.alive and self._process.poll() is None

    def send(self, request: object) -> None:
        """Send a request; :meth:`receive` returns the answers in the order of the requests."""
        with contextlib.suppress(OSError):  # it ended: the answer says so
            self._connection.send_bytes(pickle.dumps(request, pickle.HIGHEST_PROTOCOL))

    def receive(self, timeout: float | None = None, memory: float | None = None) -> Any:
        """Return the next answer; warnings of the child are issued here.

        Args:
            timeout: seconds to wait for it.
            memory: GiB of resident memory that the child may use meanwhile.

        Raises:
            ChildEndedError: the child ended. TooSlowError, TooLargeError: it was ended for the reason.
            Exception: what the handler raised; a note holds its traceback.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while not self._connection.poll(_INTERVAL):
                if memory is not None and _resident_gib(self._process.pid) > memory:
                    self.close()
                    raise TooLargeError
                if deadline is not None and time.monotonic() > deadline:
                    self.close()
                    raise TooSlowError
                if self._process.poll() is not None and not self._connection.poll():
                    raise EOFError
            messages, error, answer = pickle.loads(self._connection.recv_bytes())
        except (EOFError, ConnectionError):
            raise ChildEndedError(self._ending()) from None
        for message in messages:
            warnings.warn(message, VpbenchWarning, stacklevel=2)
        if error is not None:
            raise error
        return answer

    def kill(self) -> None:
        """End the process from another thread than the one that receives, which raises ChildEndedError."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def note(self) -> str:
        """Return what the child noted last with :func:`note`; also after its end, until it is closed."""
        return os.pread(self._note, _NOTE, 0).rstrip(b"\0").decode(errors="replace")

    def _ending(self) -> str:
        """Return how the child ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        code = self._process.returncode
        if code is None:
            return "closed its connection"
        if code == -signal.SIGKILL:
            return "was ended by SIGKILL, most likely because memory ran out"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def run_forwarding(command: Sequence[str], signals: Iterable[signal.Signals], **options: Any) -> int:
    """Run a command to its end, and forward signals of this process to it, even those that arrive while it starts.

    Args:
        command: its words.
        signals: those to forward. Their handlers are restored in the end.
        options: options of ``subprocess.Popen``.

    Returns:
        Its exit code, or the negative number of the signal that ended it.
    """
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def forward(number: int, _: object) -> None:
        early.append(number) if process is None else process.send_signal(number)

    handlers = {number: signal.signal(number, forward) for number in signals}
    try:
        process = subprocess.Popen(command, **options)
        for number in early:
            process.send_signal(number)
        return process.wait()
    finally:
        for number, handler in handlers.items():
            if handler is not None:  # it was not set from Python, which cannot restore it
                signal.signal(number, handler)


def _end(process: subprocess.Popen[bytes], connection: Connection, note: int, owner: int) -> None:
    """End a child and the processes of its group, and collect it; a fork of its owner does nothing."""
    if os.getpid() != owner:
        return
    connection.close()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    os.close(note)


def _resident_gib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it ended, or this system has no /proc
        return 0.0
    return pages * mmap.PAGESIZE / 2**30


_board: mmap.mmap | None = None


def note(text: str) -> None:
    """Leave a note that the parent can read after a crash, such as the file that is decoded; elsewhere, do nothing."""
    if _board is not None:
        data = text.encode(errors="replace")[:_NOTE]
        _board[: len(data) + 1] = data + b"\0" if len(data) < _NOTE else data
        _board[len(data) :] = bytes(_NOTE - len(data))


def serve(connection: int, board: int, owner: int) -> None:
    """Answer the requests of the parent until it closes the connection: what a child runs."""
    global _board
    _prepare(owner, connection, board)
    _board = mmap.mmap(board, _NOTE)
    answers = Connection(connection)
    messages: list[str] = []
    warnings.showwarning = _collector(messages)
    try:
        sys.path[:] = pickle.loads(answers.recv_bytes())
        handler: Handler | None = None
        starting = answers.recv_bytes()
        while True:
            error: BaseException | None = None
            answer: Any = None
            try:
                if handler is None:
                    target, argument = pickle.loads(starting)
                    module, _, function = target.partition(":")
                    handler = getattr(importlib.import_module(module), function)(argument)
                answer = handler(pickle.loads(answers.recv_bytes()))
            except (EOFError, ConnectionError):
                return
            except Exception as failure:
                error = portable(failure)
            answers.send_bytes(pickle.dumps((messages, error, answer), pickle.HIGHEST_PROTOCOL))
            messages.clear()
    except (EOFError, ConnectionError):
        return


def _prepare(owner: int, *numbers: int) -> None:
    """Let this process end with its parent, be the first to be ended if memory runs out, and show crashes."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != owner:
        sys.exit()
    for number in numbers:  # what this process starts would keep the connection open
        os.set_inheritable(number, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    faulthandler.enable()


def _collector(messages: list[str]) -> Callable[..., None]:
    """Return a ``warnings.showwarning`` that collects what is meant for users, and prints what is not."""
    show = warnings.showwarning

    def collect(message: Warning | str, category: type[Warning], *place: Any, **details: Any) -> None:
        if issubclass(category, VpbenchWarning):
            messages.append(str(message))
        else:
            show(message, category, *place, **details)

    return collect


def portable(error: Exception) -> Exception:
    """Return an error that can be sent, with its traceback as a note."""
    if not isinstance(error, VpbenchError):
        error = RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
    error.add_note("".join(traceback.format_exception(error)))
    return error
