"""One predictor on one protocol: planned before the run, opened as a result folder, then run unit by unit."""

from __future__ import annotations

import secrets
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from vpbench.clips.probe import Probe
from vpbench.errors import (
    MetricError,
    PredictorError,
    ResultError,
    UsageError,
    VpbenchError,
    VpbenchWarning,
)
from vpbench.evaluation.fit import check_fit
from vpbench.evaluation.isolation import IsolatedCaller, IsolatedPredictor
from vpbench.evaluation.plan import Run
from vpbench.evaluation.prediction import Caller
from vpbench.evaluation.record import describe_run
from vpbench.evaluation.repeat_check import RepeatCheck
from vpbench.names import below
from vpbench.plugin.clip import Modality
from vpbench.plugin.members import member
from vpbench.plugin.metric import Metric, MetricMembers, Setting
from vpbench.plugin.predictor import PredictorInfo
from vpbench.plugin.sample_metric import AnyMetric, SampleMetric, frame_metrics, sample_metrics, set_metrics
from vpbench.plugin.set_metric import SetMetric
from vpbench.protocol.protocol import Anchored, Protocol
from vpbench.protocol.units import Manifest, Unit
from vpbench.results.features import UnitFeatures
from vpbench.results.provenance import describe_process, peak_memory
from vpbench.results.records import Identity, RunRecord, label
from vpbench.results.rows import Row
from vpbench.results.store import Attempt, Store
from vpbench.select.component import Component
from vpbench.select.fingerprint import Fingerprint
from vpbench.select.metrics import caution, reason_against
from vpbench.validation import validation_errors


@dataclass(frozen=True)
class Effort:
    """The work of a process on a result, under the names of :class:`AttemptRecord`."""

    seconds: Mapping[str, float]
    """By phase."""
    predicted_frames: int
    peak_memory_bytes: int


