"""The colours of road and pavement, markings included."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.surfaces import World
from vpbench_scenes.texture import pack, sample, scaled_down

__all__ = ["ground_colour"]

_PAINT = pack(np.array((226, 226, 218)))
_TEXELS = 16.0
"""Texels per metre of ground."""

Floats = NDArray[np.float64]


def _share(distance: Floats, half: float, footprint: Floats) -> Floats:
    """Return the share of a pixel within ``half`` of a line; the pixel is ``distance`` away and ``footprint`` wide."""
    high = np.minimum(distance + footprint * 0.5, half)
    low = np.maximum(distance - footprint * 0.5, -half)
    return np.maximum(high - low, 0.0) / footprint


def _stripes(at: Floats, period: float, half: float, footprint: Floats) -> Floats:
    """Return the share of a pixel on periodic lines; it tends to their mean where a pixel spans a period."""
    phase = at / period
    distance = (phase - np.floor(phase + 0.5)) * period
    return np.where(footprint < period, _share(distance, half, footprint), 2.0 * half / period)


def ground_colour(world: World, t: int, first: int, *, paved: bool) -> NDArray[np.int64]:
    """Return packed colours of the ground for the rows from ``first`` on, [rows, W]."""
    camera, ground, (h, w) = world.camera, world.ground, world.size
    # Rows whose centre is above the horizon show samples just below it.
    down = np.maximum(np.arange(first, h) - camera.cy[t], 0.5)[:, None]
    metres = camera.height / down  # of ground across, per pixel
    depth = camera.focal * metres
    x = camera.x[t] + (np.arange(w) - camera.cx[t]) * metres
    z = camera.z[t] + depth
    long = depth / down  # of ground ahead, per pixel
    footprint = _TEXELS * np.maximum(metres, 0.5 * long)
    colour = sample(ground.pavement if paved else ground.asphalt, x * _TEXELS, z * _TEXELS, footprint)
    if paved:
        return colour
    paint = _share(np.abs(x), 0.07, metres) * _stripes(z, ground.dash, ground.dash * 0.28, long)
    paint = np.maximum(paint, _share(np.abs(x) - (ground.road - 0.25), 0.06, metres))
    if ground.crossing:
        wide = _share(z - (ground.crossing[0] + ground.crossing[1]) * 0.5,
                      (ground.crossing[1] - ground.crossing[0]) * 0.5 + 2.4, long)  # fmt: skip
        paint = paint * (1.0 - np.minimum(wide, 1.0))
    if ground.zebra:
        z0, z1 = ground.zebra
        ahead = _share(z - (z0 + z1) * 0.5, (z1 - z0) * 0.5, long)
        paint = np.maximum(paint, ahead * _stripes(x, 1.0, 0.25, metres))
    weight = (np.minimum(paint, 1.0) * 64.0).astype(np.int64)
    lanes = (colour << 6) + (_PAINT - colour) * weight
    return scaled_down(lanes, 6)
