"""Train a predictor: its stages one after another, each resumed where it stopped, then one file of weights.

Lightning runs the loop, precision, accumulation, gradient clipping, processes on GPUs and nodes, and logs. Only
``vpbench.training`` and plugins import it.
"""

from __future__ import annotations

import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, InstanceOf

from vpbench.errors import PredictorError, UsageError, VpbenchError, describe

try:
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from vpbench.training.callbacks import NotFiniteError, Stopped
    from vpbench.training.curve import draw_curve
    from vpbench.training.lock import locked
    from vpbench.training.stage import Say, run_stage, weights_record
except ModuleNotFoundError as error:
    missing = str(error.name).partition(".")[0]
    raise VpbenchError(f"training needs {missing}: pip install 'vpbench[train]'") from error

from vpbench.evaluation.keepers import Keeper
from vpbench.evaluation.launch import is_first_process
from vpbench.evaluation.prediction import no_memory
from vpbench.files import DISK_ERRORS, write_atomic, write_errors
from vpbench.plugin.loader import Plugins, load_plugins
from vpbench.plugin.training import Precision
from vpbench.protocol.protocol import Protocol, Seed
from vpbench.protocol.units import Manifest
from vpbench.select.data import open_protocol
from vpbench.select.trained import save_trained
from vpbench.temporary import remove_temporary_files
from vpbench.training.plan import TrainingPlan, TrainSettings, make_training_plan
from vpbench.validation import checked_arguments

__all__ = ["Stopped", "train", "train_plan"]

Positive = Annotated[int, Field(ge=1)]


@checked_arguments
def train(
    predictor: str,
    protocol: str | Path | Protocol,
    *,
    data_root: str | Path | None = None,
    out: str | Path = "results",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    annotate: Mapping[str, str] | None = None,
    metrics: Sequence[str] = (),
    keep: str = "",
    epochs: Positive | None = None,
    steps: Positive | None = None,
    batch_size: Positive | None = None,
    learning_rate: Annotated[float, Field(gt=0)] | None = None,
    precision: Precision | None = None,
    accumulate: Positive | None = None,
    clip: Annotated[float, Field(gt=0)] | None = None,
    crop: tuple[Positive, Positive] | None = None,
    clip_frames: Positive | None = None,
    epoch_clips: Positive | None = None,
    size: tuple[Positive, Positive] | None = None,
    compile: bool = False,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    devices: Positive | None = None,
    nodes: Positive | None = None,
    strategy: str = "auto",
    seed: Seed = 0,
    workers: Annotated[int, Field(ge=0)] = 0,
    resume: bool = True,
    minutes: Annotated[float, Field(ge=0)] = 5.0,
    plugins: InstanceOf[Plugins] | None = None,
    say: Say | None = None,
) -> Path:
    """Train a predictor on a protocol's training clips, or resume a training that stopped.

    Args:
        predictor: a name (``"NAME"``, ``"NAME:PRESET"``).
        protocol: a name, a path to a TOML file, or a :class:`vpbench.Protocol`.
        data_root: the dataset's folder.
        out: the training is written to ``<out>/training``.
        options: options by name of predictor or annotator; the predictor's ``weights`` is the file to start from.
        annotate: names of annotators by modality.
        metrics: metrics of the validation; by default the protocol's.
        keep: the metric that chooses the weights, or ``"last"``; by default the first metric.
        epochs: epochs of each stage; by default those of the recipe, like every argument up to ``size``.
        steps: optimizer steps of each stage, instead of epochs.
        batch_size: clips per batch, divided among all processes.
        learning_rate: learning rate.
        precision: ``"32"`` or ``"bf16-mixed"``.
        accumulate: batches per optimizer step.
        clip: largest norm of the gradient.
        crop: height and width of the window of each clip to train on.
        clip_frames: frames of each clip to train on, the context included.
        epoch_clips: clips of an epoch.
        size: height and width to which clips are resized for training, before the crop.
        compile: whether torch compiles the training step.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        devices: processes per node; by default the launcher's, else one per GPU.
        nodes: nodes; by default the launcher's.
        strategy: Lightning's strategy for several processes.
        seed: seed of the weights and of all noise.
        workers: processes that read ahead.
        resume: if False, refuse to train in a folder that holds a training.
        minutes: minutes between two checkpoints within an epoch.
        plugins: loaded plugins; by default the installed ones.
        say: called with lines about the progress.

    Returns:
        The file of weights.

    Raises:
        UsageError: an argument has a wrong name, type or value.
        VpbenchError: the predictor cannot be trained, or failed; checkpoints stay.
        Stopped: a signal stopped the training. With several processes, only rank 0 raises; the others exit silently.
    """
    plugins = plugins or load_plugins()
    if not isinstance(protocol, Protocol):
        protocol = open_protocol(plugins, str(protocol))
    recipe = {
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "precision": precision,
        "accumulate": accumulate,
        "clip": clip,
        "crop": crop,
        "clip_frames": clip_frames,
        "epoch_clips": epoch_clips,
        "size": size,
    }
    settings = TrainSettings(
        out=Path(out),
        data_roots={"": Path(data_root)} if data_root is not None else {},
        options=options or {},
        annotate=annotate or {},
        metrics=metrics,
        recipe={name: value for name, value in recipe.items() if value is not None},
        keep=keep,
        seed=seed,
        workers=workers,
        device=device,
        devices=devices,
        nodes=nodes,
        strategy=strategy,
        compile=compile,
        resume=resume,
        minutes=minutes,
    )
    return train_plan(make_training_plan(protocol, predictor, plugins, settings), say or (lambda line: None))


