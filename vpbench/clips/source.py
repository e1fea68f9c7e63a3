"""From clip references to arrays: read, crop, resize and annotate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbench.clips.annotations import annotate, no_annotation
from vpbench.clips.digest import digest_arrays
from vpbench.clips.prepared import Key, PreparedDataset, keys_of
from vpbench.clips.reading import GroupReader, Readers
from vpbench.errors import DataError, VpbenchError
from vpbench.plugin.annotator import Annotator
from vpbench.plugin.clip import LabelSpace
from vpbench.plugin.dataset import Dataset, check_array
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.modality import Modality, ModalitySpec, merge_declarations
from vpbench.protocol.protocol import PixelOp
from vpbench.protocol.sampling import ClipRef
from vpbench.protocol.transforms import transform

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
class ClipSource:
    """Read the clips of a protocol. It can be pickled, since each reading process holds a copy."""

    dataset: Dataset
    name: str
    """The dataset's name, for messages."""
    pixels: Sequence[PixelOp]
    """Operations that bring raw frames to the protocol's size. Empty for a prepared store, which is at that size."""
    context: frozenset[Modality]
    """Modalities of the context that some predictor receives."""
    future: frozenset[Modality]
    """Modalities of the truth that some metric or oracle looks at."""
    annotators: Mapping[Modality, Annotator]
    flow_to_last: bool = False
    """True if an oracle needs flow from each scored step directly to the last context frame."""
    label_pixels: Sequence[PixelOp] | None = None
    """Pixel operations for labels, if the protocol gives labels a different size from frames."""
    annotated: Mapping[Modality, PreparedDataset] = field(default_factory=dict)
    """Prepared stores of annotations."""
    device: str = "cpu"
    """Where annotators run their networks."""
    _latest: dict[Modality, tuple[str, dict[Key, NDArray[Any]]]] = field(default_factory=dict, init=False, repr=False)
    """The sequence and the annotations of the latest clip: the next one may overlap."""

    @cached_property
    def specs(self) -> Mapping[str, ModalitySpec]:
        """Every modality that the dataset or an annotator may give, by name."""
        declarations = {f"dataset {self.name!r}": self.dataset.info.declares}
        declarations |= {f"the annotator of {m}": annotator.info.declares for m, annotator in self.annotators.items()}
        specs = merge_declarations(declarations)
        return specs | {"flow_to_last": specs["flow"]}

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
        return self.complete(self.read_data(ref))

    def read_data(self, ref: ClipRef) -> ClipArrays:
        """Read what the dataset has of a clip, and what annotators need of it (raises as :meth:`read`)."""
        with plugin_errors(failed_as(DataError, self._place(ref))):
            return self._read_data(ref)

    def complete(self, clip: ClipArrays) -> ClipArrays:
        """Annotate the context of a clip that :meth:`read_data` returned (raises as :meth:`read`)."""
        with plugin_errors(failed_as(DataError, self._place(clip.ref))):
            annotations = {modality: self._annotate(modality, clip.context, clip.ref) for modality in self.annotators}
        context = {**clip.context, **annotations}
        complete = ClipArrays(clip.ref, {m: context[m] for m in sorted({*self.context, "frames"})}, clip.future)
        complete.digests  # noqa: B018  (computed here: in the process that reads)
        return complete

    def _place(self, ref: ClipRef) -> str:
        return f"dataset {self.name!r}, clip {ref.id!r}"

    def _read_data(self, ref: ClipRef) -> ClipArrays:
        scored = [ref.frames[ref.context + step - 1] for step in ref.steps]
        context_frames = list(ref.frames[: ref.context])
        frames = self._read(ref, [*context_frames, *scored], "frames")
        context: Arrays = {"frames": frames[: ref.context]}
        future: Arrays = {"frames": frames[ref.context :]}
        sources = {m for kind, a in self.annotators.items() if kind not in self.annotated for m in a.info.needs}
        for modality in sorted(
            (self.context - set(self.annotators)) | (sources & self.dataset.info.context_modalities)
        ):
            if modality != "frames":
                context[modality] = self._read(ref, context_frames, modality)
        for modality in sorted(self.future - {"frames"}):
            future[modality] = self._read_future(ref, scored, modality)
        if self.flow_to_last:
            last = ref.frames[ref.context - 1]
            future["flow_to_last"] = np.concatenate([self._read(ref, [last, frame], "flow") for frame in scored])
        return ClipArrays(ref, context, future)

    def _read(self, ref: ClipRef, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        array, spec = self.dataset.read(ref.sequence, frames, modality), self.specs[modality]
        check_array(array, spec, len(frames), self._place(ref))
        has_own_size = modality == "semantics" and self.label_pixels is not None
        return transform(array, self.label_pixels or () if has_own_size else self.pixels, spec)

    def _read_future(self, ref: ClipRef, scored: Sequence[int], modality: Modality) -> NDArray[Any]:
        if not self.specs[modality].pairwise:
            return self._read(ref, scored, modality)
        if len(scored) == ref.horizon:
            return self._read(ref, ref.frames[ref.context - 1 :], modality)
        pairs = [ref.frames[ref.context + step - 2 : ref.context + step] for step in ref.steps]
        return np.concatenate([self._read(ref, pair, modality) for pair in pairs])

    def _annotate(self, modality: Modality, context: Arrays, ref: ClipRef) -> NDArray[Any]:
        """Return the annotations of a context; ``context`` holds what the dataset has."""
        frames = ref.frames[: ref.context]
        if modality in self.annotated:
            return self.annotated[modality].read(ref.sequence, frames, modality)
        keys = keys_of(frames, self.specs[modality])
        if not keys:
            return no_annotation(self.specs[modality], context["frames"])
        sequence, latest = self._latest.get(modality, ("", {}))
        arrays = dict(latest) if sequence == ref.sequence else {}
        windows = {
            key: {m: array[i : i + self.specs[m].count(len(key))] for m, array in context.items()}
            for i, key in enumerate(keys)
            if key not in arrays
        }
        if windows:
            annotator, place = self.annotators[modality], self._place(ref)
            entries = annotate(annotator, list(windows.values()), ref.sequence, list(windows), place, self.device)
            arrays |= dict(zip(windows, entries, strict=True))
        self._latest[modality] = ref.sequence, {key: arrays[key] for key in keys}
        return np.stack([arrays[key] for key in keys])


class ClipReaders:
    """Reads groups of clips, ahead in ``workers`` processes (0: in this one), which start once.

    A process that reads ahead cannot use a GPU: annotators that do run in this process.
    """

    def __init__(self, source: ClipSource, workers: int) -> None:
        self._source = source
        self._annotates = workers > 0 and source.device != "cpu" and bool(source.annotators)
        read = source.read_data if self._annotates else source.read
        self._readers: Readers[list[ClipArrays]] = Readers(GroupReader(source.name, read, list), workers)
        self.close = self._readers.close

    def __call__(self, groups: Sequence[Sequence[ClipRef]]) -> Iterator[list[ClipArrays] | VpbenchError]:
        """Yield the clips of each group in order; a group that cannot be read is yielded as its error."""
        for clips in self._readers(groups):
            completes = self._annotates and not isinstance(clips, VpbenchError)
            yield _completed(self._source, clips) if completes else clips  # type: ignore[arg-type]


def batches(
    source: ClipSource, groups: Sequence[Sequence[ClipRef]], workers: int
) -> Iterator[list[ClipArrays] | VpbenchError]:
    """Yield the clips of each group of references, in order, as :class:`ClipReaders` reads them."""
    readers = ClipReaders(source, workers)
    try:
        yield from readers(groups)
    finally:
        readers.close()


def _completed(source: ClipSource, clips: Sequence[ClipArrays]) -> list[ClipArrays] | VpbenchError:
    try:
        return [source.complete(clip) for clip in clips]
    except VpbenchError as error:
        return error
