"""A pinhole camera that drives: forward motion, a little sideways, panning, slight shake.

World axes in metres: X right, Y up from the ground, Z ahead; the camera looks along +Z and never turns its axes (a pan
shifts the picture, as a distant turn does). A point projects to ``x = cx + f (X - X_c) / (Z - Z_c)`` and
``y = cy + f (Y_c - Y) / (Z - Z_c)``. Pixel centres are integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.rng import Stream

HEIGHT = 1.8
"""Metres above the ground."""
HORIZON = 0.42
"""Height of the horizon in the picture, from the top."""


@dataclass(frozen=True)
class Camera:
    """Focal length in pixels (the picture's height) and per frame, [T]: principal point (px) and position (m)."""

    focal: float
    cx: NDArray[np.float64]
    cy: NDArray[np.float64]
    x: NDArray[np.float64]
    z: NDArray[np.float64]
    height: float = HEIGHT


def still(frames: int, size: tuple[int, int]) -> Camera:
    """Return a fixed camera for pictures of ``size`` (H, W)."""
    h, w = size
    ones = np.ones(frames)
    return Camera(float(h), ones * ((w - 1) * 0.5), ones * (HORIZON * h), 0.0 * ones, 0.0 * ones)


def drive(stream: Stream, frames: int, size: tuple[int, int], branch: int, branch_at: int) -> Camera:
    """Return a driving camera for pictures of ``size`` (H, W); a branch drives on differently from ``branch_at``."""
    base = still(frames, size)
    unit = base.focal / 192.0  # speeds of the picture are given in pixels at 192 rows
    forward, side = stream.uniform(0.05, 0.17), stream.sign() * stream.uniform(0.03, 0.075)
    pan = stream.sign() * stream.uniform(0.9, 2.8)
    pan_change, gain = stream.uniform(-0.25, 0.25), stream.uniform(-0.008, 0.008)
    shake = stream.child("shake")
    cx, cy, x, z = (np.array(a) for a in (base.cx, base.cy, base.x, base.z))
    turned = 0.0
    for t in range(1, frames):
        if branch and t == branch_at:
            fork = stream.child("branch", branch)
            pan_change, gain, shake = fork.uniform(-0.5, 0.5), fork.uniform(-0.015, 0.015), fork.child("shake")
        forward = min(max(forward + gain, 0.0), 0.2)
        pan = min(max(pan + pan_change, -3.0), 3.0)
        turned += pan
        x[t], z[t] = x[t - 1] + side, z[t - 1] + forward
        cx[t] = base.cx[t] - unit * (turned + shake.uniform(-0.3, 0.3))
        cy[t] = base.cy[t] + unit * shake.uniform(-0.3, 0.3)
    return Camera(base.focal, cx, cy, x, z)
