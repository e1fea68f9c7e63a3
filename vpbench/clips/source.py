"""From clip references to tensors: read, transform, annotate, stack."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from vpbench.clips.annotations import annotate
from vpbench.clips.digest import digest_arrays
from vpbench.clips.prepared import Key, PreparedDataset, keys_of
from vpbench.errors import DataError, VpbenchError, describe
from vpbench.plugin.annotator import Annotator
from vpbench.plugin.clip import PAIRWISE, Context, Future, LabelSpace, Modality
from vpbench.plugin.dataset import Dataset, check_array
from vpbench.plugin.guard import plugin_errors
from vpbench.protocol.protocol import PixelOp
from vpbench.protocol.sampling import ClipRef
from vpbench.protocol.transforms import transform

__all__ = ["Batch", "ClipArrays", "ClipSource", "as_tensor", "batches", "join", "stack"]

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class ClipArrays:
    """One clip as arrays in a reader's layout, transformed: the context, and the truth at the scored steps."""

    ref: ClipRef
    context: Arrays
    future: Arrays

    @cached_property
    def digests(self) -> dict[str, str]:
        """The sha256 of each array, under ``context <modality>`` and ``future <modality>``."""
        return digest_arrays("context", self.context) | digest_arrays("future", self.future)


@dataclass(frozen=True)
class Batch:
    """Clips of one size, horizon and set of scored steps, on the run's device."""

    refs: tuple[ClipRef, ...]
    context: Context
    future: Future
    horizon: int
    digests: tuple[Mapping[str, str], ...]
    """Of each clip: see :attr:`ClipArrays.digests`."""

    @cached_property
    def truth(self) -> Mapping[str, Tensor]:
        """A copy of the true tensors that no plugin sees: it shows whether a metric wrote into ``future``."""
        return {name: value.clone() for name, value in _tensors(self.future).items()}

    def clip(self, place: int) -> Batch:
        """Return the batch of one of the clips."""
        cut = slice(place, place + 1)
        clips = tuple(ref.id for ref in self.refs[cut])
        context = {name: value[cut] for name, value in _tensors(self.context).items()}
        future = {name: value[cut] for name, value in _tensors(self.future).items()}
        return replace(
            self,
            refs=self.refs[cut],
            context=replace(self.context, clips=clips, **context),  # type: ignore[arg-type]
            future=replace(self.future, clips=clips, _cache={}, **future),  # type: ignore[arg-type]
            digests=self.digests[cut],
        )


def join(batches: Sequence[Batch]) -> Batch | None:
    """Return several batches as one; None if their sizes, horizons, steps or modalities differ."""
    first, *others = batches
    if any(_shapes(other) != _shapes(first) for other in others):
        return None
    contexts, futures = [_tensors(b.context) for b in batches], [_tensors(b.future) for b in batches]
    refs = tuple(ref for batch in batches for ref in batch.refs)
    clips = tuple(ref.id for ref in refs)
    context = {name: torch.cat([tensors[name] for tensors in contexts]) for name in contexts[0]}
    future = {name: torch.cat([tensors[name] for tensors in futures]) for name in futures[0]}
    return Batch(
        refs,
        replace(first.context, clips=clips, **context),  # type: ignore[arg-type]
        replace(first.future, clips=clips, _cache={}, **future),  # type: ignore[arg-type]
        first.horizon,
        tuple(digests for batch in batches for digests in batch.digests),
    )


def _tensors(shared: Context | Future) -> dict[str, Tensor]:
    return {name: value for name, value in vars(shared).items() if isinstance(value, Tensor)}


def _shapes(batch: Batch) -> object:
    shapes = [{name: t.shape[1:] for name, t in _tensors(part).items()} for part in (batch.context, batch.future)]
    return shapes, batch.horizon, batch.future.steps


