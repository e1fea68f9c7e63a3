"""Batches of clips as tensors on the run's device: stack, take apart and join them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vpbench.clips.source import ClipArrays, ClipSource
from vpbench.plugin.clip import Context, Future, Text, arrays_of, with_arrays
from vpbench.plugin.modality import ModalitySpec
from vpbench.protocol.sampling import ClipRef

Arrays = Mapping[str, Tensor | Text]


@dataclass(frozen=True)
class Batch:
    """Clips of one size, horizon and set of scored steps, on the run's device."""

    refs: tuple[ClipRef, ...]
    context: Context
    future: Future
    horizon: int
    digests: tuple[Mapping[str, str], ...]
    """The digests of each clip (:attr:`vpbench.clips.source.ClipArrays.digests`)."""

    @cached_property
    def truth(self) -> Mapping[str, Tensor | Text]:
        """A copy of the truth that no plugin sees. It shows whether a metric wrote into ``future``."""
        return {name: a.clone() if isinstance(a, Tensor) else a for name, a in arrays_of(self.future).items()}

    def clip(self, place: int) -> Batch:
        """Return the batch of one of the clips."""
        cut = slice(place, place + 1)
        context, future = ({m: a[cut] for m, a in arrays_of(shared).items()} for shared in (self.context, self.future))
        return _of_clips(self, self.refs[cut], context, future, self.digests[cut])


def join(batches: Sequence[Batch]) -> Batch | None:
    """Return several batches as one; None if their sizes, horizons, steps or modalities differ."""
    first = batches[0]
    if any(_shapes(batch) != _shapes(first) for batch in batches):
        return None
    context = _joined([arrays_of(batch.context) for batch in batches])
    future = _joined([arrays_of(batch.future) for batch in batches])
    refs = tuple(ref for batch in batches for ref in batch.refs)
    return _of_clips(first, refs, context, future, tuple(digests for batch in batches for digests in batch.digests))


def _of_clips(
    template: Batch, refs: tuple[ClipRef, ...], context: Arrays, future: Arrays, digests: tuple[Mapping[str, str], ...]
) -> Batch:
    clips = tuple(ref.id for ref in refs)
    return replace(
        template,
        refs=refs,
        context=with_arrays(template.context, context, clips=clips),
        future=with_arrays(template.future, future, clips=clips, _cache={}),
        digests=digests,
    )


def _joined(batches: Sequence[Arrays]) -> Arrays:
    return {name: _concatenate([arrays[name] for arrays in batches]) for name in batches[0]}


def _concatenate(arrays: Sequence[Any]) -> Tensor | Text:
    if isinstance(arrays[0], Tensor):
        return torch.cat(list(arrays))
    return tuple(clip for text in arrays for clip in text)


def _shapes(batch: Batch) -> object:
    shapes = [
        {name: a.shape[1:] if isinstance(a, Tensor) else None for name, a in arrays_of(shared).items()}
        for shared in (batch.context, batch.future)
    ]
    return shapes, batch.horizon, batch.future.steps


def stack(clips: Sequence[ClipArrays], device: str, source: ClipSource) -> list[Batch]:
    """Put clips on a device, in batches of one size, horizon and set of scored steps (usually a single batch)."""
    groups: dict[Any, list[ClipArrays]] = {}
    for clip in clips:
        shape = clip.context["frames"].shape
        groups.setdefault((shape, clip.ref.horizon, clip.ref.steps), []).append(clip)
    return [_stack(group, device, source) for group in groups.values()]


def _stack(clips: Sequence[ClipArrays], device: str, source: ClipSource) -> Batch:
    def batched(arrays: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, Any]:
        stacked = {m: stack_arrays([clip[m] for clip in arrays]) for m in arrays[0]}
        return {m: as_batched(array, source.specs[m], device) for m, array in stacked.items()}

    refs = tuple(clip.ref for clip in clips)
    ids, steps = tuple(ref.id for ref in refs), refs[0].steps
    context, future = batched([clip.context for clip in clips]), batched([clip.future for clip in clips])
    future["last"] = last = context["frames"][:, -1]
    labels = source.dataset.info.label_space
    return Batch(
        refs,
        with_arrays(Context(context["frames"], ids, label_space=source.context_labels), context),
        with_arrays(Future(future["frames"], steps, ids, last, label_space=labels), future),
        refs[0].horizon,
        tuple(clip.digests for clip in clips),
    )


def stack_arrays(arrays: Sequence[NDArray[Any]]) -> Tensor | NDArray[np.str_]:
    """Stack the arrays of several clips: as a tensor, or as an array if they are text."""
    stacked = np.stack(arrays)
    return stacked if stacked.dtype.kind == "U" else torch.from_numpy(stacked)


def as_batched(stacked: Tensor | NDArray[np.str_], spec: ModalitySpec, device: torch.device | str) -> Tensor | Text:
    """Turn stacked entries [B,N,...] in a reader's layout into the one that :mod:`vpbench.plugin.clip` states."""
    if not isinstance(stacked, Tensor):
        return tuple(_as_tuples(clip) for clip in stacked.tolist())
    tensor = stacked.to(device, non_blocking=True)
    if spec.pixels and spec.shape:
        tensor = tensor.movedim((2, 3), (-2, -1))
    if spec.pixels == "frames" and spec.dtype == "uint8":
        return tensor.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    if spec.pixels == "nearest" and not (tensor.is_floating_point() or tensor.dtype == torch.bool):
        return tensor.to(torch.int64).contiguous()
    return tensor.contiguous()


def _as_tuples(text: Any) -> Any:
    return tuple(_as_tuples(item) for item in text) if isinstance(text, list) else text
