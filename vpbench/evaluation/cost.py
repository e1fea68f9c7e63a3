"""Measure what a predictor needs to predict: parameters, operations, time and memory. See docs/cost.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from vpbench.clips.batch import Batch, as_batched, stack
from vpbench.clips.readable import readable_manifest
from vpbench.errors import UsageError
from vpbench.evaluation.fit import check_fit
from vpbench.evaluation.launch import Shard, choose_device
from vpbench.evaluation.operations import UncountableError, count_operations
from vpbench.evaluation.plan import add_annotators
from vpbench.evaluation.prediction import Caller, evaluation_mode
from vpbench.evaluation.source import open_source
from vpbench.names import Selector
from vpbench.plugin.clip import Context, Future, LabelSpace, Modality, with_arrays
from vpbench.plugin.dataset import DatasetInfo
from vpbench.plugin.loader import Plugins
from vpbench.plugin.modality import ModalitySpec, merge_declarations
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.sampling import ClipRef
from vpbench.results.costs import CostIdentity, CostRecord, CostShape, Timing
from vpbench.results.provenance import cpu_model, describe_process, memory_growth
from vpbench.select.component import Component, choose_annotators, choose_predictor
from vpbench.select.data import open_protocol_dataset
from vpbench.select.members import modules_of
from vpbench.select.options import Options, check_used
from vpbench.select.parameters import count_parameters
from vpbench.select.shipped import with_shipped_weights
from vpbench.validation import validation_errors

WARM_UP = 3
"""Predictions before those that are timed."""


@dataclass(frozen=True)
class CostSettings:
    """How to measure."""

    device: str = "auto"
    batch_size: int = 8
    rounds: int = 10
    random_clips: bool = False
    """Predict clips of random values, for which no data are needed."""
    options: Options = field(default_factory=dict)
    annotate: Mapping[str, str] = field(default_factory=dict)
    data_roots: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class _Subject:
    """A predictor, the modalities that it receives and must predict, and batches of 1 and of several clips."""

    component: Component
    outputs: Sequence[Modality]
    modalities: Sequence[Modality]
    single: Batch
    several: Batch


def measure_cost(predictor: str, protocol: Protocol, plugins: Plugins, settings: CostSettings) -> CostRecord:
    """Measure the cost of one predictor on clips of one protocol.

    Args:
        predictor: ``NAME`` or ``NAME:PRESET``.
        protocol: the protocol, which must fix the size of frames.
        plugins: loaded plugins.
        settings: how to measure.

    Raises:
        UsageError: the predictor is unknown, does not fit or sees the truth, the device does not exist, or the
            protocol has no size.
        DataError: data, weights or an annotator are missing.
        PredictorError: the predictor fails, or breaks its contract.
    """
    if protocol.size is None:
        raise UsageError(
            f"{protocol.name} does not fix the size of frames, so a cost has no shape: choose a protocol with a size"
        )
    device = choose_device(settings.device, Shard(0, 1))
    subject = _subject(predictor, protocol, plugins, settings, device)
    component = subject.component
    for module in modules_of(component.value):
        module.to(device)
    caller = Caller(component.name, component.value, component.info, subject.outputs, seed=0)
    with evaluation_mode(component.name, component.value):
        latency = _timing(caller, subject.single, settings.rounds, device)
        several = _timing(caller, subject.several, settings.rounds, device)
        parameters = sum(count_parameters(component.value).values())
        operations, uncounted = _operations(subject)  # last: it takes the weights
    with validation_errors(UsageError, f"{component.name!r} on {protocol.name} cannot be recorded"):
        identity = _identity(subject, protocol, settings, device)
        process = describe_process()
        return CostRecord(
            identity=identity,
            identity_hash=identity.hash,
            preset=component.preset,
            protocol=protocol.name,
            protocol_hash=protocol.hash,
            weights=component.trained.sha256 if component.trained else "",
            parameters=parameters,
            operations=operations,
            uncounted=uncounted,
            latency=latency,
            throughput=several,
            memory="resident" if device == "cpu" else "allocated",
            versions=process["versions"],
            git=process["git"],
        )


def _subject(predictor: str, protocol: Protocol, plugins: Plugins, settings: CostSettings, device: str) -> _Subject:
    text = with_shipped_weights(plugins, predictor, settings.options, protocol.name)
    component = choose_predictor(plugins, text, settings.options, protocol)
    info = component.info
    if info.oracle:
        raise UsageError(f"predictor {component.name!r} is shown the truth: a ceiling has no cost of predicting")
    target = plugins.load("dataset", protocol.dataset.name)
    dataset = target if settings.random_clips else open_protocol_dataset(plugins, protocol, settings.data_roots)
    names = add_annotators(settings.annotate, info, protocol, dataset)
    annotators = choose_annotators(plugins, names, settings.options)
    check_used(settings.options, [component.name, *(Selector.parse(name).name for name in names.values())])
    check_fit(plugins, protocol, dataset.info, annotators, component)
    available = {*dataset.info.context_modalities, *annotators}
    modalities = sorted({"frames", *info.requires, *info.uses} & available)
    if settings.random_clips:
        make = _random_clips(protocol, dataset.info, annotators, modalities, device)
    else:
        manifest = readable_manifest(protocol, dataset, limit=settings.batch_size)
        source = open_source(protocol, dataset, manifest, annotators, modalities, (), device=device)
        clips = [source.read(ref) for ref in manifest.clips]

        def make(count: int) -> Batch:
            return stack([clips[place % len(clips)] for place in range(count)], device, source)[0]

    outputs = info.expected(available)
    return _Subject(component, outputs, modalities, make(1), make(settings.batch_size))


def _random_clips(
    protocol: Protocol,
    dataset: DatasetInfo,
    annotators: Mapping[Modality, Component],
    modalities: Sequence[Modality],
    device: str,
) -> Callable[[int], Batch]:
    """Return what makes a batch of clips whose values are random, from one seed."""
    declarations = {"the dataset": dataset.declares}
    declarations |= {f"annotator {a.name!r}": a.info.declares for a in annotators.values()}
    specs = merge_declarations(declarations)
    labels = annotators["semantics"].info.label_space if "semantics" in annotators else dataset.label_space
    sampling = protocol.sampling

    def make(count: int) -> Batch:
        generator = torch.Generator().manual_seed(0)
        sizes = dict.fromkeys(("semantics",), protocol.label_size or protocol.size)
        arrays = {
            name: as_batched(
                _random(specs[name], count, sampling.context, sizes.get(name, protocol.size), labels, generator),
                specs[name],
                device,
            )
            for name in modalities
        }
        frames = arrays["frames"]
        assert isinstance(frames, torch.Tensor)
        shape = tuple(range(sampling.context + sampling.horizon)), sampling.context, protocol.steps
        refs = tuple(ClipRef(f"random-{place}", *shape) for place in range(count))
        ids = tuple(ref.id for ref in refs)
        context = with_arrays(Context(frames, ids, label_space=labels), arrays)
        future = Future(frames[:, :0], (), ids, frames[:, -1])
        return Batch(refs, context, future, sampling.horizon, tuple({} for _ in refs))

    return make


def _random(
    spec: ModalitySpec,
    count: int,
    frames: int,
    size: tuple[int, int] | None,
    labels: LabelSpace | None,
    generator: torch.Generator,
) -> torch.Tensor:
    """Return random entries [B,N,...] of a modality in a reader's layout: numbers below 1, labels, or colours."""
    if spec.dtype == "text":
        raise UsageError(f"clips of random values cannot hold {spec.name}: measure on the protocol's clips")
    axes = (count, spec.count(frames), *((size or ()) if spec.pixels else ()), *spec.shape)
    kind = getattr(torch, spec.dtype)
    if kind.is_floating_point:
        return torch.rand(axes, generator=generator).to(kind)
    high = 2 if kind == torch.bool else len(labels) if spec.name == "semantics" and labels else 256
    return torch.randint(high, axes, generator=generator).to(kind)


