"""Draws road and pavement, markings included."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.canvas import SAMPLES, Canvas, as_mask
from vpbench_scenes.surfaces import World
from vpbench_scenes.texture import pack, sample, scaled_down

_PAINT = pack(np.array((226, 226, 218)))
_TEXELS = 16.0
"""Texels per metre of ground."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def draw_ground(world: World, t: int, canvas: Canvas) -> None:
    """Draw frame t's ground, where nothing stands on it."""
    camera, ground, (h, w) = world.camera, world.ground, world.size
    first = int(min(max(float(camera.cy[t]), 0), h))
    box = (slice(first, h), slice(0, w))
    down = np.arange(first, h) + SAMPLES[:, 1:2] - camera.cy[t]  # px below the horizon
    below = down > 0
    z = camera.z[t] + camera.focal * camera.height / np.where(below, down, 1.0)
    left = camera.cx[t] + (-ground.road - camera.x[t]) * down / camera.height
    right = camera.cx[t] + (ground.road - camera.x[t]) * down / camera.height
    if ground.crossing:
        wide = (z >= ground.crossing[0]) & (z < ground.crossing[1])
        left, right = np.where(wide, -np.inf, left), np.where(wide, np.inf, right)
    x = (np.arange(w) + SAMPLES[:, 0:1])[:, None]
    road = (x >= np.where(below, left, np.inf)[..., None]) & (x < right[..., None])
    count = canvas.take(box, as_mask(road), world.road)
    if count is not None:
        canvas.colour[box] += count * _colour(world, t, np.arange(first, h)[:, None], np.arange(w), paved=False)
    count = canvas.take(box, as_mask(below)[:, None], world.road + 1)
    if count is not None:
        rows, columns = np.nonzero(count)
        colour = _colour(world, t, rows + first, columns, paved=True)
        canvas.colour[first:][rows, columns] += count[rows, columns] * colour


def _share(distance: Floats, half: float, footprint: Floats) -> Floats:
    """Return the share of a pixel within ``half`` of a line; the pixel is ``distance`` away and ``footprint`` wide."""
    high = np.minimum(distance + footprint * 0.5, half)
    low = np.maximum(distance - footprint * 0.5, -half)
    return np.asarray(np.maximum(high - low, 0.0) / footprint)


def _stripes(at: Floats, period: float, half: float, footprint: Floats) -> Floats:
    """Return the share of a pixel on periodic lines; it tends to their mean where a pixel spans a period."""
    phase = at / period
    distance = (phase - np.floor(phase + 0.5)) * period
    return np.where(footprint < period, _share(distance, half, footprint), 2.0 * half / period)


def _colour(world: World, t: int, rows: Ints, columns: Ints, *, paved: bool) -> Ints:
    """Return packed colours of the ground at some pixels; rows and columns broadcast."""
    camera, ground = world.camera, world.ground
    # Pixels whose centre is above the horizon show samples just below it.
    down = np.maximum(rows - camera.cy[t], 0.5)
    metres = camera.height / down  # of ground across, per pixel
    depth = camera.focal * metres
    x = camera.x[t] + (columns - camera.cx[t]) * metres
    z = camera.z[t] + depth
    long = depth / down  # of ground ahead, per pixel
    footprint = _TEXELS * np.maximum(metres, 0.5 * long)
    colour = sample(ground.pavement if paved else ground.asphalt, x * _TEXELS, z * _TEXELS, footprint)
    if paved:
        return colour
    off = np.abs(x)
    paint = _share(off, 0.07, metres) * _stripes(z, ground.dash, ground.dash * 0.28, long)
    paint = np.maximum(paint, _share(off - (ground.road - 0.25), 0.06, metres))
    if ground.crossing:
        z0, z1 = ground.crossing[0] - 2.4, ground.crossing[1] + 2.4
        paint = paint * (1.0 - np.minimum(_share(z - (z0 + z1) * 0.5, (z1 - z0) * 0.5, long), 1.0))
    if ground.zebra:
        z0, z1 = ground.zebra
        ahead = _share(z - (z0 + z1) * 0.5, (z1 - z0) * 0.5, long)
        stripe_rows = np.flatnonzero(ahead)
        if len(stripe_rows):
            band = slice(int(stripe_rows[0]), int(stripe_rows[-1]) + 1)
            bars = ahead[band] * _stripes(x[band], 1.0, 0.25, metres[band])
            np.maximum(paint[band], bars, out=paint[band])
    weight = (np.minimum(paint, 1.0) * 64.0).astype(np.int64)
    return scaled_down((colour << 6) + (_PAINT - colour) * weight, 6)
