"""One stage of a training: fit it, keep its best weights, and record how it was trained."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from vpbench.errors import DataError
from vpbench.evaluation.keepers import Keeper
from vpbench.plugin.training import Recipe
from vpbench.protocol.units import Manifest
from vpbench.results.provenance import describe_process
from vpbench.select.trained import fit_weights, open_trained, save_trained
from vpbench.select.weights_record import KeptRecord, StageRecord, TrainedClips, TrainedProtocol, WeightsRecord
from vpbench.training.callbacks import Best, Saver, Watch
from vpbench.training.checkpoint import WholeCheckpoints, read_checkpoint
from vpbench.training.loader import TrainingLoader
from vpbench.training.plan import LAST, TrainingPlan
from vpbench.training.validation import Validation

Say = Callable[[str], None]


def run_stage(
    plan: TrainingPlan, number: int, say: Say, make_keeper: Callable[[Manifest], Keeper] | None
) -> StageRecord:
    """Fit stage ``number`` (from 1), unless it is finished, and leave the weights that it keeps in the predictor."""
    folder = plan.folder / f"stage{number}"
    finished, last = folder / "weights.safetensors", folder / "last.ckpt"
    if finished.is_file():
        return _load_finished(plan, finished)

    stage, recipe = plan.stages[number - 1], plan.recipes[number - 1]
    loader = TrainingLoader(
        plan.source,
        plan.clips[number - 1],
        batch_size=recipe.batch_size,
        accumulate=recipe.accumulate,
        world=plan.resources.world,
        workers=plan.settings.workers,
        stage=number,
        size=recipe.size,
        crop=recipe.crop,
    )
    steps_per_epoch = len(loader) // recipe.accumulate
    steps = _total_steps(recipe, steps_per_epoch)
    stage.recipe = recipe = replace(recipe, steps=steps)
    watch = Watch(loader, plan.settings.seed, number)
    keeper = make_keeper(plan.validation.manifest) if make_keeper else None
    validation = Validation(
        plan.validation,
        plan.cell,
        loader,
        batch_size=recipe.batch_size // plan.resources.world,
        folder=folder,
        keeper=keeper,
        say=lambda text: say(f"stage {number} of {len(plan.stages)}, {text}"),
    )
    best = Best(folder / "best.ckpt", validation, plan.keep) if plan.keep != LAST else None
    minutes = plan.settings.minutes
    saver = Saver(last, loader, watch, validation, best, steps=steps, accumulate=recipe.accumulate, minutes=minutes)
    trainer = _trainer(
        plan,
        stage,
        folder,
        [watch, validation, *_bar(), *([best] if best else []), saver],
        epochs=-(-steps // steps_per_epoch),
    )

    if last.is_file():
        read_checkpoint(last)
        say(f"stage {number} of {len(plan.stages)}, resumes from {last}")
    stage.train()
    start = time.perf_counter()
    model: Any = torch.compile(stage) if plan.settings.compile else stage
    trainer.fit(model, loader, ckpt_path=last if last.is_file() else None, weights_only=True)  # a pickle may run code
    seconds = time.perf_counter() - start - validation.seconds
    waited = 100 * loader.waited / seconds
    say(f"stage {number} of {len(plan.stages)}: {seconds:.0f} s of training, {waited:.1f} % of it waiting for data")

    if best:
        stage.load_state_dict(read_checkpoint(best.path)["state_dict"])
    choice = best.entry if best else validation.history[-1]
    record = StageRecord(
        name=type(stage).__name__,
        recipe=asdict(recipe),
        steps=saver.step,
        kept=KeptRecord(by=plan.keep, epoch=choice.epoch + 1, scores=choice.scores),
        history=tuple(validation.history),
    )
    if trainer.is_global_zero:
        save_trained(finished, plan.chosen.value, weights_record(plan, [record]))
    return record


def weights_record(plan: TrainingPlan, stages: Sequence[StageRecord]) -> WeightsRecord:
    """Describe the weights of a training; their sequences include those of the weights that it started from."""
    process = describe_process()
    started = plan.chosen.trained
    earlier = started.sequences if started else frozenset()
    return WeightsRecord(
        predictor=plan.chosen.name,
        preset=plan.chosen.preset,
        options=dict(plan.chosen.options),
        protocol=TrainedProtocol.model_validate(plan.protocol.model_dump(mode="json", by_alias=True)),
        protocol_hash=plan.protocol.hash,
        clips=TrainedClips(
            hash=plan.record.clips,
            per_epoch=plan.clips[0].per_epoch,
            sequences=None if earlier is None else tuple(sorted({*plan.sequences, *earlier})),
        ),
        annotators=plan.record.annotators,
        stages=tuple(stages),
        seed=plan.settings.seed,
        world=plan.resources.world,
        compiled=plan.settings.compile,
        started_from=started.sha256 if started else None,
        versions=process["versions"],
        git=process["git"],
    )


def _load_finished(plan: TrainingPlan, weights: Path) -> StageRecord:
    """Load the weights of a finished stage into the predictor, and return its record.

    Raises:
        DataError: vpbench did not write the file.
    """
    trained = open_trained(weights)
    fit_weights(plan.chosen.value, trained, plan.chosen.name)
    if trained.record is None or not trained.record.stages:
        raise DataError(f"{weights}: has no record of a stage; remove it, and the stage trains again")
    return trained.record.stages[0]


def _trainer(plan: TrainingPlan, stage: Any, folder: Path, callbacks: list[Any], *, epochs: int) -> Trainer:
    recipe: Recipe = stage.recipe
    attempt = f"attempt{len(list((folder / 'logs').glob('attempt*'))) + 1}"
    return Trainer(
        accelerator=plan.resources.accelerator,
        devices=plan.resources.devices,
        num_nodes=plan.resources.nodes,
        strategy=_strategy(plan, stage),
        plugins=[*_environment(plan), *_checkpoint_writer(plan.settings.strategy)],
        precision="32-true" if recipe.precision == "32" else recipe.precision,
        max_epochs=epochs,
        accumulate_grad_batches=recipe.accumulate if stage.automatic_optimization else 1,
        gradient_clip_val=recipe.clip if stage.automatic_optimization else None,
        logger=[
            CSVLogger(folder, "logs", attempt, flush_logs_every_n_steps=1),
            TensorBoardLogger(folder, "logs", attempt),
        ],
        callbacks=callbacks,
        default_root_dir=folder,
        enable_progress_bar=bool(_bar()),
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _total_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    """Return the number of optimizer steps of a recipe: its steps or its epochs, whichever end first."""
    limits = [recipe.steps, None if recipe.epochs is None else recipe.epochs * steps_per_epoch]
    return min(limit for limit in limits if limit is not None)


def _strategy(plan: TrainingPlan, stage: Any) -> str:
    """Return Lightning's strategy: with manual optimization, a backward pass may not reach every parameter."""
    manual = plan.resources.world > 1 and not stage.automatic_optimization
    return "ddp_find_unused_parameters_true" if manual and plan.settings.strategy == "auto" else plan.settings.strategy


def _environment(plan: TrainingPlan) -> list[Any]:
    """Return the environment that starts the processes: in a SLURM job without srun, Lightning would wait for ever."""
    if not plan.resources.launched:
        return [LightningEnvironment()]
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def _checkpoint_writer(strategy: str) -> list[Any]:
    """Return the writer of checkpoints; strategies that shard a model write their own."""
    return [WholeCheckpoints()] if strategy == "auto" or strategy.startswith("ddp") else []


def _bar() -> list[Any]:
    return [RichProgressBar(console_kwargs={"stderr": True})] if sys.stderr.isatty() else []