def _identity(subject: _Subject, protocol: Protocol, settings: CostSettings, device: str) -> CostIdentity:
    component = subject.component
    assert protocol.size is not None
    return CostIdentity(
        predictor=component.name,
        options=dict(component.options),
        fingerprint=component.fingerprint,
        shape=CostShape(
            context=protocol.sampling.context,
            horizon=protocol.sampling.horizon,
            size=protocol.size,
            modalities=tuple(subject.modalities),
        ),
        clips="random" if settings.random_clips else "real",
        device=cpu_model() if device == "cpu" else torch.cuda.get_device_name(device),
        threads=torch.get_num_threads(),
        batch_size=settings.batch_size,
    )


def _timing(caller: Caller, batch: Batch, rounds: int, device: str) -> Timing:
    """Predict a batch once with all checks, then again without, and return the times per frame of the latter."""

    def synchronize() -> None:
        if device != "cpu":
            torch.cuda.synchronize(device)

    with _peak_memory(device) as peak:
        caller.seconds(batch, synchronize)
        memory = peak()
    caller.predict(batch, 0)
    for _ in range(WARM_UP - 2):
        caller.seconds(batch, synchronize)
    clips = len(batch.context.clips)
    times = [caller.seconds(batch, synchronize) / (clips * batch.horizon) for _ in range(rounds)]
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return Timing(
        batch_size=clips,
        rounds=rounds,
        seconds_per_frame=median,
        quartiles=(low, high),
        peak_memory_bytes=memory,
    )


@contextmanager
def _peak_memory(device: str) -> Iterator[Callable[[], int]]:
    """Measure the peak memory of the block, above the memory before it."""
    if device == "cpu":
        with memory_growth() as growth:
            yield growth
        return
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    yield lambda: int(torch.cuda.max_memory_allocated(device)) - before


def _operations(subject: _Subject) -> tuple[int | None, str]:
    """Return the operations per predicted frame, and why they cannot be counted."""
    horizon = subject.single.horizon
    try:
        return count_operations(subject.component.value, subject.single.context, horizon) // horizon, ""
    except UncountableError as error:
        return None, str(error)
