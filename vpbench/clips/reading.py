"""Read groups of clips ahead, in processes whose crash is an error of one group: a codec may crash on a broken file.

The processes start afresh and are never forked, since this process has threads. They live until they are closed, so
that epochs of a training share them.
"""

from __future__ import annotations

import contextlib
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread, current_thread
from typing import Any, Generic, TypeAlias, TypeVar

from vpbench.errors import DataError, Remedy, VpbenchError
from vpbench.protocol.sampling import ClipRef
from vpbench.toolkit.processes import Child, ChildEndedError, note

T = TypeVar("T")
Group = Sequence[ClipRef]
_Tasks: TypeAlias = "SimpleQueue[tuple[Group, Future[T | VpbenchError]] | None]"
"""Groups to read, each with the place for its item; None ends a process."""


@dataclass(frozen=True)
class GroupReader(Generic[T]):
    """Reads a group of clips. It can be pickled if its fields can."""

    name: str
    """The dataset's name, for messages."""
    read: Callable[[ClipRef], Any]
    assemble: Callable[[list[Any]], T]
    """Makes an item of the clips of a group."""

    def __call__(self, refs: Group) -> T | VpbenchError:
        """Return the item of a group, or the error: it reaches the user as one line."""
        try:
            return self.assemble([self._read(ref) for ref in refs])
        except VpbenchError as error:
            return error

    def _read(self, ref: ClipRef) -> Any:
        note(f"clip {ref.id!r}")  # a decoder notes its file
        return self.read(ref)


class Readers(Generic[T]):
    """Processes that read groups of clips ahead.

    Args:
        reader: reads a group.
        workers: number of processes; 0 reads in this one.
    """

    def __init__(self, reader: GroupReader[T], workers: int) -> None:
        self._reader = reader
        self._tasks: _Tasks[T] = SimpleQueue()
        self._processes = [_Process(reader, self._tasks) for _ in range(workers)]
        self.close = weakref.finalize(self, _close, self._processes, self._tasks)

    def __call__(self, groups: Sequence[Group]) -> Iterator[T | VpbenchError]:
        """Yield the item of each group in order, or its error; at most two items per process are read ahead."""
        if not self._processes:
            yield from map(self._reader, groups)
            return
        waiting: deque[Future[T | VpbenchError]] = deque()
        try:
            for place in range(-2 * len(self._processes), len(groups)):
                if (ahead := place + 2 * len(self._processes)) < len(groups):
                    waiting.append(Future())
                    self._tasks.put((groups[ahead], waiting[-1]))
                if place >= 0:
                    yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class _Process(Generic[T]):
    """A reading process, and the thread that talks to it; the process starts with the first group."""

    def __init__(self, reader: GroupReader[T], tasks: _Tasks[T]) -> None:
        self._reader, self._tasks = reader, tasks
        self._child: Child | None = None
        # The thread starts the process, and outlives it: the system ends a child with the thread that started it.
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """End the process; a group that it reads is lost."""
        if self._child is not None:
            self._child.kill()

    def join(self) -> None:
        """Wait for the thread: if Python exits while it unpickles tensors, the process aborts."""
        if self._thread is not current_thread():
            self._thread.join()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            refs, future = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._ask(refs))
                except BaseException as error:
                    future.set_exception(error)
        if self._child is not None:
            self._child.close()

    def _ask(self, refs: Group) -> T | VpbenchError:
        if self._child is None or not self._child.runs:
            self._child = Child("vpbench.clips.reading:serve_groups", self._reader)
        self._child.send(refs)
        try:
            item: T | VpbenchError = self._child.receive()
            return item
        except ChildEndedError as error:
            place = self._child.note() or f"clip {refs[0].id!r}"
            self._child.close()
            return DataError(
                f"dataset {self._reader.name!r}: the process that reads {error} at {place}: get the file again, or "
                f"allow a partial result",
                Remedy.ALLOW_PARTIAL,
            )


def _close(processes: Sequence[_Process[T]], tasks: _Tasks[T]) -> None:
    with contextlib.suppress(Empty):
        while True:
            if (task := tasks.get_nowait()) is not None:
                task[1].cancel()
    for process in processes:
        process.kill()
        tasks.put(None)
    for process in processes:
        process.join()


def serve_groups(reader: GroupReader[T]) -> Callable[[Group], T | VpbenchError]:
    """Return what answers in a reading process."""

    def read(refs: Group) -> T | VpbenchError:
        item = reader(refs)
        if isinstance(item, VpbenchError):  # a traceback does not travel between processes
            item.add_note("".join(traceback.format_exception(item)))
        return item

    return read
