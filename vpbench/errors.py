"""Errors, which are one line for people with an exit code, and warnings."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from enum import Enum, auto

_LONGEST = 300
"""Characters of a plugin's exception text that a message quotes."""
_LIMIT = 8
"""Known names that a message prints."""
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")
"""Terminal control sequences: colours, cursor moves, window titles."""


class Remedy(Enum):
    """A way out that a message gives in general terms; the command line adds its flag for it."""

    ALLOW_PARTIAL = auto()
    ANNOTATE = auto()
    DATA_ROOT = auto()
    DEBUG = auto()
    LOAD_PLUGIN = auto()
    MERGE_PARTIAL = auto()
    OUTPUT_FOLDER = auto()
    TAKE_MODULE = auto()
    STRIP_PREFIX = auto()
    ADD_PREFIX = auto()
    WEIGHTS = auto()


class VpbenchError(Exception):
    """An error with a message for people: one line that says what, where and what to do next.

    Args:
        message: the line, in terms that fit the command line and Python alike.
        remedy: the way out that the message ends with.
        subject: the name that the remedy is about, such as a dataset.
    """

    exit_code = 1

    def __init__(self, message: str = "", remedy: Remedy | None = None, subject: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy
        self.subject = subject


class VpbenchWarning(UserWarning):
    """A notice that a user would miss otherwise: one line, which the command line prints once."""


class UsageError(VpbenchError):
    """The user asked for something that does not exist or does not fit."""

    exit_code = 2


class PluginError(VpbenchError):
    """A plugin cannot be loaded, or registers what is already taken."""


class DataError(VpbenchError):
    """A data root, a file or a frame is missing or broken."""


class PredictorError(VpbenchError):
    """A predictor broke its contract: wrong shape, NaN, values out of range, an exception."""


class MetricError(VpbenchError):
    """A metric cannot be computed where the user asked for it."""


class ResultError(VpbenchError):
    """A result folder cannot be read, written or trusted."""


def did_you_mean(name: str, names: Iterable[str], listing: str = "") -> str:
    """Return ``"; did you mean 'NAME'?"`` or, without a near name, the known names.

    If there are many, it prints the first ones, the number of the others and ``listing``, the command that prints all.
    """
    choices = sorted(set(names))
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    if not choices:
        return "; there are none"
    text = "; known: " + ", ".join(choices[:_LIMIT])
    if len(choices) <= _LIMIT:
        return text
    return f"{text} and {len(choices) - _LIMIT} more" + (f" ({listing})" if listing else "")


def describe(error: BaseException) -> str:
    """Return ``TYPE: text`` of any exception as one line of bounded length, even if its own text raises."""
    name, text = type_name(error), text_of(error)
    return f"{name}: {text}" if text else name


def text_of(error: BaseException) -> str:
    """Return the text of an exception as one line of bounded length, without control characters."""
    try:
        return one_line(str(error))
    except BaseException:  # it is a plugin's code: it may raise anything
        return "(its text cannot be read)"


def type_name(value: object) -> str:
    """Return the name of a value's class as one line of bounded length, even if a metaclass hides it."""
    return one_line(type.__dict__["__name__"].__get__(type(value)))


def one_line(text: str) -> str:
    """Return a plugin's text as one line of bounded length, without control characters."""
    beginning = _ESCAPES.sub(" ", str.__getitem__(text, slice(8 * _LONGEST)))
    line = " ".join("".join(c if c.isprintable() else " " for c in beginning).split())
    cut = len(line) > _LONGEST or str.__len__(text) > 8 * _LONGEST
    return f"{line[:_LONGEST]} ..." if cut else line
