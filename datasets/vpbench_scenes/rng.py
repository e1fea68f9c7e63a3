"""Random numbers from hashing: the same on every machine, whatever the numpy version.

A :class:`Stream` is named by a key. Streams with different keys are unrelated, so a split, a clip, an object or a
branch has its own, and drawing more in one never shifts another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

VERSION: Final = 1
"""Part of every key: raised whenever any pixel of any clip may change."""

_BLOCK: Final = 64  # 64-bit words per hash
T = TypeVar("T")


class Stream:
    """An endless sequence of 64-bit words, a pure function of (VERSION, key)."""

    def __init__(self, *key: str | int) -> None:
        self._key = "/".join(map(str, (VERSION, *key)))
        self._words: list[int] = []
        self._block = 0

    def child(self, *key: str | int) -> Stream:
        """Return the stream named by this one's key and a further key."""
        stream = Stream()
        stream._key = "/".join((self._key, *map(str, key)))
        return stream

    def _word(self) -> int:
        if not self._words:
            digest = hashlib.shake_128(f"{self._key}#{self._block}".encode()).digest(8 * _BLOCK)
            self._words = np.frombuffer(digest, dtype="<u8").tolist()
            self._block += 1
        return self._words.pop()

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * ((self._word() >> 11) * 2.0**-53)

    def integer(self, count: int) -> int:
        """Return an integer in 0..count-1."""
        return (self._word() * count) >> 64

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.uniform() < probability

    def sign(self) -> int:
        """Return -1 or 1."""
        return 1 if self._word() >> 63 else -1

    def choice(self, values: Sequence[T]) -> T:
        """Return one of ``values``."""
        return values[self.integer(len(values))]

    def bytes(self, *shape: int) -> NDArray[np.int64]:
        """Return integers in 0..255 of this shape (a hash of their own, not of the sequence)."""
        count = int(np.prod(shape))
        digest = hashlib.shake_128(f"{self._key}#bytes".encode()).digest(count)
        return np.frombuffer(digest, dtype=np.uint8).astype(np.int64).reshape(shape)


def _sine_table(steps: int) -> NDArray[np.float64]:
    """Return sin(2 pi k / steps) in multiples of 2**-30, from exact fractions: the last bit of libm varies."""
    tau = 2 * Fraction(3141592653589793238462643, 10**24)
    values = []
    for k in range(steps):
        x = tau * (k if k <= steps // 2 else k - steps) / steps  # in (-pi, pi]
        term, total = x, x
        for n in range(1, 16):
            term = -term * x * x / ((2 * n) * (2 * n + 1))
            term = Fraction(round(term * 2**60), 2**60)
            total += term
        values.append(round(total * 2**30) / 2**30)
    return np.array(values, dtype=np.float64)


TURN: Final = 120
"""Steps of a full turn in :func:`sine`: periods of 4, 5, 6, 8, 10, ... frames are whole numbers of steps."""
_SINE: Final = _sine_table(TURN)


def sine(steps: int) -> float:
    """Return the sine of an angle given in steps, ``TURN`` of them to the full turn."""
    return float(_SINE[steps % TURN])
