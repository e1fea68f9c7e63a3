"""Which frames make a snippet. The sequences of Cityscapes are cut into snippets of 30 frames; names do not say where.

Most drives have a number per snippet (``aachen_000003_000000`` to ``_000029``), some have one long number with many
snippets in it (``frankfurt_000001_000000`` ...). The 20th frame of every snippet is annotated.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

LENGTH = 30
ANCHOR = 19
"""Index of the annotated frame within its snippet."""
_MCVD_LIST = Path(__file__).with_name("mcvd_test.txt")


@functools.cache
def mcvd_test() -> frozenset[str]:
    """Return the names of the 256 test snippets that MCVD scores: number ``round(i / 255 * 1524)`` for i = 0 to 255.

    The numbers count the 1,525 snippets, sorted by name, from 0. The committed list keeps them when a file is missing.
    """
    return frozenset(_MCVD_LIST.read_text(encoding="ascii").split())


def cut(frames: Collection[int], annotated: Collection[int]) -> dict[int, list[int]]:
    """Group the frame numbers of one drive into snippets.

    An annotated frame says where its snippet lies, whatever frames are missing. All others are cut, from the lowest
    number on, into stretches of 30 numbers: the same snippets where the data are complete.

    Args:
        frames: numbers of the frames that are there.
        annotated: numbers of the annotated frames that are known.

    Returns:
        For each snippet's first number the numbers that are there, both ascending; 30 of them if it is complete.
    """
    present = set(frames)
    firsts = [number - ANCHOR for number in annotated]
    for start, end, leads in _chains(present, annotated):
        lead = leads[0] if len(leads) == 1 else 0
        firsts += range(start - lead, end - lead, LENGTH)
    return {first: [n for n in range(first, first + LENGTH) if n in present] for first in sorted(firsts)}


def find_unclear(frames: Collection[int], annotated: Collection[int]) -> dict[int, tuple[int, int]]:
    """Return the snippets of :func:`cut` that may begin earlier, since frames are missing at either end of their chain.

    Returns:
        For each snippet's first number two frame numbers, of which one is missing: before its chain, and at its end.
    """
    return {
        first: (start - leads[-1], end - leads[-1])
        for start, end, leads in _chains(set(frames), annotated)
        if len(leads) > 1
        for first in range(start, end, LENGTH)
    }


def _chains(frames: set[int], annotated: Iterable[int]) -> Iterator[tuple[int, int, list[int]]]:
    """Yield the chains of adjoining snippets without annotations: their first number, end, and possible leads.

    A lead is how many frames may be missing before the first number that is there, instead of at the end. The numbers
    of other snippets leave no room for some leads; the first snippet of a drive begins at 0 wherever it can.
    """
    of_annotations = {number for anchor in annotated for number in range(anchor - ANCHOR, anchor - ANCHOR + LENGTH)}
    bounds: list[tuple[int, int]] = []
    for number in sorted(frames - of_annotations):
        if bounds and number < bounds[-1][1]:
            continue
        if bounds and number == bounds[-1][1]:
            bounds[-1] = (bounds[-1][0], number + LENGTH)
        else:
            bounds.append((number, number + LENGTH))
    for start, end in bounds:
        missing = next(k for k in range(LENGTH) if end - 1 - k in frames and end - 1 - k not in of_annotations)
        if not missing:
            yield start, end, [0]
            continue
        taken_numbers = of_annotations | {number for number in frames if not start <= number < end}
        leads = [
            lead
            for lead in range(min(missing, start) + 1)
            if not taken_numbers & {*range(start - lead, start), *range(end - missing, end - lead)}
        ]
        yield start, end, [start] if start in leads else leads or [0]
