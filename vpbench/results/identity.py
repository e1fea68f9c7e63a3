"""What a result is *of*: the values that, together, decide every number in it, and their hash.

Not in it, because they must not matter: device, batch size, workers, shards, host, time, data root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vpbench.files import canonical

__all__ = ["Identity"]


@dataclass(frozen=True)
class Identity:
    """Equal identities promise equal numbers."""

    protocol: str
    """sha256 of the protocol."""
    manifest: str
    """sha256 of the list of clips, their scored steps and recordings."""
    data: str
    """Digest of a few clips of the list, spread evenly: other pixels under the same names are another result."""
    predictor: str
    options: Mapping[str, Any]
    fingerprint: str
    """sha256 of the predictor's values (weights, attributes), its code, and the globals that the code names."""
    annotators: Mapping[str, str]
    """Modality to annotator with its options and fingerprint, where this predictor is given annotated data."""
    metrics: Mapping[str, int]
    """Revision of each metric that is measured."""
    metric_code: Mapping[str, str]
    """Fingerprint of each metric."""
    seed: int
    samples: int
    partial: str
    """Why these clips are not the whole test set; "" where they are. Decides no number, but what may be ranked."""
    unproven: str
    """A random word where something cannot be fingerprinted, so that the result is never reused; else ""."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, JSON-able."""
        return asdict(self)

    @property
    def hash(self) -> str:
        """sha256 of the canonical JSON."""
        return hashlib.sha256(canonical(self.as_dict()).encode()).hexdigest()
