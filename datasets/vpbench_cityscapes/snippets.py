"""Which frames make a snippet. The sequences of Cityscapes are cut into snippets of 30 frames; names do not say where.

Most drives have a number per snippet (``aachen_000003_000000`` to ``_000029``), some have one long number with many
snippets in it (``frankfurt_000001_000000`` ...). The 20th frame of every snippet is annotated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

__all__ = ["ANCHOR", "LENGTH", "cut"]

LENGTH = 30
ANCHOR = 19
"""Index of the annotated frame within its snippet."""


def cut(frames: Collection[int], annotated: Iterable[int]) -> dict[int, list[int]]:
    """Group the frame numbers of one drive into snippets.

    An annotated frame says where its snippet lies, whatever frames are missing. All others are cut, from the lowest
    number on, into stretches of 30 numbers: the same snippets where the data are complete.

    Args:
        frames: numbers of the frames that are there.
        annotated: numbers of the annotated frames that are known.

    Returns:
        For each snippet's first number the numbers that are there, both ascending; 30 of them if it is complete.
    """
    left = set(frames)
    snippets: dict[int, list[int]] = {}
    for first in (number - ANCHOR for number in annotated):
        snippets[first] = [number for number in range(first, first + LENGTH) if number in left]
    left.difference_update(*snippets.values())
    first = -LENGTH
    for number in sorted(left):
        if number >= first + LENGTH:
            first = number
            snippets[first] = []
        snippets[first].append(number)
    return dict(sorted(snippets.items()))
