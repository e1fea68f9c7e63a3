"""Decode a few frames of a dataset in every modality, and check them against its declaration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from vpbench.errors import DataError, one_line, text_of
from vpbench.plugin.dataset import Dataset, Finding, SequenceInfo, check_array
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.modality import Modality, ModalitySpec, merge_declarations
from vpbench.toolkit.processes import Child, ChildEndedError, note

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


def decode_splits(dataset: Dataset, sequences: Mapping[str, SequenceInfo]) -> dict[str, Finding]:
    """Decode a sequence of each split in a process of its own, which a broken file may crash.

    Args:
        dataset: sent to the process.
        sequences: the sequence of each split.
    """
    findings: dict[str, Finding] = {}
    child: Child | None = None
    for split, sequence in sequences.items():
        try:
            if child is None or not child.runs:
                child = Child("vpbench.clips.decoding:serve_splits", dataset)
            child.send((split, sequence))
            findings[split] = child.receive()
        except ChildEndedError as error:
            assert child is not None
            place = f" at {child.note()}" if child.note() else ""
            child.close()  # it may have closed its connection only
            findings[split] = _failed(split, f"the process that reads {error}{place}: get the file again")
        except Exception as error:  # pickling may raise anything
            problem = f"it cannot be sent to a reading process ({one_line(str(error))}): keep no open files and locks"
            findings[split] = _failed(split, problem)
    if child is not None:
        child.close()
    return findings


def serve_splits(dataset: Dataset) -> Callable[[tuple[str, SequenceInfo]], Finding]:
    """Return what answers a split and its sequence with what was found there, in a process of its own."""
    return lambda request: _decoded(dataset, *request)


def _failed(split: str, problem: str) -> Finding:
    return Finding(f"{split}: a clip decodes", "it does not", "as declared", False, (problem,))


def _decoded(dataset: Dataset, split: str, sequence: SequenceInfo) -> Finding:
    note(f"sequence {sequence.name!r}")  # a decoder notes its file
    try:
        arrays = decode(dataset, sequence)
    except DataError as error:
        return _failed(split, text_of(error))
    size = "x".join(map(str, arrays["frames"].shape[1:3]))
    return Finding(f"{split}: a clip decodes", f"{', '.join(arrays)} of {size}", "as declared", True)
