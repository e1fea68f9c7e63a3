"""Annotate frames, or pairs of frames, once each, so that overlapping clips share annotations.

Prepared annotations lie in a store next to that of the clips. Its name follows from the store of the clips and from the
annotator's name, options, weights and code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vpbench.clips.blocks import COMPRESSED
from vpbench.clips.prepare import store_contents, store_folder, store_key
from vpbench.clips.prepared import Key, PreparedDataset, open_store
from vpbench.clips.store_making import make_store
from vpbench.errors import DataError
from vpbench.plugin.annotator import FLOW_STEPS, Annotator
from vpbench.plugin.dataset import Dataset, check_array
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.modality import Modality, ModalitySpec
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.units import Manifest
from vpbench.select.component import Component

_BATCH = 4
"""Entries that are annotated together, and stored together: on a CPU, a network may need half a minute for each."""

Arrays = Mapping[str, NDArray[Any]]


def annotate(
    annotator: Annotator, windows: Sequence[Arrays], sequence: str, keys: Sequence[Key], place: str, device: str = "cpu"
) -> NDArray[Any]:
    """Return the annotations of frames, or of pairs of frames, of one sequence.

    Flow is rounded to 1/64 pixel, so that a prepared store can hold exactly what a run computes.

    Args:
        annotator: the annotator.
        windows: for each key, the dataset's arrays for its frames, at the protocol's size.
        sequence: the name of the sequence.
        keys: the frames, or the pairs of frames.
        place: names dataset and clip in messages.
        device: where networks run.

    Raises:
        DataError: the dataset lacks what the annotator needs, or the annotator breaks its contract (a wrong shape or
            type, flow that is not finite).
    """
    spec, size = annotator.info.spec, windows[0]["frames"].shape[1:3]
    if lacks := [m for m in annotator.info.needs if m not in windows[0]]:
        raise DataError(f"the annotator of {spec.name} needs {lacks[0]}, which {place} lacks")
    source = f"annotator of {spec.name}, {place}"
    names = [f"{sequence}@{'-'.join(map(str, key))}" for key in keys]
    batches = []
    for start in range(0, len(keys), _BATCH):
        batch = slice(start, start + _BATCH)
        needed = {m: np.stack([window[m] for window in windows[batch]]) for m in annotator.info.needs}
        with plugin_errors(failed_as(DataError, source)):
            array = _call(annotator, needed, names[batch], device)
        check_array(array, spec, len(names[batch]) + spec.pairwise, source)
        _check_finite(array, spec, names[batch], source)
        batches.append(array)
    array = np.concatenate(batches)
    if spec.pixels and array.shape[1:3] != size:
        raise DataError(f"{source}: not of the frames' size")
    return _rounded(array) if spec.pixels == "flow" else array


def no_annotation(spec: ModalitySpec, frames: NDArray[Any]) -> NDArray[Any]:
    """Return the annotation of a context of one frame, of a modality that belongs to pairs: it has no entry."""
    dtype = np.str_ if spec.dtype == "text" else spec.dtype
    return np.zeros((0, *(frames.shape[1:3] if spec.pixels else ()), *spec.shape), dtype)


def _call(annotator: Annotator, window: Arrays, names: Sequence[str], device: str) -> NDArray[Any]:
    """Call an annotator; if a GPU's memory does not hold the batch, with one entry after another."""
    try:
        return annotator.annotate(window, names, device)
    except torch.OutOfMemoryError:
        if len(names) == 1:
            raise
    singles = [{m: array[i : i + 1] for m, array in window.items()} for i in range(len(names))]
    return np.concatenate(
        [annotator.annotate(single, [name], device) for single, name in zip(singles, names, strict=True)]
    )


def _check_finite(array: NDArray[Any], spec: ModalitySpec, names: Sequence[str], source: str) -> None:
    """Check that flow is finite. A plugin's own modality may mark unknown values with NaN.

    Raises:
        DataError: names the entry.
    """
    if spec.pixels == "flow" and not np.isfinite(array).all():
        place = next(place for place, entry in enumerate(array) if not np.isfinite(entry).all())
        raise DataError(
            f"{source}: the {spec.name} of {names[place]!r} has NaN or infinite values: give unknown pixels the flow "
            f"of known ones"
        )


def _rounded(flow: NDArray[np.float32]) -> NDArray[np.float32]:
    steps = np.rint(flow * np.float32(FLOW_STEPS)) / np.float32(FLOW_STEPS)
    return np.asarray(steps + np.float32(0))  # -0 becomes 0, which int16 can hold


def annotators_for(modalities: Sequence[Modality]) -> str:
    """Return how a user asks for annotations of these modalities, in words."""
    return f"annotators ({', '.join(f'{modality}=NAME' for modality in modalities)}; `vpbench list annotators`)"


def find_annotations(
    protocol: Protocol, dataset: Dataset, manifest: Manifest, annotator: Component
) -> PreparedDataset | None:
    """Return the store of an annotator's work on the contexts of these clips, if there is one to be trusted.

    Raises:
        DataError: it was cut off.
    """
    if annotator.unproven:  # another annotator may have left it
        return None
    modality = annotator.info.gives
    return open_store(_folder(store_folder(protocol, dataset, manifest), annotator), dataset, [modality])


def prepare_annotations(
    protocol: Protocol,
    prepared: PreparedDataset,
    manifest: Manifest,
    annotator: Component,
    progress: Callable[[int, int], None],
    device: str = "cpu",
) -> PreparedDataset:
    """Annotate the contexts of prepared clips, or finish it. Networks run on ``device``.

    Raises:
        VpbenchError: as :func:`vpbench.clips.store_making.make_store`.
    """
    if annotator.unproven:
        raise DataError(
            f"annotations of {annotator.name!r} cannot be kept, since its fingerprint is not complete "
            f"({annotator.unproven}); give it a method `fingerprint()` that names all that decides its output"
        )
    maker: Annotator = annotator.value
    needs = {"frames", *annotator.info.needs} & prepared.info.context_modalities

    def read(sequence: str, keys: Sequence[Key], spec: ModalitySpec) -> NDArray[Any]:
        place = f"dataset {protocol.dataset.name!r}, sequence {sequence!r}"
        windows = [{m: prepared.read(sequence, key, m) for m in needs} for key in keys]
        return annotate(maker, windows, sequence, keys, place, device)

    spec = annotator.info.spec
    if spec.pairwise and all(ref.context == 1 for ref in manifest.clips):
        raise DataError(f"protocol {protocol.name}: a context of one frame has no {spec.name} to prepare")
    contents = store_contents(manifest, [spec], lambda ref, spec: ref.frames[: ref.context])
    return make_store(_folder(prepared.folder, annotator), prepared, contents, read, progress, _BATCH, COMPRESSED)


def _folder(prepared: Path, annotator: Component) -> Path:
    key = store_key(annotator.value, annotator.describe())
    return prepared.with_name(f"{prepared.name}-{annotator.info.gives}-{annotator.name}-{key}")
