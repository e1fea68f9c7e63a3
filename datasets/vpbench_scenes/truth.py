"""The truth between any two frames of a world: where each pixel comes from, and whether it could be seen there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.boards import covered
from vpbench_scenes.render import Pictures
from vpbench_scenes.surfaces import NEAR, Placed, World

ENTERING, SEEN_EARLIER, NEVER_SEEN = 1, 2, 3
"""Kinds of dis-occlusion, relative to a context; 0 is what its last frame shows."""

Floats = NDArray[np.float64]
Owners = NDArray[np.int16]


@dataclass(frozen=True)
class Points:
    """One point per pixel, [H,W] each, in pixels."""

    x: Floats
    y: Floats


def source(world: World, owner: Owners, b: int, a: int, *, still: bool = False) -> Points:
    """Return where in frame ``a`` the surface points stand that frame ``b`` shows at its pixel centres.

    ``owner`` is the surface id per pixel of frame b, [H,W]. The point may be outside frame a, or hidden in it. With
    ``still`` it is where the points would stand if nothing but the camera had moved.
    """
    xs, ys = np.arange(world.size[1], dtype=np.float64)[None, :], np.arange(world.size[0], dtype=np.float64)[:, None]
    # A board's image moves by an affine map: x' = x0 + xx x + xy y, y' = y0 + yy y.
    rows = [(_still(world, p, b, a) if still else _carried(p, b, a)) for p in world.places[:-1]]
    rows.append(_carried(world.sky, b, a))
    table = np.array([*rows, *[(0.0,) * 5] * (world.road + 2 - len(rows))])
    x0, xx, xy, y0, yy = (column.take(owner) for column in table.T)
    x, y = x0 + xx * xs + xy * ys, y0 + yy * ys
    number, camera = world.first_wall, world.camera
    if (owner >= number).any():
        for side, wall in enumerate(world.walls):
            mask = (owner >= number) & (owner < number + len(wall.labels))
            number += len(wall.labels)
            columns, scale = _wall_columns(world, side, xs, b, a)
            np.copyto(x, xs + columns, where=mask)
            np.copyto(y, ys + ((camera.cy[a] - camera.cy[b]) + (ys - camera.cy[b]) * (scale - 1.0)), where=mask)
        _carry_ground(world, owner, x, y, xs, ys, b, a)
    return Points(x, y)


def _carried(p: Placed, b: int, a: int) -> tuple[float, ...]:
    """Return the affine map of a board's image from frame b to a."""
    xx, yy = p.width[a] / p.width[b], p.height[a] / p.height[b]
    lean = p.width[a] * (p.shear[a] - p.shear[b])
    x0 = p.left[a] - p.left[b] * xx - lean * (p.top[b] / p.height[b] + p.anchor)
    return x0, xx, lean / p.height[b], p.top[a] - p.top[b] * yy, yy


def _still(world: World, p: Placed, b: int, a: int) -> tuple[float, ...]:
    """Return the same as if the board had stood still in the world where it is in frame b."""
    camera = world.camera
    then = max(p.depth[b] + (camera.z[b] - camera.z[a]), NEAR)
    grown = p.depth[b] / then
    x0 = camera.cx[a] - camera.cx[b] * grown + (camera.x[b] - camera.x[a]) * (camera.focal / then)
    return x0, grown, 0.0, camera.cy[a] - camera.cy[b] * grown, grown


def _wall_columns(world: World, side: int, xs: Floats, b: int, a: int) -> tuple[Floats, Floats]:
    """Return, per column of b, how far a wall's points move to frame a, and how much they grow."""
    camera, wall = world.camera, world.walls[side]
    deep = np.maximum((xs - camera.cx[b]) * wall.side, 0.5)
    reach_b, reach_a = (wall.x - wall.side * camera.x[t] for t in (b, a))
    z_b = camera.focal * reach_b / deep
    scale = z_b / np.maximum(z_b + (camera.z[b] - camera.z[a]), NEAR)
    return (camera.cx[a] - camera.cx[b]) + wall.side * deep * (scale * (reach_a / reach_b) - 1.0), scale


def _carry_ground(world: World, owner: Owners, x: Floats, y: Floats, xs: Floats, ys: Floats, b: int, a: int) -> None:
    camera = world.camera
    down = np.maximum(ys - camera.cy[b], 0.5)
    z_b = camera.focal * camera.height / down
    z_a = np.maximum(z_b + (camera.z[b] - camera.z[a]), NEAR)
    grown = z_b / z_a - 1.0
    mask = owner >= world.road
    shift = (camera.cx[a] - camera.cx[b]) + (camera.x[b] - camera.x[a]) * (camera.focal / z_a)
    np.copyto(x, xs + (shift + (xs - camera.cx[b]) * grown), where=mask)
    np.copyto(y, np.broadcast_to(ys + ((camera.cy[a] - camera.cy[b]) + down * grown), y.shape), where=mask)


