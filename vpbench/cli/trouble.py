"""Explain an exception in one line: with the flag that helps, or as an error of the system, of a plugin, or a bug."""

from __future__ import annotations

import errno
import select
import shlex
import sys
import traceback
from typing import TYPE_CHECKING

from vpbench.errors import Remedy, VpbenchError, describe, text_of

if TYPE_CHECKING:
    from vpbench.plugin.loader import Plugins

_ADVICE = {
    errno.EMFILE: "raise the limit of open files (`ulimit -n 4096`), or lower --workers",
    errno.ENFILE: "close other programs: the system has too many files open",
    errno.ENOSPC: "free some space and run the same command again",
    errno.EDQUOT: "free some space and run the same command again",
    errno.EFBIG: "free some space and run the same command again",
    errno.ENOMEM: "close other programs, or lower --workers",
}
_FLAGS = {
    Remedy.ALLOW_PARTIAL: "--allow-partial",
    Remedy.ANNOTATE: "--annotate MODALITY=NAME",
    Remedy.DATA_ROOT: "--data-root {}=DIR",
    Remedy.DEBUG: "--debug shows where",
    Remedy.LOAD_PLUGIN: "a plugin that is not installed: --plugin FILE.py",
    Remedy.MERGE_PARTIAL: "vpbench merge --allow-partial",
    Remedy.OUTPUT_FOLDER: "--out DIR",
    Remedy.TAKE_MODULE: "--take NAME",
    Remedy.STRIP_PREFIX: "vpbench weights convert FILE --strip {} --out NEW.safetensors",
    Remedy.ADD_PREFIX: "vpbench weights convert FILE --add {} --out NEW.safetensors",
    Remedy.WEIGHTS: "--weights {}=FILE",
}
_MEMORY = ("can't allocate memory", "out of memory")
"""Words of the RuntimeError that torch's allocators raise."""


def message(error: VpbenchError) -> str:
    """Return the line of an error, with the flag for what it or its cause advises."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, VpbenchError) and cause.remedy:
            return f"{error} ({_FLAGS[cause.remedy].format(shlex.quote(cause.subject))})"
        cause = cause.__cause__
    return str(error)


def explain(error: Exception, plugins: Plugins | None) -> str:
    """Return the line for an exception that is no :class:`vpbench.VpbenchError`; ``plugins`` are the loaded ones."""
    name = _plugin_of(error, plugins)
    origin = f"plugin {name}: " if name else ""
    if isinstance(error, OSError) and error.errno is not None:
        return origin + _system_line(error)
    if isinstance(error, MemoryError) or any(words in text_of(error) for words in _MEMORY):
        return f"{origin}memory does not suffice: lower --batch-size or --workers, or close other programs"
    if isinstance(error, UnicodeEncodeError):
        return f"{origin}{error.encoding} cannot write {error.object[error.start]!r}: set PYTHONIOENCODING=utf-8"
    return f"{origin}{describe(error)} (this is a bug of {'that plugin' if name else 'vpbench'}; --debug shows where)"


def stdout_is_closed() -> bool:
    """Return whether the program that read standard output has gone, as in ``vpbench list | head``."""
    if sys.stdout is None:  # it was closed from the start, and takes nothing
        return False
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # no file of the system's, or closed
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _system_line(error: OSError) -> str:
    reason = error.strerror or text_of(error)
    advice = f"; {_ADVICE[error.errno]}" if error.errno in _ADVICE else ""
    return f"{error.filename}: {reason}{advice}" if error.filename is not None else f"{reason}{advice}"


def _plugin_of(error: BaseException, plugins: Plugins | None) -> str:
    """Return the plugin whose code raised an exception, or called a library that did; "" for vpbench itself."""
    names: dict[str, str] = {}
    for entry in plugins.entries.values() if plugins else ():
        names[_package(entry.target)] = entry.plugin
    for plugin in plugins.plugins if plugins else ():
        names[_package(plugin.module)] = plugin.distribution
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        module = str(frame.f_globals.get("__name__", ""))
        if name := names.get(_package(module)):
            return "" if name == "vpbench" else name
        if _package(module) == "vpbench" and not module.startswith("vpbench.plugin."):
            return ""  # what plugins call in vpbench.plugin fails for what it was called with
    return ""


def _package(module: str) -> str:
    return module.partition(":")[0].partition(".")[0]
