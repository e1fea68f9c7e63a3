"""The truth between any two frames of a world: where each pixel comes from, and whether it could be seen there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.render import box_of, covered, order
from vpbench_scenes.surfaces import NEAR, World

__all__ = ["ENTERING", "NEVER_SEEN", "SEEN_EARLIER", "disocclusion_kinds", "source", "visible"]

ENTERING, SEEN_EARLIER, NEVER_SEEN = 1, 2, 3
"""Kinds of dis-occlusion, relative to a context; 0 is what its last frame shows."""

Floats = NDArray[np.float64]
Owners = NDArray[np.int16]


@dataclass(frozen=True)
class Points:
    """One point per pixel, [H,W] each, in pixels."""

    x: Floats
    y: Floats


def source(world: World, owner: Owners, b: int, a: int) -> Points:
    """Return where in frame ``a`` the surface points stand that frame ``b`` shows at its pixel centres.

    ``owner`` is the surface id per pixel of frame b, [H,W]. The point may be outside frame a, or hidden in it.
    """
    xs, ys = np.arange(world.size[1], dtype=np.float64)[None, :], np.arange(world.size[0], dtype=np.float64)[:, None]
    # A board's image moves by an affine map: x' = x0 + xx x + xy y, y' = y0 + yy y.
    rows = []
    for p in world.places:
        xx, yy = p.width[a] / p.width[b], p.height[a] / p.height[b]
        lean = p.width[a] * (p.shear[a] - p.shear[b])
        x0 = p.left[a] - p.left[b] * xx - lean * (p.top[b] / p.height[b] + p.anchor)
        rows.append((x0, xx, lean / p.height[b], p.top[a] - p.top[b] * yy, yy))
    table = np.array([*rows, *[(0.0,) * 5] * (world.road + 2 - len(rows))])
    x0, xx, xy, y0, yy = (column.take(owner) for column in table.T)
    x, y = x0 + xx * xs + xy * ys, y0 + yy * ys
    number = world.first_wall
    if (owner >= number).any():
        for side, wall in enumerate(world.walls):
            here = (owner >= number) & (owner < number + len(wall.labels))
            number += len(wall.labels)
            columns, scale = _wall_columns(world, side, xs, b, a)
            np.copyto(x, columns, where=here)
            np.copyto(y, world.camera.cy[a] + (ys - world.camera.cy[b]) * scale, where=here)
        _carry_ground(world, owner, x, y, xs, ys, b, a)
    return Points(x, y)


def _wall_columns(world: World, side: int, xs: Floats, b: int, a: int) -> tuple[Floats, Floats]:
    """Return, per column of b, the column in a and the magnification of a wall's points."""
    camera, wall = world.camera, world.walls[side]
    deep = np.maximum((xs - camera.cx[b]) * wall.side, 0.5)
    z_b = camera.focal * (wall.x - wall.side * camera.x[b]) / deep
    z_a = np.maximum(z_b + (camera.z[b] - camera.z[a]), NEAR)
    return camera.cx[a] + wall.side * (camera.focal * (wall.x - wall.side * camera.x[a]) / z_a), z_b / z_a


def _carry_ground(world: World, owner: Owners, x: Floats, y: Floats, xs: Floats, ys: Floats, b: int, a: int) -> None:
    camera = world.camera
    z_b = camera.focal * camera.height / np.maximum(ys - camera.cy[b], 0.5)
    z_a = np.maximum(z_b + (camera.z[b] - camera.z[a]), NEAR)
    here = owner >= world.road
    shift = camera.cx[a] + (camera.x[b] - camera.x[a]) * (camera.focal / z_a)
    np.copyto(x, shift + (xs - camera.cx[b]) * (z_b / z_a), where=here)
    np.copyto(y, np.broadcast_to(camera.cy[a] + camera.focal * camera.height / z_a, y.shape), where=here)


def visible(world: World, owner: Owners, points: Points, a: int) -> NDArray[np.bool_]:
    """Return whether the surface points at ``points`` in frame a are in the picture and nothing hides them there, [H,W].

    ``owner`` is the surface of each point. A surface is hidden by whatever nearer surface covers the very point.
    """
    h, w = world.size
    x, y = points.x, points.y
    seen = (x >= -0.5) & (x < w - 0.5) & (y >= -0.5) & (y < h - 0.5)
    backdrop = range(len(world.boards), len(world.boards) + len(world.backdrop))
    depth = np.full(world.road + 2, world.end - 1.5 - world.camera.z[a])
    depth[: len(world.places)] = [p.depth[a] for p in world.places]
    here = depth.take(owner)
    reach = _reach(points)
    for k in [*order(world, a), *backdrop]:
        placed = world.places[k]
        rows, columns = box_of(placed, a, world.size)
        if rows.start == rows.stop or columns.start == columns.stop:
            continue
        box = (slice(max(rows.start - reach, 0), rows.stop + reach), slice(max(columns.start - reach, 0), columns.stop + reach))
        v = (y[box] - placed.top[a]) / placed.height[a]
        u = (x[box] - placed.left[a]) / placed.width[a]
        if placed.shear[a]:
            u -= placed.shear[a] * (v - placed.anchor)
        seen[box] &= ~(covered(placed, u, v) & (placed.depth[a] < here[box]))
    behind_walls = (owner >= len(world.boards)) & (owner < world.first_wall)
    if behind_walls.any():
        where = np.nonzero(behind_walls)
        seen[where] &= ~_on_walls(world, x[where], y[where], a)
    return seen


def _reach(points: Points) -> int:
    """Return how far (px, rounded up) any point has moved from its pixel."""
    h, w = points.x.shape
    far = max(np.abs(points.x - np.arange(w)).max(), np.abs(points.y - np.arange(h)[:, None]).max())
    return min(int(far) + 2, h + w)


def _on_walls(world: World, x: Floats, y: Floats, a: int) -> NDArray[np.bool_]:
    camera = world.camera
    on = np.zeros(x.shape, dtype=bool)
    for wall in world.walls:
        reach = wall.x - wall.side * camera.x[a]
        out = (x - camera.cx[a]) * wall.side
        ahead = out > 0
        z = camera.z[a] + camera.focal * reach / np.where(ahead, out, 1.0)
        segment = np.searchsorted(wall.edges, z, side="right") - 1
        known = ahead & (segment >= 0) & (segment < len(wall.labels))
        rise = (wall.heights[np.where(known, segment, 0)] - camera.height) / reach
        up = camera.cy[a] - y
        on |= known & (up <= rise * out) & (-up < camera.height / reach * out)
    return on


def disocclusion_kinds(world: World, owner: Owners, context: Sequence[int], b: int) -> NDArray[np.uint8]:
    """Return the kind of dis-occlusion of frame b's pixels relative to a context, [H,W].

    Every pixel whose surface point the last context frame does not show is :data:`SEEN_EARLIER` if an earlier context
    frame shows it, else :data:`ENTERING` if it was outside the last context frame, else :data:`NEVER_SEEN`.
    """
    *earlier, last = context
    points = source(world, owner, b, last)
    hidden = ~visible(world, owner, points, last)
    h, w = world.size
    inside = (points.x >= -0.5) & (points.x < w - 0.5) & (points.y >= -0.5) & (points.y < h - 0.5)
    kinds = np.where(hidden, np.where(inside, NEVER_SEEN, ENTERING), 0).astype(np.uint8)
    for a in earlier:
        kinds[hidden & visible(world, owner, source(world, owner, b, a), a)] = SEEN_EARLIER
    return kinds