def train_plan(plan: TrainingPlan, say: Say, make_keeper: Callable[[Manifest], Keeper] | None = None) -> Path:
    """Carry out a plan (returns and raises as :func:`train`); ``make_keeper`` keeps validation predictions."""
    main = is_first_process()
    say = say if main else (lambda line: None)
    if main and not plan.settings.resume and plan.folder.exists():
        raise UsageError(f"there is a training in {plan.folder} already: resume it, or remove it to start again")
    if plan.weights.is_file():
        return plan.weights
    if main:
        write_atomic(plan.folder / "training.json", json.dumps(plan.record.to_json(), indent=1) + "\n")
    stages = []
    with locked(plan.folder) if main else nullcontext():
        if main:
            remove_temporary_files(plan.folder)
        try:
            for number in range(1, len(plan.stages) + 1):
                with _explained(plan, number), _quiet(), _without_denormals():
                    stages.append(run_stage(plan, number, say, make_keeper))
        except (NotFiniteError, Stopped):  # raised in every process: rank 0 reports it
            if main:
                raise
            raise SystemExit(0) from None  # if another rank failed, a launcher would kill rank 0 before its report
        if main:
            draw_curve(plan.folder, stages, plan.keep)
            finished = [stage.model_copy(update={"history": ()}) for stage in stages]
            save_trained(plan.weights, plan.chosen.value, weights_record(plan, finished))
    return plan.weights


@contextmanager
def _explained(plan: TrainingPlan, number: int) -> Iterator[None]:
    """Turn an error within a stage into one line.

    Raises:
        UsageError: Lightning cannot do what it was asked for.
        PredictorError: no memory, or any error of the plugin.
    """
    source = f"training stage {number} of {plan.chosen.name!r}"
    try:
        yield
    except VpbenchError:
        raise
    except MisconfigurationException as error:
        raise UsageError(f"{source}: {error}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:  # while a logger writes
            with write_errors(plan.folder):
                raise
        if no_memory(error):
            raise PredictorError(
                f"{source}: out of memory with {plan.recipes[number - 1].batch_size} clips per batch: use "
                f"a smaller batch size and accumulate as many more batches, or use bf16-mixed precision"
            ) from error
        raise PredictorError(f"{source} failed: {describe(error)}") from error


@contextmanager
def _without_denormals() -> Iterator[None]:
    """Take denormal numbers as zero: vanishing gradients are full of them, and a CPU computes with them far slower."""
    were_kept = bool(torch.tensor(1e-40).mul(1))
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(not were_kept)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's banners, its warnings about what vpbench chose, and threads that meet a full disk."""
    loggers = [logging.getLogger(f"lightning.{package}") for package in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    excepthook, threading.excepthook = threading.excepthook, _print_error_of_thread
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        threading.excepthook = excepthook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _print_error_of_thread(details: threading.ExceptHookArgs) -> None:
    """Print a thread's error, except for errors of the disk: TensorBoard raises them again where it is called."""
    if not (isinstance(details.exc_value, OSError) and details.exc_value.errno in DISK_ERRORS):
        threading.__excepthook__(details)
