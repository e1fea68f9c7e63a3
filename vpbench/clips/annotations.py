"""Annotate one frame, or one pair of frames, at a time, so that overlapping clips share annotations.

Prepared annotations lie in a store next to that of the clips. Its name follows from the store of the clips and from the
annotator's name, options, weights and code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbench.clips.prepare import store_contents, store_folder, store_key
from vpbench.clips.prepared import Key, PreparedDataset, open_store
from vpbench.clips.store_making import make_store
from vpbench.errors import DataError
from vpbench.plugin.annotator import Annotator
from vpbench.plugin.dataset import Dataset, check_array
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.modality import Modality, ModalitySpec
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.units import Manifest
from vpbench.select.component import Component

_BLOCK = 4  # a network may need half a minute for each


def annotate(
    annotator: Annotator, window: Mapping[str, NDArray[Any]], sequence: str, key: Key, place: str
) -> NDArray[Any]:
    """Return the annotation of the frame or the pair of frames ``key``.

    ``window`` holds the dataset's arrays for these frames, at the protocol's size; ``place`` names dataset and clip
    in messages.

    Raises:
        DataError: the dataset lacks what the annotator needs, or the annotator breaks its contract.
    """
    spec = annotator.info.spec
    if lacks := [m for m in annotator.info.needs if m not in window]:
        raise DataError(f"the annotator of {spec.name} needs {lacks[0]}, which {place} lacks")
    source = f"annotator of {spec.name}, {place}"
    with plugin_errors(failed_as(DataError, source)):
        needed = {m: window[m] for m in annotator.info.needs}
        array = annotator.annotate(needed, f"{sequence}@{'-'.join(map(str, key))}")
    check_array(array, spec, len(key), source)
    if spec.pixels and array.shape[1:3] != window["frames"].shape[1:3]:
        raise DataError(f"{source}: not of the frames' size")
    return array


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
) -> PreparedDataset:
    """Annotate the contexts of prepared clips, or finish it.

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
        pairs = zip(windows, keys, strict=True)
        return np.concatenate([annotate(maker, window, sequence, key, place) for window, key in pairs])

    spec = annotator.info.spec
    if spec.pairwise and all(ref.context == 1 for ref in manifest.clips):
        raise DataError(f"protocol {protocol.name}: a context of one frame has no {spec.name} to prepare")
    contents = store_contents(manifest, [spec], lambda ref, spec: ref.frames[: ref.context])
    return make_store(_folder(prepared.folder, annotator), prepared, contents, read, progress, _BLOCK)


def _folder(prepared: Path, annotator: Component) -> Path:
    key = store_key(annotator.value, annotator.describe())
    return prepared.with_name(f"{prepared.name}-{annotator.info.gives}-{annotator.name}-{key}")
