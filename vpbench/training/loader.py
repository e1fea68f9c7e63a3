"""Batches for training: read ahead by workers, in an order that follows from (seed, stage, epoch), resumable anywhere.

The loader counts the batches that it has *served*, not those that its workers have read; what is drawn for a clip
follows from (seed, stage, step, clip). So a training that was killed resumes as if it had run through.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vpbench.clips.batch import as_batched, stack_arrays
from vpbench.clips.reading import GroupReader, Readers
from vpbench.clips.source import Arrays, ClipArrays, ClipSource
from vpbench.errors import DataError, VpbenchError
from vpbench.plugin.clip import Context, Future, Text, with_arrays
from vpbench.plugin.modality import ModalitySpec
from vpbench.plugin.training import TrainingBatch
from vpbench.protocol.protocol import Resize
from vpbench.protocol.sampling import ClipRef
from vpbench.protocol.transforms import transform
from vpbench.training.clips import TrainingClips


def seeded(*values: object) -> int:
    """Return a seed, 63 bits, that follows from the values."""
    digest = hashlib.sha256("/".join(map(str, values)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class TrainingLoader:
    """The batches that Lightning iterates over: one epoch at a time, from the batch after the last one served.

    A batch of all processes together is consecutive in the epoch's order; each takes every ``world``-th clip of it.
    What is left at the end of an epoch, less than all processes need for one optimiser step, is not served.
    """

    def __init__(
        self,
        source: ClipSource,
        clips: TrainingClips,
        *,
        batch_size: int,
        accumulate: int,
        world: int,
        workers: int,
        stage: int,
        size: tuple[int, int] | None = None,
        crop: tuple[int, int] | None = None,
    ) -> None:
        self._source, self._clips = source, clips
        self._batch, self._world, self._stage = batch_size, world, stage
        self._rank, self._device, self._size, self._crop = 0, torch.device("cpu"), size, crop
        self._length = clips.batches(batch_size, accumulate)
        stacked = partial(_stacked, specs=source.specs, size=size)
        self._readers: Readers[dict[str, Any]] = Readers(GroupReader(source.name, source.read, stacked), workers)
        self.served = 0
        """Batches, over all epochs."""
        self.waited = 0.0
        """Seconds for which this process waited for its workers, or read by itself."""

    def place(self, rank: int, device: torch.device) -> None:
        """Say which process this is, and where its batches belong."""
        self._rank, self._device = rank, device

    def __len__(self) -> int:
        return self._length

    def state_dict(self) -> dict[str, int]:
        """Return the position: what a checkpoint keeps."""
        return {"served": self.served}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore a position."""
        self.served = state["served"]

    def __iter__(self) -> Iterator[TrainingBatch]:
        epoch, batches_done = divmod(self.served, self._length)
        order = self._clips.draw(self._stage, epoch)
        starts = range(batches_done * self._batch, self._length * self._batch, self._batch)
        groups = [order[start + self._rank : start + self._batch : self._world] for start in starts]
        reads = self._readers(groups)
        for refs in groups:
            start = time.perf_counter()
            read = next(reads)
            self.waited += time.perf_counter() - start
            if isinstance(read, VpbenchError):
                raise read
            batch = self._batched(refs, _pinned(read) if self._device.type == "cuda" else read)
            self.served += 1
            yield batch

    def _batched(self, refs: Sequence[ClipRef], arrays: dict[str, Any]) -> TrainingBatch:
        clips = tuple(ref.id for ref in refs)
        generators = tuple(
            torch.Generator().manual_seed(seeded(self._clips.seed, self._stage, self.served, clip)) for clip in clips
        )
        past: dict[str, Any] = {}
        coming: dict[str, Any] = {}
        if self._crop:
            arrays = self._cropped(clips, arrays, *self._crop)
        for modality, stacked in arrays.items():
            spec = self._source.specs[modality]
            entries = as_batched(stacked, spec, self._device)
            past[modality], coming[modality] = _split(entries, spec.count(self._clips.context))
        frames, labels = past["frames"], self._source.context_labels
        steps = tuple(range(1, self._clips.horizon + 1))
        coming["last"] = last = frames[:, -1]
        context = with_arrays(Context(frames, clips, label_space=labels), past)
        future = with_arrays(Future(coming["frames"], steps, clips, last, label_space=labels), coming)
        return TrainingBatch(context, future, generators, self.served)

    def _cropped(self, clips: Sequence[str], arrays: dict[str, Any], height: int, width: int) -> dict[str, Any]:
        """Cut a window out of each clip, at the same place of all its frames and modalities.

        Raises:
            DataError: the frames are smaller, or the labels have another size.
        """
        pixels = [modality for modality in arrays if self._source.specs[modality].pixels]
        full_height, full_width = size = arrays["frames"].shape[2:4]
        if height > full_height or width > full_width:
            raise DataError(f"a crop of {height}x{width} is larger than frames of {full_height}x{full_width}")
        if differ := [modality for modality in pixels if arrays[modality].shape[2:4] != size]:
            raise DataError(f"frames and {differ[0]} differ in size, so that clips cannot be cropped")
        places = []
        for clip in clips:
            draw = seeded("crop", self._clips.seed, self._stage, self.served, clip)
            remainder, top = divmod(draw, full_height - height + 1)
            places.append((top, remainder % (full_width - width + 1)))

        def cut(entries: Tensor) -> Tensor:
            windows = zip(entries, places, strict=True)
            return torch.stack([clip[:, y : y + height, x : x + width] for clip, (y, x) in windows])

        return {**arrays, **{modality: cut(arrays[modality]) for modality in pixels}}


def _pinned(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return tensors in memory from which copies to a GPU do not wait."""
    return {name: array.pin_memory() if isinstance(array, Tensor) else array for name, array in arrays.items()}


def _split(entries: Tensor | Text, place: int) -> tuple[Any, Any]:
    """Divide the entries of every clip into those of the context and those of the future."""
    if isinstance(entries, Tensor):
        return entries[:, :place], entries[:, place:]
    return tuple(clip[:place] for clip in entries), tuple(clip[place:] for clip in entries)


def _stacked(
    clips: Sequence[ClipArrays], specs: Mapping[str, ModalitySpec], size: tuple[int, int] | None
) -> dict[str, Any]:
    """Stack the arrays of whole windows by modality, as stored, resized if there is a size."""
    windows: list[Arrays] = [clip.context for clip in clips]
    if size:
        resize = [Resize(op="resize", size=size, filter="cv2-area")]
        windows = [{m: transform(array, resize, specs[m]) for m, array in window.items()} for window in windows]
    sizes = {window["frames"].shape[1:3] for window in windows}
    if len(sizes) > 1:
        (h, w), (other_h, other_w) = sorted(sizes)[:2]
        raise DataError(
            f"clips of {h}x{w} and of {other_h}x{other_w} cannot be in one batch: give the protocol a resize or a "
            f"crop, choose a size to train at, or train with one clip per batch"
        )
    return {modality: stack_arrays([window[modality] for window in windows]) for modality in windows[0]}
