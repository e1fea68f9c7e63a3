"""Open a run: decide everything that its predictors share before the first clip is evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vpbench.clips.probe import Probe
from vpbench.clips.readable import readable_manifest
from vpbench.evaluation.launch import Shard, choose_device, find_shard
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import Dataset
from vpbench.plugin.loader import Plugins
from vpbench.plugin.predictor import PredictorInfo
from vpbench.plugin.sample_metric import AnyMetric
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.units import Manifest
from vpbench.select.component import Component, choose_annotators
from vpbench.select.fingerprint import Fingerprint
from vpbench.select.metrics import choose_metrics, fingerprint_metric
from vpbench.select.options import Options


@dataclass(frozen=True)
class Settings:
    """How to run.

    Only ``clips``, ``metrics``, ``engine``, ``samples``, ``seed``, ``annotate`` and ``options`` change numbers.
    """

    out: Path = Path("results")
    data_roots: Mapping[str, Path] = field(default_factory=dict)
    """Folder by dataset name; ``""`` is the folder of any other dataset."""
    options: Options = field(default_factory=dict)
    annotate: Mapping[str, str] = field(default_factory=dict)
    """Annotator by modality, as ``NAME`` or ``NAME:PRESET``."""
    clips: int | None = None
    metrics: Sequence[str] = ()
    """Names of metrics; by default the protocol's, else every metric registered as a default."""
    engine: str = ""
    """Engine of the metrics that have it; by default each metric's own."""
    samples: int = 1
    seed: int = 0
    device: str = "auto"
    batch_size: int = 8
    workers: int = 0
    shard: str | None = None
    allow_partial: bool = False
    save_predictions: bool = False
    isolate: bool = False
    """True if each predictor runs in a process of its own."""
    timeout: float | None = None
    """Seconds that a predictor may take for a batch. A limit needs a process of its own, and so does ``memory``."""
    memory: float | None = None
    """GiB of resident memory that the process of a predictor may use."""
    pictures: int | None = None
    """Number of clips to draw; all truth is read, to be drawn."""

    @property
    def isolated(self) -> bool:
        """True if each predictor runs in a process of its own."""
        return self.isolate or self.timeout is not None or self.memory is not None

    @property
    def readers(self) -> int:
        """Number of reading processes: a run that survives crashes of predictors survives those of decoders, too."""
        return max(1, self.workers) if self.isolated else self.workers


@dataclass(frozen=True)
class Run:
    """Everything that the predictors of a run share: clips, annotators, metrics and settings."""

    protocol: Protocol
    plugins: Plugins
    settings: Settings
    probe: Probe
    manifest: Manifest
    annotators: Mapping[Modality, Component]
    metrics: Mapping[str, AnyMetric]
    device: str
    shard: Shard
    _fingerprints: dict[str, Fingerprint] = field(default_factory=dict)

    def fingerprint(self, metric: str) -> Fingerprint:
        """Return the fingerprint of a metric, which is computed once for all predictors."""
        if metric not in self._fingerprints:
            self._fingerprints[metric] = fingerprint_metric(self.plugins, metric, self.settings.engine)
        return self._fingerprints[metric]

    @property
    def dataset(self) -> Dataset:
        """The protocol's dataset."""
        return self.probe.dataset


def open_run(protocol: Protocol, plugins: Plugins, settings: Settings, probe: Probe) -> Run:
    """Find the clips, and build the annotators and the metrics.

    Args:
        protocol: the protocol.
        plugins: loaded plugins.
        settings: how to run; ``annotate`` names every annotator (see :func:`add_annotators`).
        probe: of the protocol's dataset.

    Raises:
        VpbenchError: data are missing, or a device, metric or annotator is unknown.
    """
    shard = find_shard(settings.shard)
    device = choose_device(settings.device, shard)
    manifest = readable_manifest(protocol, probe.dataset, limit=settings.clips, allow_partial=settings.allow_partial)
    annotators = choose_annotators(plugins, settings.annotate, settings.options)
    names = settings.metrics or protocol.metrics or plugins.defaults("metric")
    metrics = choose_metrics(plugins, list(names), device, settings.engine)
    return Run(protocol, plugins, settings, probe, manifest, annotators, metrics, device, shard)


def add_annotators(
    names: Mapping[str, str], info: PredictorInfo, protocol: Protocol, dataset: Dataset
) -> dict[str, str]:
    """Return annotators by modality: ``names``, and the protocol's for what a predictor requires and the data lack."""
    lacking = set(info.requires) - set(dataset.info.context_modalities)
    return {m: name for m, name in protocol.annotate.items() if m in lacking} | dict(names)
