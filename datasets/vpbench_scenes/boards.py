"""Draws boards: where their samples fall in silhouette and texture is worked out for a whole clip at once."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.canvas import SAMPLES, Canvas, as_mask
from vpbench_scenes.surfaces import Placed
from vpbench_scenes.texture import Tile, bilinear, fraction

_AT_ONCE = 1 << 14
"""Pixels that are worked out at once."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def _cell(at: Floats, cells: int) -> Ints:
    """Return the cell of a bordered silhouette at a position in units of the box: 0 and cells+1 are the border."""
    return np.minimum(np.maximum(at * cells + 1.0, 0.0), cells + 1.0).astype(np.int64)


def covered(placed: Placed, u: Floats, v: Floats) -> NDArray[np.bool_]:
    """Return whether points (u, v) of a board's box, which broadcast, lie on the board."""
    shape = placed.look.shape
    if shape is None:
        return (u >= 0.0) & (u < 1.0) & (v >= 0.0) & (v < 1.0)
    rows, columns = shape.cells
    return shape.solid.ravel().take(_cell(v, rows) * (columns + 2) + _cell(u, columns))


class BoardDrawer:
    """Draws one board in every frame of a clip; several frames are worked out at once.

    One level of the texture's pyramid serves the whole clip, the one that fits frame 0: its look does not flicker.
    """

    def __init__(self, placed: Placed, number: int, boxes: Ints) -> None:
        self.placed, self.number = placed, number
        self._boxes = boxes
        size = np.maximum(boxes[:, 1::2] - boxes[:, ::2], 0)
        self._in_view = (size.min(axis=1) > 0).tolist()
        rows, columns = size.max(axis=0).tolist()
        self._rows, self._columns = np.arange(rows), np.arange(columns)
        self._chunk = max(_AT_ONCE // max(rows * columns, 1), 1)
        self._ready = range(0)
        du, dv = placed.look.texel[1], placed.look.texel[3]
        footprint = max(du / float(placed.width[0]), dv / float(placed.height[0]))
        self._level = math.frexp(max(footprint, 1.0) * 0.7)[1]

    def draw(self, t: int, canvas: Canvas) -> None:
        """Draw frame t."""
        if not self._in_view[t]:
            return
        if t not in self._ready:
            self._ready = range(t, min(t + self._chunk, len(self._boxes)))
            self._masks, self._colours = self._prepare(slice(t, self._ready.stop))
        y0, y1, x0, x1 = self._boxes[t].tolist()
        box = (slice(y0, y1), slice(x0, x1))
        k = t - self._ready.start
        count = canvas.take(box, self._masks[k, : y1 - y0, : x1 - x0], self.number)
        if count is not None:
            canvas.colour[box] += count * self._colours[k, : y1 - y0, : x1 - x0]

    def _prepare(self, frames: slice) -> tuple[NDArray[np.uint8], Ints]:
        """Return masks and packed colours of some frames, [n,h,w]; each frame from the corner of its own box on."""
        placed, look = self.placed, self.placed.look
        top, height, left, width, shear = (
            a[frames, None] for a in (placed.top, placed.height, placed.left, placed.width, placed.shear)
        )
        y, x = self._boxes[frames, 0:1] + self._rows, self._boxes[frames, 2:3] + self._columns
        # Samples first: [8,n,h,1] and [8,n,1,w].
        dx, dy = (SAMPLES[:, axis][:, None, None] for axis in (0, 1))
        v, u = ((y + dy - top) / height)[..., None], ((x + dx - left) / width)[:, :, None]
        if shear.any():
            u = u - shear[..., None] * (v - placed.anchor)
        masks = as_mask(covered(placed, u, v))
        texels, rows, columns = look.texture.level(self._level)
        u0, du, v0, dv = look.texel
        down, across = rows / look.texture.size[0], columns / look.texture.size[1]
        wraps = isinstance(look.texture, Tile)
        v = (y - top) / height
        j0, j1, fy = (a[..., None] for a in fraction((v0 + v * dv) * down, rows, wraps))
        u = ((x - left) / width)[:, None]
        if shear.any():
            u = u - shear[..., None] * (v[..., None] - placed.anchor)
        i0, i1, fx = fraction((u0 + u * du) * across, columns, wraps)
        return masks, bilinear(texels, columns, i0, i1, fx, j0, j1, fy)
