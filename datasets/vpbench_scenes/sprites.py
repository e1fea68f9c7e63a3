"""Silhouettes of street furniture and road users, painted once per split and variant, coloured once per object.

A sprite lives in the unit square of its bounding box, v downwards. Each point has a paint (0: empty); a clip's objects
give the paints their colours. Only comparisons of sums and products decide, so a sprite is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.rng import Stream
from vpbench_scenes.texture import Picture, pack, shaded

__all__ = ["PAINTS", "VARIANTS", "Sprite", "coloured", "sprite"]

PAINTS: Final = (
    "empty", "body", "body2", "glass", "tyre", "hub", "lamp", "tail", "trim", "skin", "hair", "shirt", "trousers",
    "shoe", "frame", "leaf", "trunk", "metal", "sign", "red", "amber", "green",
)  # fmt: skip
_ID: Final = {name: i for i, name in enumerate(PAINTS)}
VARIANTS: Final = 12
"""Shapes per kind and split."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Sprite:
    """``solid`` is the silhouette as 0/1 with an empty border of one cell; ``paint`` the paint ids without it."""

    solid: NDArray[np.bool_]
    paint: NDArray[np.uint8]

    @property
    def cells(self) -> tuple[int, int]:
        """(rows, columns) without the border."""
        return self.paint.shape[0], self.paint.shape[1]


class _Canvas:
    """A grid of paint ids and the few shapes that are painted on it."""

    def __init__(self, rows: int, columns: int) -> None:
        self.paint = np.zeros((rows, columns), dtype=np.uint8)
        self.u = ((np.arange(columns) + 0.5) / columns)[None, :]
        self.v = ((np.arange(rows) + 0.5) / rows)[:, None]

    def rect(self, paint: str, u0: float, v0: float, u1: float, v1: float) -> None:
        self.paint[(self.u >= u0) & (self.u < u1) & (self.v >= v0) & (self.v < v1)] = _ID[paint]

    def oval(self, paint: str, u: float, v: float, ru: float, rv: float) -> None:
        x, y = (self.u - u) / ru, (self.v - v) / rv
        self.paint[x * x + y * y < 1.0] = _ID[paint]

    def poly(self, paint: str, *corners: tuple[float, float]) -> None:
        """Paint a convex polygon, corners clockwise as seen (v downwards)."""
        inside = np.ones(self.paint.shape, dtype=bool)
        for (u0, v0), (u1, v1) in zip(corners, (*corners[1:], corners[0]), strict=True):
            inside &= (u1 - u0) * (self.v - v0) - (v1 - v0) * (self.u - u0) >= 0
        self.paint[inside] = _ID[paint]

    def line(self, paint: str, u0: float, v0: float, u1: float, v1: float, ru: float, rv: float) -> None:
        """Paint a thick line: points within (ru, rv) of the segment, in units of the box."""
        du, dv = (u1 - u0) / ru, (v1 - v0) / rv
        x, y = (self.u - u0) / ru, (self.v - v0) / rv
        along = np.clip((x * du + y * dv) / (du * du + dv * dv + 1e-12), 0.0, 1.0)
        x, y = x - along * du, y - along * dv
        self.paint[x * x + y * y < 1.0] = _ID[paint]

    def wheel(self, u: float, ru: float, rv: float, *, v: float | None = None) -> None:
        v = 1.0 - rv if v is None else v
        self.oval("tyre", u, v, ru, rv)
        self.oval("hub", u, v, ru * 0.55, rv * 0.55)

    def sprite(self) -> Sprite:
        return Sprite(solid=np.pad(self.paint > 0, 1), paint=self.paint)


def _car_side(s: Stream) -> Sprite:
    c = _Canvas(80, 176)
    waist, roof = s.uniform(0.36, 0.44), s.uniform(0.02, 0.1)
    back, front = s.uniform(0.06, 0.24), s.uniform(0.7, 0.8)
    slope = s.uniform(0.1, 0.16)
    c.rect("tyre", 0.08, 0.7, 0.92, 0.94)  # the dark under the car belongs to it
    c.poly("body", (back, waist + 0.02), (back + 0.07, roof), (front - slope, roof), (front, waist + 0.02))
    c.poly("glass", (back + 0.04, waist), (back + 0.095, roof + 0.06), (front - slope - 0.01, roof + 0.06),
           (front - 0.03, waist))  # fmt: skip
    middle = (back + front) / 2 - 0.02
    c.rect("body", middle - 0.012, roof, middle + 0.012, waist)
    c.rect("body", 0.03, waist, 0.97, 0.82)
    c.oval("body", 0.05, 0.62, 0.05, 0.2)
    c.oval("body", 0.94, 0.64, 0.06, 0.18)
    c.rect("body2", 0.03, 0.66, 0.97, 0.72)
    c.rect("tail", 0.01, waist + 0.08, 0.05, waist + 0.2)
    c.rect("lamp", 0.94, waist + 0.12, 0.99, waist + 0.22)
    c.wheel(0.2, 0.078, 0.2)
    c.wheel(0.79, 0.078, 0.2)
    return c.sprite()


