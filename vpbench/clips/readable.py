"""Leave out unreadable sequences before clips are divided into units, for partial results on files only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vpbench.errors import text_of, type_name
from vpbench.plugin.dataset import Dataset
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.sampling import ClipRef
from vpbench.protocol.units import Manifest, build_manifest

_damaged: dict[tuple[str, str, int | None], Mapping[str, str]] = {}
"""Damaged sequences and their problems by protocol, state of the data and limit, so that each is read once."""


def readable_manifest(
    protocol: Protocol, dataset: Dataset, *, limit: int | None = None, allow_partial: bool = False
) -> Manifest:
    """List the clips of a protocol's test split as :func:`build_manifest`, whose arguments and errors these are.

    With ``allow_partial``, every clip of a dataset of files is read once, and sequences that cannot be read are left
    out. A container shows no damage inside its streams, and one damaged video must not take the clips of others in
    its unit along.
    """
    manifest = build_manifest(protocol, dataset, limit=limit, allow_partial=allow_partial)
    if not (allow_partial and dataset.info.needs_root):
        return manifest
    key = protocol.hash, manifest.data, limit
    damaged = dict(_damaged.get(key, {}))
    intact: set[str] = {clip.id for clip in manifest.clips} if key in _damaged else set()
    while True:
        manifest = build_manifest(protocol, dataset, limit=limit, allow_partial=True, problems=damaged)
        problems = _find_damaged(dataset, [clip for clip in manifest.clips if clip.id not in intact])
        if not problems:
            _damaged[key] = damaged
            return manifest
        intact |= {clip.id for clip in manifest.clips}
        damaged |= problems


def _find_damaged(dataset: Dataset, clips: Sequence[ClipRef]) -> dict[str, str]:
    """Return the sequences of clips whose frames cannot be read, each with its problem."""
    damaged: dict[str, str] = {}
    for clip in clips:
        if clip.sequence in damaged:
            continue
        try:
            dataset.read(clip.sequence, list(dict.fromkeys(clip.frames)), "frames")
        except Exception as error:  # a plugin's reader may raise anything
            damaged[clip.sequence] = text_of(error) or type_name(error)
    return damaged
