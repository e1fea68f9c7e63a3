"""Plan a training: its clips, its recipes, its devices, and its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from vpbench.clips.probe import Probe
from vpbench.clips.source import ClipSource
from vpbench.clips.subset import Subset
from vpbench.errors import PluginError, UsageError, did_you_mean
from vpbench.evaluation.cell import Cell, plan_cell
from vpbench.evaluation.launch import Shard, choose_device, find_launch
from vpbench.evaluation.plan import Run, Settings, add_annotators, open_run
from vpbench.evaluation.source import open_source
from vpbench.names import below
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.loader import Plugins
from vpbench.plugin.training import Recipe
from vpbench.protocol.protocol import Protocol
from vpbench.results.records import TrainingRecord, ValidationRecord, label
from vpbench.select.component import Component, choose_predictor
from vpbench.select.data import open_dataset
from vpbench.select.fingerprint import hash_weights
from vpbench.select.options import Options
from vpbench.select.trained import sequence_keys
from vpbench.training.clips import (
    TrainingClips,
    split_sequences,
    training_manifest,
    training_protocol,
    validation_manifest,
    validation_protocol,
)

LAST = "last"
"""The value of ``keep`` for the weights of the last step."""


@dataclass(frozen=True)
class TrainSettings:
    """How to train: the arguments of :func:`vpbench.train`, checked."""

    out: Path = Path("results")
    data_roots: Mapping[str, Path] = field(default_factory=dict)
    options: Options = field(default_factory=dict)
    annotate: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[str] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Fields of :class:`Recipe` that override those of every stage."""
    keep: str = ""
    seed: int = 0
    workers: int = 0
    device: str = "auto"
    devices: int | None = None
    nodes: int | None = None
    strategy: str = "auto"
    compile: bool = False
    resume: bool = True
    minutes: float = 5.0


@dataclass(frozen=True)
class Resources:
    """The processes per node, and the nodes, of a training."""

    accelerator: str
    devices: int
    nodes: int
    launched: bool
    """Whether torchrun or SLURM has started every process."""

    @property
    def world(self) -> int:
        """All processes."""
        return self.devices * self.nodes


@dataclass(frozen=True)
class TrainingPlan:
    """The decisions before the first step."""

    protocol: Protocol
    chosen: Component
    settings: TrainSettings
    resources: Resources
    source: ClipSource
    clips: Sequence[TrainingClips]
    """The clips of each stage."""
    validation: Run
    cell: Cell
    """The predictor in the validation."""
    stages: Sequence[Any]
    recipes: Sequence[Recipe]
    """The recipe of each stage, with the user's changes; a recipe may give epochs or steps."""
    keep: str
    record: TrainingRecord
    """The content of ``training.json``."""
    folder: Path
    sequences: Sequence[str]
    """Keys of all sequences that are trained or validated on."""
    notes: Sequence[str]

    @property
    def weights(self) -> Path:
        """The trained weights."""
        return self.folder / "weights.safetensors"


def make_training_plan(protocol: Protocol, predictor: str, plugins: Plugins, settings: TrainSettings) -> TrainingPlan:
    """Decide everything that can be decided before the first step.

    Raises:
        VpbenchError: the predictor cannot be trained, the protocol has nothing to train it on, a device or an option
            that does not exist.
    """
    resources = find_resources(settings)
    chosen = choose_predictor(plugins, predictor, settings.options, protocol, settings.seed)
    trainer = plugins.entry("predictor", chosen.name).load_trainer()
    if not isinstance(chosen.value, torch.nn.Module):
        raise PluginError(f"predictor {chosen.name!r} is registered with a trainer, but is no torch.nn.Module")
    choice = training_protocol(protocol).dataset
    dataset = open_dataset(plugins, choice.name, choice.options, settings.data_roots, f"protocol {protocol.name}: ")
    train, val, unreadable = split_sequences(protocol, dataset)
    validation_settings = Settings(
        data_roots=settings.data_roots,
        options=settings.options,
        annotate=add_annotators(settings.annotate, chosen.info, protocol, dataset),
        clips=protocol.training.validation_clips,
        metrics=settings.metrics,
        device="cpu",  # Lightning places the predictor, and validation its metrics
        shard="0/1",
        workers=settings.workers,
        allow_partial=True,
        seed=settings.seed,
    )
    held_out = Subset(dataset, frozenset(s.name for s in val))
    validated = validation_protocol(protocol, dataset)
    validation = open_run(validated, plugins, validation_settings, Probe(validated, held_out))
    validation = replace(validation, manifest=validation_manifest(validation.manifest))
    cell = plan_cell(validation, chosen)
    keep = settings.keep or next(iter(cell.frame_metrics), LAST)
    if keep not in {*cell.frame_metrics, LAST}:
        raise UsageError(f"no metric {keep!r} to keep weights by{did_you_mean(keep, {*cell.frame_metrics, LAST})}")
    with plugin_errors(failed_as(PluginError, f"the trainer of predictor {chosen.name!r} failed")):
        stages = list(trainer(chosen.value, protocol))
    info = chosen.info
    recipes = [_recipe(stage, number, settings.recipe, resources.world) for number, stage in enumerate(stages, 1)]
    clips = [TrainingClips.of(protocol, train, settings.seed, r.clip_frames, r.epoch_clips) for r in recipes]
    for recipe, stage_clips in zip(recipes, clips, strict=True):
        stage_clips.batches(recipe.batch_size, recipe.accumulate)
        _check_crop(recipe, protocol)
    record = TrainingRecord(
        protocol=protocol.hash,
        training=protocol.training.model_dump(mode="json"),
        clips=clips[0].hash,
        validation=ValidationRecord(manifest=validation.manifest.hash, metrics=tuple(cell.frame_metrics)),
        predictor=chosen.name,
        options=dict(chosen.options),
        start=hash_weights(chosen.value),
        code=chosen.fingerprint,
        annotators={modality: annotator.describe() for modality, annotator in validation.annotators.items()},
        stages=tuple(recipes),
        world=resources.world,
        seed=settings.seed,
        keep=keep,
    )
    name = label(chosen.name, chosen.preset)
    folder = below(settings.out, "training", protocol.name, name, record.hash[:12])
    return TrainingPlan(
        protocol,
        chosen,
        settings,
        resources,
        open_source(
            training_protocol(protocol),
            dataset,
            training_manifest(protocol, dataset),
            validation.annotators,
            {*info.requires, *info.uses, *info.outputs},
            (),
        ),
        clips,
        validation,
        cell,
        stages,
        recipes,
        keep,
        record,
        folder,
        sequence_keys(choice.name, {s.name for s in (*train, *val)}),
        [f"{len(unreadable)} sequences left out; {unreadable[0].problem}"] if unreadable else [],
    )


