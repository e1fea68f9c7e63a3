"""Colours and textures: drawn per clip from tables, on noise that each split has for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.rng import Stream
from vpbench_scenes.texture import Picture, Tile, noise_tile, pack

Colour = Sequence[int]
Colours = Mapping[str, Colour]
NOISES: Final = 6
"""Noise tiles per kind and split."""

_OCTAVES: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "soft": ((4, 10), (8, 8)),
    "leaf": ((8, 9), (16, 10)),
    "stone": ((8, 9), (16, 6), (32, 3)),
}
_BODIES: Final = (
    (186, 40, 38), (36, 72, 158), (222, 222, 220), (44, 46, 52), (150, 156, 162), (222, 176, 44), (42, 118, 76),
    (96, 34, 60), (70, 140, 190), (206, 104, 40),
)  # fmt: skip
_WALLS: Final = (
    (196, 176, 142), (168, 96, 74), (204, 200, 190), (142, 148, 156), (186, 148, 98), (120, 90, 80), (210, 186, 160),
    (150, 120, 112),
)  # fmt: skip
_CLOTHES: Final = (
    (190, 44, 52), (40, 60, 120), (232, 232, 228), (40, 40, 46), (228, 190, 60), (60, 128, 92), (120, 80, 140),
    (214, 120, 60), (90, 150, 200), (120, 110, 96),
)  # fmt: skip
_SKIN: Final = ((236, 198, 170), (206, 156, 122), (150, 104, 76), (106, 72, 54))
_FIXED: Final[Colours] = {
    "glass": (44, 60, 78), "tyre": (26, 26, 30), "hub": (132, 134, 138), "lamp": (250, 244, 206), "tail": (206, 26, 28),
    "trim": (112, 112, 116), "metal": (98, 102, 104), "sign": (240, 240, 236), "red": (214, 36, 38),
    "amber": (248, 176, 36), "green": (40, 190, 110), "shoe": (32, 28, 28), "trunk": (84, 64, 48),
}  # fmt: skip


def _near(colour: Colour, s: Stream, spread: int) -> tuple[int, int, int]:
    r, g, b = (min(max(c + s.integer(2 * spread + 1) - spread, 0), 255) for c in colour)
    return r, g, b


@cache
def noise(split: str, kind: str, number: int) -> NDArray[np.int64]:
    """Return one of the split's noise tiles, [128,128]; kinds are soft, leaf and stone."""
    return noise_tile(Stream("noise", split, kind, number), 128, _OCTAVES[kind])


def vehicle(s: Stream) -> Colours:
    """Return the colours of a vehicle, a bicycle or a sign."""
    body = _near(s.choice(_BODIES), s, 14)
    second = (228, 228, 224) if s.chance(0.5) else _near(s.choice(_BODIES), s, 14)
    return {**_FIXED, "body": body, "body2": second, "frame": body}


def clothes(s: Stream) -> Colours:
    """Return the colours of a person."""
    hair = _near(s.choice(((40, 30, 26), (90, 62, 40), (150, 120, 70), (120, 116, 112))), s, 8)
    return {
        **_FIXED,
        "skin": s.choice(_SKIN),
        "hair": hair,
        "shirt": _near(s.choice(_CLOTHES), s, 12),
        "trousers": _near(s.choice(_CLOTHES), s, 12),
        "trim": _near(s.choice(_CLOTHES), s, 12),
    }


def foliage(s: Stream) -> Colours:
    """Return the colours of a tree or a bush."""
    return {**_FIXED, "leaf": _near(s.choice(((66, 104, 48), (88, 120, 52), (52, 88, 56), (118, 118, 50))), s, 10)}


@cache
def sky(split: str, number: int) -> Picture:
    """Return a sky: a gradient with clouds, 128 by 256 texels."""
    s = Stream("sky", split, number)
    high = np.array(_near(((92, 142, 204), (130, 156, 184), (176, 186, 196))[number % 3], s, 10), dtype=np.int64)
    low = np.array(_near((214, 222, 228), s, 8), dtype=np.int64)
    rows = np.minimum(np.arange(128, dtype=np.int64) * 256 // 96, 256)[:, None, None]
    rgb = (high * (256 - rows) + low * rows) >> 8
    clouds = np.maximum(noise_tile(s, 128, ((4, 12), (8, 8))), 0)
    clouds = np.concatenate([clouds, clouds[:, ::-1]], axis=1)[:, :, None]
    return Picture(pack(np.clip(rgb + ((250 - rgb) * clouds >> 8), 0, 255)))


@cache
def asphalt(split: str, number: int) -> Tile:
    """Return a road surface, 128 by 128 texels of 1/16 m."""
    s = Stream("asphalt", split, number)
    grey = 84 + s.integer(34)
    rgb = np.array((grey, grey, grey + 4), dtype=np.int64) + (noise(split, "stone", number) * 14 >> 6)[:, :, None]
    return Tile.of(np.clip(rgb, 0, 255))


@cache
def pavement(split: str, number: int) -> Tile:
    """Return slabs of one metre, 128 by 128 texels of 1/16 m."""
    s = Stream("pavement", split, number)
    base = np.array(_near((172, 164, 154), s, 14), dtype=np.int64)
    slabs = np.kron(s.bytes(8, 8) - 128, np.ones((16, 16), dtype=np.int64))
    rgb = base + ((noise(split, "stone", number) * 10 + slabs * 7) >> 6)[:, :, None]
    joint = np.arange(128) % 16 == 0
    rgb[joint] -= 26
    rgb[:, joint] -= 26
    return Tile.of(np.clip(rgb, 0, 255))


def facade(split: str, s: Stream, *, windows: bool) -> Tile:
    """Return a house front of 12.8 m by 6.4 m: 128 rows by 64 columns of 1/10 m, the ground floor at the bottom."""
    base = np.array(_near(s.choice(_WALLS), s, 14), dtype=np.int64)
    rough = noise(split, "soft", s.integer(NOISES))[:, :64]
    rgb = np.broadcast_to(base, (128, 64, 3)) + ((rough * 18) >> 6)[:, :, None]
    band = base * 3 // 4
    if not windows:
        rgb[88:92] = band
        return Tile.of(np.clip(rgb, 0, 255))
    pane, frame = np.array(_near((58, 76, 96), s, 14), dtype=np.int64), np.minimum(base + 40, 250)
    bays = s.choice((2, 3, 4))
    wide, tall = 64 // bays, 32
    margin, sill = max(wide // 4, 3), 6 + s.integer(4)
    lit = s.bytes(4, bays)
    for floor in range(3):
        for bay in range(bays):
            top, left = floor * tall + sill, bay * wide + margin
            bottom, right = (floor + 1) * tall - 6, (bay + 1) * wide - margin
            rgb[top - 1 : bottom + 2, left - 1 : right + 1] = frame
            glow = lit[floor, bay]
            glass = np.array((232, 206, 140), dtype=np.int64) if glow > 226 else pane + (glow >> 3)
            rgb[top:bottom, left:right] = glass
            rgb[top : (top + bottom) // 2, left:right] += 14
    rgb[94:97] = band
    shop = np.array(_near(s.choice(_BODIES), s, 20), dtype=np.int64)
    if s.chance(0.6):
        rgb[97:103] = shop
        rgb[105:122, 3:61] = pane
        rgb[105:127, 24:34] = band
    else:
        rgb[104:128, 8:20] = shop // 2
        rgb[104:118, 30:56] = pane
    return Tile.of(np.clip(rgb, 0, 255))
