"""Draw two digits that move straight and bounce off the edges, as Moving MNIST's generator does.

All numbers come from SHA-256 of the seed and the clip's name, so that every machine draws the same pixels.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

FRAMES = 20
SIDE, DIGIT = 64, 28
_DIGITS = 2
_STEP = 0.1
"""Distance from one frame to the next; 1 is the way across the frame."""


def draw_clip(digits: NDArray[np.uint8], seed: int, name: str) -> NDArray[np.uint8]:
    """Draw a clip [20,64,64] of two digits of a set [M,28,28]; the brighter pixel shows where they overlap."""
    frames = np.zeros((FRAMES, SIDE, SIDE), np.uint8)
    numbers = struct.unpack(f">{4 * _DIGITS}I", hashlib.sha256(f"{seed}/{name}".encode()).digest())
    for start in range(0, len(numbers), 4):
        choice, *place = numbers[start : start + 4]
        x, y, turn = (number / 2**32 for number in place)
        digit = digits[choice % len(digits)]
        for frame, (top, left) in zip(frames, _path(x, y, turn), strict=True):
            window = frame[top : top + DIGIT, left : left + DIGIT]
            np.maximum(window, digit, out=window)
    return frames


def _path(x: float, y: float, turn: float) -> Iterator[tuple[int, int]]:
    """Yield the top left corner of a digit in each frame.

    Args:
        x: place before the first frame, in [0,1], from left to right.
        y: the same from top to bottom.
        turn: direction, in turns.
    """
    # Libraries differ in the last bits of a cosine; rounded, all give the same pixels.
    steps = [_STEP * round(math.cos(2 * math.pi * turn), 9), _STEP * round(math.sin(2 * math.pi * turn), 9)]
    place = [x, y]
    for _ in range(FRAMES):
        for axis in (0, 1):
            place[axis] += steps[axis]
            if not 0 < place[axis] < 1:
                place[axis] = min(max(place[axis], 0.0), 1.0)
                steps[axis] = -steps[axis]
        left, top = (int((SIDE - DIGIT) * value) for value in place)
        yield top, left


def as_rgb(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return grey frames [N,H,W] as three equal channels [N,H,W,3]."""
    return np.repeat(frames[..., None], 3, axis=-1)
