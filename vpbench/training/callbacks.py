"""Callbacks at the boundary of a training step: seed before it, then check the losses and save a checkpoint."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint

from vpbench.errors import PredictorError
from vpbench.files import write_errors
from vpbench.plugin.metric import cost
from vpbench.select.weights_record import EpochRecord
from vpbench.temporary import rename
from vpbench.training.checkpoint import foreign_object
from vpbench.training.loader import TrainingLoader, seeded
from vpbench.training.validation import Validation

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_CHECK_EVERY = 10  # batches between two checks of the losses: a check waits for the GPU


class Stopped(BaseException):
    """A signal stopped the training; ``saved`` says whether the last step is in the checkpoint."""

    def __init__(self, number: int, *, saved: bool) -> None:
        super().__init__(number)
        self.number, self.saved = number, saved


class NotFiniteError(PredictorError):
    """A loss or a weight is NaN or infinite. Every process raises it, even if only one has the value."""


class Watch(Callback):
    """Places the loader, seeds torch's generators for each batch, and checks the losses."""

    def __init__(self, loader: TrainingLoader, seed: int, stage: int) -> None:
        self._loader, self._seed, self._stage = loader, seed, stage
        self._losses: list[tuple[int, torch.Tensor]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Tell the loader which process this is."""
        self._loader.place(trainer.global_rank, trainer.strategy.root_device)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed torch's global generators: Lightning does not save them, and validation draws from them."""
        torch.manual_seed(seeded(self._seed, self._stage, batch.step, trainer.global_rank))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Store the loss, and check the stored ones every few batches (raises as :meth:`check`)."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, torch.Tensor) and loss.numel() == 1:
            self._losses.append((batch.step, loss.detach().flatten()))
        if len(self._losses) >= _CHECK_EVERY:
            self.check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the losses before the validation (raises as :meth:`check`)."""
        self.check(trainer)

    def check(self, trainer: Trainer) -> None:
        """Check the losses of all processes since the last check, and log their mean.

        Raises:
            NotFiniteError: a loss is NaN or infinite; names the batch.
        """
        if not self._losses:
            return
        steps, local = [step for step, _ in self._losses], torch.cat([loss for _, loss in self._losses])
        self._losses.clear()
        losses = torch.as_tensor(trainer.strategy.reduce(local, reduce_op="mean")).cpu()
        if (bad := (~torch.isfinite(losses)).nonzero()).numel():
            first = int(bad[0])
            raise NotFiniteError(_broken(f"the loss is {losses[first].item()}", steps[first]))
        for logger in trainer.loggers:
            logger.log_metrics({"train/loss": float(losses.double().mean())}, step=steps[-1] + 1)


class Best(Checkpoint):
    """Keeps the weights with the best validation score.

    The history in ``last.ckpt`` says which weights those are. Lightning's ModelCheckpoint compares absolute paths, and
    forgets the best score when the folder moves.
    """

    def __init__(self, path: Path, validation: Validation, metric: str) -> None:
        self.path, self._validation, self._metric = path, validation, metric

    @property
    def entry(self) -> EpochRecord:
        """The best validation so far: the first of equal ones; NaN is worst."""
        better = self._validation.metrics[self._metric].info.better

        def loss(epoch: EpochRecord) -> float:
            value = cost(self._validation.overall(epoch.scores, self._metric), better)
            return math.inf if math.isnan(value) else value

        return min(self._validation.history, key=loss)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the weights after a validation that is the best so far."""
        if self.entry is self._validation.history[-1]:
            trainer.save_checkpoint(self.path, weights_only=True)


class Saver(Checkpoint):
    """Saves ``last.ckpt``: every few minutes, before and after each validation, and when a signal stops the training.

    Lightning's ModelCheckpoint may save between the batches of one optimizer step, and its signal handlers within a
    batch. A training that resumes from such a file ends with other bits. So this class saves only between optimizer
    steps, and replaces the file atomically.
    """

    def __init__(
        self,
        path: Path,
        loader: TrainingLoader,
        watch: Watch,
        validation: Validation,
        best: Best | None,
        *,
        steps: int,
        accumulate: int,
        minutes: float,
    ) -> None:
        self._path, self._loader, self._watch = path, loader, watch
        self._validation, self._best = validation, best
        self._steps, self._accumulate, self._seconds = steps, accumulate, 60 * minutes
        self._saved = time.monotonic()
        self._signal: int | None = None

    @property
    def step(self) -> int:
        """Optimizer steps so far."""
        return self._loader.served // self._accumulate

    def state_dict(self) -> dict[str, Any]:
        """Return the loader's position: Lightning restores a loader only within an epoch."""
        return {"loader": self._loader.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the loader's position."""
        self._loader.load_state_dict(state_dict["loader"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace Lightning's signal handlers; Lightning restores the original ones when it ends.

        If the checkpoint was saved before a validation, validate first: Lightning would resume with the next epoch.
        """
        self._saved = time.monotonic()
        self._interruptible = False
        for number in _SIGNALS:
            signal.signal(number, self._ask)
        trainer.should_stop = self.step >= self._steps
        if self._loader.served and self._ends(trainer) and not self._validation.current:
            self._interruptible = trainer.world_size == 1
            for callback in (self._validation, self._best):
                if callback:
                    callback.on_train_epoch_end(trainer, pl_module)
            self._interruptible = False

    def _ends(self, trainer: Trainer) -> bool:
        return trainer.should_stop or self._loader.served % len(self._loader) == 0

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._interruptible:  # one process, which validates after a checkpoint
            _leave(number, first=True)
        if self._signal == number == signal.SIGINT:
            raise Stopped(number, saved=False)  # Ctrl-C twice: now
        self._signal = number

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save between two optimizer steps, if it is time or a signal asks for it.

        Raises:
            Stopped: a signal stops the training.
            NotFiniteError: the weights are not finite.
        """
        trainer.should_stop = self.step >= self._steps
        if self._loader.served % self._accumulate:
            return
        ends = self._ends(trainer)
        due = ends or self._signal is not None or time.monotonic() - self._saved > self._seconds
        if trainer.strategy.reduce_boolean_decision(due, all=False):
            self._save(trainer, pl_module)
            self._stop(trainer)
        self._interruptible = ends and trainer.world_size == 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after the validation (raises as :meth:`on_train_batch_end`)."""
        self._interruptible = False
        self._save(trainer, pl_module)
        if not trainer.should_stop:
            self._stop(trainer)

    def _save(self, trainer: Trainer, module: LightningModule) -> None:
        """Save a checkpoint.

        Raises:
            NotFiniteError: the weights are not finite.
            PredictorError: the stage's state holds objects that no checkpoint may load.
        """
        self._watch.check(trainer)
        finite = all(bool(torch.isfinite(p).all()) for p in module.parameters())
        if not trainer.strategy.reduce_boolean_decision(finite, all=True):
            raise NotFiniteError(_broken("weights are not finite", self._loader.served - 1))
        unchecked = self._path.with_name(f".{self._path.name}.unchecked.tmp")
        trainer.save_checkpoint(unchecked)
        refused = foreign_object(unchecked) if trainer.is_global_zero and unchecked.is_file() else None
        if refused := trainer.strategy.broadcast(refused):
            unchecked.unlink(missing_ok=True)
            raise PredictorError(
                f"stage {type(module).__name__!r} keeps {refused} in its checkpoint, from which no training would "
                f"resume: keep tensors, numbers, text, lists and dictionaries"
            )
        if trainer.is_global_zero:
            with write_errors(self._path):
                rename(unchecked, self._path)
        trainer.strategy.barrier()
        self._saved = time.monotonic()

    def _stop(self, trainer: Trainer) -> None:
        local = torch.tensor([self._signal or 0], device=trainer.strategy.root_device)
        if number := int(trainer.strategy.reduce(local, reduce_op="max")[0]):
            _leave(number, first=trainer.is_global_zero)


def _leave(number: int, *, first: bool) -> NoReturn:
    if number != signal.SIGINT and first:
        _requeue()
    raise Stopped(number, saved=True)


def _broken(problem: str, batch: int) -> str:
    return (
        f"{problem} at batch {batch + 1}: training stops, and the last good checkpoint stays. Try a new training with "
        f"a lower learning rate, gradients clipped at norm 1, or 32-bit precision"
    )


def _requeue() -> None:
    """Ask SLURM to start this job again, if it is one: the same command resumes where it stopped."""
    job = os.environ.get("SLURM_JOB_ID")
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if job and (scontrol := shutil.which("scontrol")):
        subprocess.run([scontrol, "requeue", job], check=False)
