"""Draws a world: anti-aliased frames and, per pixel, the surface that covers most of it.

Eight samples per pixel decide coverage: in each, the nearest surface wins. A pixel's colour is the mean over its
samples of the winners' colours, each looked up once, at the pixel's centre. A mixed pixel belongs (label, instance,
flow) to the surface that wins most of its samples, of equals to the nearer one. All of it is integers but for the
projections, which are single IEEE operations on float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vpbench_scenes.boards import BoardDrawer
from vpbench_scenes.canvas import Canvas
from vpbench_scenes.ground import draw_ground
from vpbench_scenes.surfaces import World
from vpbench_scenes.texture import scaled_down, unpack
from vpbench_scenes.walls import draw_walls


@dataclass(frozen=True)
class Pictures:
    """A drawn clip: ``frames`` uint8 [T,H,W,3] and ``owner`` int16 [T,H,W], the surface id of each pixel.

    ``whole`` [T,H,W] tells the pixels whose owner has won every sample.
    """

    frames: NDArray[np.uint8]
    owner: NDArray[np.int16]
    whole: NDArray[np.bool_]

    @cached_property
    def settled(self) -> NDArray[np.bool_]:
        """The pixels that, with their eight neighbours, belong to one surface in every sample, [T,H,W].

        Within such a pixel nothing stands before that surface: at most a sliver that slips between 72 samples.
        """
        owner, whole = self.owner, self.whole
        out = np.zeros(owner.shape, dtype=bool)
        level = (owner[:, :, :-1] == owner[:, :, 1:]) & whole[:, :, :-1] & whole[:, :, 1:]
        flat = level[:, :, :-1] & level[:, :, 1:]
        upright = owner[:, :-1, 1:-1] == owner[:, 1:, 1:-1]
        out[:, 1:-1, 1:-1] = flat[:, :-2] & flat[:, 1:-1] & flat[:, 2:] & upright[:, :-1] & upright[:, 1:]
        return out


def render(world: World) -> Pictures:
    """Draw every frame of a world."""
    h, w = world.size
    boards = [BoardDrawer(placed, k, world.boxes[k]) for k, placed in enumerate(world.places)]
    standing = len(world.boards)
    colour = np.empty((world.frames, h, w), dtype=np.int64)
    owner = np.empty((world.frames, h, w), dtype=np.int16)
    whole = np.empty((world.frames, h, w), dtype=bool)
    for t in range(world.frames):
        canvas = Canvas(h, w)
        for k in world.order(t):
            boards[k].draw(t, canvas)
        draw_walls(world, t, canvas)
        for board in boards[standing:-1]:
            board.draw(t, canvas)
        draw_ground(world, t, canvas)
        boards[-1].draw(t, canvas)  # the sky
        colour[t], owner[t], whole[t] = canvas.colour, canvas.owner, canvas.record == 8
    return Pictures(unpack(scaled_down(colour, 3)), owner, whole)
