"""Names of protocols, predictors, presets, metrics and clips: which texts may become part of a path."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from vpbench.errors import VpbenchError

_LONGEST = 100
_NAME = re.compile(r"\w[\w.+=@-]*")
_LONGEST_CLIP = 1000
"""Bytes of a clip's id: with a folder before it, a path fits."""
_LONGEST_FOLDER = 255
_CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of Unicode: control characters, halves of pairs, separators of lines and paragraphs."""


@dataclass(frozen=True)
class Selector:
    """A plugin object as users name it: ``NAME`` or ``NAME:PRESET``, or ``NAME:ARGUMENT`` if it takes an argument."""

    name: str
    argument: str = ""

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Parse what a user typed."""
        name, _, argument = text.partition(":")
        return cls(name, argument)

    def __str__(self) -> str:
        """Return what a user would type."""
        return f"{self.name}:{self.argument}" if self.argument else self.name


def is_name(text: str) -> bool:
    """Return whether a text is a name: a letter or digit, then letters, digits and any of ``_ . + = @ -``."""
    return len(text) <= _LONGEST and _NAME.fullmatch(text) is not None


def is_metric(text: str) -> bool:
    """Return whether a text is the name of a metric: a name, and maybe a region after a slash."""
    return all(map(is_name, text.split("/", 1)))


def slug(text: str) -> str:
    """Return a name made of a text: what a name may not hold becomes ``-``."""
    return re.sub(r"[^\w.+=@-]+", "-", text, flags=re.ASCII).lstrip(".+=@-")[:_LONGEST] or "unnamed"


def clip_problem(text: str) -> str:
    """Return why a text cannot be the id of a clip or the name of a sequence; "" where it can.

    An id is the path of a file or folder below a data root: ``Archery/v_Archery_g21_c01@0``.
    """
    if not text.isprintable() and any(unicodedata.category(character) in _CONTROL for character in text):
        return "it holds control characters"
    if len(text.encode()) > _LONGEST_CLIP:
        return f"it is longer than {_LONGEST_CLIP} bytes"
    if not all(folder not in ("", ".", "..") for folder in text.split("/")):
        return "it is not a path below a folder"
    return ""


def below(root: Path, *names: str) -> Path:
    """Return the folder below ``root`` that these names lead to.

    Every folder for results and trainings is made here, so that none lies outside the results folder.

    Raises:
        VpbenchError: one of them is not a name.
    """
    for name in names:
        if not _NAME.fullmatch(name) or len(name.encode()) > _LONGEST_FOLDER:
            raise VpbenchError(
                f"{name[:_LONGEST]!r} cannot name a folder in {root}: a name holds letters, digits and _ . + = @ - only"
            )
    return root.joinpath(*names)
