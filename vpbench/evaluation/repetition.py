"""Predict clips of a result again, or read what it saved; data, options and weights must be the recorded ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vpbench.clips.batch import Batch, stack
from vpbench.clips.source import ClipSource
from vpbench.errors import DataError, Remedy, ResultError, VpbenchError
from vpbench.evaluation.keepers import saved_path
from vpbench.evaluation.launch import Shard, choose_device
from vpbench.evaluation.measure import data_fields
from vpbench.evaluation.prediction import Caller, evaluation_mode
from vpbench.evaluation.recorded import recorded_annotators, recorded_predictor
from vpbench.evaluation.source import open_source
from vpbench.plugin.clip import Modality, Prediction
from vpbench.plugin.dataset import Dataset
from vpbench.plugin.loader import Plugins
from vpbench.plugin.sample_metric import AnyMetric
from vpbench.protocol.sampling import ClipRef
from vpbench.protocol.units import build_manifest
from vpbench.results.clip_choice import clip_rows
from vpbench.results.result import Result
from vpbench.select.component import Component, choose_annotators
from vpbench.select.data import open_protocol_dataset
from vpbench.select.metrics import choose_metrics
from vpbench.select.options import Options


@dataclass(frozen=True)
class Truth:
    """The data of a result: context and truth of its clips, checked against the rows."""

    result: Result
    dataset: Dataset
    source: ClipSource
    refs: Mapping[str, ClipRef]
    metrics: Mapping[str, AnyMetric]
    """The result's metrics that are installed: they say what the digest of a row covers."""
    inputs: Collection[Modality] | None
    """Modalities of the context that the predictor receives; None if the predictor was not built."""

    def read(self, clip: str) -> Batch:
        """Read one clip as a batch.

        Raises:
            DataError: it cannot be read, or its arrays are not those that the result scored.
            ResultError: no installed metric tells what was scored.
        """
        if clip not in self.refs:
            raise DataError(f"{self.result.path}: the data have no clip {clip!r}; complete them")
        (batch,) = stack([self.source.read(self.refs[clip])], self.source.device, self.source)
        row = next((row for row in clip_rows(self.result, clip) if row["metric"] in self.metrics), None)
        if row is None:
            raise ResultError(
                f"{self.result.path}: no row of clip {clip!r} is of an installed metric, so its data cannot be "
                f"checked; load the plugin of a metric"
            )
        fields = data_fields(batch.digests[0], self.metrics[row["metric"]], self.inputs or ())
        # An annotator is named by the identity. Its maps may differ in the last bit on another device.
        compared = ("data",) if self.source.annotators or self.inputs is None else ("data", "context")
        if any(row.get(key) != fields.get(key) for key in compared):
            raise DataError(
                f"{self.result.path}: the data of clip {clip!r} are not those that were scored: name their data root"
            )
        return batch


@dataclass(frozen=True)
class Repetition:
    """The recorded predictor of a result, built again, and its data."""

    truth: Truth
    component: Component
    caller: Caller

    @property
    def proven(self) -> bool:
        """True if code and values are the recorded ones, so that its predictions are those that were scored."""
        identity = self.truth.result.run.identity
        return not identity.unproven and self.component.fingerprint == identity.fingerprint

    def predict(self, clip: str) -> tuple[Batch, Prediction]:
        """Predict the first sample of one clip (raises as :meth:`Truth.read` and :meth:`Caller.predict`)."""
        batch = self.truth.read(clip)
        with evaluation_mode(self.component.name, self.component.value):
            return batch, self.caller.predict(batch, 0).prediction


def open_repetition(
    result: Result, plugins: Plugins, roots: Mapping[str, Path], options: Options, device: str = "auto"
) -> Repetition:
    """Build the recorded predictor of a result again, and open its data.

    Args:
        result: the result.
        plugins: loaded plugins.
        roots: folders of datasets, by name.
        options: ``weights`` by the name of the predictor, where its preset names none.
        device: where to predict; ``"auto"`` is a GPU if there is one.

    Raises:
        ResultError: options, weights or annotators are not the recorded ones.
        VpbenchError: the predictor cannot be built, or the data cannot be opened.
    """
    component = _rebuild(result, plugins, options)
    annotators = _rebuild_annotators(result, plugins)
    truth = _open_truth(result, plugins, roots, annotators, choose_device(device, Shard(0, 1)), component)
    if isinstance(component.value, torch.nn.Module):
        component.value.to(truth.source.device)
    data, info = truth.dataset.info, component.info
    outputs = info.expected(set(data.modalities if info.oracle else {*data.context_modalities, *annotators}))
    caller = Caller(result.run.label, component.value, info, outputs, result.run.identity.seed)
    return Repetition(truth, component, caller)