@dataclass(frozen=True)
class ClipSource:
    """Reads clips of a protocol. Picklable, so that DataLoader workers can hold a copy."""

    dataset: Dataset
    name: str
    """The dataset's, for messages."""
    pixels: Sequence[PixelOp]
    """What makes the dataset's arrays the protocol's; none where the dataset is a prepared store."""
    context: frozenset[Modality]
    """Modalities of the context that some predictor is given."""
    future: frozenset[Modality]
    """Modalities of the truth that some metric or oracle looks at."""
    annotators: Mapping[Modality, Annotator]
    flow_to_last: bool = False
    """Whether an oracle wants the true flow from each scored step straight to the last context frame."""
    label_pixels: Sequence[PixelOp] | None = None
    """What ``pixels`` is, for labels, where they have a size of their own."""
    annotated: Mapping[Modality, PreparedDataset] = field(default_factory=dict)
    """What annotators have made already."""
    _latest: dict[Modality, tuple[str, dict[Key, NDArray[Any]]]] = field(default_factory=dict, init=False, repr=False)
    """The sequence and the annotations of the latest clip: the next one may overlap."""

    @property
    def context_labels(self) -> LabelSpace | None:
        """The label space of the context's semantics: the annotator's where one supplies them."""
        annotator = self.annotators.get("semantics")
        annotated = annotator.info.label_space if annotator else None
        return annotated or self.dataset.info.label_space

    def read(self, ref: ClipRef) -> ClipArrays:
        """Read one clip.

        Raises:
            DataError: as the dataset's reader, an array that breaks the contract, or any exception of either plugin.
        """

        def fail(error: BaseException) -> VpbenchError:
            if isinstance(error, VpbenchError):
                return error
            return DataError(f"dataset {self.name!r}, clip {ref.id!r}: {describe(error)}")

        with plugin_errors(fail):
            return self._read_clip(ref)

    def _read_clip(self, ref: ClipRef) -> ClipArrays:
        scored = [ref.frames[ref.context + step - 1] for step in ref.steps]
        given = list(ref.frames[: ref.context])
        frames = self._read(ref, [*given, *scored], "frames")
        context: Arrays = {"frames": frames[: ref.context]}
        future: Arrays = {"frames": frames[ref.context :]}
        sources = {m for kind, a in self.annotators.items() if kind not in self.annotated for m in a.info.needs}
        for modality in sorted(
            (self.context - set(self.annotators)) | (sources & self.dataset.info.context_modalities)
        ):
            if modality != "frames":
                context[modality] = self._read(ref, given, modality)
        context |= {modality: self._annotate(modality, context, ref) for modality in self.annotators}
        for modality in sorted(self.future - {"frames"}):
            future[modality] = self._read_future(ref, scored, modality)
        if self.flow_to_last:
            last = ref.frames[ref.context - 1]
            future["flow_to_last"] = np.concatenate([self._read(ref, [last, frame], "flow") for frame in scored])
        clip = ClipArrays(ref, {m: context[m] for m in sorted({*self.context, "frames"})}, future)
        clip.digests  # noqa: B018  (computed here: in the process that reads)
        return clip

    def _read(self, ref: ClipRef, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        array = self.dataset.read(ref.sequence, frames, modality)
        check_array(array, modality, len(frames), f"dataset {self.name!r}, clip {ref.id!r}")
        other = self.label_pixels if modality == "semantics" else None
        return transform(array, self.pixels if other is None else other, modality)

    def _read_future(self, ref: ClipRef, scored: Sequence[int], modality: Modality) -> NDArray[Any]:
        if modality not in PAIRWISE:
            return self._read(ref, scored, modality)
        if len(scored) == ref.horizon:
            return self._read(ref, ref.frames[ref.context - 1 :], modality)
        pairs = [ref.frames[ref.context + step - 2 : ref.context + step] for step in ref.steps]
        return np.concatenate([self._read(ref, pair, modality) for pair in pairs])

    def _annotate(self, modality: Modality, context: Arrays, ref: ClipRef) -> NDArray[Any]:
        """Return the annotations of a context, of which ``context`` is what the dataset has."""
        given = ref.frames[: ref.context]
        if modality in self.annotated:
            return self.annotated[modality].read(ref.sequence, given, modality)
        keys = keys_of(given, modality) or [given]  # one frame has no flow
        sequence, made = self._latest.get(modality, ("", {}))
        known = dict(made) if sequence == ref.sequence else {}
        for i, key in enumerate(keys):
            if key not in known:
                window = {m: a[i : i + len(keys_of(key, m))] for m, a in context.items()}
                where = f"dataset {self.name!r}, clip {ref.id!r}"
                known[key] = annotate(self.annotators[modality], window, ref.sequence, key, where)
        self._latest[modality] = ref.sequence, {key: known[key] for key in keys}
        return np.concatenate([known[key] for key in keys])


class _Reads(TorchDataset[list[ClipArrays] | VpbenchError]):
    """Batches of references as a torch dataset. An error is an item: it reaches the user as one line."""

    def __init__(self, source: ClipSource, groups: Sequence[Sequence[ClipRef]]) -> None:
        self.source, self.groups = source, groups

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> list[ClipArrays] | VpbenchError:
        try:
            return [self.source.read(ref) for ref in self.groups[index]]
        except VpbenchError as error:
            if get_worker_info() is not None:  # a traceback does not travel between processes
                error.add_note("".join(traceback.format_exception(error)))
            return error


def batches(
    source: ClipSource, groups: Sequence[Sequence[ClipRef]], workers: int
) -> Iterator[list[ClipArrays] | VpbenchError]:
    """Yield the clips of each group of references, in order, read ahead by ``workers`` processes (0: in this one).

    A group that cannot be read is yielded as its error. At most ``2 * workers`` groups are in memory.
    """
    yield from DataLoader(
        _Reads(source, groups),
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_read,
        generator=torch.Generator(),  # else it draws from the global random state
        worker_init_fn=_end_at_once,
    )


def _end_at_once(worker: int) -> None:
    """Let SIGTERM end a reading process: the handler of its parent would raise an exception in it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _as_read(item: Any) -> Any:
    return item


def stack(clips: Sequence[ClipArrays], device: str, source: ClipSource) -> list[Batch]:
    """Put clips on a device, in batches of one size, horizon and set of scored steps (mostly: one)."""
    groups: dict[Any, list[ClipArrays]] = {}
    for clip in clips:
        shape = clip.context["frames"].shape
        groups.setdefault((shape, clip.ref.horizon, clip.ref.steps), []).append(clip)
    return [_stack(group, device, source) for group in groups.values()]


def _stack(clips: Sequence[ClipArrays], device: str, source: ClipSource) -> Batch:
    refs = tuple(clip.ref for clip in clips)
    ids = tuple(ref.id for ref in refs)
    context = {m: _tensor([c.context[m] for c in clips], m, device) for m in clips[0].context}
    future = {m: _tensor([c.future[m] for c in clips], m, device) for m in clips[0].future}
    return Batch(
        refs,
        Context(
            frames=context["frames"],
            clips=ids,
            semantics=context.get("semantics"),
            flow=context.get("flow"),
            label_space=source.context_labels,
        ),
        Future(
            frames=future["frames"],
            steps=refs[0].steps,
            clips=ids,
            last=context["frames"][:, -1],
            semantics=future.get("semantics"),
            flow=future.get("flow"),
            flow_to_last=future.get("flow_to_last"),
            camera_flow=future.get("camera_flow"),
            disocclusion=future.get("disocclusion"),
            instances=future.get("instances"),
            label_space=source.dataset.info.label_space,
        ),
        refs[0].horizon,
        tuple(clip.digests for clip in clips),
    )


def _tensor(arrays: Sequence[NDArray[Any]], modality: str, device: str) -> torch.Tensor:
    return as_tensor(torch.from_numpy(np.stack(arrays)).to(device), modality)


def as_tensor(tensor: torch.Tensor, modality: str) -> torch.Tensor:
    """Turn stacked arrays, [B,N,...] in a reader's layout and dtype, into what :mod:`vpbench.plugin.clip` says."""
    match modality:
        case "frames":
            return tensor.permute(0, 1, 4, 2, 3).to(torch.float32, memory_format=torch.contiguous_format).div_(255)
        case "flow" | "camera_flow" | "flow_to_last":
            return tensor.permute(0, 1, 4, 2, 3).contiguous()
        case "disocclusion":
            return tensor
        case _:
            return tensor.to(torch.int64)
