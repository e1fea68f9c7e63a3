"""The guard around calls into plugins: whatever a plugin raises becomes one error that names it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from vpbench.errors import Remedy, VpbenchError, describe


@contextmanager
def plugin_errors(fail: Callable[[BaseException], VpbenchError]) -> Iterator[None]:
    """Raise ``fail(error)`` from whatever the block raises, a plugin's SystemExit and KeyboardInterrupt included.

    ``fail`` may return the error itself. Ctrl-C and SIGTERM still stop the process, even if the plugin catches the
    exception that their handler raises. ``os._exit`` raises in the block, instead of ending the process without a word.
    A fork that leaves the block ends there: it would go on as a second vpbench.
    """
    process = os.getpid()
    stops: list[BaseException] = []
    cause: BaseException | None = None
    failure: VpbenchError | None = None
    with _watched_signals(stops), _refused_exit():
        try:
            yield
        except BaseException as error:
            if os.getpid() == process:  # `fail` may call the plugin again
                cause, failure = error, fail(error)
    if os.getpid() != process:
        os._exit(1)
    if stops:
        raise stops[0]
    if failure is not None:
        raise failure from (None if failure is cause else cause)


def failed_as(
    kind: type[VpbenchError], source: str, remedy: Remedy | None = None
) -> Callable[[BaseException], VpbenchError]:
    """Return a ``fail`` that keeps errors of vpbench and describes any other one after its source."""
    return lambda error: error if isinstance(error, VpbenchError) else kind(f"{source}: {describe(error)}", remedy)


@contextmanager
def _refused_exit() -> Iterator[None]:
    """Let ``os._exit`` raise in the main thread during the block; forks and other threads end as they want."""
    if threading.current_thread() is not threading.main_thread():
        yield  # blocks of several threads do not nest, and each would restore what another one had replaced
        return
    end, process = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() == process and threading.current_thread() is threading.main_thread():
            raise SystemExit(f"os._exit({status}) would end vpbench")
        end(status)

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = end


@contextmanager
def _watched_signals(stops: list[BaseException]) -> Iterator[None]:
    """Add to ``stops`` what the process's handlers of SIGINT and SIGTERM raise during the block."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in handlers.items():
        if callable(handler):
            signal.signal(number, _watching(handler, stops))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, handler)


def _watching(handler: Callable[[int, FrameType | None], Any], stops: list[BaseException]) -> Callable[..., None]:
    def watch(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except BaseException as error:
            stops.append(error)
            raise

    return watch
