"""The dataset ``scenes``: clips made on demand, each a pure function of its name and the options."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vpbench.errors import DataError, UsageError, did_you_mean
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import DatasetInfo, Finding, SequenceInfo
from vpbench.toolkit.labels import CITYSCAPES19
from vpbench_scenes.render import Pictures, render
from vpbench_scenes.surfaces import World
from vpbench_scenes.truth import Points, disocclusion_kinds, source, visible
from vpbench_scenes.world import Variant, make_world

_CACHE_SIZE: Final = 4
"""Drawn clips that an instance keeps: one modality is read after another."""

Side = Annotated[int, Field(ge=32, le=1024, multiple_of=2)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]


class Options(BaseModel):
    """Looks and number of clips. A clip's name is its split and number; these options decide the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: Annotated[tuple[Side, Side], Field(strict=False)] = (192, 256)
    """(H, W) in pixels: even, 32 to 1024; the width half to three times the height."""
    length: int = Field(default=9, ge=2, le=24)
    """Frames of a clip; a longer clip begins with the same frames."""
    variant: Variant = "street"
    """``street``; ``static`` (fixed camera); ``same-look`` (appearance does not tell the class); ``shuffled`` (dynamics
    have nothing to do with the class)."""
    branch: int = Field(default=0, ge=0, le=999)
    """Which future: 0, or another one that shares the frames before ``branch_at``."""
    branch_at: int = Field(default=4, ge=1)
    """The first frame in which branches differ: the length of the context."""
    train: Count = 4096
    val: Count = 64
    test: Count = 64

    @model_validator(mode="after")
    def _fits(self) -> Options:
        h, w = self.size
        if not h <= 2 * w or not w <= 3 * h:
            raise ValueError(f"size: {h}x{w} is too long and thin; the width may be half to three times the height")
        if self.branch and self.branch_at >= self.length:
            raise ValueError(f"branch_at: branch {self.branch} would begin at frame {self.branch_at}, but a clip has "
                             f"{self.length} frames")  # fmt: skip
        return self


@dataclass
class _Clip:
    """A drawn clip, with what flow and dis-occlusion share."""

    world: World
    pictures: Pictures
    _sources: dict[tuple[int, int], Points] = field(default_factory=dict)

    def source(self, b: int, a: int) -> Points:
        if (b, a) not in self._sources:
            self._sources[b, a] = source(self.world, self.pictures.owner[b], b, a)
        return self._sources[b, a]


