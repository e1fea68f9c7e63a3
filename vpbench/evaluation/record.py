"""Describe a run: the record in ``run.json``, which says what was evaluated on what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from vpbench.errors import UsageError
from vpbench.evaluation.isolation import count_all_parameters, has_weights
from vpbench.evaluation.plan import Run
from vpbench.plugin.loader import Plugins
from vpbench.plugin.sample_metric import AnyMetric, SampleMetric
from vpbench.plugin.set_metric import SetMetric
from vpbench.protocol.protocol import Anchored, Protocol
from vpbench.protocol.units import Manifest
from vpbench.results.records import Identity, MetricRecord, RunRecord
from vpbench.select.component import Component
from vpbench.select.weights_record import WeightsUse
from vpbench.validation import validation_errors


def describe_run(
    run: Run, chosen: Component, *, identity: Identity, metrics: Mapping[str, AnyMetric], skipped: Mapping[str, str]
) -> RunRecord:
    """Return the record of one predictor's run; ``skipped`` holds the reason per metric left out.

    Raises:
        UsageError: a plugin's value, such as the address of a paper, cannot be recorded.
    """
    protocol, manifest, space = run.protocol, run.manifest, run.dataset.info.label_space
    info = chosen.info
    with validation_errors(UsageError, f"{chosen.name!r} on {protocol.name} cannot be recorded"):
        return RunRecord(
            identity=identity,
            identity_hash=identity.hash,
            predictor=chosen.name,
            preset=chosen.preset,
            sees_truth=info.oracle,
            stochastic=info.stochastic,
            paper=info.paper,
            parameters=count_all_parameters(chosen.value),
            weights=_weights(chosen, protocol, manifest),
            protocol=protocol,
            cumulative=not isinstance(protocol.sampling, Anchored),
            partial=manifest.partial,
            dropped=tuple(manifest.dropped),
            metrics={name: _metric(name, metric, run.plugins) for name, metric in metrics.items()},
            skipped=dict(skipped),
            classes=tuple(space.names) if space else (),
            manifest=manifest.entries,
        )


def _metric(name: str, metric: AnyMetric, plugins: Plugins) -> MetricRecord:
    return MetricRecord(
        revision=metric.info.revision,
        better=metric.info.better,
        unit=metric.info.unit,
        decimals=metric.info.decimals,
        released=plugins.released("metric", name),
        kind=_kind(metric),
    )


def _kind(metric: AnyMetric) -> Literal["frame", "samples", "set"]:
    if isinstance(metric, SetMetric):
        return "set"
    return "samples" if isinstance(metric, SampleMetric) else "frame"


def _weights(chosen: Component, protocol: Protocol, manifest: Manifest) -> WeightsUse | None:
    """Return how a predictor's weights were used; None if it has no weights."""
    if chosen.trained is not None:
        return chosen.trained.use(protocol.dataset.name, (ref.sequence for ref in manifest.clips))
    if chosen.trainable:
        return WeightsUse(clips="none", seen=0)
    if chosen.info.trained_on:
        return WeightsUse(clips="unknown", seen=0)
    return WeightsUse(clips="unknown", seen=0) if has_weights(chosen.value) else None