def _recipe(stage: Any, number: int, named: Mapping[str, Any], world: int) -> Recipe:
    """Return a stage's recipe with the fields that the user overrides.

    Raises:
        PluginError: the stage has no recipe. UsageError: nothing says how long to train; a value out of range,
            or a batch that the processes cannot share.
    """
    recipe = getattr(stage, "recipe", None)
    if not isinstance(recipe, Recipe):
        raise PluginError(f"training stage {number}, {type(stage).__name__}: `recipe` must be a vpbench.Recipe")
    names = {f.name for f in fields(Recipe)}
    if unknown := set(named) - names:
        raise UsageError(f"a recipe has no {min(unknown)!r}{did_you_mean(min(unknown), names)}")
    if not {"epochs", "steps"}.isdisjoint(named):
        recipe = replace(recipe, epochs=None, steps=None)
    try:
        recipe = replace(recipe, **named)
    except ValueError as error:
        raise UsageError(f"training stage {number}: {error}") from error
    if recipe.accumulate > 1 and not getattr(stage, "accumulates", stage.automatic_optimization):
        raise UsageError(f"training stage {number} has manual optimization, and accumulates no batches")
    if recipe.batch_size % world:
        raise UsageError(
            f"training stage {number}: a batch of {recipe.batch_size} clips cannot be divided among {world} processes: "
            f"choose a multiple of {world}, or another number of processes"
        )
    if recipe.epochs is None and recipe.steps is None:
        raise UsageError(f"training stage {number} does not say how long to train: give epochs or steps")
    return recipe


def _check_crop(recipe: Recipe, protocol: Protocol) -> None:
    """Check a crop against the size of the frames, if the recipe or the protocol fixes it."""
    size = recipe.size or protocol.size
    if recipe.crop and size and (recipe.crop[0] > size[0] or recipe.crop[1] > size[1]):
        (height, width), (rows, columns) = recipe.crop, size
        raise UsageError(f"a crop of {height}x{width} is larger than frames of {rows}x{columns}: choose a smaller crop")


def find_resources(settings: TrainSettings) -> Resources:
    """Return what to train on: as the user says, else as the launcher does, else every GPU, else one CPU process.

    Raises:
        UsageError: a GPU is asked for where torch sees none, or more than it sees.
    """
    gpu = choose_device(settings.device, Shard(0, 1)) != "cpu"
    gpus = torch.cuda.device_count() if gpu else 0
    launch = find_launch()
    launched = (launch.world // launch.nodes, launch.nodes) if launch else None
    devices, nodes = launched or (gpus if gpu else 1, 1)
    devices, nodes = settings.devices or devices, settings.nodes or nodes
    if gpu and devices > gpus:
        raise UsageError(f"{devices} devices per node: torch sees {gpus} GPU{'s' if gpus > 1 else ''} here")
    if launched and launched != (devices, nodes):
        raise UsageError(
            f"{devices} devices on each of {nodes} nodes: the launcher started {launched[0]} processes on each of "
            f"{launched[1]} nodes; name neither number"
        )
    return Resources("gpu" if gpu else "cpu", devices, nodes, launched is not None)
