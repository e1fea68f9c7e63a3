"""Synthetic clips with the whole truth: a square that moves over a moving background."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vpbench.clips.batch import Batch, stack
from vpbench.clips.source import ClipSource
from vpbench.plugin.clip import LabelSpace
from vpbench.plugin.dataset import BaseDataset, DatasetInfo, SequenceInfo
from vpbench.plugin.modality import BUILT_IN, ModalitySpec
from vpbench.protocol.sampling import ClipRef
from vpbench.toolkit.labels import LABEL_SPACES

_FRAMES = 64
"""Frames of a sequence: the background moves a pixel to the left in each."""
_CELL = 8
"""Pixels of a cell of the texture."""

SPACE = LabelSpace(
    "testing3",
    ("ground", "wall", "car"),
    ((90, 90, 90), (150, 60, 60), (60, 60, 200)),
    into={name: tuple(min(i, len(space) - 1) for i in range(3)) for name, space in LABEL_SPACES.items()},
)
"""Declares a mapping into every label space of the toolkit, so that models of those accept it."""


@dataclass(frozen=True)
class Shape:
    """The form of a batch."""

    clips: int = 3
    context: int = 3
    horizon: int = 4
    size: tuple[int, int] = (32, 48)
    """Height and width."""


class Pictures(BaseDataset):
    """Draws sequences of one size. ``declares`` are modalities to give besides the built-in ones, as random values."""

    def __init__(self, size: tuple[int, int], declares: Sequence[ModalitySpec] = ()) -> None:
        self.size = size
        self.specs = dict(BUILT_IN) | {spec.name: spec for spec in declares}
        extras = tuple(spec for spec in declares if spec.name not in BUILT_IN)
        self.info = DatasetInfo(
            modalities=tuple(self.specs), declares=extras, needs_root=False, label_space=SPACE, splits=("test",)
        )

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return four sequences."""
        return [SequenceInfo(f"{split}/drawn{i}", range(_FRAMES)) for i in range(4)]

    def read(self, sequence: str, frames: Sequence[int], modality: str) -> NDArray[Any]:
        """Draw a modality of some frames."""
        spec = self.specs[modality]
        entries = frames[1:] if spec.pairwise else frames
        if not len(entries):
            return np.zeros(
                (0, *(self.size if spec.pixels else ()), *spec.shape), np.str_ if spec.dtype == "text" else spec.dtype
            )
        steps = np.diff(frames) if spec.pairwise else np.zeros(len(frames), int)
        return np.stack([self._entry(sequence, f, int(step), spec) for f, step in zip(entries, steps, strict=True)])

    def _entry(self, sequence: str, frame: int, step: int, spec: ModalitySpec) -> NDArray[Any]:
        square, (height, width) = self._square(frame), self.size
        if spec.name == "frames":
            texture = _texture(sequence, height, width + _FRAMES)[:, frame : frame + width]
            return np.where(square[..., None], 255 - texture[:, ::-1], texture)
        if spec.name == "semantics":
            wall = np.arange(height)[:, None] < height // 4
            return np.where(square, 2, np.broadcast_to(wall, square.shape)).astype(np.uint8)
        if spec.name == "instances":
            return square.astype(np.int32)
        if spec.name in ("flow", "camera_flow"):
            flow = np.zeros((height, width, 2), np.float32)
            flow[..., 0] = step
            if spec.name == "flow":
                flow[square, 0] = -2 * step
            return flow
        if spec.name == "disocclusion":
            return self._disoccluded(frame, step)
        return _drawn(f"{sequence}@{frame}/{spec.name}", spec, self.size)

    def _square(self, frame: int) -> NDArray[np.bool_]:
        height, width = self.size
        side, left = max(height // 3, 1), width // 8 + 2 * frame
        mask = np.zeros((height, width), bool)
        mask[height // 3 : height // 3 + side, left : left + side] = True
        return mask

    def _disoccluded(self, frame: int, step: int) -> NDArray[np.bool_]:
        """Return which pixels come from outside of the frame before, or were behind the square there."""
        square, before = self._square(frame), self._square(frame - step)
        columns = np.arange(self.size[1])
        origin = np.where(square, columns - 2 * step, columns + step)
        inside = (origin >= 0) & (origin < self.size[1])
        covered = np.take_along_axis(before, origin.clip(0, self.size[1] - 1), axis=1) & ~square
        disoccluded: NDArray[np.bool_] = ~inside | covered
        return disoccluded


def _generator(key: str) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.sha256(key.encode()).digest()[:8]))


def _texture(key: str, height: int, width: int) -> NDArray[np.uint8]:
    """Return a smooth coloured texture, [height, width, 3]."""
    cells = _generator(key).integers(0, 256, (height // _CELL + 2, width // _CELL + 2, 3)).astype(np.float64)
    rows, columns = np.arange(height) / _CELL, np.arange(width) / _CELL
    for axis, places in enumerate((rows, columns)):
        low = places.astype(int)
        weight = (places - low).reshape([-1 if i == axis else 1 for i in range(3)])
        cells = cells.take(low, axis) * (1 - weight) + cells.take(low + 1, axis) * weight
    return cells.round().astype(np.uint8)


def _drawn(key: str, spec: ModalitySpec, size: tuple[int, int]) -> NDArray[Any]:
    shape = (*(size if spec.pixels else ()), *spec.shape)
    generator = _generator(key)
    if spec.dtype == "text":
        return generator.integers(0, 1000, shape).astype(np.str_)
    if spec.dtype == "bool":
        return generator.integers(0, 2, shape).astype(bool)
    dtype = np.dtype(spec.dtype)
    values = generator.random(shape) if dtype.kind == "f" else generator.integers(0, 100, shape)
    return np.asarray(values).astype(dtype)


def draw_batch(
    shape: Shape,
    context: Collection[str],
    future: Collection[str],
    *,
    declares: Sequence[ModalitySpec] = (),
    flow_to_last: bool = False,
    device: str = "cpu",
) -> Batch:
    """Return a new batch of clips.

    Args:
        shape: its form.
        context: the modalities of the context.
        future: those of the truth.
        declares: the declarations of the modalities that are not built in.
        flow_to_last: give the truth the flow straight to the last context frame.
        device: where its tensors lie.
    """
    dataset = Pictures(shape.size, declares)
    source = ClipSource(dataset, "drawn", (), frozenset(context), frozenset(future), {}, flow_to_last)
    names = [sequence.name for sequence in dataset.sequences("test")]
    frames, steps = range(shape.context + shape.horizon), tuple(range(1, shape.horizon + 1))
    refs = [
        ClipRef(names[i % len(names)], tuple(number + i // len(names) for number in frames), shape.context, steps)
        for i in range(shape.clips)
    ]
    (batch,) = stack([source.read(ref) for ref in refs], device, source)
    return batch


def reversed_batch(batch: Batch) -> Batch:
    """Return a batch with its clips in the opposite order."""
    from vpbench.clips.batch import join

    batches = [batch.clip(place) for place in reversed(range(len(batch.refs)))]
    joined = join(batches)
    assert joined is not None  # clips of one batch always fit together
    return joined


def noise_like(tensor: torch.Tensor, seed: int) -> torch.Tensor:
    """Return uniform noise in [0,1] of a tensor's shape, which does not touch the global random state."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(tensor.shape, generator=generator).to(tensor.device)
