"""Still objects: houses, trees, poles, the ground, the sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpbench_scenes.labels import TRAIN_ID
from vpbench_scenes.materials import NOISES, Colours, asphalt, facade, foliage, noise, pavement, sky, vehicle
from vpbench_scenes.rng import Stream
from vpbench_scenes.sprites import VARIANTS, coloured, sprite
from vpbench_scenes.surfaces import Board, Ground, Look, Wall
from vpbench_scenes.texture import Picture, Tile

END = 60.0
"""Metres to the end of the street."""
TEXELS = 10.0
"""Texels per metre of a house front."""
FRONT = 12.8
"""Metres of house that a front's texture covers, from the ground up."""
_BREADTH = {"tree": (2.2, 3.4), "bush": (1.2, 2.0)}
_HEIGHT = {"tree": (3.4, 5.2), "bush": (0.8, 1.3)}
"""Sizes of plants (m)."""


@dataclass(frozen=True)
class Street:
    """The static part of a clip. ``corner`` is where the far houses of the crossing begin (0: no crossing)."""

    boards: tuple[Board, ...]
    backdrop: tuple[Board, ...]
    walls: tuple[Wall, ...]
    ground: Ground
    sky: Picture
    corner: float
    half: float
    """X of the house fronts (m)."""
    plain: bool


def shaped(split: str, kind: str, s: Stream, colours: Colours, *, fill: str, contrast: int, grain: str = "soft",
           mirrored: bool = False) -> Look:  # fmt: skip
    """Return the look of a board that shows one of the split's sprites."""
    shape = sprite(split, kind, s.integer(VARIANTS), mirrored)
    texture = coloured(shape, colours, fill, noise(split, grain, s.integer(NOISES)), contrast)
    rows, columns = (float(side) for side in texture.size)
    return Look(shape, texture, (0.0, columns, 0.0, rows))


def standing(
    frames: int, name: str, label: str, look: Look, x: float, z: float, width: float, height: float, base: float = 0.0
) -> Board:
    """Return a board that does not move."""
    ones = np.ones(frames)
    return Board(name, TRAIN_ID[label], 0, ones * x, ones * z, ones * base, width, height, look, shear=0.0 * ones)


def build(split: str, s: Stream, frames: int, *, crossing: bool) -> Street:
    """Draw a street.

    Args:
        split: whose textures and shapes.
        s: the clip's stream.
        frames: T.
        crossing: whether another street crosses this one.
    """
    plain = s.chance(0.4)
    road, half = s.uniform(3.4, 4.2), s.uniform(6.0, 7.2)
    near = s.uniform(6.2, 7.4)
    corner = near + s.uniform(7.0, 8.5) if crossing else 0.0
    fronts = tuple(facade(split, s.child("facade", k), windows=not plain) for k in range(3))
    boards: list[Board] = []
    rows = Tile.rows(fronts)
    walls = []
    for side in (-1, 1):
        edges = [max(corner, 1.0)]
        heights: list[float] = []
        labels: list[int] = []
        chosen: list[int] = []
        while edges[-1] < END:
            # Farther ones are longer: they would be a few pixels.
            edges.append(min(edges[-1] + max(s.uniform(6.0, 10.0), 0.4 * edges[-1]), END))
            low = len(labels) > 0 and s.chance(0.18)
            heights.append(s.uniform(2.0, 2.8) if low else s.uniform(4.2, 10.5))
            labels.append(TRAIN_ID["wall" if low else "building"])
            chosen.append(s.integer(len(fronts)))
        origins = tuple(k * len(fronts[0].texels) for k in chosen)
        walls.append(Wall(side, half, np.array(edges), np.array(heights), tuple(labels), rows, origins))
        if crossing:
            boards.append(_corner_house(frames, side, half, corner, heights[0], fronts[chosen[0]]))
            boards.append(_hedge(split, s.child("hedge", side), frames, side, half, corner))
    furniture = s.child("furniture")
    for side in (-1, 1):
        boards += _trees(split, furniture, frames, side, road, half, corner, plain)
        boards += _poles(split, furniture, frames, side, road, near, corner)
    backdrop = _backdrop(split, s.child("end"), frames, fronts)
    ground = Ground(
        road=road,
        crossing=(near, corner - 2.0) if crossing else None,
        zebra=(near - 2.1, near - 0.3) if crossing else None,
        dash=s.uniform(3.0, 5.0),
        asphalt=asphalt(split, s.integer(NOISES)),
        pavement=pavement(split, s.integer(NOISES)),
    )
    return Street(tuple(boards), backdrop, tuple(walls), ground, sky(split, s.integer(NOISES)), corner, half, plain)


