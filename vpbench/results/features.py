"""Feature vectors in rows: base64 of little-endian float32, and the set that a set metric scores."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import ResultError
from vpbench.plugin.set_metric import FeatureSet

_FLOAT = np.dtype("<f4")


def encode(vector: NDArray[np.float32]) -> str:
    """Return a vector as text."""
    return base64.b64encode(np.ascontiguousarray(vector, dtype=_FLOAT).tobytes()).decode("ascii")


def decode(text: str) -> NDArray[np.float32]:
    """Return the vector of a text.

    Raises:
        ValueError: it is not base64 of one or more finite float32.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("it is not base64") from error
    if not content or len(content) % _FLOAT.itemsize:
        raise ValueError("it is not a vector of float32")
    vector = np.frombuffer(content, dtype=_FLOAT)
    if not np.isfinite(vector).all():
        raise ValueError("it holds NaN or infinite numbers")
    return vector


def feature_set(
    metric: str, predicted: Mapping[tuple[str, int], NDArray[np.float32]], true: Mapping[str, NDArray[np.float32]]
) -> FeatureSet:
    """Return the features of a result.

    Args:
        metric: its name, for messages.
        predicted: by (clip, sample).
        true: by clip.

    Raises:
        ResultError: vectors of several lengths.
    """
    clips = sorted(true)
    samples = 1 + max(sample for _, sample in predicted)
    length = len(true[clips[0]])
    vectors = {**{(clip, -1): vector for clip, vector in true.items()}, **predicted}
    if unequal := sorted(clip for (clip, _), vector in vectors.items() if len(vector) != length):
        raise ResultError(
            f"metric {metric!r} has {length} features for clip {clips[0]!r} and another number for clip "
            f"{unequal[0]!r}: its features must have one length"
        )
    rows = [[predicted[clip, sample] for sample in range(samples)] for clip in clips]
    return FeatureSet(np.array(rows, dtype=np.float32), np.array([true[clip] for clip in clips], dtype=np.float32))