def _car_end(lamp: str) -> Callable[[Stream], Sprite]:
    def draw(s: Stream) -> Sprite:
        c = _Canvas(96, 112)
        waist, pinch = s.uniform(0.38, 0.46), s.uniform(0.1, 0.18)
        c.rect("tyre", 0.08, 0.7, 0.92, 0.96)
        c.rect("tyre", 0.04, 0.78, 0.24, 1.0)
        c.rect("tyre", 0.76, 0.78, 0.96, 1.0)
        c.poly("body", (0.06, waist + 0.02), (pinch + 0.06, 0.02), (0.94 - pinch, 0.02), (0.94, waist + 0.02))
        c.poly("glass", (0.13, waist), (pinch + 0.1, 0.09), (0.9 - pinch, 0.09), (0.87, waist))
        c.rect("body", 0.01, waist, 0.99, 0.84)
        c.rect("body2", 0.01, 0.7, 0.99, 0.78)
        c.rect(lamp, 0.03, waist + 0.08, 0.22, waist + 0.19)
        c.rect(lamp, 0.78, waist + 0.08, 0.97, waist + 0.19)
        c.rect("sign", 0.38, 0.62, 0.62, 0.69)
        return c.sprite()

    return draw


def _truck_side(s: Stream) -> Sprite:
    c = _Canvas(112, 208)
    split, cab = s.uniform(0.66, 0.74), s.uniform(0.12, 0.26)
    c.rect("tyre", 0.05, 0.76, 0.95, 0.93)
    c.rect("body2", 0.0, 0.0, split - 0.015, 0.78)
    for k in range(1, 5):
        c.rect("trim", split * k / 5, 0.03, split * k / 5 + 0.008, 0.75)
    c.rect("trim", 0.0, 0.72, split, 0.78)
    c.poly("body", (split, 0.84), (split, cab), (0.93, cab), (1.0, 0.55), (1.0, 0.84))
    c.poly("glass", (split + 0.1, 0.5), (split + 0.1, cab + 0.07), (0.925, cab + 0.07), (0.975, 0.5))
    c.rect("lamp", 0.97, 0.66, 1.0, 0.74)
    for u in (0.12, 0.25, 0.86):
        c.wheel(u, 0.062, 0.14)
    return c.sprite()


def _truck_end(lamp: str) -> Callable[[Stream], Sprite]:
    def draw(s: Stream) -> Sprite:
        c = _Canvas(128, 112)
        top = s.uniform(0.0, 0.08)
        c.rect("tyre", 0.05, 0.8, 0.28, 1.0)
        c.rect("tyre", 0.72, 0.8, 0.95, 1.0)
        c.rect("body2", 0.0, top, 1.0, 0.82)
        if lamp == "tail":
            c.rect("trim", 0.49, top, 0.51, 0.8)
            c.rect("trim", 0.05, top + 0.05, 0.95, top + 0.07)
        else:
            c.rect("body", 0.04, 0.3, 0.96, 0.86)
            c.rect("glass", 0.1, 0.36, 0.9, 0.58)
        c.rect("trim", 0.0, 0.82, 1.0, 0.88)
        c.rect(lamp, 0.06, 0.74, 0.2, 0.8)
        c.rect(lamp, 0.8, 0.74, 0.94, 0.8)
        return c.sprite()

    return draw


def _bus_side(s: Stream) -> Sprite:
    c = _Canvas(96, 240)
    sill, count = s.uniform(0.48, 0.56), 5 + s.integer(3)
    c.rect("tyre", 0.03, 0.8, 0.97, 0.93)
    c.rect("body", 0.0, 0.03, 1.0, 0.86)
    c.rect("body2", 0.01, 0.0, 0.99, 0.05)
    c.rect("body2", 0.0, 0.66, 1.0, 0.74)
    for k in range(count):
        c.rect("glass", 0.03 + 0.9 * k / count, 0.16, 0.03 + 0.9 * (k + 0.86) / count, sill)
    c.rect("glass", 0.95, 0.14, 1.0, 0.6)
    c.rect("glass", 0.8, 0.16, 0.87, 0.82)
    c.rect("tail", 0.0, 0.6, 0.012, 0.72)
    c.rect("lamp", 0.985, 0.72, 1.0, 0.8)
    c.wheel(0.18, 0.052, 0.16)
    c.wheel(0.72, 0.052, 0.16)
    return c.sprite()


def _bus_end(lamp: str) -> Callable[[Stream], Sprite]:
    def draw(s: Stream) -> Sprite:
        c = _Canvas(128, 112)
        c.rect("tyre", 0.06, 0.82, 0.28, 1.0)
        c.rect("tyre", 0.72, 0.82, 0.94, 1.0)
        c.rect("body", 0.0, 0.02, 1.0, 0.9)
        c.rect("glass", 0.07, 0.18, 0.93, s.uniform(0.5, 0.58))
        c.rect("body2", 0.0, 0.62, 1.0, 0.7)
        c.rect("amber", 0.2, 0.06, 0.8, 0.13)
        c.rect(lamp, 0.04, 0.74, 0.2, 0.82)
        c.rect(lamp, 0.8, 0.74, 0.96, 0.82)
        return c.sprite()

    return draw