def _corner_house(frames: int, side: int, half: float, z: float, height: float, front: Tile) -> Board:
    """The front of the house at the far corner, along the crossing street."""
    width = 60.0
    texel = (side * half * TEXELS, width * TEXELS, (FRONT - height) * TEXELS, height * TEXELS)
    return standing(frames, "house", "building", Look(None, front, texel), side * (half + width / 2), z, width, height)


def _hedge(split: str, s: Stream, frames: int, side: int, half: float, corner: float) -> Board:
    """A hedge on the pavement before the corner house."""
    width = s.uniform(3.5, 6.0)
    look = shaped(split, "bush", s, foliage(s), fill="leaf", contrast=24, grain="leaf")
    x = side * (half - 1.0 + width / 2 + s.uniform(0.0, 1.5))
    return standing(frames, "hedge", "vegetation", look, x, corner - 0.4, width, s.uniform(0.8, 1.3))


def _backdrop(split: str, s: Stream, frames: int, fronts: tuple[Tile, ...]) -> tuple[Board, ...]:
    boards = []
    for _ in range(2):
        width, height = s.uniform(3.0, 5.0), s.uniform(4.0, 6.0)
        look = shaped(split, "tree", s, foliage(s), fill="leaf", contrast=22, grain="leaf")
        boards.append(standing(frames, "tree", "vegetation", look, s.uniform(-6.0, 6.0), END - 1.0, width, height))
    height = s.uniform(6.0, 10.0)
    texel = (0.0, 100.0 * TEXELS, (FRONT - height) * TEXELS, height * TEXELS)
    boards.append(standing(frames, "house", "building", Look(None, fronts[0], texel), 0.0, END, 100.0, height))
    return tuple(boards)


def _trees(split: str, s: Stream, frames: int, side: int, road: float, half: float, corner: float,
           plain: bool) -> list[Board]:  # fmt: skip
    boards = []
    z = corner + 0.5 if corner else s.uniform(6.0, 9.0)
    for _ in range(s.integer(2) + (1 if plain else 2)):
        kind = "tree" if s.chance(0.65) else "bush"
        width, height = s.uniform(*_BREADTH[kind]), s.uniform(*_HEIGHT[kind])
        x = side * s.uniform(road + 0.9, half - 0.9)
        look = shaped(split, kind, s, foliage(s), fill="leaf", contrast=24, grain="leaf")
        boards.append(standing(frames, kind, "vegetation", look, x, z, width, height))
        z += s.uniform(4.0, 8.0)
    return boards


def _poles(split: str, s: Stream, frames: int, side: int, road: float, near: float, corner: float) -> list[Board]:
    boards = []
    along = ((5.5, 7.0), (10.0, 14.0), (17.0, 22.0))
    places = [near - 0.2, corner - 1.6] if corner else [s.uniform(*span) for span in along]
    for z in places:
        if not s.chance(0.75):
            continue
        x = side * (road + s.uniform(0.15, 0.5))
        look = shaped(split, "pole", s, vehicle(s), fill="metal", contrast=6)
        boards.append(standing(frames, "pole", "pole", look, x, z, 0.15, s.uniform(3.0, 5.5)))
        if corner and s.chance(0.7):
            look = shaped(split, "light", s, vehicle(s), fill="tyre", contrast=4)
            boards.append(standing(frames, "light", "traffic light", look, x, z - 0.02, 0.36, 0.85, 2.3))
        elif s.chance(0.6):
            look = shaped(split, "sign", s, vehicle(s), fill="sign", contrast=4)
            boards.append(standing(frames, "sign", "traffic sign", look, x, z - 0.02, 0.62, 0.62, 2.1))
    return boards
