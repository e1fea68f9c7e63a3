"""Textures as pyramids of packed colours, and their bilinear lookup, all in integers.

A colour is one int64 with three lanes of 21 bits (red lowest). Sums of up to 8192 weighted 8-bit values fit in a lane,
so one integer multiplication weighs all three channels; differences may borrow between lanes, but whole weighted sums
are exact. Rounding is explicit, so a lookup gives the same bytes on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.rng import Stream

__all__ = ["Texture", "level_of", "noise_tile", "pack", "sample", "unpack"]

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


@dataclass(frozen=True)
class Texture:
    """A picture with its pyramid: level l is the mean of 2x2 blocks of level l-1.

    ``texels`` holds all levels behind one another; ``bases[l]``, ``heights[l]``, ``widths[l]`` say where and how large.
    ``wraps`` textures repeat (sides are powers of two), others are continued by their border.
    """

    texels: Ints
    bases: Ints
    heights: Ints
    widths: Ints
    wraps: bool

    @classmethod
    def of(cls, rgb: NDArray[np.integer], *, wraps: bool) -> Texture:
        """Build from uint8-valued [h,w,3]; both sides divisible by 16."""
        level = pack(rgb)
        levels = [level]
        while len(levels) < 8 and not (level.shape[0] % 2 or level.shape[1] % 2):
            level = scaled_down(level[::2, ::2] + level[1::2, ::2] + level[::2, 1::2] + level[1::2, 1::2], 2)
            levels.append(level)
        sizes = np.array([lv.size for lv in levels], dtype=np.int64)
        return cls(
            texels=np.concatenate([lv.ravel() for lv in levels]),
            bases=np.cumsum(sizes) - sizes,
            heights=np.array([lv.shape[0] for lv in levels], dtype=np.int64),
            widths=np.array([lv.shape[1] for lv in levels], dtype=np.int64),
            wraps=wraps,
        )


def level_of(footprint: Floats) -> tuple[Ints, Ints]:
    """Return the pyramid level and the weight (0..63) of the next one, for a pixel that spans ``footprint`` texels.

    Piecewise linear between powers of two, from the float's exponent: no logarithm.
    """
    mantissa, exponent = np.frexp(np.maximum(footprint, 1.0))
    return exponent.astype(np.int64) - 1, ((2.0 * mantissa - 1.0) * 64.0).astype(np.int64)


def sample(texture: Texture, u: Floats, v: Floats, footprint: float | Floats) -> Ints:
    """Look up packed colours, linearly between texels and levels.

    Args:
        texture: where to look.
        u, v: texel coordinates of level 0 (centres at .5), arrays that broadcast.
        footprint: texels of level 0 that a pixel spans, a number or an array that broadcasts with u and v.
    """
    if isinstance(footprint, float):
        if footprint <= 1.0:
            return _bilinear(texture, 0, u, v)
        mantissa, exponent = math.frexp(footprint)
        level, weight = min(exponent - 1, len(texture.bases) - 1), int((2.0 * mantissa - 1.0) * 64.0)
        upper = min(level + 1, len(texture.bases) - 1)
        if weight == 0 or upper == level:
            return _bilinear(texture, level, u, v)
        low = _bilinear(texture, level, u, v)
        return scaled_down((low << 6) + (_bilinear(texture, upper, u, v) - low) * weight, 6)
    last = len(texture.bases) - 1
    levels, weights = level_of(footprint)
    low = _bilinear(texture, np.minimum(levels, last), u, v)
    high = _bilinear(texture, np.minimum(levels + 1, last), u, v)
    return scaled_down((low << 6) + (high - low) * weights, 6)


def _bilinear(texture: Texture, level: int | Ints, u: Floats, v: Floats) -> Ints:
    width, height, base = texture.widths[level], texture.heights[level], texture.bases[level]
    # Powers of two, so the products are exact.
    across = width / texture.widths[0]
    down = height / texture.heights[0]
    x = u * across - 0.5
    y = v * down - 0.5
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = ((x - x0) * 64.0).astype(np.int64), ((y - y0) * 64.0).astype(np.int64)
    i0, j0 = x0.astype(np.int64), y0.astype(np.int64)
    if texture.wraps:
        i1, j1 = (i0 + 1) & (width - 1), (j0 + 1) & (height - 1)
        i0, j0 = i0 & (width - 1), j0 & (height - 1)
    else:
        i1, j1 = np.clip(i0 + 1, 0, width - 1), np.clip(j0 + 1, 0, height - 1)
        i0, j0 = np.clip(i0, 0, width - 1), np.clip(j0, 0, height - 1)
    row0, row1 = base + j0 * width, base + j1 * width
    texels = texture.texels
    top = texels.take(row0 + i0)
    top = (top << 6) + (texels.take(row0 + i1) - top) * fx
    bottom = texels.take(row1 + i0)
    bottom = (bottom << 6) + (texels.take(row1 + i1) - bottom) * fx
    return scaled_down((top << 6) + (bottom - top) * fy, 12)


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
