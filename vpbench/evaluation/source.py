"""Open the source of a run's clips: the prepared store if it holds everything needed, else the dataset."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from vpbench.clips.annotations import find_annotations
from vpbench.clips.prepare import find_prepared
from vpbench.clips.probe import Probe
from vpbench.clips.source import ClipSource
from vpbench.evaluation.cell import Cell
from vpbench.evaluation.plan import Run
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import Dataset
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.units import Manifest
from vpbench.select.component import Component


def run_source(run: Run, cells: Sequence[Cell]) -> ClipSource:
    """Return the source of everything that some predictor, metric or picture of a run looks at."""
    infos = [cell.info for cell in cells]
    metrics = [metric.info for cell in cells for metric in cell.metrics.values()]
    context = {m for info in infos for m in (*info.requires, *info.uses)}
    future = {m for info in metrics for m in (*info.needs, *info.truth)}
    future |= {m for info in infos if info.oracle for m in info.outputs}
    return open_source(
        run.protocol,
        run.dataset,
        run.manifest,
        run.annotators,
        context,
        run.dataset.info.modalities if run.settings.pictures is not None else future,
        flow_to_last=any(info.oracle and "flow" in info.requires for info in infos),
        probe=run.probe,
        device=run.device,
    )


def open_source(
    protocol: Protocol,
    dataset: Dataset,
    manifest: Manifest,
    annotators: Mapping[Modality, Component],
    context: Collection[Modality],
    future: Collection[Modality],
    *,
    flow_to_last: bool = False,
    probe: Probe | None = None,
    device: str = "cpu",
) -> ClipSource:
    """Return a source of clips.

    Args:
        protocol: the protocol of the clips; a prepared store belongs to it and to ``manifest``.
        dataset: its dataset.
        manifest: the clips.
        annotators: by modality.
        context: modalities of the context that are read, if the dataset or an annotator has them.
        future: modalities of the truth that are read, if the dataset has them.
        flow_to_last: read the true flow straight to the last context frame, which no prepared store holds.
        probe: compares a few clips of a prepared store with the dataset; a store that differs is not used.
        device: where annotators run their networks.
    """
    modalities = set(dataset.info.modalities)
    context = frozenset(set(context) & {*dataset.info.context_modalities, *annotators})
    future = frozenset(set(future) & modalities)
    stores = {m: find_annotations(protocol, dataset, manifest, annotator) for m, annotator in annotators.items()}
    annotated = {modality: store for modality, store in stores.items() if store}
    needs = {m for modality in annotators.keys() - annotated for m in annotators[modality].info.needs}
    reads = {"frames", *future, *(context - set(annotators)), *needs} & modalities
    prepared = None if flow_to_last else find_prepared(protocol, dataset, manifest, reads)
    if prepared and probe and not probe.agrees(prepared, manifest, context, reads):
        prepared = None
    return ClipSource(
        prepared or dataset,
        protocol.dataset.name,
        () if prepared else protocol.pixels,
        context,
        future,
        {modality: annotator.value for modality, annotator in annotators.items()},
        flow_to_last,
        None if prepared else protocol.operations("semantics"),
        annotated,
        device,
    )