@dataclass
class Cell:
    """One predictor on one protocol, which becomes one result. An error ends this cell and no other."""

    predictor: Component
    identity: Identity
    metrics: Mapping[str, AnyMetric]
    folder: Path
    record: RunRecord
    """The content of ``run.json``."""
    samples: int
    outputs: Sequence[Modality]
    """Modalities that it must predict here."""
    context_modalities: frozenset[Modality]
    """Modalities of the context that it receives."""
    error: VpbenchError | None = None
    store: Store = field(init=False)
    attempt: Attempt = field(init=False)
    check: RepeatCheck = field(init=False)
    published: frozenset[int] = frozenset()
    """Numbers of the units that need no evaluation."""
    axes_checked: bool = False
    """True once a check has shown that its metrics return tables of [clip][step]."""
    rows: list[Row] = field(default_factory=list)
    """Rows of the current unit."""
    features: UnitFeatures = field(default_factory=UnitFeatures)
    """Vectors of the current unit."""
    worked: bool = False
    started: float = 0.0
    started_cpu: float = 0.0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    predicted_frames: int = 0

    @property
    def label(self) -> str:
        """The predictor's name with its preset."""
        return label(self.predictor.name, self.predictor.preset)

    @cached_property
    def frame_metrics(self) -> dict[str, Metric]:
        """The metrics that score frames, by name."""
        return frame_metrics(self.metrics)

    @cached_property
    def sample_metrics(self) -> dict[str, SampleMetric]:
        """The metrics that score all samples of a clip together, by name."""
        return sample_metrics(self.metrics)

    @cached_property
    def set_metrics(self) -> dict[str, SetMetric]:
        """The metrics that score a set of clips, by name."""
        return set_metrics(self.metrics)

    @property
    def info(self) -> PredictorInfo:
        """The predictor's ``info``."""
        info: PredictorInfo = self.predictor.info
        return info

    def caller(self, seed: int) -> Caller:
        """Return what calls the predictor."""
        kind = IsolatedCaller if isinstance(self.predictor.value, IsolatedPredictor) else Caller
        return kind(self.label, self.predictor.value, self.info, self.outputs, seed)

    def open(self, run: Run) -> None:
        """Open the result folder and check what is published in it.

        Raises:
            ResultError: it holds another result, cannot be written, or a unit is not what was published.
        """
        self.worked = False
        self.store = Store.create(self.folder, self.record)
        self.store.check_claims()
        self.attempt = Attempt(self.store, self.describe(run))
        self.published = frozenset(self.store.published())
        self.start(run)

    def start(self, run: Run) -> None:
        """Get ready to evaluate units in this process."""
        self.started, self.started_cpu = time.perf_counter(), time.process_time()
        self.check = RepeatCheck(self.caller(run.settings.seed))

    def describe(self, run: Run) -> dict[str, Any]:
        """Return the fields of an :class:`AttemptRecord` that describe this process."""
        libraries = {str(member(metric, MetricMembers, "library")) for metric in self.metrics.values()} - {""}
        device = run.device if run.device == "cpu" else torch.cuda.get_device_name(run.device)
        shard = [run.shard.rank, run.shard.world]
        return describe_process() | {"device": device, "engine": ", ".join(sorted(libraries)), "shard": shard}

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Let an error of the predictor, a metric or the result folder end this cell only."""
        try:
            yield
        except (PredictorError, MetricError, ResultError) as error:
            self.error = error

    @contextmanager
    def clock(self, phase: str) -> Iterator[None]:
        """Add the time of the block to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] += time.perf_counter() - start

    def publish(self, unit: Unit, probe: Probe, manifest: Manifest) -> None:
        """Publish the rows of the current unit, computed from the data that ``probe`` looks at."""
        self.worked = True
        with self.clock("publish"):
            stamp = probe.stamp(unit, manifest)
            self.store.publish(unit.number, self.rows, self.attempt, stamp, self.features.to_bytes())

    def clear(self) -> None:
        """Forget the rows and the vectors of the current unit."""
        self.rows.clear()
        self.features.clear()

    def effort(self) -> Effort:
        """Return how much this process has done for the result."""
        times = {phase: round(seconds, 3) for phase, seconds in sorted(self.seconds.items())}
        times["wall"] = round(time.perf_counter() - self.started, 3)
        times["cpu"] = round(time.process_time() - self.started_cpu, 3)
        return Effort(times, self.predicted_frames, peak_memory())

    def close(self) -> None:
        """Record the times, if this process did anything for the result; otherwise leave no empty result."""
        if isinstance(self.predictor.value, IsolatedPredictor):
            self.predictor.value.close()
        if self.worked:
            self.attempt.write(**vars(self.effort()))
        elif hasattr(self, "store"):
            self.store.remove_if_empty()


