"""Check whether the published units of an earlier run are of the current data.

A unit records a stamp of its sequences' files and of the code that reads them. A unit with the same stamp is valid.
With another stamp, its clips are read again. A unit of other pixels is set aside and evaluated again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field

from vpbench.clips.probe import Probe
from vpbench.clips.source import ClipSource
from vpbench.errors import VpbenchWarning
from vpbench.evaluation.cell import Cell
from vpbench.evaluation.measure import data_fields
from vpbench.protocol.units import Manifest, Unit


@dataclass(frozen=True)
class Recheck:
    """Reads the clips of units again, each once however many predictors have published it."""

    source: ClipSource
    probe: Probe
    manifest: Manifest
    _digests: dict[int, dict[str, dict[str, str]]] = field(default_factory=dict)

    def valid(self, cell: Cell, units: Iterable[Unit]) -> frozenset[int]:
        """Return the numbers of the published units that are whole and of current data; set aside those of other data.

        Raises:
            DataError: a clip cannot be read. ResultError: a unit cannot be read or set aside.
        """
        store = cell.store
        stamps = store.stamps()
        published = frozenset(store.published()) - store.without_features()
        valid = published
        for unit in units:
            stamp = self.probe.stamp(unit, self.manifest)
            if unit.number not in published or stamp in stamps.get(unit.number, ()):
                continue
            if self._same(cell, unit):
                cell.attempt.stamp(unit.number, stamp)
            else:
                store.set_aside(unit.number)
                valid -= {unit.number}
        if len(valid) < len(published):
            warnings.warn(
                f"{store.folder}: {len(published - valid)} of {len(published)} units were of other pixels than the "
                f"data hold now; they are in set-aside/ and are evaluated again",
                VpbenchWarning,
                stacklevel=2,
            )
        return valid

    def _same(self, cell: Cell, unit: Unit) -> bool:
        if unit.number not in self._digests:
            self._digests[unit.number] = {ref.id: self.source.read(ref).digests for ref in unit.clips}
        digests = self._digests[unit.number]
        # An annotator is named by the identity. Its maps may differ in the last bit on another device.
        compared = ("data",) if cell.identity.annotators else ("data", "context")
        expected = {
            (clip, name): data_fields(clip_digests, metric, cell.context_modalities)
            for clip, clip_digests in digests.items()
            for name, metric in cell.metrics.items()
        }
        return all(
            row.get(key) == expected[row["clip"], row["metric"]].get(key)
            for row in cell.store.unit_rows(unit.number)
            for key in compared
        )
