"""Training: a predictor's stages one after another, each going on where it stopped; one file of weights at last.

Lightning does the work: the loop, precision, accumulation, clipping, processes on GPUs and nodes, logs. It is imported
in ``vpbench.training.train*`` and in plugins alone.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from vpbench.errors import PredictorError, UsageError, VpbenchError, describe

try:
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import RichProgressBar
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    from vpbench.training.callbacks import Best, NotFiniteError, Saver, Stopped, Watch
    from vpbench.training.checkpoint import read_checkpoint
    from vpbench.training.curve import draw_curve
    from vpbench.training.lock import locked
    from vpbench.training.validation import Scores, Validation
except ModuleNotFoundError as error:
    missing = str(error.name).partition(".")[0]
    raise VpbenchError(f"training needs {missing}: pip install 'vpbench[train]'") from error

from vpbench.evaluation.keepers import Keeper
from vpbench.evaluation.predicting import no_memory
from vpbench.files import write_atomic
from vpbench.plugin.loader import Plugins, load_plugins
from vpbench.plugin.training import Recipe
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.units import Manifest
from vpbench.results.provenance import describe_process
from vpbench.select.data import open_protocol
from vpbench.select.trained import fit_weights, open_trained, save_trained
from vpbench.training.loader import TrainingLoader
from vpbench.training.plan import LAST, TrainingPlan, TrainSettings, is_first_process, make_training_plan

__all__ = ["Stopped", "train", "train_plan"]

Say = Callable[[str], None]


def train(
    predictor: str,
    protocol: str | Path | Protocol,
    *,
    plugins: Plugins | None = None,
    data_root: str | Path | None = None,
    out: str | Path = "results",
    say: Say | None = None,
    **settings: Any,
) -> Path:
    """Train a predictor on a protocol's training clips, or go on with a training that stopped.

    Args:
        predictor: a name (``"NAME"``, ``"NAME:PRESET"``).
        protocol: a name, a path to a TOML file, or a :class:`vpbench.Protocol`.
        plugins: loaded plugins; by default the installed ones.
        data_root: the dataset's folder.
        out: the training goes to ``<out>/training``.
        say: called with lines about the progress.
        settings: further fields of :class:`vpbench.training.plan.TrainSettings`.

    Returns:
        The file of weights.

    Raises:
        VpbenchError: it cannot be trained, or failed; what was saved stays.
        Stopped: a signal stopped it. (Of several processes, all but the first end then, and at a NaN, without a word.)
    """
    plugins = plugins or load_plugins()
    if not isinstance(protocol, Protocol):
        protocol = open_protocol(plugins, str(protocol))
    roots = {"": Path(data_root)} if data_root is not None else {}
    plan = make_training_plan(protocol, predictor, plugins, TrainSettings(out=Path(out), data_roots=roots, **settings))
    return train_plan(plan, say or (lambda line: None))


def train_plan(plan: TrainingPlan, say: Say, keeper: Callable[[Manifest], Keeper] | None = None) -> Path:
    """Carry out a plan (returns and raises as :func:`train`); ``keeper`` makes what keeps validation predictions."""
    main = is_first_process()
    say = say if main else (lambda line: None)
    if main and not plan.settings.resume and plan.folder.exists():
        raise UsageError(f"--no-resume: there is a training in {plan.folder} already; remove it to begin anew")
    if plan.weights.is_file():
        return plan.weights
    if main:
        write_atomic(plan.folder / "training.json", json.dumps(plan.identity, indent=1) + "\n")
    stages = []
    with locked(plan.folder) if main else nullcontext():
        try:
            for number in range(1, len(plan.stages) + 1):
                with _explained(plan, number), _quiet():
                    stages.append(_run_stage(plan, number, say, keeper))
        except (NotFiniteError, Stopped):  # in every process alike: the first one tells, and fails for all
            if main:
                raise
            raise SystemExit(0) from None  # where another one fails, launchers kill the first before it has told
        if main:
            draw_curve(plan.folder, stages, plan.keep)
            save_trained(plan.weights, plan.chosen.value, _about(plan, stages))
    return plan.weights


def _run_stage(
    plan: TrainingPlan, number: int, say: Say, keeper: Callable[[Manifest], Keeper] | None
) -> Mapping[str, Any]:
    """Fit one stage, unless it was; leave its kept weights in the predictor, and return what is to be known of it."""
    folder, done = plan.folder / f"stage{number}", plan.folder / f"stage{number}" / "weights.safetensors"
    predictor = plan.chosen.value
    if done.is_file():
        trained = open_trained(done)
        fit_weights(predictor, trained, plan.chosen.name)
        return dict(trained.about["stage"])
    stage, recipe = plan.stages[number - 1], plan.recipes[number - 1]
    accumulate = recipe.accumulate if stage.automatic_optimization else 1
    loader = TrainingLoader(
        plan.source,
        plan.clips,
        batch_size=recipe.batch_size,
        accumulate=accumulate,
        world=plan.resources.world,
        workers=plan.settings.workers,
        stage=number,
    )
    per_epoch = len(loader) // accumulate
    stage.recipe = recipe = _resolved(recipe, per_epoch)
    assert recipe.steps is not None
    watch = Watch(loader, plan.settings.seed, number)
    settings = replace(plan.validation_settings, batch_size=recipe.batch_size)
    validation = Validation(
        plan.validation,
        settings,
        plan.plugins,
        loader,
        folder=folder,
        keeper=keeper(plan.validation.manifest) if keeper else None,
        say=lambda line: say(f"stage {number} of {len(plan.stages)}, {line}"),
    )
    best = Best(folder / "best.ckpt", validation, plan.keep) if plan.keep != LAST else None
    last = folder / "last.ckpt"
    saver = Saver(
        last,
        loader,
        watch,
        validation,
        best,
        steps=recipe.steps,
        accumulate=accumulate,
        minutes=plan.settings.minutes,
    )
    attempt = f"attempt{len(list((folder / 'logs').glob('attempt*'))) + 1}"
    trainer = Trainer(
        accelerator=plan.resources.accelerator,
        devices=plan.resources.devices,
        num_nodes=plan.resources.nodes,
        strategy=_strategy(plan, stage),
        plugins=_environment(plan),
        precision="32-true" if recipe.precision == "32" else recipe.precision,
        max_epochs=-(-recipe.steps // per_epoch),
        accumulate_grad_batches=accumulate,
        gradient_clip_val=recipe.clip if stage.automatic_optimization else None,
        logger=[
            CSVLogger(folder, "logs", attempt, flush_logs_every_n_steps=1),
            TensorBoardLogger(folder, "logs", attempt),
        ],
        callbacks=[watch, validation, *_bar(), *([best] if best else []), saver],
        default_root_dir=folder,
        enable_progress_bar=bool(_bar()),
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    if last.is_file():
        read_checkpoint(last)
        say(f"stage {number} of {len(plan.stages)}, goes on from {last}")
    stage.train()
    start = time.perf_counter()
    model: Any = torch.compile(stage) if plan.settings.compile else stage
    trainer.fit(
        model,
        loader,
        ckpt_path=last if last.is_file() else None,
        weights_only=True,  # a pickle may run code
    )
    seconds = time.perf_counter() - start - validation.seconds
    waited = 100 * loader.waited / seconds
    say(f"stage {number} of {len(plan.stages)}: {seconds:.0f} s of training, {waited:.1f} % of it waiting for data")
    if best:
        stage.load_state_dict(read_checkpoint(best.path)["state_dict"])
    kept = best.entry if best else validation.history[-1]
    about = {
        "name": type(stage).__name__,
        "recipe": asdict(recipe),
        "steps": saver.step,
        "kept": {"by": plan.keep, "epoch": kept["epoch"] + 1, "scores": _plain(kept["scores"])},
        "history": [{**entry, "scores": _plain(entry["scores"])} for entry in validation.history],
    }
    if trainer.is_global_zero:
        save_trained(done, predictor, {**_about(plan, [about]), "stage": about})
    return about


def _resolved(recipe: Recipe, per_epoch: int) -> Recipe:
    """Return the recipe with the number of optimiser steps that it takes."""
    limits = [recipe.steps, None if recipe.epochs is None else recipe.epochs * per_epoch]
    return replace(recipe, steps=min(limit for limit in limits if limit is not None))


def _strategy(plan: TrainingPlan, stage: Any) -> str:
    """Return Lightning's strategy: where a stage optimises by hand, parameters may be no part of a backward pass."""
    named = plan.settings.strategy
    by_hand = plan.resources.world > 1 and not stage.automatic_optimization
    return "ddp_find_unused_parameters_true" if by_hand and named == "auto" else named