def open_truth(result: Result, plugins: Plugins, roots: Mapping[str, Path]) -> Truth:
    """Open the data of a result without its predictor (raises as :func:`open_repetition`)."""
    return _open_truth(result, plugins, roots, {}, "cpu", None)


def is_saved(result: Result, clip: str) -> bool:
    """Return whether a result saved its prediction of a clip; frames make one complete."""
    return saved_path(result.path, clip, 0, "frames").is_file()


def read_saved(result: Result, clip: str) -> Prediction:
    """Return the first sample that a result saved of a clip, as a batch of one.

    Raises:
        ResultError: a file cannot be read, or is no array of its modality.
    """
    paths = {modality: saved_path(result.path, clip, 0, modality) for modality in _AXES}
    steps = result.run.protocol.sampling.horizon
    tensors: dict[str, Any] = {m: _load(path, m, steps) for m, path in paths.items() if path.is_file()}
    return Prediction(**tensors)


_AXES = {"frames": (3, "f"), "semantics": (None, "u"), "flow": (2, "f"), "disocclusion": (None, "b")}
"""Channels of a saved modality, the last axis, and the kind of its numbers."""


def _load(path: Path, modality: Modality, steps: int) -> Tensor:
    """Return a saved array [K,H,W] or [K,H,W,C] as a tensor in the layout of a prediction."""
    channels, kind = _AXES[modality]
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ResultError(f"{path} cannot be read as an array; remove it and run the same command again") from error
    last = () if channels is None else (channels,)
    if array.dtype.kind != kind or array.ndim != 3 + len(last) or (array.shape[0], *array.shape[3:]) != (steps, *last):
        raise ResultError(f"{path} is no saved {modality}: {array.dtype} {list(array.shape)}; remove it and run again")
    tensor = torch.from_numpy(np.array(array))[None]
    if kind == "u":
        return tensor.long()
    return tensor.movedim(-1, 2).float() if channels else tensor


def _rebuild(result: Result, plugins: Plugins, options: Options) -> Component:
    """Build the predictor of a result with its recorded weights and options."""
    run, identity = result.run, result.run.identity
    try:
        component = recorded_predictor(run, plugins, options)
    except ResultError as error:
        raise ResultError(f"{result.path}: {error}", Remedy.WEIGHTS, run.predictor) from error
    if differ := [name for name in identity.options if component.options.get(name) != identity.options[name]]:
        raise ResultError(
            f"{result.path}: the option {differ[0]} of {run.label} was {identity.options[differ[0]]!r} and is "
            f"{component.options.get(differ[0])!r} now; install the version that made the result"
        )
    return component


def _rebuild_annotators(result: Result, plugins: Plugins) -> dict[Modality, Component]:
    recorded = result.run.identity.annotators
    annotators = choose_annotators(plugins, *recorded_annotators(result.run))
    for modality, component in annotators.items():
        if component.describe() != recorded[modality]:
            raise ResultError(
                f"{result.path}: the annotator {component.name!r} of {modality} is not the recorded one; install the "
                f"version that made the result"
            )
    return annotators


def _open_truth(
    result: Result,
    plugins: Plugins,
    roots: Mapping[str, Path],
    annotators: Mapping[Modality, Component],
    device: str,
    component: Component | None,
) -> Truth:
    protocol = result.run.protocol
    dataset = open_protocol_dataset(plugins, protocol, roots)
    manifest = build_manifest(protocol, dataset, allow_partial=True)
    declared: set[Modality] = {*component.info.requires, *component.info.uses} if component else set()
    inputs = {"frames", *declared} & {*dataset.info.context_modalities, *annotators} if component else None
    source = open_source(
        protocol,
        dataset,
        manifest,
        annotators,
        declared,
        dataset.info.modalities,
        flow_to_last=component is not None and component.info.oracle and "flow" in component.info.requires,
        device=device,
    )
    refs = {ref.id: ref for ref in manifest.clips}
    return Truth(result, dataset, source, refs, _installed_metrics(result, plugins), inputs)


def _installed_metrics(result: Result, plugins: Plugins) -> dict[str, AnyMetric]:
    metrics: dict[str, AnyMetric] = {}
    for name in result.run.metrics:
        try:
            metrics |= choose_metrics(plugins, [name], "cpu")
        except VpbenchError:  # not installed, or its weights are missing: another one will do
            continue
    return metrics
