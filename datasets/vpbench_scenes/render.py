"""Draws a world: anti-aliased frames and, per pixel, the surface that covers most of it.

Eight samples per pixel decide coverage: in each, the nearest surface wins. A pixel's colour is the mean over its samples
of the winners' colours, each looked up once, at the pixel's centre. A mixed pixel belongs (label, instance, flow) to the
surface that wins most of its samples, of equals to the nearer one. All of it is integers but for the projections, which
are single IEEE operations on float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.ground import ground_colour
from vpbench_scenes.surfaces import NEAR, Placed, Wall, World
from vpbench_scenes.texture import sample, scaled_down, unpack

__all__ = ["SAMPLES", "Pictures", "render"]

SAMPLES: Final = np.array([(1, -3), (-1, 3), (5, 1), (-3, -5), (-5, 5), (-7, -1), (3, 7), (7, -7)]) / 16.0
"""Where in a pixel the coverage is decided: (dx, dy) from its centre; no two in one row or column."""

_SPREAD: Final = np.uint64(0x0101010101010101)
_TOP: Final = np.uint64(56)

Masks = NDArray[np.uint64]
"""Eight samples of a pixel, a byte 0 or 1 each."""


@dataclass(frozen=True)
class Pictures:
    """A drawn clip: ``frames`` uint8 [T,H,W,3] and ``owner`` int16 [T,H,W], the surface id of each pixel."""

    frames: NDArray[np.uint8]
    owner: NDArray[np.int16]


def render(world: World) -> Pictures:
    """Draw every frame of a world."""
    h, w = world.size
    frames = np.empty((world.frames, h, w, 3), dtype=np.uint8)
    owner = np.empty((world.frames, h, w), dtype=np.int16)
    for t in range(world.frames):
        canvas = _Canvas(h, w)
        _draw(world, t, canvas)
        frames[t] = unpack(scaled_down(canvas.colour, 3))
        owner[t] = canvas.owner
    return Pictures(frames, owner)


def order(world: World, t: int) -> list[int]:
    """Return the boards that can be seen at frame t, nearest first."""
    near = [k for k, p in enumerate(world.boards) if p.depth[t] > NEAR]
    return sorted(near, key=lambda k: (world.boards[k].depth[t], k))


class _Canvas:
    """A picture filled front to back."""

    def __init__(self, h: int, w: int) -> None:
        self.free: Masks = np.full((h, w), _SPREAD)
        self.colour = np.zeros((h, w), dtype=np.int64)
        self.most = np.zeros((h, w), dtype=np.int64)
        self.owner = np.zeros((h, w), dtype=np.int16)
        self.x = np.arange(w)[:, None] + SAMPLES[:, 0]
        self.y = np.arange(h)[:, None] + SAMPLES[:, 1]

    def take(self, box: tuple[slice, slice], mask: Masks | None, number: int) -> NDArray[np.int64] | None:
        """Give a surface the free samples of ``mask`` in ``box``; return how many per pixel, None if none."""
        free = self.free[box]
        won = free if mask is None else mask & free
        count = ((won * _SPREAD) >> _TOP).astype(np.int64)
        if not count.any():
            return None
        if mask is not None:
            free ^= won
        most = self.most[box]
        np.copyto(self.owner[box], np.int16(number), where=count > most)
        np.maximum(most, count, out=most)
        return count


def as_mask(samples: NDArray[np.bool_]) -> Masks:
    """Turn [...,8] booleans into masks [...]."""
    return np.ascontiguousarray(samples).view(np.uint64)[..., 0]


def _draw(world: World, t: int, canvas: _Canvas) -> None:
    for k in order(world, t):
        _board(world.boards[k], t, k, canvas)
    number = world.first_wall
    for wall in world.walls:
        _wall(world, wall, t, number, canvas)
        number += len(wall.labels)
    for k, placed in enumerate(world.backdrop, start=len(world.boards)):
        _board(placed, t, k, canvas)
    _ground(world, t, canvas)
    sky = world.first_wall - 1
    rows = int(np.clip(np.floor(world.camera.cy[t]) + 2, 0, world.size[0]))
    box = (slice(0, rows), slice(0, world.size[1]))
    count = canvas.take(box, None, sky)
    if count is not None:
        u, v = _centre(world.sky, t, box)
        canvas.colour[box] += count * _look_up(world.sky, t, u, v)


def _span(low: float, high: float, limit: int) -> tuple[int, int]:
    """Return the pixels [first, last) that touch the interval."""
    first = int(min(max(np.floor(low + 0.5), 0), limit))
    return first, int(min(max(np.floor(high + 0.5) + 1, first), limit))


def box_of(placed: Placed, t: int, size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns that a board's box touches at frame t."""
    shifts = (0.0, placed.shear[t] * (0.0 - placed.anchor), placed.shear[t] * (1.0 - placed.anchor))
    left = placed.left[t] + placed.width[t] * min(shifts)
    right = placed.left[t] + placed.width[t] * (1.0 + max(shifts))
    y0, y1 = _span(placed.top[t], placed.top[t] + placed.height[t], size[0])
    x0, x1 = _span(left, right, size[1])
    return slice(y0, y1), slice(x0, x1)


