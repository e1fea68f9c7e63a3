"""Digests of what is scored: the arrays of a clip after the protocol's transforms."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["combine", "digest_arrays"]


def digest_arrays(part: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Return the sha256 of each array's dtype, shape and bytes, under ``<part> <modality>``."""
    digests = {}
    for modality, array in arrays.items():
        digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
        digests[f"{part} {modality}"] = digest.hexdigest()
    return digests


def combine(digests: Mapping[str, str], keys: Iterable[str]) -> str:
    """Return one digest, of 16 hex digits, of those under ``keys`` that there are."""
    text = "\n".join(f"{key} {digests[key]}" for key in sorted(set(keys)) if key in digests)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