class Scenes:
    """Procedural street scenes. ``root`` is not needed and not looked at."""

    Options = Options
    info: ClassVar[DatasetInfo] = DatasetInfo(
        modalities=("frames", "semantics", "flow", "camera_flow", "disocclusion", "instances"),
        splits=("train", "val", "test"),
        needs_root=False,
        label_space=CITYSCAPES19,
        obtain="Nothing to obtain: clips are made on demand.",
        licence="Apache-2.0",
    )

    def __init__(self, root: Path | None = None, options: Options | None = None) -> None:
        self.options = options or type(self).Options()
        self._drawn: OrderedDict[str, _Clip] = OrderedDict()

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the clips of a split, ``<split>-000000`` and on.

        Raises:
            UsageError: there is no such split.
        """
        if split not in self.info.splits:
            raise UsageError(f"scenes has no split {split!r}{did_you_mean(split, self.info.splits)}")
        count: int = getattr(self.options, split)
        frames = range(self.options.length)
        return [SequenceInfo(f"{split}-{index:06d}", frames) for index in range(count)]

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Return the truth of some frames (see :meth:`vpbench.plugin.dataset.Dataset.read`).

        Flow and dis-occlusion are analytic between ``frames[i+1]`` and ``frames[i]``, however far apart. Flow leads to
        the hidden or outside place of what is dis-occluded; camera flow to where it would be had it stood still.

        Raises:
            DataError: no such sequence, or frames that it does not have.
            UsageError: no such modality.
        """
        clip = self._clip(sequence)
        world, pictures = clip.world, clip.pictures
        self._check(sequence, frames)
        if modality == "frames":
            return pictures.frames[list(frames)]
        if modality == "semantics":
            return world.labels()[pictures.owner[list(frames)]]
        if modality == "instances":
            return world.instances()[pictures.owner[list(frames)]]
        pairs = list(pairwise(frames))
        h, w = self.options.size
        if modality in ("flow", "camera_flow"):
            flow = np.empty((len(pairs), h, w, 2), dtype=np.float32)
            for i, (a, b) in enumerate(pairs):
                still = modality == "camera_flow"
                points = source(world, pictures.owner[b], b, a, still=True) if still else clip.source(b, a)
                flow[i, ..., 0], flow[i, ..., 1] = points.x - np.arange(w), points.y - np.arange(h)[:, None]
            return flow
        if modality == "disocclusion":
            masks = [visible(world, pictures, clip.source(b, a), b, a) for a, b in pairs]
            return ~np.stack(masks) if masks else np.empty((0, h, w), dtype=bool)
        raise UsageError(f"scenes has no modality {modality!r}{did_you_mean(modality, self.info.modalities)}")

    def disocclusion_kinds(self, sequence: str, context: Sequence[int], frame: int) -> NDArray[np.uint8]:
        """Return how a frame's pixels are new relative to a context, uint8 [H,W].

        0: the last context frame shows it; 1: it has entered from outside that frame; 2: it was seen earlier in the
        context, but not in its last frame; 3: never seen, hidden in the last context frame.

        Args:
            sequence: a clip's name.
            context: raw frame numbers, ascending, at least one.
            frame: the later frame.

        Raises:
            DataError: no such sequence, or frames that it does not have.
        """
        clip = self._clip(sequence)
        self._check(sequence, [*context, frame])
        if not context:
            raise UsageError("disocclusion_kinds: the context needs at least one frame")
        return disocclusion_kinds(clip.world, clip.pictures, context, frame)

    def tags(self, sequence: str) -> frozenset[str]:
        """Return ``plain`` or ``complex`` (the background, as in SADM Fig. 8), and ``crossing`` or ``street``."""
        return self._clip(sequence).world.tags

    def check(self) -> Sequence[Finding]:
        """Measure what the dataset promises on (at most) 64 test clips: the lines of ``vpbench data check scenes``.

        Raises:
            UsageError: the clips are too short or too few to measure.
        """
        from vpbench_scenes import figures  # they measure this class

        if self.options.length < figures.FRAMES or not self.options.test:
            raise UsageError(f"the figures of scenes need a length of {figures.FRAMES} frames and some test clips")
        clips = [s.name for s in self.sequences("test")[:64]]
        return [figure.finding() for figure in figures.table(self, clips)]

    def _clip(self, sequence: str) -> _Clip:
        if sequence in self._drawn:
            self._drawn.move_to_end(sequence)
            return self._drawn[sequence]
        o = self.options
        split, index = self._parse(sequence)
        world = make_world(split, index, o.length, o.size, o.variant, o.branch, o.branch_at)
        self._drawn[sequence] = _Clip(world, render(world))
        if len(self._drawn) > _CACHE_SIZE:
            self._drawn.popitem(last=False)
        return self._drawn[sequence]

    def _parse(self, sequence: str) -> tuple[str, int]:
        split, _, digits = sequence.partition("-")
        if split in self.info.splits and len(digits) == 6 and digits.isascii() and digits.isdecimal():
            count: int = getattr(self.options, split)
            if int(digits) < count:
                return split, int(digits)
            raise DataError(f"scenes has no sequence {sequence!r}: its split {split} has {count} clips; "
                            f"raise the option {split}")  # fmt: skip
        raise DataError(f"scenes has no sequence {sequence!r}; names are like 'test-000017'")

    def _check(self, sequence: str, frames: Sequence[int]) -> None:
        length = self.options.length
        if wrong := [f for f in frames if not 0 <= f < length]:
            hint = "; raise the option length" if wrong[0] >= length else ""
            raise DataError(f"scenes: {sequence} has frames 0 to {length - 1}, not {wrong[0]}{hint}")
        if any(b <= a for a, b in pairwise(frames)):
            raise DataError(f"scenes: frames of {sequence} must be ascending, got {list(frames)}")
