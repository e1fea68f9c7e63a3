"""Preparation: a protocol's clips are decoded, cropped and resized once, for all runs that follow.

What is stored are exactly the arrays that reading and transforming give, so prepared and unprepared runs agree to the
bit. There is one store per protocol and split (:mod:`vpbench.clips.prepared`), named by all that decides its arrays:
the protocol, the state of the data, and the code that reads them.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbench.clips.prepared import Key, PreparedDataset, cut, open_store
from vpbench.clips.store_making import make_store
from vpbench.paths import cache_dir
from vpbench.plugin.clip import PAIRWISE, Modality
from vpbench.plugin.dataset import Dataset, check_array
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.sampling import ClipRef
from vpbench.protocol.transforms import transform
from vpbench.protocol.units import Manifest

__all__ = ["by_sequence", "find_prepared", "prepare", "store_folder", "store_key"]

_REVISION = "3"  # part of every key; raised when the format changes, or what the harness does to pixels


def store_folder(protocol: Protocol, dataset: Dataset, manifest: Manifest) -> Path:
    """Return where the store of a protocol's clips belongs."""
    name = f"{protocol.name}-{protocol.dataset.split}-{store_key(dataset, protocol.hash, manifest.data)}"
    return cache_dir() / "prepared" / name


def store_key(maker: object, *given: str) -> str:
    """Return the key of what the code of a plugin's object makes of what it is given."""
    return hashlib.sha256("\n".join([_REVISION, _code(maker), *given]).encode()).hexdigest()[:16]


def find_prepared(
    protocol: Protocol, dataset: Dataset, manifest: Manifest, modalities: Collection[str]
) -> PreparedDataset | None:
    """Return the complete store of these clips, if there is one and it has these modalities.

    Raises:
        DataError: it was cut off, or its index is damaged.
    """
    return open_store(store_folder(protocol, dataset, manifest), dataset, modalities)


def prepare(
    protocol: Protocol,
    dataset: Dataset,
    manifest: Manifest,
    modalities: Sequence[Modality],
    progress: Callable[[int, int], None],
) -> PreparedDataset:
    """Make the store of a protocol's clips, or finish making it (raises as :func:`make_store`)."""

    def read(sequence: str, keys: Sequence[Key], modality: Modality) -> NDArray[Any]:
        arrays = []
        for frames in keys if modality in PAIRWISE else [[frame for (frame,) in keys]]:
            array = dataset.read(sequence, frames, modality)
            check_array(array, modality, len(frames), f"dataset {protocol.dataset.name!r}, sequence {sequence!r}")
            arrays.append(transform(array, protocol.operations(modality), modality))
        return np.concatenate(arrays)

    def keys(refs: Sequence[ClipRef], modality: Modality) -> list[Key]:
        if modality in dataset.info.truth_only and modality not in PAIRWISE:
            return cut(([ref.frames[ref.context + step - 1] for step in ref.steps] for ref in refs), modality)
        return cut((ref.frames for ref in refs), modality)

    contents = {sequence: {m: keys(refs, m) for m in modalities} for sequence, refs in by_sequence(manifest).items()}
    return make_store(store_folder(protocol, dataset, manifest), dataset, contents, read, progress)


def by_sequence(manifest: Manifest) -> dict[str, list[ClipRef]]:
    """Return the clips of each sequence."""
    found: dict[str, list[ClipRef]] = {}
    for clip in manifest.clips:
        found.setdefault(clip.sequence, []).append(clip)
    return found


def _code(maker: object) -> str:
    """Return a sha256 of the package, or the file, that defines an object's class: a fixed reader reads anew."""
    names = [type(maker).__module__.partition(".")[0], type(maker).__module__]
    package, module = (getattr(sys.modules.get(name), "__file__", None) for name in names)
    if package and Path(package).name == "__init__.py":
        files = sorted(Path(package).parent.rglob("*.py"))
    else:
        files = [Path(module)] if module else []
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
