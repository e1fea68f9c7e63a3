"""Paints, and the grid on which the silhouette of a sprite is painted with a few shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

PAINTS: Final = (
    "empty", "body", "body2", "glass", "tyre", "hub", "lamp", "tail", "trim", "skin", "hair", "shirt", "trousers",
    "shoe", "frame", "leaf", "trunk", "metal", "sign", "red", "amber", "green",
)  # fmt: skip
PAINT_ID: Final = {name: i for i, name in enumerate(PAINTS)}


@dataclass(frozen=True)
class Sprite:
    """A silhouette: ``solid`` marks it, with an empty border of one cell; ``paint`` holds the paint ids without it."""

    solid: NDArray[np.bool_]
    paint: NDArray[np.uint8]

    @property
    def cells(self) -> tuple[int, int]:
        """(rows, columns) without the border."""
        return self.paint.shape[0], self.paint.shape[1]


class Painter:
    """A grid of paint ids and the few shapes that are painted on it."""

    def __init__(self, rows: int, columns: int) -> None:
        self.paint = np.zeros((rows, columns), dtype=np.uint8)
        self.u = ((np.arange(columns) + 0.5) / columns)[None, :]
        self.v = ((np.arange(rows) + 0.5) / rows)[:, None]

    def rect(self, paint: str, u0: float, v0: float, u1: float, v1: float) -> None:
        """Paint a rectangle from (u0, v0) to (u1, v1)."""
        self.paint[(self.u >= u0) & (self.u < u1) & (self.v >= v0) & (self.v < v1)] = PAINT_ID[paint]

    def oval(self, paint: str, u: float, v: float, ru: float, rv: float) -> None:
        """Paint an ellipse by its centre and radii."""
        x, y = (self.u - u) / ru, (self.v - v) / rv
        self.paint[x * x + y * y < 1.0] = PAINT_ID[paint]

    def poly(self, paint: str, *corners: tuple[float, float]) -> None:
        """Paint a convex polygon, corners clockwise on the screen (v downwards)."""
        inside = np.ones(self.paint.shape, dtype=bool)
        for (u0, v0), (u1, v1) in zip(corners, (*corners[1:], corners[0]), strict=True):
            inside &= (u1 - u0) * (self.v - v0) - (v1 - v0) * (self.u - u0) >= 0
        self.paint[inside] = PAINT_ID[paint]

    def line(self, paint: str, u0: float, v0: float, u1: float, v1: float, ru: float, rv: float) -> None:
        """Paint a thick line: points within (ru, rv) of the segment, in units of the box."""
        du, dv = (u1 - u0) / ru, (v1 - v0) / rv
        x, y = (self.u - u0) / ru, (self.v - v0) / rv
        along = np.clip((x * du + y * dv) / (du * du + dv * dv + 1e-12), 0.0, 1.0)
        x, y = x - along * du, y - along * dv
        self.paint[x * x + y * y < 1.0] = PAINT_ID[paint]

    def wheel(self, u: float, ru: float, rv: float) -> None:
        """Paint a wheel that stands on the lower edge."""
        self.oval("tyre", u, 1.0 - rv, ru, rv)
        self.oval("hub", u, 1.0 - rv, ru * 0.55, rv * 0.55)

    def sprite(self) -> Sprite:
        """Return the painted silhouette."""
        return Sprite(solid=np.pad(self.paint > 0, 1), paint=self.paint)
