"""Silhouettes of street furniture and road users, painted once per split and variant, coloured once per object.

A sprite lives in the unit square of its bounding box, v downwards. Each point has a paint (0: empty); a clip's objects
give the paints their colours. Only comparisons of sums and products decide, so a sprite is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.paint import PAINT_ID, PAINTS, Painter, Sprite
from vpbench_scenes.rng import Stream
from vpbench_scenes.texture import Picture, pack, shaded
from vpbench_scenes.vehicles import VEHICLES

VARIANTS: Final = 12
"""Shapes per kind and split."""


def _torso(s: Stream) -> Sprite:
    """Head, arms and trunk of a walker: the upper part of the body, to the hip."""
    c = Painter(96, 64)
    head, slim = s.uniform(0.13, 0.15), s.uniform(0.0, 0.08)
    c.poly("shirt", (0.2 + slim, 1.0), (0.16 + slim, 0.36), (0.36, 0.29), (0.64, 0.29), (0.84 - slim, 0.36),
           (0.8 - slim, 1.0))  # fmt: skip
    c.line("shirt", 0.22 + slim, 0.42, 0.12, 0.8, 0.1, 0.06)
    c.line("shirt", 0.78 - slim, 0.42, 0.9, 0.78, 0.1, 0.06)
    c.oval("skin", 0.11, 0.86, 0.09, 0.055)
    c.oval("skin", 0.91, 0.84, 0.09, 0.055)
    c.rect("skin", 0.44, 0.22, 0.58, 0.33)
    c.oval("hair", 0.49, head, 0.23, head)
    c.oval("skin", 0.54, head + 0.025, 0.18, head - 0.03)
    if s.chance(0.35):
        c.rect("trim", 0.14 + slim, 0.4, 0.36, 0.78)
    return c.sprite()


def _leg(s: Stream) -> Sprite:
    c = Painter(96, 32)
    c.poly("trousers", (0.22, 0.94), (0.06, 0.0), (0.94, 0.0), (0.72, 0.94))
    c.rect("shoe", 0.18, 0.92, s.uniform(0.9, 1.0), 1.0)
    return c.sprite()


def _rider(s: Stream) -> Sprite:
    """A rider seen from the side, facing right: seat at the lower left, hands at the right."""
    c = Painter(128, 96)
    lean = s.uniform(0.4, 0.5)
    c.line("trousers", 0.27, 0.56, 0.6, 0.68, 0.12, 0.075)
    c.line("trousers", 0.6, 0.68, 0.47, 0.93, 0.1, 0.06)
    c.oval("shoe", 0.52, 0.96, 0.12, 0.04)
    c.line("shirt", 0.27, 0.54, lean + 0.06, 0.27, 0.17, 0.1)
    c.line("shirt", lean + 0.08, 0.29, 0.84, 0.45, 0.075, 0.045)
    c.oval("skin", 0.87, 0.46, 0.06, 0.04)
    c.oval("skin", lean + 0.15, 0.11, 0.13, 0.1)
    c.oval("hair", lean + 0.11, 0.085, 0.15, 0.085)
    return c.sprite()


def _tree(s: Stream) -> Sprite:
    c = Painter(144, 112)
    c.rect("trunk", 0.46, 0.5, 0.54, 1.0)
    for _ in range(11):
        r = s.uniform(0.13, 0.24)
        c.oval("leaf", s.uniform(0.1 + r, 0.9 - r), s.uniform(r * 0.78, 0.66 - r * 0.4), r, r * 0.78)
    c.oval("leaf", 0.5, 0.34, 0.3, 0.26)
    return c.sprite()


def _bush(s: Stream) -> Sprite:
    c = Painter(80, 112)
    for k in range(7):
        r = s.uniform(0.16, 0.26)
        c.oval("leaf", 0.16 + 0.68 * k / 6, s.uniform(0.45, 0.62), r * 0.8, r * 1.6)
    c.rect("leaf", 0.08, 0.6, 0.92, 1.0)
    return c.sprite()


def _pole(s: Stream) -> Sprite:
    c = Painter(128, 16)
    c.rect("metal", 0.12, 0.0, 0.88, 1.0)
    c.rect("metal", 0.0, s.uniform(0.88, 0.93), 1.0, 1.0)
    return c.sprite()


def _light(s: Stream) -> Sprite:
    c = Painter(96, 48)
    c.rect("tyre", 0.0, 0.0, 1.0, 1.0)
    on = s.integer(3)
    for k, lamp in enumerate(("red", "amber", "green")):
        c.oval(lamp if k == on else "hub", 0.5, 0.18 + 0.32 * k, 0.3, 0.13)
    return c.sprite()


def _sign(s: Stream) -> Sprite:
    c = Painter(64, 64)
    kind = s.integer(3)
    if kind == 0:
        c.oval("red", 0.5, 0.5, 0.5, 0.5)
        c.oval("sign", 0.5, 0.5, 0.34, 0.34)
    elif kind == 1:
        c.poly("red", (0.0, 1.0), (0.5, 0.0), (1.0, 1.0))
        c.poly("sign", (0.22, 0.87), (0.5, 0.32), (0.78, 0.87))
    else:
        c.rect("body", 0.0, 0.0, 1.0, 1.0)
        c.poly("sign", (0.25, 0.62), (0.5, 0.2), (0.75, 0.62))
    return c.sprite()


def _block(s: Stream) -> Sprite:
    """The one shape of the variant ``same-look``: a rounded box with two bands."""
    c = Painter(96, 96)
    c.rect("body", 0.0, 0.12, 1.0, 1.0)
    c.rect("body", 0.12, 0.0, 0.88, 1.0)
    for u in (0.12, 0.88):
        c.oval("body", u, 0.12, 0.12, 0.12)
    c.rect("glass", 0.15, 0.2, 0.85, 0.45)
    c.rect("body2", 0.0, s.uniform(0.6, 0.66), 1.0, 0.76)
    return c.sprite()


_DRAW: Final[dict[str, Callable[[Stream], Sprite]]] = {
    **VEHICLES, "torso": _torso, "leg": _leg, "rider": _rider,
    "tree": _tree, "bush": _bush, "pole": _pole, "light": _light, "sign": _sign, "block": _block,
}  # fmt: skip


@cache
def sprite(split: str, kind: str, variant: int, mirrored: bool = False) -> Sprite:
    """Return a shape; ``variant`` in 0..VARIANTS-1. Splits have different ones."""
    if mirrored:
        plain = sprite(split, kind, variant)
        return Sprite(np.ascontiguousarray(plain.solid[:, ::-1]), np.ascontiguousarray(plain.paint[:, ::-1]))
    return _DRAW[kind](Stream("sprite", split, kind, variant))


def coloured(
    shape: Sprite, colours: Mapping[str, Sequence[int]], fill: str, noise: NDArray[np.int64], contrast: int
) -> Picture:
    """Return the texture of a sprite, of half its cells: painted, a little darker towards the foot, uneven by noise.

    Args:
        shape: what is painted where.
        colours: RGB per paint; at most 232 is used.
        fill: the paint that continues beyond the silhouette, so that edges do not bleed.
        noise: a periodic tile of about -128..127, at least as large as the texture.
        contrast: how much of it brightens or darkens the surface: 128ths, at most a fifth of the light is taken.
    """
    table = np.zeros((len(PAINTS), 3), dtype=np.int64)
    for name, rgb in colours.items():
        table[PAINT_ID[name]] = rgb
    table[0] = table[PAINT_ID[fill]]
    paint = shape.paint[::2, ::2]
    rows, columns = paint.shape
    light = (noise[:rows, :columns] * contrast >> 7) + (268 - 28 * np.arange(rows, dtype=np.int64) // rows)[:, None]
    return Picture(shaded(pack(np.minimum(table, 232)).take(paint), np.minimum(np.maximum(light, 205), 280)))
