"""Draws the house fronts along the street."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.canvas import SAMPLES, Canvas, as_mask
from vpbench_scenes.surfaces import World
from vpbench_scenes.texture import sample

_TEXELS = 10.0
"""Texels per metre."""
_FRONT = 12.8
"""Metres of height that a texture covers."""

Floats = NDArray[np.float64]


def draw_walls(world: World, t: int, canvas: Canvas) -> None:
    """Draw both sides of the street at frame t: coverage per segment, colours of all of them at once."""
    camera, (h, w) = world.camera, world.size
    parts: list[tuple[int, slice, NDArray[np.bool_], Floats, float, float]] = []
    columns, reaches, sides, origins = [], [], [], []
    number = world.first_wall
    for wall in world.walls:
        reach = wall.x - wall.side * float(camera.x[t])  # metres from the camera's axis to the wall
        out = (np.arange(w) + SAMPLES[:, 0:1] - camera.cx[t]) * wall.side  # px from the vanishing point
        facing = out > 0
        z = camera.z[t] + camera.focal * reach / np.where(facing, out, 1.0)
        segment = np.where(facing, np.searchsorted(wall.edges, z, side="right") - 1, -1)
        for k in range(len(wall.labels)):
            bits = segment == k
            covered_columns = np.flatnonzero(bits.any(axis=0))
            if len(covered_columns):
                span = slice(int(covered_columns[0]), int(covered_columns[-1]) + 1)
                rise = (float(wall.heights[k]) - camera.height) / reach
                parts.append((number + k, span, bits[:, None, span], out[:, None, span], rise, camera.height / reach))
                n = span.stop - span.start
                columns.append(np.arange(span.start, span.stop))
                reaches.append(np.full(n, reach))
                sides.append(np.full(n, wall.side))
                origins.append(np.full(n, wall.origins[k]))
        number += len(wall.labels)
    if not parts:
        return
    high = max(float(rise * out.max()) for _, _, _, out, rise, _ in parts)
    low = max(float(fall * out.max()) for _, _, _, out, _, fall in parts)
    cy = float(camera.cy[t])
    y0, y1 = int(min(max(cy - high - 1.0, 0), h)), int(min(max(cy + low + 2.0, 0), h))
    if y0 == y1:
        return
    y = np.arange(y0, y1) - cy
    samples = (y + SAMPLES[:, 1:2])[..., None]
    reach_of = np.concatenate(reaches)
    # A column whose centre has passed the vanishing point is looked up at the last one that has not.
    deep = np.maximum((np.concatenate(columns) - camera.cx[t]) * np.concatenate(sides), 0.5)
    away, scale = camera.focal * reach_of / deep, reach_of / deep  # metres to the wall; metres of height per pixel
    footprint = _TEXELS * np.maximum(scale, np.minimum(away / deep, 8.0))
    u = _TEXELS * (camera.z[t] + away)
    v = _TEXELS * (_FRONT - camera.height + y[:, None] * scale)
    colours = sample(world.walls[0].texture, u, v, footprint, np.concatenate(origins))
    first = 0
    for surface, span, bits, out, rise, fall in parts:
        n = span.stop - span.start
        box = (slice(y0, y1), span)
        mask = (samples >= out * -rise) & (samples < out * fall) & bits
        count = canvas.take(box, as_mask(mask), surface)
        if count is not None:
            canvas.colour[box] += count * colours[:, first : first + n]
        first += n
