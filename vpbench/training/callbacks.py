"""What happens at the boundary of a training step: seeds before it; after it losses are watched and progress saved."""

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
from vpbench.plugin.metric import cost
from vpbench.training.checkpoint import foreign_object
from vpbench.training.loader import TrainingLoader, seeded
from vpbench.training.validation import Validation

__all__ = ["Best", "NotFiniteError", "Saver", "Stopped", "Watch"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_CHECK_EVERY = 10  # batches from one look at the losses to the next: a look waits for the GPU


class Stopped(BaseException):
    """A signal stopped the training; ``saved`` says whether what was reached is in the checkpoint."""

    def __init__(self, number: int, *, saved: bool) -> None:
        super().__init__(number)
        self.number, self.saved = number, saved


class NotFiniteError(PredictorError):
    """A loss or a weight is NaN or infinite. Every process raises it, whichever of them met it."""


class Watch(Callback):
    """Places the loader, seeds torch's generators for each batch, and looks at the losses."""

    def __init__(self, loader: TrainingLoader, seed: int, stage: int) -> None:
        self._loader, self._seed, self._stage = loader, seed, stage
        self._losses: list[tuple[int, torch.Tensor]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Tell the loader which process this is."""
        self._loader.place(trainer.global_rank, trainer.strategy.root_device)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed torch's global generators: Lightning keeps none of them, and validation draws from them."""
        torch.manual_seed(seeded(self._seed, self._stage, batch.step, trainer.global_rank))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss, and look at those kept now and then (raises as :meth:`check`)."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, torch.Tensor) and loss.numel() == 1:
            self._losses.append((batch.step, loss.detach().flatten()))
        if len(self._losses) >= _CHECK_EVERY:
            self.check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look before anything is validated (raises as :meth:`check`)."""
        self.check(trainer)

    def check(self, trainer: Trainer) -> None:
        """Look at the losses of all processes since the last time, and log their mean.

        Raises:
            NotFiniteError: one is NaN or infinite; names the batch.
        """
        if not self._losses:
            return
        steps, own = [step for step, _ in self._losses], torch.cat([loss for _, loss in self._losses])
        self._losses.clear()
        losses = torch.as_tensor(trainer.strategy.reduce(own, reduce_op="mean")).cpu()
        if (bad := (~torch.isfinite(losses)).nonzero()).numel():
            first = int(bad[0])
            raise NotFiniteError(_broken(f"the loss is {losses[first].item()}", steps[first]))
        for logger in trainer.loggers:
            logger.log_metrics({"train/loss": float(losses.double().mean())}, step=steps[-1] + 1)


class Best(Checkpoint):
    """Keeps the weights that validated best by a metric.

    Which those are follows from the scores in ``last.ckpt``. Lightning's ModelCheckpoint goes by absolute paths, and
    forgets the best score when the folder is moved.
    """

    def __init__(self, path: Path, validation: Validation, metric: str) -> None:
        self.path, self._validation, self._metric = path, validation, metric

    @property
    def entry(self) -> dict[str, Any]:
        """The best validation so far; of equal ones the first, and NaN is worst."""
        better = self._validation.metrics[self._metric].info.better

        def loss(entry: dict[str, Any]) -> float:
            value = cost(self._validation.overall(entry["scores"], self._metric), better)
            return math.inf if math.isnan(value) else value

        return min(self._validation.history, key=loss)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights, after validation, where none were better."""
        if self.entry is self._validation.history[-1]:
            trainer.save_checkpoint(self.path, weights_only=True)


class Saver(Checkpoint):
    """Keeps ``last.ckpt``: every few minutes, before and after validation, and when a signal asks the training to stop.

    Lightning's ModelCheckpoint may save between the batches of one optimiser step, and its signal handlers anywhere
    within a batch; what they save cannot be gone on from bit by bit. This one saves between optimiser steps alone, so
    that the file is there whole or not at all.
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
        self._asked: int | None = None

    @property
    def step(self) -> int:
        """Optimiser steps done (where a stage optimises by hand: batches)."""
        return self._loader.served // self._accumulate

    def state_dict(self) -> dict[str, Any]:
        """Keep the loader's position: Lightning restores a loader's state within an epoch only."""
        return {"loader": self._loader.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the loader's position."""
        self._loader.load_state_dict(state_dict["loader"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over from Lightning, which puts back what was there before at its end.

        Validate what was reached, where it was saved before that: Lightning goes on with the next epoch.
        """
        self._saved = time.monotonic()
        self._interruptible = False
        for number in _SIGNALS:
            signal.signal(number, self._ask)
        trainer.should_stop = self.step >= self._steps
        if self._loader.served and self._ends(trainer) and not self._validation.done:
            self._interruptible = trainer.world_size == 1
            for callback in (self._validation, self._best):
                if callback:
                    callback.on_train_epoch_end(trainer, pl_module)
            self._interruptible = False

    def _ends(self, trainer: Trainer) -> bool:
        return trainer.should_stop or self._loader.served % len(self._loader) == 0

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._interruptible:  # validating, of one process: what was reached is saved
            _leave(number, first=True)
        if self._asked == number == signal.SIGINT:
            raise Stopped(number, saved=False)  # Ctrl-C twice: now
        self._asked = number

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save between two optimiser steps, where it is time to or asked for.

        Raises:
            Stopped: a signal asked for it. NotFiniteError: the weights are not finite.
        """
        trainer.should_stop = self.step >= self._steps
        if self._loader.served % self._accumulate:
            return
        ends = self._ends(trainer)
        due = ends or self._asked is not None or time.monotonic() - self._saved > self._seconds
        if trainer.strategy.reduce_boolean_decision(due, all=False):
            self._save(trainer, pl_module)
            self._stop(trainer)
        self._interruptible = ends and trainer.world_size == 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what was reached, after validation (raises as :meth:`on_train_batch_end`)."""
        self._interruptible = False
        self._save(trainer, pl_module)
        if not trainer.should_stop:
            self._stop(trainer)

    def _save(self, trainer: Trainer, module: LightningModule) -> None:
        """Save.

        Raises:
            NotFiniteError: the weights are not finite. PredictorError: the stage keeps objects that are never loaded.
        """
        self._watch.check(trainer)
        finite = all(bool(torch.isfinite(p).all()) for p in module.parameters())
        if not trainer.strategy.reduce_boolean_decision(finite, all=True):
            raise NotFiniteError(_broken("weights are not finite", self._loader.served - 1))
        part = self._path.with_name(f"{self._path.name}.part")
        trainer.save_checkpoint(part)
        refused = foreign_object(part) if trainer.is_global_zero and part.is_file() else None
        if refused := trainer.strategy.broadcast(refused):
            part.unlink(missing_ok=True)
            raise PredictorError(
                f"stage {type(module).__name__!r} keeps {refused} in its checkpoint, from which no training would "
                f"resume: keep tensors, numbers, text, lists and dictionaries"
            )
        if trainer.is_global_zero:
            part.replace(self._path)
        trainer.strategy.barrier()
        self._saved = time.monotonic()

    def _stop(self, trainer: Trainer) -> None:
        asked = torch.tensor([self._asked or 0], device=trainer.strategy.root_device)
        number = int(trainer.strategy.reduce(asked, reduce_op="max")[0])
        if number:
            _leave(number, first=trainer.is_global_zero)


def _leave(number: int, *, first: bool) -> NoReturn:
    if number != signal.SIGINT and first:
        _requeue()
    raise Stopped(number, saved=True)


def _broken(what: str, batch: int) -> str:
    return (
        f"{what} at batch {batch + 1}: training stops, and the last good checkpoint stays. Try a lower --lr, "
        f"--clip 1 or --precision 32 (which begins anew)"
    )


def _requeue() -> None:
    """Ask SLURM, where this is one of its jobs, to start it again: the same command goes on where it stopped."""
    job = os.environ.get("SLURM_JOB_ID")
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if job and (scontrol := shutil.which("scontrol")):
        subprocess.run([scontrol, "requeue", job], check=False)
