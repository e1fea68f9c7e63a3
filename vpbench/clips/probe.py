"""A look at a few clips before a run: which data are these? Their digest is part of a result's identity."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

from vpbench.clips.digest import combine
from vpbench.clips.prepared import PreparedDataset
from vpbench.clips.source import ClipSource
from vpbench.errors import VpbenchWarning
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import Dataset
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.sampling import ClipRef
from vpbench.protocol.units import Manifest, Unit
from vpbench.select.fingerprint import fingerprint

PROBED = 4
"""Clips that are looked at, the first and the last among them."""


@dataclass(frozen=True)
class Probe:
    """Digests of a dataset's clips, each read once however many predictors ask."""

    protocol: Protocol
    dataset: Dataset
    _digests: dict[ClipRef, dict[str, str]] = field(default_factory=dict)

    @cached_property
    def code(self) -> str:
        """Fingerprint of the dataset's class: other code may read other pixels from the same files."""
        return fingerprint(type(self.dataset)).sha256

    def stamp(self, unit: Unit, manifest: Manifest) -> str:
        """Return what changes when a unit's files, or the code that reads them, do."""
        return hashlib.sha256(f"{manifest.stamp(unit)} {self.code}".encode()).hexdigest()[:16]

    def digest(self, manifest: Manifest, context: Collection[Modality], future: Collection[Modality]) -> str:
        """Return one digest of these modalities of a few clips, spread evenly over the manifest.

        Raises:
            DataError: a clip cannot be read.
        """
        refs = [manifest.clips[place] for place in _places(manifest)]
        clips = {ref.id: self._clip(ref, frozenset(context), frozenset(future)) for ref in refs}
        return combine(clips, clips)

    def agrees(
        self,
        prepared: PreparedDataset,
        manifest: Manifest,
        context: Collection[Modality],
        modalities: Collection[Modality],
    ) -> bool:
        """Return whether a prepared store holds what the dataset does, for the probed clips; warn if it does not."""
        future = frozenset(modalities)
        context_modalities = frozenset(context) & future
        source = ClipSource(prepared, self.protocol.dataset.name, (), context_modalities, future, {})
        for place in _places(manifest):
            ref = manifest.clips[place]
            digests = source.read(ref).digests
            if combine(digests, digests) != self._clip(ref, context_modalities, future):
                warnings.warn(
                    f"{prepared.folder} was prepared from other data than {self.protocol.dataset.name!r} holds now, so "
                    f"it is not used: remove it and run `vpbench data prepare {self.protocol.name}` again",
                    VpbenchWarning,
                    stacklevel=2,
                )
                return False
        return True

    def _clip(self, ref: ClipRef, context: frozenset[Modality], future: frozenset[Modality]) -> str:
        keys = {f"context {m}" for m in {*context, "frames"}} | {f"future {m}" for m in {*future, "frames"}}
        digests = self._digests.setdefault(ref, {})
        if not keys <= digests.keys():
            name, labels = self.protocol.dataset.name, self.protocol.operations("semantics")
            source = ClipSource(self.dataset, name, self.protocol.pixels, context, future, {}, label_pixels=labels)
            digests |= source.read(ref).digests
        return combine(digests, keys)


def _places(manifest: Manifest) -> list[int]:
    last, count = len(manifest.clips) - 1, min(PROBED, len(manifest.clips))
    return [i * last // max(1, count - 1) for i in range(count)]
