"""Read ``00sequences.txt``, the official list of frame ranges: one line per video, one range per repetition."""

from __future__ import annotations

import re
from pathlib import Path

from vpbench.errors import DataError

FILE = "00sequences.txt"
_VIDEO = re.compile(r"person\d\d_[a-z]+_d\d")
_LINE = re.compile(rf"({_VIDEO.pattern})\s+frames\s+(\d+-\d+(?:\s*,\s*\d+-\d+)*)\s*")
_MISSING = re.compile(rf"{_VIDEO.pattern}\s+\*missing\*\s*")

Range = tuple[int, int]
"""The first and the last frame of a repetition, counted from 1."""


def read_ranges(path: Path) -> dict[str, tuple[Range, ...]]:
    """Return the frame ranges of each video, ``person01_boxing_d1``, in the order of the file.

    Ranges of a video may adjoin or overlap, and are not always in order. The missing video is left out.

    Raises:
        DataError: the file lists no video, a line about a video does not parse, or a video is listed twice.
    """
    ranges: dict[str, tuple[Range, ...]] = {}
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), start=1):
        if not _VIDEO.match(line) or _MISSING.fullmatch(line):
            continue
        match = _LINE.fullmatch(line)
        pairs = [tuple(map(int, pair.split("-"))) for pair in match[2].split(",")] if match else []
        if match is None or any(not 1 <= first <= last for first, last in pairs):
            raise DataError(f"{path}, line {number}: {line.strip()!r} is no list of frame ranges; get the file again")
        if match[1] in ranges:
            raise DataError(f"{path}, line {number}: {match[1]} is listed twice; get the file again")
        ranges[match[1]] = tuple((first, last) for first, last in pairs)
    if not ranges:
        raise DataError(f"{path}: lists no video of KTH, such as person01_boxing_d1 frames 1-95; get the file again")
    return ranges
