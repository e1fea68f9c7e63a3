"""A look at a few clips before a run: which data are these? Their digest is part of a result's identity."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from vpbench.engine.digest import combine
from vpbench.engine.loading import ClipSource
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import Dataset
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.sampling import ClipRef
from vpbench.protocol.units import Manifest

__all__ = ["PROBED", "Probe"]

PROBED = 4
"""Clips that are looked at, the first and the last among them."""


@dataclass(frozen=True)
class Probe:
    """Digests of a dataset's clips, each read once however many predictors ask."""

    protocol: Protocol
    dataset: Dataset
    _read: dict[tuple[frozenset[Modality], frozenset[Modality], ClipRef], str] = field(default_factory=dict)

    def digest(self, manifest: Manifest, context: Collection[Modality], future: Collection[Modality]) -> str:
        """Return one digest of these modalities of a few clips, spread evenly over the manifest.

        Raises:
            DataError: a clip cannot be read (one of a partial manifest counts as unreadable instead).
        """
        last, count = len(manifest.clips) - 1, min(PROBED, len(manifest.clips))
        places = [i * last // max(1, count - 1) for i in range(count)]
        key = frozenset(context), frozenset(future)
        return combine({str(i): self._clip(*key, manifest.clips[i]) for i in places}, map(str, places))

    def _clip(self, context: frozenset[Modality], future: frozenset[Modality], ref: ClipRef) -> str:
        key = context, future, ref
        if key not in self._read:
            labels = self.protocol.operations("semantics")
            source = ClipSource(
                self.dataset, self.protocol.dataset.name, self.protocol.pixels, context, future, {}, label_pixels=labels
            )
            digests = source.read(ref).digests
            self._read[key] = combine(digests, digests)
        return self._read[key]
