"""Describe a run: the content of ``run.json``, which says what was evaluated on what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from vpbench.plugin.dataset import DatasetInfo
from vpbench.plugin.loader import Plugins
from vpbench.plugin.metric import Metric
from vpbench.plugin.training import Trainable
from vpbench.protocol.protocol import Anchored, Protocol
from vpbench.protocol.units import Manifest
from vpbench.results.identity import Identity
from vpbench.results.store import SCHEMA
from vpbench.select.component import Component

__all__ = ["describe_run"]


def describe_run(
    chosen: Component,
    protocol: Protocol,
    manifest: Manifest,
    dataset: DatasetInfo,
    identity: Identity,
    metrics: Mapping[str, Metric],
    skipped: Mapping[str, str],
    plugins: Plugins,
) -> dict[str, Any]:
    """Return the content of ``run.json`` for one predictor; ``skipped`` holds the reason per metric left out."""
    info = chosen.info
    return {
        "schema": SCHEMA,
        "identity": identity.as_dict(),
        "identity_hash": identity.hash,
        "predictor": chosen.name,
        "preset": chosen.preset,
        "sees_truth": info.oracle,
        "stochastic": info.stochastic,
        "paper": info.paper,
        "weights": _weights(chosen, protocol, manifest),
        "protocol": protocol.model_dump(mode="json", by_alias=True),
        "cumulative": not isinstance(protocol.sampling, Anchored),
        "partial": manifest.partial,
        "dropped": list(manifest.dropped),
        "metrics": {
            name: {
                "revision": metric.info.revision,
                "better": metric.info.better,
                "unit": metric.info.unit,
                "decimals": metric.info.decimals,
                "released": plugins.released("metric", name),
            }
            for name, metric in metrics.items()
        },
        "skipped": dict(skipped),
        "classes": list(dataset.label_space.names) if dataset.label_space else [],
        "manifest": manifest.entries,
    }


def _weights(chosen: Component, protocol: Protocol, manifest: Manifest) -> dict[str, Any] | None:
    """Return what is known of a predictor's weights; None of one that has none to train."""
    if chosen.trained is not None:
        return chosen.trained.seen(protocol.dataset.name, (ref.sequence for ref in manifest.clips))
    return (
        {"clips": "none", "seen": 0}
        if isinstance(chosen.value, torch.nn.Module) and isinstance(chosen.value, Trainable)
        else None
    )