def _torso(s: Stream) -> Sprite:
    """Head, arms and trunk of a walker: the upper part of the body, to the hip."""
    c = _Canvas(96, 64)
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
    c = _Canvas(96, 32)
    c.poly("trousers", (0.22, 0.94), (0.06, 0.0), (0.94, 0.0), (0.72, 0.94))
    c.rect("shoe", 0.18, 0.92, s.uniform(0.9, 1.0), 1.0)
    return c.sprite()


def _bicycle(s: Stream) -> Sprite:
    c = _Canvas(112, 176)
    ru, rv = 0.205, 0.32
    for u in (0.205, 0.795):
        c.oval("tyre", u, 0.68, ru, rv)
        c.oval("empty", u, 0.68, ru * 0.8, rv * 0.8)
        for du, dv in ((0.8, 0.0), (0.0, 0.8), (0.57, 0.57), (0.57, -0.57)):
            c.line("metal", u - ru * du, 0.68 - rv * dv, u + ru * du, 0.68 + rv * dv, 0.01, 0.016)
    seat = s.uniform(0.34, 0.38)
    tubes = ((0.205, 0.68, seat, 0.2), (seat, 0.2, 0.47, 0.7), (0.47, 0.7, 0.205, 0.68), (seat + 0.02, 0.25, 0.7, 0.22),
             (0.47, 0.7, 0.7, 0.22), (0.69, 0.1, 0.795, 0.68))  # fmt: skip
    for a in tubes:
        c.line("frame", *a, 0.022, 0.035)
    c.line("tyre", 0.69, 0.08, 0.78, 0.04, 0.02, 0.03)
    c.line("tyre", seat - 0.06, 0.14, seat + 0.06, 0.14, 0.02, 0.035)
    return c.sprite()


def _rider(s: Stream) -> Sprite:
    """A rider seen from the side, facing right: seat at the lower left, hands at the right."""
    c = _Canvas(128, 96)
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
    c = _Canvas(144, 112)
    c.rect("trunk", 0.46, 0.5, 0.54, 1.0)
    for _ in range(11):
        r = s.uniform(0.13, 0.24)
        c.oval("leaf", s.uniform(0.1 + r, 0.9 - r), s.uniform(r * 0.78, 0.66 - r * 0.4), r, r * 0.78)
    c.oval("leaf", 0.5, 0.34, 0.3, 0.26)
    return c.sprite()


def _bush(s: Stream) -> Sprite:
    c = _Canvas(80, 112)
    for k in range(7):
        r = s.uniform(0.16, 0.26)
        c.oval("leaf", 0.16 + 0.68 * k / 6, s.uniform(0.45, 0.62), r * 0.8, r * 1.6)
    c.rect("leaf", 0.08, 0.6, 0.92, 1.0)
    return c.sprite()


def _pole(s: Stream) -> Sprite:
    c = _Canvas(128, 16)
    c.rect("metal", 0.12, 0.0, 0.88, 1.0)
    c.rect("metal", 0.0, s.uniform(0.88, 0.93), 1.0, 1.0)
    return c.sprite()


def _light(s: Stream) -> Sprite:
    c = _Canvas(96, 48)
    c.rect("tyre", 0.0, 0.0, 1.0, 1.0)
    on = s.integer(3)
    for k, lamp in enumerate(("red", "amber", "green")):
        c.oval(lamp if k == on else "hub", 0.5, 0.18 + 0.32 * k, 0.3, 0.13)
    return c.sprite()


def _sign(s: Stream) -> Sprite:
    c = _Canvas(64, 64)
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
    c = _Canvas(96, 96)
    c.rect("body", 0.0, 0.12, 1.0, 1.0)
    c.rect("body", 0.12, 0.0, 0.88, 1.0)
    for u in (0.12, 0.88):
        c.oval("body", u, 0.12, 0.12, 0.12)
    c.rect("glass", 0.15, 0.2, 0.85, 0.45)
    c.rect("body2", 0.0, s.uniform(0.6, 0.66), 1.0, 0.76)
    return c.sprite()


_DRAW: Final[dict[str, Callable[[Stream], Sprite]]] = {
    "car/side": _car_side, "car/front": _car_end("lamp"), "car/rear": _car_end("tail"),
    "truck/side": _truck_side, "truck/front": _truck_end("lamp"), "truck/rear": _truck_end("tail"),
    "bus/side": _bus_side, "bus/front": _bus_end("lamp"), "bus/rear": _bus_end("tail"),
    "torso": _torso, "leg": _leg, "bicycle": _bicycle, "rider": _rider,
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
        table[_ID[name]] = rgb
    table[0] = table[_ID[fill]]
    paint = shape.paint[::2, ::2]
    rows, columns = paint.shape
    light = (noise[:rows, :columns] * contrast >> 7) + (268 - 28 * np.arange(rows, dtype=np.int64) // rows)[:, None]
    return Picture(shaded(pack(np.minimum(table, 232)).take(paint), np.minimum(np.maximum(light, 205), 280)))
