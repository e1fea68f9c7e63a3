"""A picture filled front to back, eight samples a pixel."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLES: Final = np.array([(1, -3), (-1, 3), (5, 1), (-3, -5), (-5, 5), (-7, -1), (3, 7), (7, -7)]) / 16.0
"""Where in a pixel the coverage is decided: (dx, dy) from its centre; no two in one row or column."""

_BIT: Final = (1 << np.arange(8)).astype(np.uint8)
_COUNT: Final = np.array([bin(mask).count("1") for mask in range(256)], dtype=np.int64)

Masks = NDArray[np.uint8]
"""The eight samples of a pixel, a bit each."""
Box = tuple[slice, slice]


def as_mask(samples: NDArray[np.bool_]) -> Masks:
    """Turn [8,...] booleans into masks [...]."""
    bits = _BIT.reshape(8, *[1] * (samples.ndim - 1))
    return np.bitwise_or.reduce(samples.view(np.uint8) * bits, axis=0)


class Canvas:
    """One frame: summed packed colours (of eight samples), the owner of each pixel and its samples, [H,W]."""

    def __init__(self, h: int, w: int) -> None:
        self.free: Masks = np.full((h, w), 255, dtype=np.uint8)
        self.colour = np.zeros((h, w), dtype=np.int64)
        self.owner = np.zeros((h, w), dtype=np.int16)
        self.record = np.zeros((h, w), dtype=np.int64)

    def take(self, box: Box, mask: Masks, number: int) -> NDArray[np.int64] | None:
        """Give surface ``number`` the free samples of ``mask`` in ``box``; return how many per pixel, None if none.

        The owner of a pixel is who got most of its samples, of equals the first, which is the nearer.
        """
        free = self.free[box]
        won = mask & free
        if not won.any():
            return None
        count = _COUNT.take(won)
        free ^= won
        record = self.record[box]
        np.copyto(self.owner[box], np.int16(number), where=count > record)
        np.maximum(record, count, out=record)
        return count
