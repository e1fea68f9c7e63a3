"""Textures as pyramids of packed colours, and their bilinear lookup, all in integers.

A colour is one int64 with three lanes of 21 bits (red lowest). Sums of up to 8192 weighted 8-bit values fit in a lane,
so one integer multiplication weighs all three channels; differences may borrow between lanes, but whole weighted sums
are exact. Rounding is explicit, so a lookup gives the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.rng import Stream

_LANE: Final = 21
_ONES: Final = 1 | (1 << _LANE) | (1 << 2 * _LANE)
_BYTE: Final = 255 * _ONES

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def pack(rgb: NDArray[np.integer]) -> Ints:
    """Pack [...,3] values of 0..255 into one int64 each."""
    wide = rgb.astype(np.int64)
    return np.asarray(wide[..., 0] | (wide[..., 1] << _LANE) | (wide[..., 2] << 2 * _LANE))


def unpack(colour: Ints) -> NDArray[np.uint8]:
    """Unpack to uint8 [...,3]."""
    out = np.empty((*colour.shape, 3), dtype=np.uint8)
    for channel in range(3):
        out[..., channel] = (colour >> (channel * _LANE)) & 255
    return out


def scaled_down(colour: Ints, shift: int) -> Ints:
    """Divide each lane by 2**shift, rounded to nearest; the result is 8-bit per lane."""
    return np.asarray(((colour + (_ONES << (shift - 1))) >> shift) & _BYTE)


def shaded(colour: Ints, light: Ints) -> Ints:
    """Multiply each lane by ``light`` / 256; the result must stay within 0..255."""
    return np.asarray(((colour * light) >> 8) & _BYTE)


def _halved(level: Ints) -> Ints:
    """Return the mean of each 2x2 block."""
    return scaled_down(level[::2, ::2] + level[1::2, ::2] + level[::2, 1::2] + level[1::2, 1::2], 2)


@dataclass(frozen=True)
class Picture:
    """A packed picture [h,w], sides divisible by 8, that is shown at one scale; its border continues it."""

    texels: Ints

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns) of level 0."""
        return self.texels.shape[0], self.texels.shape[1]

    def level(self, number: int) -> tuple[Ints, int, int]:
        """Return level 0 halved ``number`` times (three at most): flat texels, rows, columns."""
        level = self.texels
        for _ in range(min(number, 3)):
            level = _halved(level)
        return level.ravel(), level.shape[0], level.shape[1]


