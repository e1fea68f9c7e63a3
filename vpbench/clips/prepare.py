"""Decode, crop and resize a protocol's clips once, for all later runs.

A store (:mod:`vpbench.clips.prepared`) holds exactly the arrays that reading and resizing give, so prepared and
unprepared runs agree to the bit. Each protocol and split has a store of its own. Its name follows from the protocol,
the state of the data, and the code that reads them.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbench.clips.prepared import FORMAT, Contents, Key, PreparedDataset, cut, open_store, warn_of_outdated
from vpbench.clips.store_making import make_store
from vpbench.clips.subset import Subset
from vpbench.paths import cache_dir
from vpbench.plugin.dataset import Dataset, check_array
from vpbench.plugin.modality import Modality, ModalitySpec, merge_declarations
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.sampling import ClipRef
from vpbench.protocol.transforms import transform
from vpbench.protocol.units import Manifest


def store_folder(protocol: Protocol, dataset: Dataset, manifest: Manifest) -> Path:
    """Return the folder of the store of a protocol's clips."""
    name = f"{protocol.name}-{protocol.dataset.split}-{store_key(dataset, protocol.hash, manifest.data)}"
    return cache_dir() / "prepared" / name


def store_key(maker: object, *inputs: str) -> str:
    """Return the key of a store that a plugin's object makes from these inputs: it changes with them and its code."""
    return hashlib.sha256("\n".join([str(FORMAT), _code(maker), *inputs]).encode()).hexdigest()[:16]


def find_prepared(
    protocol: Protocol, dataset: Dataset, manifest: Manifest, modalities: Collection[str]
) -> PreparedDataset | None:
    """Return the complete store of these clips, if there is one and it has these modalities.

    Raises:
        DataError: it was cut off, or its index is damaged.
    """
    folder = store_folder(protocol, dataset, manifest)
    store = open_store(folder, dataset, modalities)
    if store is None:
        warn_of_outdated(folder)
    return store


def prepare(
    protocol: Protocol,
    dataset: Dataset,
    manifest: Manifest,
    modalities: Sequence[Modality],
    progress: Callable[[int, int], None],
) -> PreparedDataset:
    """Make the store of a protocol's clips, or finish making it (raises as :func:`make_store`)."""

    def read(sequence: str, keys: Sequence[Key], spec: ModalitySpec) -> NDArray[Any]:
        arrays = []
        for frames in keys if spec.pairwise else [[frame for (frame,) in keys]]:
            array = dataset.read(sequence, frames, spec.name)
            check_array(array, spec, len(frames), f"dataset {protocol.dataset.name!r}, sequence {sequence!r}")
            arrays.append(transform(array, protocol.operations(spec.name), spec))
        return np.concatenate(arrays)

    def window(ref: ClipRef, spec: ModalitySpec) -> Sequence[int]:
        if spec.name in dataset.info.truth_only and not spec.pairwise:
            return [ref.frames[ref.context + step - 1] for step in ref.steps]
        return ref.frames

    declared = merge_declarations({f"dataset {protocol.dataset.name!r}": dataset.info.declares})
    contents = store_contents(manifest, [declared[modality] for modality in modalities], window)
    folder = store_folder(protocol, dataset, manifest)
    warn_of_outdated(folder)
    return make_store(folder, dataset, contents, read, progress)


def store_contents(
    manifest: Manifest, specs: Sequence[ModalitySpec], window: Callable[[ClipRef, ModalitySpec], Sequence[int]]
) -> Contents:
    """Return the keys of every modality; ``window`` returns the frames of a clip that need entries."""
    clips: dict[str, list[ClipRef]] = {}
    for clip in manifest.clips:
        clips.setdefault(clip.sequence, []).append(clip)
    return {
        sequence: {spec: cut((window(ref, spec) for ref in refs), spec) for spec in specs}
        for sequence, refs in clips.items()
    }


def _code(maker: object) -> str:
    """Return a sha256 of the package, or the file, that defines an object's class: a subset's dataset's."""
    maker = maker.dataset if isinstance(maker, Subset) else maker
    names = [type(maker).__module__.partition(".")[0], type(maker).__module__]
    package, module = (getattr(sys.modules.get(name), "__file__", None) for name in names)
    if package and Path(package).name == "__init__.py":
        files = sorted(Path(package).parent.rglob("*.py"))
    else:
        files = [Path(module)] if module else []
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
