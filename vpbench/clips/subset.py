"""Some sequences of a dataset, as a dataset: those that a training validates on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import Dataset, DatasetInfo, SequenceInfo


@dataclass(frozen=True)
class Subset:
    """The sequences of a dataset that have one of these names."""

    dataset: Dataset
    names: frozenset[str]

    @property
    def info(self) -> DatasetInfo:
        """The dataset's."""
        return self.dataset.info

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return those sequences of a split that belong to this subset."""
        return [s for s in self.dataset.sequences(split) if s.name in self.names]

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Read as the whole dataset does."""
        return self.dataset.read(sequence, frames, modality)