@dataclass(frozen=True)
class Tile:
    """A repeating picture with its pyramid: level l is the mean of 2x2 blocks of level l-1; sides are powers of two.

    ``texels`` holds all levels behind one another; ``bases[l]``, ``heights[l]``, ``widths[l]`` say where and how large.
    """

    texels: Ints
    bases: Ints
    heights: Ints
    widths: Ints

    @classmethod
    def of(cls, rgb: NDArray[np.integer]) -> Tile:
        """Build from values of 0..255, [h,w,3]."""
        level = pack(rgb)
        levels = [level]
        while len(levels) < 8 and min(level.shape) > 1:
            level = _halved(level)
            levels.append(level)
        sizes = np.array([lv.size for lv in levels], dtype=np.int64)
        return cls(
            texels=np.concatenate([lv.ravel() for lv in levels]),
            bases=np.cumsum(sizes) - sizes,
            heights=np.array([lv.shape[0] for lv in levels], dtype=np.int64),
            widths=np.array([lv.shape[1] for lv in levels], dtype=np.int64),
        )

    @classmethod
    def rows(cls, tiles: Sequence[Tile]) -> Tile:
        """Store several tiles of one size behind one another, for :func:`sample` with an origin."""
        first = tiles[0]
        return cls(np.concatenate([t.texels for t in tiles]), first.bases, first.heights, first.widths)

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns) of level 0."""
        return int(self.heights[0]), int(self.widths[0])

    def level(self, number: int) -> tuple[Ints, int, int]:
        """Return one level (the last one for higher numbers): flat texels, rows, columns."""
        number = min(number, len(self.bases) - 1)
        rows, columns, base = int(self.heights[number]), int(self.widths[number]), int(self.bases[number])
        return self.texels[base : base + rows * columns], rows, columns


def fraction(at: Floats, count: int, wraps: bool) -> tuple[Ints, Ints, Ints]:
    """Split texel coordinates (centres at .5) of one axis.

    Returns:
        The two neighbouring texels, wrapped or held at the border, and the weight of the second, 0..63.
    """
    shifted = at - 0.5
    low = np.floor(shifted)
    weight = ((shifted - low) * 64.0).astype(np.int64)
    first = low.astype(np.int64)
    if wraps:
        return first & (count - 1), (first + 1) & (count - 1), weight
    last = count - 1
    return np.minimum(np.maximum(first, 0), last), np.minimum(np.maximum(first + 1, 0), last), weight


def bilinear(texels: Ints, columns: int | Ints, i0: Ints, i1: Ints, fx: Ints, j0: Ints, j1: Ints, fy: Ints) -> Ints:
    """Look up packed colours between four texels of a flat array; the arguments broadcast (see :func:`fraction`)."""
    row0, row1 = j0 * columns, j1 * columns
    top, bottom = texels.take(row0 + i0), texels.take(row1 + i0)
    top = (top << 6) + (texels.take(row0 + i1) - top) * fx
    bottom = (bottom << 6) + (texels.take(row1 + i1) - bottom) * fx
    return scaled_down((top << 6) + (bottom - top) * fy, 12)


def sample(tile: Tile, u: Floats, v: Floats, footprint: Floats, origin: int | Ints = 0) -> Ints:
    """Look up packed colours of a tile, linearly between texels and between levels.

    Args:
        tile: where to look.
        u: texel column of level 0 (centres at .5).
        v: texel row of level 0; broadcasts with u.
        footprint: texels of level 0 that a pixel spans, broadcasts with u and v.
        origin: added to the texels' index: which of several pictures stored behind one another.
    """
    last = len(tile.bases) - 1
    # Piecewise linear between powers of two, from the float's exponent: no logarithm.
    mantissa, exponent = np.frexp(np.maximum(footprint, 1.0))
    level, weight = np.minimum(exponent - 1, last), ((2.0 * mantissa - 1.0) * 64.0).astype(np.int64)
    low = _at_level(tile, u, v, level, origin)
    high = _at_level(tile, u, v, np.minimum(level + 1, last), origin)
    return scaled_down((low << 6) + (high - low) * weight, 6)


def _at_level(tile: Tile, u: Floats, v: Floats, level: NDArray[np.int32], origin: int | Ints) -> Ints:
    width, height = tile.widths[level], tile.heights[level]
    shrink = np.ldexp(1.0, -level)
    x, y = u * shrink - 0.5, v * shrink - 0.5
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = ((x - x0) * 64.0).astype(np.int64), ((y - y0) * 64.0).astype(np.int64)
    i0, j0 = x0.astype(np.int64), y0.astype(np.int64)
    base = tile.bases[level] + origin
    i1 = base + ((i0 + 1) & (width - 1))
    j1 = (j0 + 1) & (height - 1)
    return bilinear(tile.texels, width, base + (i0 & (width - 1)), i1, fx, j0 & (height - 1), j1, fy)


def noise_tile(stream: Stream, size: int, octaves: tuple[tuple[int, int], ...]) -> Ints:
    """Return smooth periodic noise, [size,size], about -128..127 times the sum of weights over 16.

    Args:
        stream: where the lattices come from.
        size: side in texels.
        octaves: (cells per side, weight in 16ths); cells divide ``size``. Coarse cells make it band-limited.
    """
    total = np.zeros((size, size), dtype=np.int64)
    for cells, weight in octaves:
        lattice = stream.child("lattice", cells).bytes(cells, cells) - 128
        step = size // cells
        ramp = np.arange(step, dtype=np.int64) * 256 // step
        ease = (ramp * ramp * (3 * 256 - 2 * ramp)) >> 16  # smoothstep, 0..256
        right = np.roll(lattice, -1, axis=1)
        rows = (lattice[:, :, None] * 256 + (right - lattice)[:, :, None] * ease).reshape(cells, size)
        below = np.roll(rows, -1, axis=0)
        grid = (rows[:, None, :] * 256 + (below - rows)[:, None, :] * ease[:, None]).reshape(size, size)
        total += (grid * weight) >> 20
    return total
