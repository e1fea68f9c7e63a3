"""A clip's world: drawn from its name, before any pixel."""

from __future__ import annotations

from typing import Final, Literal

from vpbench_scenes.camera import drive, still
from vpbench_scenes.labels import TRAIN_ID
from vpbench_scenes.rng import Stream
from vpbench_scenes.street import END, build
from vpbench_scenes.surfaces import World, place, place_sky
from vpbench_scenes.users import Casting, populate

Variant = Literal["street", "static", "same-look", "shuffled"]
VARIANTS: Final = ("street", "static", "same-look", "shuffled")


def make_world(
    split: str, index: int, frames: int, size: tuple[int, int], variant: Variant, branch: int = 0, branch_at: int = 4
) -> World:
    """Draw the world of one clip.

    Args:
        split: train, val or test: textures, shapes and parameters of different splits share no random stream.
        index: the clip's number in its split.
        frames: T; the first frames do not depend on it.
        size: (H, W) of the pictures; the world is the same for sizes of one shape.
        variant: ``street``; ``static``: fixed camera, fewer objects; ``same-look``: appearance, size, place and speed
            do not tell the class; ``shuffled``: the dynamics have nothing to do with the class (a control).
        branch: 0, or which other future is taken from frame ``branch_at`` on.
        branch_at: the first frame that a branch changes.
    """
    s = Stream("clip", split, index)
    crossing = s.chance(0.65)
    street = build(split, s.child("street"), frames, crossing=crossing)
    fixed = variant == "static"
    camera = still(frames, size) if fixed else drive(s.child("camera"), frames, size, branch, branch_at)
    cast = Casting(
        split=split,
        frames=frames,
        branch=branch,
        branch_at=branch_at,
        aspect=size[1] / size[0],
        crowd=1.2 if fixed else 1.0,
        same_look=variant == "same-look",
        shuffled=variant == "shuffled",
    )
    movers = populate(cast, s.child("users"), street)
    return World(
        size=size,
        camera=camera,
        boards=tuple(place(board, camera) for board in (*movers, *street.boards)),
        backdrop=tuple(place(board, camera) for board in street.backdrop),
        walls=street.walls,
        ground=street.ground,
        sky=place_sky(camera, street.sky, TRAIN_ID["sky"]),
        end=END,
        tags=frozenset({"plain" if street.plain else "complex", "crossing" if crossing else "street"}),
    )