def _environment(plan: TrainingPlan) -> list[Any]:
    """Return what starts the processes. Within a SLURM job without srun, Lightning would wait for others in vain."""
    if not plan.resources.launched:
        return [LightningEnvironment()]
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def _bar() -> list[Any]:
    return [RichProgressBar(console_kwargs={"stderr": True})] if sys.stderr.isatty() else []


def _plain(scores: Scores) -> dict[str, list[float | None]]:
    """Return scores without NaN, for JSON."""
    return {name: [value if value == value else None for value in values] for name, values in scores.items()}


def _about(plan: TrainingPlan, stages: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a file of weights says of itself: of its sequences, all that these weights ever saw."""
    process = describe_process()
    started = plan.chosen.trained
    before = started.sequences if started else frozenset()
    return {
        "predictor": plan.chosen.name,
        "preset": plan.chosen.preset,
        "options": dict(plan.chosen.options),
        "protocol": plan.protocol.model_dump(mode="json", by_alias=True),
        "protocol_hash": plan.protocol.hash,
        "clips": {
            "hash": plan.identity["clips"],
            "per_epoch": plan.clips.per_epoch,
            "sequences": None if before is None else sorted({*plan.sequences, *before}),
        },
        "annotators": plan.identity["annotators"],
        "stages": [{key: value for key, value in stage.items() if key != "history"} for stage in stages],
        "seed": plan.settings.seed,
        "world": plan.resources.world,
        "compiled": plan.settings.compile,
        "started_from": started and started.sha256,
        "versions": process["versions"],
        "git": process["git"],
    }


@contextmanager
def _explained(plan: TrainingPlan, number: int) -> Any:
    """Turn what may go wrong within a stage into one line.

    Raises:
        UsageError: Lightning was asked for what it cannot do. PredictorError: no memory, or any error of the plugin.
    """
    where = f"training stage {number} of {plan.chosen.name!r}"
    try:
        yield
    except VpbenchError:
        raise
    except MisconfigurationException as error:
        raise UsageError(f"{where}: {error}") from error
    except Exception as error:
        if no_memory(error):
            raise PredictorError(
                f"{where}: out of memory with {plan.recipes[number - 1].batch_size} clips per batch: lower "
                f"--batch-size and raise --accumulate by as much, or say --precision bf16-mixed"
            ) from error
        raise PredictorError(f"{where} failed: {describe(error)}") from error


@contextmanager
def _quiet() -> Any:
    """Keep what Lightning says of itself, and of what is meant to be so, from the user."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
