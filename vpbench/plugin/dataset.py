"""The contract of a dataset: an index and a reader of the official on-disk layout, nothing else.

Sampling, cropping, resizing, batching, caching and annotating are the harness's, the same for every dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from vpbench.errors import DataError, PluginError, type_name
from vpbench.plugin.modality import Modality, ModalitySpec, check_modalities, merge_declarations

if TYPE_CHECKING:
    from fractions import Fraction

    import numpy as np
    from numpy.typing import NDArray
    from pydantic import BaseModel

    from vpbench.plugin.clip import LabelSpace


@dataclass(frozen=True)
class DatasetInfo:
    """Describe a dataset to the harness and its users.

    ``tree`` is the expected layout below the data root, as text; ``obtain`` says where and how to get it.

    Raises:
        PluginError: a modality is neither built in nor declared.
    """

    modalities: tuple[Modality, ...] = ("frames",)
    declares: tuple[ModalitySpec, ...] = ()
    """The modalities among them that are not built in."""
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
    """Known leaks from training to test data in published splits. Reported whatever splits are used."""

    def __post_init__(self) -> None:
        """Check that every modality is declared."""
        check_modalities(self, "modalities", "declares", "truth_only", "splits")
        specs = merge_declarations({"the dataset": self.declares})
        if unknown := [name for name in self.modalities if name not in specs]:
            raise PluginError(f"the dataset does not declare its modality {unknown[0]!r}: add a ModalitySpec")

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
    """A text that changes with its files (sizes, times): prepared data are then made again."""
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
    """Names of the first few failures."""


@runtime_checkable
class Dataset(Protocol):
    """Read a dataset: a class built as ``Class(root)``, or ``Class(root, options=Options(...))`` if it has options.

    ``root`` is a ``pathlib.Path``, the folder as unpacked, or None if ``info.needs_root`` is False. A dataset never
    writes to it. :class:`BaseDataset` declares the optional members.
    """

    @property
    def info(self) -> DatasetInfo:
        """The dataset's description; a class attribute suffices."""

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
            A declared modality: as ``ModalitySpec.layout`` says; text as an array of numpy strings.

        Raises:
            DataError: a file is missing, corrupt, or has fewer frames than its header claims.
        """


class BaseDataset:
    """Declare the optional members of a dataset, with their defaults.

    Example:
        >>> class Bars(vpbench.BaseDataset):
        ...     info = vpbench.DatasetInfo(needs_root=False)
        ...     def __init__(self, root): ...
        ...     def sequences(self, split):
        ...         return [vpbench.SequenceInfo("bar", range(8))]
        ...     def read(self, sequence, frames, modality):
        ...         return np.stack([np.full((24, 32, 3), 30 * frame, np.uint8) for frame in frames])
    """

    info: DatasetInfo
    Options: ClassVar[type[BaseModel] | None] = None
    """A pydantic model. Protocols and ``vpbench data`` set its fields."""

    def check(self) -> Sequence[Finding]:
        """Return findings for ``vpbench data check``, in addition to the sequences of each split."""
        return ()


def check_array(array: NDArray[np.generic], spec: ModalitySpec, frames: int, place: str) -> None:
    """Check the entries of a modality, of that many frames, against their declaration.

    Raises:
        DataError: the dtype or the shape differs from the declaration.
    """
    import numpy as np

    count = spec.count(frames)
    call = f"{place}: read(..., {spec.name!r}) must give {spec.layout} with N = {count}; it gave"
    if not isinstance(array, np.ndarray):
        raise DataError(f"{call} {type_name(array)}, which is no numpy array")
    dtype = "text" if array.dtype.kind == "U" else array.dtype.name
    axes = 3 if spec.pixels else 1
    fits = array.ndim == axes + len(spec.shape) and array.shape[0] == count and array.shape[axes:] == spec.shape
    if not fits or dtype != spec.dtype:
        advice = "; pad entries of several shapes to one, and give text as numpy strings" if dtype == "object" else ""
        raise DataError(f"{call} {dtype} {list(array.shape)}{advice}")
