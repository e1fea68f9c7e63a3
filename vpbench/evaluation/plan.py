"""What a run will do: which clips, which predictors with which metrics, and where each result goes."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vpbench.clips.annotations import flags
from vpbench.clips.probe import Probe
from vpbench.clips.readable import readable_manifest
from vpbench.errors import DataError, MetricError, UsageError, VpbenchWarning, did_you_mean
from vpbench.evaluation.launch import choose_device, find_shard
from vpbench.evaluation.record import describe_run
from vpbench.names import below
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import Dataset
from vpbench.plugin.loader import Plugins
from vpbench.plugin.metric import Metric, Setting
from vpbench.plugin.modality import merge_declarations
from vpbench.protocol.protocol import MAX_SAMPLES, Protocol
from vpbench.protocol.units import Manifest
from vpbench.results.records import Identity, RunRecord, label
from vpbench.select.component import Component, choose_annotators
from vpbench.select.data import open_protocol_dataset
from vpbench.select.fingerprint import Fingerprint
from vpbench.select.metrics import choose_metrics, fingerprint_metric
from vpbench.select.options import Options
from vpbench.validation import validation_errors

__all__ = ["Cell", "Plan", "Settings", "make_plan"]


@dataclass(frozen=True)
class Settings:
    """How to run: none of it but ``clips``, ``metrics``, ``samples``, ``seed``, ``annotate`` and ``options`` may change
    a number.
    """

    out: Path = Path("results")
    data_roots: Mapping[str, Path] = field(default_factory=dict)
    """Folder by dataset name; ``""`` is the folder for any other."""
    options: Options = field(default_factory=dict)
    annotate: Mapping[str, str] = field(default_factory=dict)
    clips: int | None = None
    metrics: Sequence[str] = ()
    """Empty: the protocol's, or every metric registered as a default."""
    samples: int = 1
    seed: int = 0
    device: str = "auto"
    batch_size: int = 8
    workers: int = 0
    shard: str | None = None
    allow_partial: bool = False
    save_predictions: bool = False
    pictures: int | None = None
    """Strips of that many clips are wanted: all truth is read, to be drawn."""

    def __post_init__(self) -> None:
        """Check what a Python program may have got wrong.

        Raises:
            UsageError: names the setting.
        """
        least = {"clips": 1, "pictures": 1, "samples": 1, "batch_size": 1, "workers": 0, "seed": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < bound):
                raise UsageError(f"{name} must be a whole number of {bound} or more, not {value!r}")
        if self.samples > MAX_SAMPLES or self.seed >= 2**63:
            raise UsageError(f"samples must be {MAX_SAMPLES} at most, and seed below 2**63")
        if isinstance(self.metrics, str):
            raise UsageError(f"metrics must be a list of names: [{self.metrics!r}]")


@dataclass
class Cell:
    """One predictor on one protocol: one result."""

    predictor: Component
    identity: Identity
    metrics: Mapping[str, Metric]
    folder: Path
    run: RunRecord
    """The content of ``run.json``."""
    samples: int
    outputs: Sequence[Modality]
    """What it must predict here."""
    seen: frozenset[Modality]
    """Modalities of the context that it is shown."""

    @property
    def label(self) -> str:
        """The predictor's name with its preset."""
        return label(self.predictor.name, self.predictor.preset)


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first clip is read."""

    protocol: Protocol
    probe: Probe
    manifest: Manifest
    cells: Sequence[Cell]
    annotators: Mapping[Modality, Component]
    device: str
    rank: int
    world: int
    pictured: bool = False
    """Whether all truth is read, to be drawn."""

    @property
    def dataset(self) -> Dataset:
        """The protocol's dataset."""
        return self.probe.dataset

    @property
    def context(self) -> frozenset[Modality]:
        """The modalities that some predictor's context holds."""
        has = {*self.dataset.info.context_modalities, *self.annotators}
        seen = {m for cell in self.cells for m in (*_info(cell).requires, *_info(cell).uses)}
        return frozenset(seen & has)

    @property
    def flow_to_last(self) -> bool:
        """Whether some predictor is an oracle that requires flow."""
        return any(_info(cell).oracle and "flow" in _info(cell).requires for cell in self.cells)

    @property
    def future(self) -> frozenset[Modality]:
        """The modalities of the truth that some metric or oracle looks at."""
        infos = [metric.info for cell in self.cells for metric in cell.metrics.values()]
        seen: set[Modality] = {m for info in infos for m in (*info.needs, *info.truth)}
        seen |= {m for cell in self.cells if _info(cell).oracle for m in _info(cell).outputs}
        has = frozenset(self.dataset.info.modalities)
        return has if self.pictured else frozenset(seen & has)


