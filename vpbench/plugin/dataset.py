"""The contract of a dataset: an index and a reader of the official on-disk layout, nothing else.

Sampling, cropping, resizing, batching, caching and annotating are the harness's, the same for every dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from fractions import Fraction

    import numpy as np
    from numpy.typing import NDArray

    from vpbench.plugin.clip import LabelSpace, Modality

__all__ = ["Dataset", "DatasetInfo", "Finding", "SequenceInfo", "check_array"]


@dataclass(frozen=True)
class DatasetInfo:
    """What the harness and its users must know of a dataset.

    ``tree`` is the expected layout below the data root, as text; ``obtain`` says where and how to get it.
    """

    modalities: tuple[Modality, ...] = ("frames",)
    truth_only: tuple[Modality, ...] = ()
    """Those of them that exist for a sequence's target frame only: scored, never part of a context."""
    splits: tuple[str, ...] = ("test",)
    needs_root: bool = True
    """False for a dataset that makes its clips itself."""
    label_space: LabelSpace | None = None
    tree: str = ""
    obtain: str = ""
    homepage: str = ""
    licence: str = ""
    citation: str = ""
    shared_recordings: str = ""
    """Why one recording has sequences in several splits, where those of a publication have it so; "": none has."""
    known_leaks: tuple[Finding, ...] = ()
    """Of splits that others publish: what leaks from training to test data. It is told, whatever splits are used."""

    @property
    def context_modalities(self) -> frozenset[Modality]:
        """The modalities that every frame has."""
        return frozenset(self.modalities) - frozenset(self.truth_only)


@dataclass(frozen=True)
class SequenceInfo:
    """One video. ``frames`` are the raw frame numbers that exist, ascending; ``problem`` says why it is unreadable."""

    name: str
    """Unique, stable, the same whatever the files are packed in, with the file's or folder's own name in it."""
    frames: Sequence[int] = field(repr=False)
    problem: str = ""
    stamp: str = ""
    """What changes when its files do (sizes, times): prepared data are made anew then."""
    source: str = ""
    """The recording that it was cut from, where several sequences may come from one (or show it from several sides)."""
    rate: Fraction | None = None
    """Frames per second of its files, where they say; ``vpbench data check`` reports it."""


@dataclass(frozen=True)
class Finding:
    """One line of ``vpbench data check``: what was looked at, what it should be, and whether it is."""

    name: str
    found: str
    expected: str
    holds: bool | None
    """None: nothing is promised, it is only told."""
    details: tuple[str, ...] = ()
    """What does not hold, by name, the first few."""


@runtime_checkable
class Dataset(Protocol):
    """A class built as ``Class(root)``, or ``Class(root, options=Options(...))`` where it has a pydantic ``Options``.

    Optional: ``check() -> Sequence[Finding]``, what ``vpbench data check`` reports beyond the sequences of each split.

    ``root`` is a ``pathlib.Path`` (None where ``info.needs_root`` is False), the folder as unpacked; it is never
    written to.
    """

    @property
    def info(self) -> DatasetInfo:
        """What the harness must know (a class attribute does)."""

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the split's sequences, sorted by name; decodes nothing.

        Raises:
            DataError: the data root does not hold the dataset; the message shows the expected tree.
        """

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Read raw frames of one sequence, at their original size.

        Args:
            sequence: a name that :meth:`sequences` gave.
            frames: N raw frame numbers, ascending.
            modality: one of ``info.modalities``.

        Returns:
            ``frames``: uint8 RGB [N,H,W,3]. ``semantics``: uint8 label ids [N,H,W]. ``instances``: int32 [N,H,W].
            ``flow``: float32 [N-1,H,W,2], pixels, entry i leads from ``frames[i+1]`` back to ``frames[i]``.
            ``camera_flow``: the same for a world that stands still.
            ``disocclusion``: bool [N-1,H,W], entry i: not visible in ``frames[i]``.

        Raises:
            DataError: a file is missing, corrupt, or has fewer frames than its header claims.
        """


def check_array(array: NDArray[np.generic], modality: Modality, frames: int, where: str) -> None:
    """Check what a reader returned against the contract of :meth:`Dataset.read`.

    Raises:
        DataError: the dtype or the shape is not as the contract says.
    """
    from vpbench.errors import DataError
    from vpbench.plugin.clip import PAIRWISE

    dtype, tail = _LAYOUT[modality]
    count = frames - 1 if modality in PAIRWISE else frames
    fits = array.ndim == 3 + len(tail) and array.shape[0] == count and array.shape[3:] == tail
    if not fits or array.dtype.name != dtype:
        shape = ",".join(["N", "H", "W", *map(str, tail)])
        raise DataError(
            f"{where}: read(..., {modality!r}) must give {dtype} [{shape}] with N = {count}; "
            f"it gave {array.dtype.name} {list(array.shape)}"
        )


_LAYOUT: dict[str, tuple[str, tuple[int, ...]]] = {
    "frames": ("uint8", (3,)),
    "semantics": ("uint8", ()),
    "instances": ("int32", ()),
    "flow": ("float32", (2,)),
    "camera_flow": ("float32", (2,)),
    "disocclusion": ("bool", ()),
}
