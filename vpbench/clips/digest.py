"""Hash the arrays of a clip after the protocol's crops and resizes: the data that rows are of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def digest_arrays(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Return the sha256 of each array's dtype, shape and bytes, under ``<prefix> <modality>``."""
    digests = {}
    for modality, array in arrays.items():
        if array.dtype.kind == "U":  # an array of strings is as wide as its longest one happens to be
            array = np.array(json.dumps(array.tolist()).encode())
        digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
        digests[f"{prefix} {modality}"] = digest.hexdigest()
    return digests


def combine(digests: Mapping[str, str], keys: Iterable[str]) -> str:
    """Return one digest of 16 hex digits of those under ``keys``; keys without a digest are skipped."""
    text = "\n".join(f"{key} {digests[key]}" for key in sorted(set(keys)) if key in digests)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