def make_plan(
    protocol: Protocol,
    predictors: Sequence[Component],
    plugins: Plugins,
    settings: Settings,
    probe: Probe | None = None,
) -> Plan:
    """Decide everything that can be decided before the run, which looks at a few clips.

    ``probe`` holds the dataset, where it is open already.

    Raises:
        VpbenchError: the data are not there, a predictor does not fit the protocol, a metric that the user named
            cannot apply, two predictors would write one result.
    """
    shard = find_shard(settings.shard)
    device = choose_device(settings.device, shard)
    probe = probe or Probe(protocol, open_protocol_dataset(plugins, protocol, settings.data_roots))
    dataset = probe.dataset
    manifest = readable_manifest(protocol, dataset, limit=settings.clips, allow_partial=settings.allow_partial)
    wanted = {**_defaults(protocol, dataset, predictors), **settings.annotate}
    annotators = choose_annotators(plugins, wanted, settings.options)
    names = list(settings.metrics or protocol.metrics or plugins.defaults("metric"))
    metrics = choose_metrics(plugins, names, device)
    cells = []
    for chosen in predictors:
        if isinstance(chosen.value, torch.nn.Module):
            chosen.value.to(device).eval()
        shown = _shown(chosen, protocol, dataset, annotators)
        has = dataset.info.modalities if chosen.info.oracle else dataset.info.context_modalities
        outputs = chosen.info.expected({*has, *annotators})
        usable, skipped = _usable(chosen, protocol, dataset, metrics, outputs, named=bool(settings.metrics))
        cells.append(_cell(chosen, protocol, manifest, settings, usable, skipped, shown, outputs, probe, plugins))
    folders = [cell.folder for cell in cells]
    if twice := [c.label for c in cells if folders.count(c.folder) > 1]:
        raise UsageError(f"{twice[0]!r} is asked for twice with the same options")
    return Plan(
        protocol, probe, manifest, cells, annotators, device, shard.rank, shard.world, settings.pictures is not None
    )


def _info(cell: Cell) -> Any:
    return cell.predictor.info


def _defaults(protocol: Protocol, dataset: Dataset, predictors: Sequence[Component]) -> dict[str, str]:
    """Return the protocol's annotators for what the dataset lacks and some predictor requires."""
    required = {m for chosen in predictors for m in chosen.info.requires}
    return {m: name for m, name in protocol.annotate.items() if m in required - dataset.info.context_modalities}


def _shown(
    chosen: Component, protocol: Protocol, dataset: Dataset, annotators: Mapping[Modality, Component]
) -> dict[Modality, Component]:
    """Check that the predictor gets what it requires; return the annotators whose work it is shown."""
    info = chosen.info
    horizon = protocol.sampling.horizon
    if info.horizon != "any" and info.horizon < horizon:
        raise UsageError(
            f"predictor {chosen.name!r} predicts at most {info.horizon} steps; {protocol.name} asks for {horizon}"
        )
    if info.oracle and (lacks := set(info.requires) - set(dataset.info.modalities)):
        raise DataError(f"the oracle {chosen.name!r} needs the true {min(lacks)}; {protocol.dataset.name!r} has none")
    declarations = {f"dataset {protocol.dataset.name!r}": dataset.info.declares}
    declarations |= {f"annotator {one.name!r}": one.value.info.declares for one in annotators.values()}
    merge_declarations(declarations | {f"predictor {chosen.name!r}": info.declares})
    has = {*dataset.info.context_modalities, *annotators}
    if without := [modality for modality in info.requires if modality not in has]:
        raise DataError(
            f"predictor {chosen.name!r} requires {' and '.join(without)}, which {protocol.dataset.name!r} lacks"
            f"{did_you_mean(without[0], has)}: add {flags(without)} (`vpbench list annotators`)"
        )
    seen = {*info.requires, *info.uses}
    return {modality: annotator for modality, annotator in annotators.items() if modality in seen}