def _centre(placed: Placed, t: int, box: tuple[slice, slice]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (u [h or 1, w], v [h, 1]) of a box's pixel centres."""
    v = ((np.arange(box[0].start, box[0].stop) - placed.top[t]) / placed.height[t])[:, None]
    u = ((np.arange(box[1].start, box[1].stop) - placed.left[t]) / placed.width[t])[None, :]
    return (u - placed.shear[t] * (v - placed.anchor) if placed.shear[t] else u), v


def _look_up(placed: Placed, t: int, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.int64]:
    u0, du, v0, dv = placed.look.texel
    footprint = float(max(du / placed.width[t], dv / placed.height[t]))
    return sample(placed.look.texture, u0 + u * du, v0 + v * dv, footprint)


def covered(placed: Placed, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether points (u, v), which broadcast, lie on a board."""
    if placed.look.shape is None:
        return (u >= 0.0) & (u < 1.0) & (v >= 0.0) & (v < 1.0)
    rows, columns = placed.look.shape.cells
    i = np.clip(np.floor(u * columns), -1, columns).astype(np.int64)
    j = np.clip(np.floor(v * rows), -1, rows).astype(np.int64)
    return placed.look.shape.solid.ravel().take((j + 1) * (columns + 2) + (i + 1))


def _board(placed: Placed, t: int, number: int, canvas: _Canvas) -> None:
    h, w = canvas.owner.shape
    box = box_of(placed, t, (h, w))
    if box[0].start == box[0].stop or box[1].start == box[1].stop:
        return
    v = ((canvas.y[box[0]] - placed.top[t]) / placed.height[t])[:, None, :]
    u = ((canvas.x[box[1]] - placed.left[t]) / placed.width[t])[None, :, :]
    if placed.shear[t]:
        u = u - placed.shear[t] * (v - placed.anchor)
    count = canvas.take(box, as_mask(covered(placed, u, v)), number)
    if count is not None:
        canvas.colour[box] += count * _look_up(placed, t, *_centre(placed, t, box))


def _wall(world: World, wall: Wall, t: int, number: int, canvas: _Canvas) -> None:
    camera, h = world.camera, world.size[0]
    reach = wall.x - wall.side * camera.x[t]  # metres from the camera's axis to the wall
    out = (canvas.x - camera.cx[t]) * wall.side  # px from the vanishing point, per column and sample
    seen = out > 0
    z = camera.z[t] + camera.focal * reach / np.where(seen, out, 1.0)
    segment = np.where(seen & (z >= wall.edges[0]), np.searchsorted(wall.edges, z, side="right") - 1, -1)
    middle = (np.arange(world.size[1]) - camera.cx[t]) * wall.side
    for k in range(len(wall.labels)):
        bits = segment == k
        columns = np.flatnonzero(bits.any(axis=1))
        if not len(columns):
            continue
        x0, x1 = int(columns[0]), int(columns[-1]) + 1
        rise, fall = (wall.heights[k] - camera.height) / reach, camera.height / reach
        o = out[x0:x1]
        y0, y1 = _span(camera.cy[t] - rise * float(o.max()), camera.cy[t] + fall * float(o.max()), h)
        if y0 == y1:
            continue
        box = (slice(y0, y1), slice(x0, x1))
        y = (canvas.y[box[0]] - camera.cy[t])[:, None, :]
        count = canvas.take(box, as_mask((y >= -rise * o) & (y < fall * o) & bits[x0:x1]), number + k)
        if count is None:
            continue
        # A column whose centre has passed the vanishing point is looked up at the last one that has not.
        deep = np.maximum(middle[x0:x1], 0.5)
        away = camera.focal * reach / deep
        scale = reach / deep  # metres of height per pixel
        high = camera.height - (np.arange(y0, y1) - camera.cy[t])[:, None] * scale
        footprint = 10.0 * np.maximum(scale, np.minimum(away / deep, 8.0))[None, :]
        u = (10.0 * (camera.z[t] + away))[None, :]
        canvas.colour[box] += count * sample(wall.textures[k], u, 10.0 * (12.8 - high), footprint)


def _ground(world: World, t: int, canvas: _Canvas) -> None:
    camera, ground, (h, w) = world.camera, world.ground, world.size
    first = int(np.clip(np.floor(camera.cy[t]), 0, h))
    box = (slice(first, h), slice(0, w))
    down = canvas.y[box[0]] - camera.cy[t]  # px below the horizon, per row and sample
    below = down > 0
    z = camera.z[t] + camera.focal * camera.height / np.where(below, down, 1.0)
    wide = (z >= ground.crossing[0]) & (z < ground.crossing[1]) if ground.crossing else np.zeros_like(below)
    left = camera.cx[t] + (-ground.road - camera.x[t]) * down / camera.height
    right = camera.cx[t] + (ground.road - camera.x[t]) * down / camera.height
    x = canvas.x[None]
    road = (((x >= left[:, None]) & (x < right[:, None])) | wide[:, None]) & below[:, None]
    for number, mask in ((world.road, road), (world.road + 1, ~road & below[:, None])):
        count = canvas.take(box, as_mask(mask), number)
        if count is not None:
            canvas.colour[box] += count * ground_colour(world, t, first, paved=number != world.road)