def plan_cell(run: Run, predictor: Component) -> Cell:
    """Decide what one predictor of a run does, which probes a few clips.

    Raises:
        VpbenchError: the predictor does not fit the protocol or the data, or a metric that the user named cannot apply.
    """
    protocol, dataset, info = run.protocol, run.dataset.info, predictor.info
    if isinstance(predictor.value, torch.nn.Module):
        predictor.value.to(run.device).eval()
    check_fit(run.plugins, protocol, dataset, run.annotators, predictor)
    # An oracle predicts from the truth, which no annotator supplies.
    available = dataset.modalities if info.oracle else {*dataset.context_modalities, *run.annotators}
    outputs = info.expected(set(available))
    samples = run.settings.samples if info.stochastic else 1
    metrics, skipped = _usable_metrics(run, predictor, outputs, samples)
    declared = {*info.requires, *info.uses}
    annotators = {modality: component for modality, component in run.annotators.items() if modality in declared}
    context = frozenset({"frames", *declared} & {*dataset.context_modalities, *annotators})
    truth = {m for metric in metrics.values() for m in (*metric.info.needs, *metric.info.truth)}
    fingerprints = {name: run.fingerprint(name) for name in sorted(metrics)}
    unproven = _unproven(predictor, annotators.values(), fingerprints)
    if unproven and run.shard.world > 1:
        raise UsageError(
            f"{predictor.name}: several processes cannot make one result of it, since {unproven}; a method "
            f"`fingerprint()` that names everything that decides its numbers lets them"
        )
    with validation_errors(UsageError, f"{predictor.name!r} on {protocol.name} cannot be recorded"):
        identity = Identity(
            protocol=protocol.hash,
            manifest=run.manifest.hash,
            data=run.probe.digest(run.manifest, context - set(annotators), truth & set(dataset.modalities)),
            predictor=predictor.name,
            options=dict(predictor.options),
            fingerprint=predictor.fingerprint,
            annotators={modality: component.describe() for modality, component in annotators.items()},
            metrics={name: metric.info.revision for name, metric in sorted(metrics.items())},
            metric_code={name: fingerprint.sha256 for name, fingerprint in fingerprints.items()},
            seed=run.settings.seed,
            samples=samples,
            partial=run.manifest.partial,
            unproven=secrets.token_hex(8) if unproven else "",
        )
    name = label(predictor.name, predictor.preset)
    if run.settings.samples > samples:
        warnings.warn(
            f"{name} is deterministic: one sample per clip instead of {run.settings.samples}",
            VpbenchWarning,
            stacklevel=2,
        )
    _warn_of_small_sets(metrics, len(run.manifest.clips), samples)
    if unproven:
        warnings.warn(
            f"{name}: this result will not be reused, since {unproven}; a method `fingerprint()` that names everything "
            f"that decides its numbers makes it reusable",
            VpbenchWarning,
            stacklevel=2,
        )
    folder = below(run.settings.out, protocol.name, name, identity.hash[:12])
    record = describe_run(run, predictor, identity=identity, metrics=metrics, skipped=skipped)
    return Cell(predictor, identity, metrics, folder, record, samples, outputs, context)


def _usable_metrics(
    run: Run, predictor: Component, outputs: Sequence[Modality], samples: int
) -> tuple[dict[str, AnyMetric], dict[str, str]]:
    """Divide metrics into those that can apply and those that cannot, with the reason."""
    dataset, protocol = run.dataset.info, run.protocol
    setting = Setting(
        size=protocol.size,
        truth=frozenset(dataset.modalities),
        outputs=frozenset(outputs),
        label_space=dataset.label_space,
        label_size=protocol.label_size,
        context=protocol.sampling.context,
        steps=1 if isinstance(protocol.sampling, Anchored) else len(protocol.steps),
        clips=len(run.manifest.clips),
        samples=samples,
    )
    reasons = {name: _reason_against(metric, setting, protocol) for name, metric in run.metrics.items()}
    skipped = {name: reason for name, reason in reasons.items() if reason}
    if run.settings.metrics and skipped:
        name, reason = next(iter(skipped.items()))
        raise MetricError(f"metric {name!r} cannot be measured for {predictor.name!r} on {protocol.name}: {reason}")
    return {name: metric for name, metric in run.metrics.items() if name not in skipped}, skipped


def _reason_against(metric: AnyMetric, setting: Setting, protocol: Protocol) -> str:
    """Return why a metric cannot apply to a run; "" if it can."""
    if isinstance(metric, SetMetric) and isinstance(protocol.sampling, Anchored):
        return "it needs every step of a clip, and anchored sampling scores one"
    return reason_against(metric, setting)


def _warn_of_small_sets(metrics: Mapping[str, AnyMetric], clips: int, samples: int) -> None:
    """Warn of set metrics that are doubtful for so few clips or samples; once for all predictors."""
    for name, metric in set_metrics(metrics).items():
        if text := caution(metric, clips, samples):
            warnings.warn(f"{name}: {text}", VpbenchWarning, stacklevel=2)


def _unproven(predictor: Component, annotators: Iterable[Component], metrics: Mapping[str, Fingerprint]) -> str:
    """Return why a later run cannot be proven to give this result; "" if it can."""
    reasons = [(f"predictor {predictor.name!r}", predictor.unproven)]
    reasons += [(f"annotator {annotator.name!r}", annotator.unproven) for annotator in annotators]
    reasons += [(f"metric {name!r}", fingerprint.unproven) for name, fingerprint in metrics.items()]
    return next((f"{name} cannot be fingerprinted ({reason})" for name, reason in reasons if reason), "")
