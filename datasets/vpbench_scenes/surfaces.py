"""The surfaces of a scene and where they stand in each frame.

Upright *boards* face the camera at one depth; *walls* run along the street at a constant X; the *ground* is the plane
Y = 0; the *sky* is a board at infinity. Within the street every board stands before the walls, and the walls, the
*backdrop* boards at the end of the street, the ground and the sky never overlap: this is the order of visibility.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.camera import Camera
from vpbench_scenes.paint import Sprite
from vpbench_scenes.texture import Picture, Tile

NEAR = 1.0
"""Metres before the camera: nearer boards are not seen."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """Picture on a board: a silhouette (None: all of its box) and a texture.

    Point (u, v) of the box shows texel (u0 + du u, v0 + dv v), with ``texel`` = (u0, du, v0, dv).
    """

    shape: Sprite | None
    texture: Picture | Tile
    texel: tuple[float, float, float, float]


@dataclass(frozen=True)
class Board:
    """An upright rectangle in the world, in metres; arrays are [T].

    ``x`` is its middle, ``base`` the height of its lower edge above the ground. Its point (u, v), both in [0, 1], v
    downwards, is shifted right by ``shear * (v - anchor)`` widths.
    """

    name: str
    label: int
    instance: int
    x: Floats
    z: Floats
    base: Floats
    width: float
    height: float
    look: Look
    shear: Floats
    anchor: float = 0.0


@dataclass(frozen=True)
class Placed:
    """A board as the camera sees it: the image (px) of its box, per frame, [T].

    Its point (u, v) is at ``x = left + width (u + shear (v - anchor))``, ``y = top + height v``.
    """

    name: str
    label: int
    instance: int
    left: Floats
    top: Floats
    width: Floats
    height: Floats
    depth: Floats
    shear: Floats
    anchor: float
    look: Look


@dataclass(frozen=True)
class Wall:
    """One side of the street (``side`` -1 or 1) at X = ``side * x``, cut into segments along Z (m, world).

    Segment k spans ``edges[k]`` to ``edges[k+1]``, is ``heights[k]`` metres high and shows the picture of ``texture``
    that begins at texel ``origins[k]``.
    """

    side: int
    x: float
    edges: Floats
    heights: Floats
    labels: tuple[int, ...]
    texture: Tile
    origins: tuple[int, ...]


@dataclass(frozen=True)
class Ground:
    """The plane Y = 0: road for ``|X| < road``, pavement beyond it; ``crossing`` = (Z, Z) is road throughout.

    ``zebra`` = (Z, Z) holds stripes across the road, ``dash`` is the period of the middle line (m).
    """

    road: float
    crossing: tuple[float, float] | None
    zebra: tuple[float, float] | None
    dash: float
    asphalt: Tile
    pavement: Tile


@dataclass(frozen=True)
class World:
    """One clip before it is drawn. ``boards`` hide one another by depth; ``backdrop`` stands behind the walls."""

    size: tuple[int, int]
    camera: Camera
    boards: tuple[Placed, ...]
    backdrop: tuple[Placed, ...]
    walls: tuple[Wall, ...]
    ground: Ground
    sky: Placed
    end: float
    """Z of the backdrop (m)."""
    tags: frozenset[str]

    @property
    def frames(self) -> int:
        """T."""
        return len(self.camera.cx)

    @property
    def places(self) -> tuple[Placed, ...]:
        """Everything that is a board, by surface id: boards, backdrop, sky."""
        return (*self.boards, *self.backdrop, self.sky)

    @property
    def first_wall(self) -> int:
        """The surface id of the first wall segment; the segments of all walls follow one another."""
        return len(self.boards) + len(self.backdrop) + 1

    @property
    def road(self) -> int:
        """The surface id of the road; the pavement's is the next."""
        return self.first_wall + sum(len(w.labels) for w in self.walls)

    @cached_property
    def boxes(self) -> NDArray[np.int64]:
        """The pixels that the box of each of ``places`` touches, per frame, [N,T,4].

        First row, last row + 1, first column, last column + 1; empty for what is not before the camera.
        """
        left, top, width, height, depth, shear = (
            np.stack([getattr(p, name) for p in self.places])
            for name in ("left", "top", "width", "height", "depth", "shear")
        )
        anchor = np.array([p.anchor for p in self.places])[:, None]
        upper, lower = shear * -anchor, shear * (1.0 - anchor)
        west = left + width * np.minimum(np.minimum(upper, lower), 0.0)
        east = left + width * (1.0 + np.maximum(np.maximum(upper, lower), 0.0))
        h, w = self.size
        edges = [np.floor(top + 0.5), np.floor(top + height + 1.5), np.floor(west + 0.5), np.floor(east + 1.5)]
        limits = (h, h, w, w)
        boxes = [np.minimum(np.maximum(e, 0.0), n).astype(np.int64) for e, n in zip(edges, limits, strict=True)]
        for last in (1, 3):
            boxes[last] = np.where(depth > NEAR, np.maximum(boxes[last], boxes[last - 1]), boxes[last - 1])
        return np.stack(boxes, axis=-1)

    def order(self, t: int) -> list[int]:
        """Return the ids of the boards before the camera at frame t, nearest first."""
        near = [(p.depth[t], k) for k, p in enumerate(self.boards) if p.depth[t] > NEAR]
        return [k for _, k in sorted(near)]

    def labels(self) -> NDArray[np.uint8]:
        """Return the label of each surface id."""
        walls = [label for wall in self.walls for label in wall.labels]
        return np.array([*(p.label for p in self.places), *walls, 0, 1], dtype=np.uint8)

    def instances(self) -> NDArray[np.int32]:
        """Return the instance of each surface id, 0 for what is no object."""
        out = np.zeros(self.road + 2, dtype=np.int32)
        out[: len(self.places)] = [p.instance for p in self.places]
        return out


def place(board: Board, camera: Camera) -> Placed:
    """Return where the camera sees a board."""
    depth = board.z - camera.z
    scale = camera.focal / np.maximum(depth, NEAR)
    return Placed(
        name=board.name,
        label=board.label,
        instance=board.instance,
        left=camera.cx + (board.x - board.width * 0.5 - camera.x) * scale,
        top=camera.cy + (camera.height - board.height - board.base) * scale,
        width=board.width * scale,
        height=board.height * scale,
        depth=depth,
        shear=board.shear,
        anchor=board.anchor,
        look=board.look,
    )


def place_sky(camera: Camera, texture: Picture, label: int) -> Placed:
    """Return the sky: it moves with the camera's pan and shake alone."""
    ones = np.ones(len(camera.cx))
    rows, columns = (float(side) for side in texture.size)
    return Placed(
        name="sky",
        label=label,
        instance=0,
        left=camera.cx - 2.0 * camera.focal,
        top=camera.cy - 0.75 * camera.focal,
        width=ones * (4.0 * camera.focal),
        height=ones * (0.8 * camera.focal),
        depth=ones * np.inf,
        shear=0.0 * ones,
        anchor=0.0,
        look=Look(None, texture, (0.0, columns, 0.0, rows)),
    )