def visible(world: World, pictures: Pictures, points: Points, b: int, a: int) -> NDArray[np.bool_]:
    """Return which surface points of frame b, at ``points`` in frame a, are in that picture with nothing before them.

    A surface is hidden by whatever nearer surface covers the very point; [H,W].
    """
    h, w = world.size
    owner = pictures.owner[b]
    inside = (points.x >= -0.5) & (points.x < w - 0.5) & (points.y >= -0.5) & (points.y < h - 0.5)
    depth = np.full(world.road + 2, world.end - 1.5 - world.camera.z[a])
    depth[: world.first_wall] = [p.depth[a] for p in world.places]
    # Where a pixel of a and all around it is one surface, that surface decides.
    column = np.minimum(np.maximum(points.x + 0.5, 0.0), w - 1.0).astype(np.int64)
    index = np.minimum(np.maximum(points.y + 0.5, 0.0), h - 1.0).astype(np.int64) * w + column
    clear = pictures.settled[a].take(index)
    nearest = depth.take(pictures.owner[a].take(index))
    open_ = np.flatnonzero(inside & ~clear)
    inside &= ~clear | (nearest >= depth.take(owner))
    x, y, surface = points.x.take(open_), points.y.take(open_), owner.take(open_)
    inside.ravel()[open_] = ~_hidden(world, x, y, surface, depth.take(surface), a)
    return inside


def _hidden(world: World, x: Floats, y: Floats, surface: Owners, depths: Floats, a: int) -> NDArray[np.bool_]:
    """Return whether a nearer surface covers points of surfaces at depths ``depths``, one by one, [N]."""
    hidden = np.zeros(x.shape, dtype=bool)
    places, boxes, (h, w) = world.places, world.boxes[:, a].tolist(), world.size
    cell = np.floor(y + 0.5).astype(np.int64) * w + np.floor(x + 0.5).astype(np.int64)
    numbers = [*world.order(a), *range(len(world.boards), world.first_wall - 1)]
    for group in (numbers[k : k + 63] for k in range(0, len(numbers), 63)):
        # Which boxes touch a pixel: a bit per board.
        touched = np.zeros((h, w), dtype=np.int64)
        for bit, k in enumerate(group):
            y0, y1, x0, x1 = boxes[k]
            touched[y0:y1, x0:x1] |= 1 << bit
        near = touched.take(cell)
        candidates = int(np.bitwise_or.reduce(near, initial=0))
        for bit, k in enumerate(group):
            if candidates >> bit & 1:
                placed = places[k]
                at = np.flatnonzero(near & (1 << bit))
                v = (y[at] - placed.top[a]) / placed.height[a]
                u = (x[at] - placed.left[a]) / placed.width[a]
                if placed.shear[a]:
                    u -= placed.shear[a] * (v - placed.anchor)
                hidden[at] |= covered(placed, u, v) & (depths[at] > placed.depth[a])
    behind = np.flatnonzero((surface >= len(world.boards)) & (surface < world.first_wall))
    hidden[behind] |= _on_walls(world, x[behind], y[behind], a)
    return hidden


def _on_walls(world: World, x: Floats, y: Floats, a: int) -> NDArray[np.bool_]:
    camera = world.camera
    on = np.zeros(x.shape, dtype=bool)
    for wall in world.walls:
        reach = wall.x - wall.side * camera.x[a]
        out = (x - camera.cx[a]) * wall.side
        ahead = out > 0
        z = camera.z[a] + camera.focal * reach / np.where(ahead, out, 1.0)
        segment = np.searchsorted(wall.edges, z, side="right") - 1
        inside = ahead & (segment >= 0) & (segment < len(wall.labels))
        rise = (wall.heights[np.where(inside, segment, 0)] - camera.height) / reach
        up = camera.cy[a] - y
        on |= inside & (up <= rise * out) & (-up < camera.height / reach * out)
    return on


def disocclusion_kinds(world: World, pictures: Pictures, context: Sequence[int], b: int) -> NDArray[np.uint8]:
    """Return the kind of dis-occlusion of frame b's pixels relative to a context, [H,W].

    Every pixel whose surface point the last context frame does not show is :data:`SEEN_EARLIER` if an earlier context
    frame shows it, else :data:`ENTERING` if it was outside the last context frame, else :data:`NEVER_SEEN`.
    """
    *earlier, last = context
    owner = pictures.owner[b]
    points = source(world, owner, b, last)
    hidden = ~visible(world, pictures, points, b, last)
    h, w = world.size
    inside = (points.x >= -0.5) & (points.x < w - 0.5) & (points.y >= -0.5) & (points.y < h - 0.5)
    kinds = np.where(hidden, np.where(inside, NEVER_SEEN, ENTERING), 0).astype(np.uint8)
    for a in earlier:
        kinds[hidden & visible(world, pictures, source(world, owner, b, a), b, a)] = SEEN_EARLIER
    return kinds
