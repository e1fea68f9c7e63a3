"""Decode a few frames of a dataset in every modality, and check them against its declaration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from vpbench.errors import DataError, text_of
from vpbench.plugin.dataset import Dataset, Finding, SequenceInfo, check_array
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.modality import Modality, ModalitySpec, merge_declarations

_TARGETS = 64
"""Frames that are tried for a modality that exists for a target frame only."""


def spread(items: Sequence[Any]) -> list[Any]:
    """Return the first, the middle and the last item, each once."""
    return [items[place] for place in sorted({0, len(items) // 2, len(items) - 1})] if len(items) else []


def decode(dataset: Dataset, sequence: SequenceInfo) -> dict[Modality, NDArray[Any]]:
    """Return the first, middle and last frames of a sequence, in every modality.

    A modality that only a target frame has comes as that entry. Pairs need two frames.

    Raises:
        DataError: a frame does not decode, or an array breaks its declaration.
    """
    specs, info = merge_declarations({"the dataset": dataset.info.declares}), dataset.info
    frames, place = spread(sequence.frames), f"sequence {sequence.name!r}"
    arrays = {
        modality: read_checked(dataset, sequence.name, frames, specs[modality])
        for modality in info.modalities
        if modality not in info.truth_only
    }
    for modality in info.truth_only:
        arrays[modality] = _target(dataset, sequence, specs[modality])
    sizes = {m: a.shape[1:3] for m, a in arrays.items() if specs[m].pixels and len(a) and m not in info.truth_only}
    for modality, size in sizes.items():
        if size != sizes["frames"]:
            raise DataError(
                f"{place}: {modality} of {size[0]}x{size[1]}, frames of {sizes['frames'][0]}x{sizes['frames'][1]}: "
                f"both must have one size"
            )
    return arrays


def read_checked(dataset: Dataset, sequence: str, frames: Sequence[int], spec: ModalitySpec) -> NDArray[Any]:
    """Read frames, and check the array against its declaration (raises DataError, which names the sequence)."""
    place = f"sequence {sequence!r}"
    with plugin_errors(failed_as(DataError, f"{place}, frames {list(frames)}: read(..., {spec.name!r}) fails")):
        array = dataset.read(sequence, list(frames), spec.name)
    check_array(array, spec, len(frames), place)
    return array


def _target(dataset: Dataset, sequence: SequenceInfo, spec: ModalitySpec) -> NDArray[Any]:
    """Return the entry of the one frame, or pair of frames, that has this modality."""
    latest: DataError | None = None
    for window in _windows(sequence.frames, spec):
        try:
            return read_checked(dataset, sequence.name, window, spec)
        except DataError as error:
            latest = latest or error
    raise latest or DataError(f"sequence {sequence.name!r}: no frame has {spec.name}")


def _windows(frames: Sequence[int], spec: ModalitySpec) -> Iterator[list[int]]:
    length = 2 if spec.pairwise else 1
    for end in range(min(len(frames), _TARGETS), length - 1, -1):
        yield list(frames[end - length : end])


def decoded(dataset: Dataset, split: str) -> Finding | None:
    """Decode frames of the middle sequence of a split; None if there is no readable one."""
    sequences = [sequence for sequence in dataset.sequences(split) if not sequence.problem and len(sequence.frames)]
    if not sequences:
        return None
    sequence = sequences[len(sequences) // 2]
    name, expected = f"{split}: a clip decodes", "as declared"
    try:
        arrays = decode(dataset, sequence)
    except DataError as error:
        return Finding(name, "it does not", expected, False, (text_of(error),))
    size = "x".join(map(str, arrays["frames"].shape[1:3]))
    return Finding(name, f"{', '.join(arrays)} of {size}", expected, True)
