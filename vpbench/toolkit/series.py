"""Order the pictures of one folder by the numbers in their names, or refuse names that give no single order."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from statistics import median_low

from vpbench.errors import DataError, VpbenchWarning

_NUMBER = re.compile(r"(?<!\d\.)(?<!\d)(\d+\.\d+)(?!\.?\d)|(\d+)")
"""A decimal (``1.05``), unless it is part of a longer chain (``2024.01.02``), or the digits of an integer."""
_DIGITS = re.compile(r"(\d+)")
_SIGN = re.compile(r"(?:^|[^0-9A-Za-z])-$")
"""Text before a number that ends in a minus sign: at the start of a name, or after a separator."""
_SAME_SUFFIX = {"jpeg": "jpg", "tiff": "tif"}


@dataclass(frozen=True)
class _Name:
    """A file name, split at its numbers."""

    name: str
    text: tuple[str, ...]
    """The text around the numbers, the suffix last, without signs."""
    digits: tuple[str, ...]
    signs: tuple[bool, ...]

    def values(self, signed: Sequence[bool]) -> tuple[Decimal, ...]:
        """Return the numbers; a minus sign counts in the fields that are ``signed``."""
        fields = zip(self.digits, self.signs, signed, strict=True)
        return tuple(-Decimal(d) if minus and counts else Decimal(d) for d, minus, counts in fields)


def order_pictures(names: Sequence[str], folder: str) -> tuple[str, ...]:
    """Return the file names of one series of pictures, in the order of their numbers.

    The names of a series differ in one number (``frame2.png``, ``frame10.png``), which may be a decimal or negative, or
    in several numbers that never decrease (a counter and a time). A jump of an integer to twice the usual step or more
    is warned of.

    Args:
        names: names of files, in any order.
        folder: their folder, for messages.

    Raises:
        DataError: the pictures are of several series, or their numbers give no order; names two of the files.

    Example:
        >>> order_pictures(["1.1.png", "1.05.png", "1.0.png"], "walk")
        ('1.0.png', '1.05.png', '1.1.png')
    """
    if len(names) < 2:
        return tuple(names)
    if (ordered := _order_counted(names, folder)) is not None:
        return ordered
    parsed = [_parse(name) for name in sorted(names)]
    first = parsed[0]
    for picture in parsed:
        if picture.text != first.text:
            raise _several(first.name, picture.name, folder)
    varying = [
        field for field, digits in enumerate(zip(*(p.digits for p in parsed), strict=True)) if len({*digits}) > 1
    ]
    # Where only some names have a dash before a number, it is a minus sign. Where all do, it is a separator.
    signed = [len({*signs}) > 1 for signs in zip(*(p.signs for p in parsed), strict=True)]
    fields = [field for field in range(len(first.digits)) if field in varying or signed[field]]
    for field in fields:
        _check_digits(parsed, field, folder)
    keyed = sorted((p.values(signed), p.name) for p in parsed)
    for (values, name), (following, later) in pairwise(keyed):
        if any(values[field] > following[field] for field in fields) or values == following:
            raise _several(name, later, folder)
    return tuple(name for _, name in keyed)


def _order_counted(names: Sequence[str], folder: str) -> tuple[str, ...] | None:
    """Return names in order whose only difference is one plain integer, as nearly all are; None for all others.

    Ten times as fast as parsing names (folders hold 100,000 pictures).
    """
    split = [_DIGITS.split(name) for name in names]  # text, digits, text, ...
    if len({tuple(parts[0::2]) for parts in split}) > 1:
        return None
    varying = [place for place, parts in enumerate(zip(*split, strict=True)) if len({*parts}) > 1]
    if len(varying) != 1:
        return None
    before, after = split[0][varying[0] - 1], split[0][varying[0] + 1]
    if before.endswith("-") or "." in (before, after):  # a sign or a separator, a decimal or two integers
        return None
    digits = [parts[varying[0]] for parts in split]
    if len({*map(len, digits)}) > 1 and any(number.startswith("0") and number != "0" for number in digits):
        return None
    ordered = sorted(zip(map(int, digits), names, strict=True))
    _warn_of_gaps([number for number, _ in ordered], folder)
    return tuple(name for _, name in ordered)


def _warn_of_gaps(numbers: Sequence[int], folder: str) -> None:
    steps = [b - a for a, b in pairwise(numbers)]
    usual = median_low(steps)
    gaps = [place for place, step in enumerate(steps) if step >= 2 * usual > 0]
    if gaps:
        first, remark = gaps[0], f" (and {len(gaps) - 1} more gaps)" if len(gaps) > 1 else ""
        warnings.warn(
            f"{folder}: the frame numbers jump from {numbers[first]} to {numbers[first + 1]}{remark}; the pictures are "
            f"read as consecutive frames, so add the missing ones, or give each part a folder of its own",
            VpbenchWarning,
            stacklevel=2,
        )


def _parse(name: str) -> _Name:
    stem, _, suffix = name.rpartition(".")
    text, digits, signs, end = [], [], [], 0
    for match in _NUMBER.finditer(stem):
        before = stem[end : match.start()]
        minus = _SIGN.search(before) is not None
        text.append(before[:-1] if minus else before)
        digits.append(match[0])
        signs.append(minus)
        end = match.end()
    suffix = suffix.lower()
    text += [stem[end:], _SAME_SUFFIX.get(suffix, suffix)]
    return _Name(name, tuple(text), tuple(digits), tuple(signs))


def _check_digits(parsed: Sequence[_Name], field: int, folder: str) -> None:
    """Check that the numbers of a field are written in one way.

    Refused are integers that are padded with zeros to several widths, decimals of several widths with zeros at their
    ends (is 1.10 the tenth part of 1, or 1.1?), and unpadded numbers that all follow a dash (minus or separator?).
    """
    split = [(p.name, *p.digits[field].partition(".")[::2]) for p in parsed]
    padded = [(len(whole), name) for name, whole, _ in split if whole.startswith("0") and len(whole) > 1]
    width, example = min(padded, default=(1, ""))
    for name, whole, _ in split:
        if len(whole) < width or (whole.startswith("0") and len(whole) > width):
            raise _several(example, name, folder)
    ended = [(name, part) for name, _, part in split if len(part) > 1 and part.endswith("0")]
    rival = next((name for name, _, part in split if ended and len(part) != len(ended[0][1])), None)
    if rival is not None:
        raise _unclear(ended[0][0], rival, folder)
    if not padded and all(p.signs[field] for p in parsed) and not parsed[0].text[field]:
        raise _unclear(parsed[0].name, parsed[-1].name, folder)


def _several(first: str, second: str, folder: str) -> DataError:
    return DataError(
        f"{folder}: {first} and {second} are not of one series of pictures: give each series a folder of its own, with "
        f"names that differ in the frame number only"
    )


def _unclear(first: str, second: str, folder: str) -> DataError:
    return DataError(
        f"{folder}: the numbers in {first} and {second} give no clear order; rename the pictures, with one "
        f"frame number padded with zeros (000001.png)"
    )