def _usable(
    chosen: Component,
    protocol: Protocol,
    dataset: Dataset,
    metrics: Mapping[str, Metric],
    outputs: Sequence[Modality],
    *,
    named: bool,
) -> tuple[dict[str, Metric], dict[str, str]]:
    """Divide metrics into those that can apply and those that cannot, with the reason."""
    setting = Setting(
        size=protocol.size,
        truth=frozenset(dataset.info.modalities),
        outputs=frozenset(outputs),
        label_space=dataset.info.label_space,
        label_size=protocol.label_size,
    )
    reasons = {name: metric.why_not(setting) for name, metric in metrics.items()}
    skipped = {name: reason for name, reason in reasons.items() if reason}
    if named and skipped:
        name, reason = next(iter(skipped.items()))
        raise MetricError(f"--metric {name}: cannot be measured for {chosen.name!r} on {protocol.name}: {reason}")
    return {name: metric for name, metric in metrics.items() if name not in skipped}, skipped


def _doubt(chosen: Component, annotators: Iterable[Component], metrics: Mapping[str, Fingerprint]) -> str:
    """Return why a result of these cannot be proven to be that of another run; "" where it can."""
    doubts = [(f"predictor {chosen.name!r}", chosen.unproven)]
    doubts += [(f"annotator {annotator.name!r}", annotator.unproven) for annotator in annotators]
    doubts += [(f"metric {name!r}", proof.unproven) for name, proof in metrics.items()]
    return next((f"{what} cannot be fingerprinted ({why})" for what, why in doubts if why), "")


def _cell(
    chosen: Component,
    protocol: Protocol,
    manifest: Manifest,
    settings: Settings,
    metrics: Mapping[str, Metric],
    skipped: Mapping[str, str],
    annotators: Mapping[Modality, Component],
    outputs: Sequence[Modality],
    probe: Probe,
    plugins: Plugins,
) -> Cell:
    info, dataset = chosen.info, probe.dataset.info
    samples = settings.samples if info.stochastic else 1
    seen = frozenset({"frames", *info.requires, *info.uses} & {*dataset.context_modalities, *annotators})
    truth = {m for metric in metrics.values() for m in (*metric.info.needs, *metric.info.truth)}
    proofs = {name: fingerprint_metric(plugins, name) for name in sorted(metrics)}
    doubt = _doubt(chosen, annotators.values(), proofs)
    if doubt:
        warnings.warn(
            f"{label(chosen.name, chosen.preset)}: this result will not be reused, since {doubt}; a method "
            f"`fingerprint()` that names all that decides its numbers makes it reusable",
            VpbenchWarning,
            stacklevel=2,
        )
    with validation_errors(UsageError, f"{chosen.name!r} on {protocol.name} cannot be recorded"):
        identity = Identity(
            protocol=protocol.hash,
            manifest=manifest.hash,
            data=probe.digest(manifest, seen - set(annotators), truth & set(dataset.modalities)),
            predictor=chosen.name,
            options=dict(chosen.options),
            fingerprint=chosen.fingerprint,
            annotators={modality: annotator.describe() for modality, annotator in annotators.items()},
            metrics={name: metric.info.revision for name, metric in sorted(metrics.items())},
            metric_code={name: proof.sha256 for name, proof in proofs.items()},
            seed=settings.seed,
            samples=samples,
            partial=manifest.partial,
            unproven=secrets.token_hex(8) if doubt else "",
        )
    run = describe_run(chosen, protocol, manifest, dataset, identity, metrics, skipped, plugins)
    folder = below(settings.out, protocol.name, label(chosen.name, chosen.preset), identity.hash[:12])
    return Cell(chosen, identity, metrics, folder, run, samples, outputs, seen)
