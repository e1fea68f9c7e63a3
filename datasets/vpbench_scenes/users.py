"""Moving objects: cars, trucks, buses, persons and bicycles with their riders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.dynamics import DYNAMICS, Motion, simulate
from vpbench_scenes.labels import TRAIN_ID
from vpbench_scenes.materials import clothes, vehicle
from vpbench_scenes.rng import Stream
from vpbench_scenes.street import Street, shaped
from vpbench_scenes.surfaces import Board

REFERENCE: Final = 3
"""The frame around which objects are put into view: the last of a context of four."""

_SIZE: Final = {"car": (4.2, 1.5), "truck": (6.6, 2.9), "bus": (8.6, 3.0)}
"""Length and height (m)."""
_SPEED: Final = {"car": (3.0, 6.0), "truck": (2.6, 4.6), "bus": (2.6, 4.6), "person": (1.6, 3.4), "bicycle": (2.4, 4.5)}
"""Speed across the view, in pixels a frame of pictures with 192 rows."""


@dataclass(frozen=True)
class Casting:
    """How a clip's objects are drawn: the variant's rules and the branch."""

    split: str
    frames: int
    branch: int
    branch_at: int
    aspect: float
    """Width of the picture over its height."""
    crowd: float = 1.0
    """Share of the usual number of objects."""
    same_look: bool = False
    """Every object has one shape, one range of colours, sizes, places and speeds, whatever its class."""
    shuffled: bool = False
    """The dynamics are drawn apart from the class."""


@dataclass(frozen=True)
class _Path:
    """Where an object goes: [T] positions, and the phase of its gait."""

    x: NDArray[np.float64]
    z: NDArray[np.float64]
    swing: NDArray[np.float64]


def populate(cast: Casting, s: Stream, street: Street) -> list[Board]:
    """Draw the objects of a clip: traffic across and along the street, walkers and bicycles."""
    boards: list[Board] = []
    instance = 0

    def add(name: str, z: float, heading: int, at: float, *, along: bool = False) -> None:
        nonlocal instance
        instance += 1
        stream = s.child("object", instance)
        if cast.same_look:
            name = stream.child("class").choice(DYNAMICS)  # so that the place does not tell the class either
        boards.extend(_object(cast, stream, name, instance, z, heading, at, along=along))

    def count(low: int, high: int) -> int:
        return max(int((low + s.uniform() * (high - low + 1)) * cast.crowd), 1)

    def traffic() -> str:
        draw = s.uniform()
        return "car" if draw < 0.5 else "truck" if draw < 0.75 else "bus"

    if street.corner:
        near, far = street.ground.crossing or (0.0, 0.0)
        first = traffic()
        second = first if s.chance(0.6) else traffic()
        way = s.sign()
        add(first, near + 1.9, way, -way * s.uniform(-0.5, 0.9))
        if s.chance(0.95 * cast.crowd):
            add(second, far - 1.7, -way, way * s.uniform(-0.3, 0.9))
        walk = (near - 2.0, near - 0.4)
    else:
        if s.chance(0.9):
            way = s.sign()
            add(traffic(), s.uniform(7.6, 8.2), way, -way * s.uniform(-0.4, 0.9))
        walk = (4.8, 7.4)
    # Two of them meet: one class, opposite ways, near enough to cross within a few frames.
    way, meet, middle = s.sign(), s.uniform(0.1, 0.35), s.uniform(-0.5, 0.5)
    pair = "person" if s.chance(0.7) else "bicycle"
    add(pair, s.uniform(*walk), way, middle - way * meet)
    add(pair, s.uniform(*walk), -way, middle + way * meet)
    for _ in range(count(2, 4)):
        way = s.sign()
        add("person", s.uniform(*walk), way, s.uniform(-0.9, 0.9) - way * 0.2)
    if s.chance(0.9 * cast.crowd):
        way = s.sign()
        add("bicycle", s.uniform(walk[0] + 0.5, walk[1] + 1.0), way, -way * s.uniform(-0.6, 0.8))
    if street.corner:
        for _ in range(count(0, 2)):
            way = s.sign()
            add("person", street.corner - s.uniform(0.5, 1.5), way, s.uniform(-0.9, 0.9))
    depth = max(street.corner, 9.0)
    for _ in range(count(1, 2)):
        heading = s.sign()
        lane = s.uniform(1.5, 2.2) * heading
        z = depth + s.uniform(0.5, 9.0)
        add(traffic() if s.chance(0.5) else "car", z, heading, lane, along=True)
    return boards


def _path(cast: Casting, s: Stream, name: str, z: float, heading: int, at: float, along: bool) -> tuple[_Path, str]:
    moves = s.child("as").choice(DYNAMICS) if cast.shuffled else name
    trunk = simulate(moves, s.child("motion"), max(cast.frames, REFERENCE + 1), 0, 0)
    motion: Motion = trunk
    if cast.branch:
        motion = simulate(moves, s.child("motion"), max(cast.frames, REFERENCE + 1), cast.branch, cast.branch_at)
    low, high = (2.0, 4.0) if cast.same_look else _SPEED[name]
    pace = s.uniform(low, high) * z / 192.0
    forth = (motion.along - trunk.along[REFERENCE])[: cast.frames]
    right = (motion.across - trunk.across[REFERENCE])[: cast.frames]
    swing = motion.swing[: cast.frames]
    if along:
        pace = s.uniform(0.025, 0.06) * z
        return _Path(at + heading * pace * right, z + heading * pace * forth, swing), moves
    x = at * (z * cast.aspect * 0.5) + heading * pace * forth
    return _Path(x, z - heading * pace * right, swing), moves


def _object(cast: Casting, s: Stream, name: str, instance: int, z: float, heading: int, at: float, *,
            along: bool) -> list[Board]:  # fmt: skip
    path, moves = _path(cast, s, name, z, heading, at, along)
    look = s.child("look")
    if cast.same_look:
        return [_block(cast, look, name, instance, path)]
    if name == "person":
        return _person(cast, look, instance, path, heading)
    if name == "bicycle":
        return _bicycle(cast, look, instance, path, heading, sways=moves == "bicycle")
    view = "side" if not along else "rear" if heading > 0 else "front"
    length, height = _SIZE[name]
    size = look.uniform(0.92, 1.08)
    width = (length if view == "side" else 1.15 * height if name == "car" else 0.84 * height) * size
    art = shaped(cast.split, f"{name}/{view}", look, vehicle(look), fill="body", contrast=5, mirrored=heading < 0)
    zero = np.zeros(cast.frames)
    return [Board(name, TRAIN_ID[name], instance, path.x, path.z, zero, width, height * size, art, shear=zero)]


def _block(cast: Casting, s: Stream, name: str, instance: int, path: _Path) -> Board:
    art = shaped(cast.split, "block", s, vehicle(s), fill="body", contrast=5)
    zero = np.zeros(cast.frames)
    width, height = s.uniform(0.8, 1.7), s.uniform(0.9, 1.7)
    return Board(name, TRAIN_ID[name], instance, path.x, path.z, zero, width, height, art, shear=zero)


def _person(cast: Casting, s: Stream, instance: int, path: _Path, heading: int) -> list[Board]:
    tall, colours, label = s.uniform(1.55, 1.9), clothes(s), TRAIN_ID["person"]
    zero = np.zeros(cast.frames)
    hip = 0.48 * tall
    boards = []
    for side in (-1, 1):
        art = shaped(cast.split, "leg", s, colours, fill="trousers", contrast=4, mirrored=heading < 0)
        shear = side * (0.11 * tall / 0.2) * path.swing
        boards.append(Board("person", label, instance, path.x, path.z + side * 0.03, zero, 0.2, hip + 0.04,
                            art, shear=shear))  # fmt: skip
    art = shaped(cast.split, "torso", s, colours, fill="shirt", contrast=4, mirrored=heading < 0)
    bob = hip + 0.015 * tall * path.swing * path.swing
    torso = Board("person", label, instance, path.x, path.z - 0.05, bob, 0.3 * tall, tall - hip, art, shear=zero)
    return [torso, *boards]


def _bicycle(cast: Casting, s: Stream, instance: int, path: _Path, heading: int, *, sways: bool) -> list[Board]:
    size = s.uniform(0.94, 1.06)
    zero = np.zeros(cast.frames)
    boards = []
    parts = (("rider", clothes(s), 1.05, 1.42, 0.42, 0.03), ("bicycle", vehicle(s), 1.75, 1.12, 0.0, 0.0))
    for number, (kind, colours, width, height, base, nearer) in enumerate(parts):
        fill = "shirt" if kind == "rider" else "frame"
        art = shaped(cast.split, kind, s, colours, fill=fill, contrast=4, mirrored=heading < 0)
        # Both lean about the ground under the wheels.
        lean = -0.1 * height / width * path.swing if sways else zero
        boards.append(Board(kind, TRAIN_ID[kind], instance + 100 * (1 - number), path.x - heading * 0.05 * (1 - number),
                            path.z - nearer, zero + base * size, width * size, height * size, art, shear=lean,
                            anchor=1.0 + base / height))  # fmt: skip
    return boards
