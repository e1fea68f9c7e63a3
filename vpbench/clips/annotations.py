"""Annotations, made of one frame (or pair of frames) at a time, so that clips that overlap share them.

Those that are prepared lie in a store of their own beside that of the clips, named by what the annotator is given (the
store of the clips), its name, options, weights and code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbench.clips.prepare import by_sequence, store_folder, store_key
from vpbench.clips.prepared import Key, PreparedDataset, cut, open_store
from vpbench.clips.store_making import make_store
from vpbench.errors import DataError, VpbenchError, describe
from vpbench.plugin.annotator import Annotator
from vpbench.plugin.clip import PAIRWISE, Modality
from vpbench.plugin.dataset import Dataset, check_array
from vpbench.plugin.guard import plugin_errors
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.units import Manifest
from vpbench.select.component import Component

__all__ = ["annotate", "find_annotations", "flags", "prepare_annotations"]

_PART = 4  # a network may need half a minute for each


def annotate(
    annotator: Annotator, window: Mapping[str, NDArray[Any]], sequence: str, key: Key, where: str
) -> NDArray[Any]:
    """Return the annotation of one frame, or of one pair of frames.

    Args:
        annotator: who makes it.
        window: what the dataset has of the frames of ``key``, at the protocol's size.
        sequence: theirs.
        key: the frame, or the frames.
        where: for messages.

    Raises:
        DataError: the dataset lacks what the annotator needs, or it breaks its contract.
    """
    modality = annotator.info.gives
    if lacks := [m for m in annotator.info.needs if m not in window]:
        raise DataError(f"the annotator of {modality} needs {lacks[0]}, which {where} lacks")
    given: dict[str, NDArray[Any]] = {m: window[m] for m in annotator.info.needs}

    def fail(error: BaseException) -> VpbenchError:
        if isinstance(error, VpbenchError):
            return error
        return DataError(f"annotator of {modality}, {where}: {describe(error)}")

    with plugin_errors(fail):
        array = annotator.annotate(given, f"{sequence}@{'-'.join(map(str, key))}")
    check_array(array, modality, len(key), f"annotator of {modality}, {where}")
    if array.shape[1:3] != window["frames"].shape[1:3]:
        raise DataError(f"annotator of {modality}, {where}: not of the frames' size")
    return array


def flags(modalities: Sequence[Modality]) -> str:
    """Return what a user adds to a command to have modalities annotated."""
    return " ".join(f"--annotate {modality}=NAME" for modality in modalities)


def find_annotations(
    protocol: Protocol, dataset: Dataset, manifest: Manifest, annotator: Component
) -> PreparedDataset | None:
    """Return the store of what an annotator makes of the contexts of these clips, if there is one to be trusted.

    Raises:
        DataError: it was cut off.
    """
    if annotator.unproven:  # another annotator may have left it
        return None
    modality = annotator.value.info.gives
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
    one: Annotator = annotator.value
    seen = {"frames", *one.info.needs} & prepared.info.context_modalities

    def read(sequence: str, keys: Sequence[Key], modality: Modality) -> NDArray[Any]:
        where = f"dataset {protocol.dataset.name!r}, sequence {sequence!r}"
        arrays = []
        for key in keys:
            window: dict[str, NDArray[Any]] = {m: prepared.read(sequence, key, m) for m in seen}
            arrays.append(annotate(one, window, sequence, key, where))
        return np.concatenate(arrays)

    if protocol.sampling.context == 1 and one.info.gives in PAIRWISE:
        raise DataError(f"protocol {protocol.name}: a context of one frame has no {one.info.gives} to prepare")
    contents = {
        sequence: {one.info.gives: cut((ref.frames[: ref.context] for ref in refs), one.info.gives)}
        for sequence, refs in by_sequence(manifest).items()
    }
    return make_store(_folder(prepared.folder, annotator), prepared, contents, read, progress, _PART)


def _folder(prepared: Path, annotator: Component) -> Path:
    key = store_key(annotator.value, annotator.describe())
    return prepared.with_name(f"{prepared.name}-{annotator.value.info.gives}-{annotator.name}-{key}")
