"""Feature vectors of set metrics: one file of float32 arrays next to each unit, named by digests in the unit's rows.

The file is in safetensors format. For each set metric it holds ``predicted/<metric>``, [clips * samples, D] in the
order of (clip, sample), and ``true/<metric>``, [clips, D] in the order of clips.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from vpbench import files
from vpbench.errors import MetricError, ResultError
from vpbench.plugin.set_metric import FeatureSet
from vpbench.results.reading import read_bytes

Vector: TypeAlias = NDArray[np.float32]
LoadFeatures: TypeAlias = Callable[[str, Mapping[tuple[str, int], str], Mapping[str, str]], FeatureSet]
"""Returns the features of a metric by name, given their digests by (clip, sample), and those of the truth by clip."""
_FLOAT = np.dtype("<f4")


def digest(vector: Vector) -> str:
    """Return the digest of a vector, as it stands in rows."""
    return hashlib.sha256(np.ascontiguousarray(vector, dtype=_FLOAT).tobytes()).hexdigest()[:16]


class UnitFeatures:
    """Collects the vectors of the current unit until it is published."""

    def __init__(self) -> None:
        self._predicted: dict[str, dict[tuple[str, int], Vector]] = defaultdict(dict)
        self._true: dict[str, dict[str, Vector]] = defaultdict(dict)

    def add_predicted(self, metric: str, clip: str, sample: int, vector: Vector) -> str:
        """Add the vector of a predicted clip; return its digest."""
        self._predicted[metric][clip, sample] = vector
        return digest(vector)

    def add_true(self, metric: str, clip: str, vector: Vector) -> str:
        """Add the vector of a true clip; return its digest."""
        self._true[metric][clip] = vector
        return digest(vector)

    def clear(self) -> None:
        """Remove all vectors."""
        self._predicted.clear()
        self._true.clear()

    def to_bytes(self) -> bytes:
        """Return the content of the unit's file; empty without a set metric.

        Raises:
            MetricError: vectors of several lengths.
        """
        arrays = {}
        for metric, true in self._true.items():
            predicted = self._predicted[metric]
            _check_lengths(metric, true, predicted)
            arrays[f"predicted/{metric}"] = np.array([predicted[key] for key in sorted(predicted)], dtype=_FLOAT)
            arrays[f"true/{metric}"] = np.array([true[clip] for clip in sorted(true)], dtype=_FLOAT)
        return save(arrays) if arrays else b""


def _check_lengths(metric: str, true: Mapping[str, Vector], predicted: Mapping[tuple[str, int], Vector]) -> None:
    first, length = next((clip, len(vector)) for clip, vector in sorted(true.items()))
    vectors = [*true.items(), *((clip, vector) for (clip, _), vector in predicted.items())]
    if unequal := sorted(clip for clip, vector in vectors if len(vector) != length):
        raise MetricError(
            f"metric {metric!r} has {length} features for clip {first!r} and another number for clip {unequal[0]!r}: "
            f"its features must have one length"
        )


def read_features(
    metric: str,
    units: Iterable[tuple[Path, Sequence[str]]],
    predicted: Mapping[tuple[str, int], str],
    true: Mapping[str, str],
) -> FeatureSet:
    """Read the features of a result, one unit at a time.

    Args:
        metric: its name.
        units: the file of each unit, and the unit's clips.
        predicted: digests by (clip, sample).
        true: digests by clip.

    Raises:
        ResultError: a file is missing, or is not what was published; names it.
    """
    samples = 1 + max(sample for _, sample in predicted)
    places = {clip: place for place, clip in enumerate(sorted(true))}
    features: FeatureSet | None = None
    for path, names in units:
        clips = sorted(names)
        arrays = _read_arrays(path, metric, len(clips), samples)
        if features is None:
            length = arrays.true.shape[1]
            shapes = (len(places), samples, length), (len(places), length)
            features = FeatureSet(*(np.empty(shape, dtype=np.float32) for shape in shapes))
        if arrays.true.shape[1] != features.true.shape[1]:
            raise _broken(path, f"{metric} has another number of features than in the units before")
        for place, clip in enumerate(clips):
            digests = [predicted[clip, sample] for sample in range(samples)]
            if [digest(arrays.true[place]), *map(digest, arrays.predicted[place])] != [true[clip], *digests]:
                raise _broken(path, f"the features of {metric} and clip {clip!r} are not those that its rows name")
            features.predicted[places[clip]], features.true[places[clip]] = arrays.predicted[place], arrays.true[place]
    assert features is not None  # rows without a unit
    return features


def _read_arrays(path: Path, metric: str, clips: int, samples: int) -> FeatureSet:
    """Return the arrays of one unit."""
    data = read_bytes(path, files.UNIT)
    try:
        arrays = load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise _broken(path, "it is not in safetensors format") from error
    predicted, true = arrays.get(f"predicted/{metric}"), arrays.get(f"true/{metric}")
    if predicted is None or true is None:
        raise _broken(path, f"it has no features of {metric}")
    shapes = (clips * samples, *true.shape[1:]), (clips, *true.shape[1:])
    if (predicted.shape, true.shape) != shapes or true.ndim != 2 or {predicted.dtype, true.dtype} != {_FLOAT}:
        raise _broken(path, f"the features of {metric} have another shape or type than those of {clips} clips")
    if not (np.isfinite(predicted).all() and np.isfinite(true).all()):
        raise _broken(path, f"the features of {metric} hold NaN or infinite numbers")
    if save(arrays) != data:
        raise _broken(path, "it is not written as vpbench writes it")
    return FeatureSet(predicted.reshape(clips, samples, -1), true)


def _broken(path: Path, problem: str) -> ResultError:
    return ResultError(f"{path}: {problem}; remove the unit of this number and its features, and run again")
