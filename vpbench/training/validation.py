"""Validate during training: the predictor and the metrics run as in ``vpbench run``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from vpbench.clips.batch import stack
from vpbench.clips.source import ClipReaders
from vpbench.errors import VpbenchError
from vpbench.evaluation.cell import Cell
from vpbench.evaluation.keepers import Keeper
from vpbench.evaluation.measure import measure
from vpbench.evaluation.plan import Run
from vpbench.evaluation.prediction import evaluation_mode
from vpbench.evaluation.source import run_source
from vpbench.plugin.metric import Metric
from vpbench.plugin.sample_metric import frame_metrics
from vpbench.protocol.protocol import Anchored
from vpbench.results.rows import Row
from vpbench.select.metrics import choose_metrics
from vpbench.select.weights_record import EpochRecord
from vpbench.training.loader import TrainingLoader

Scores = dict[str, tuple[float | None, ...]]
"""By metric, the score of each scored step; None if it is undefined."""


def finalise_rows(rows: Sequence[Row], metrics: Mapping[str, Metric], steps: Sequence[int]) -> Scores:
    """Finalise rows to one score per metric and step."""
    table: dict[tuple[str, int], list[Any]] = {(name, step): [] for name in metrics for step in steps}
    for row in sorted(rows, key=lambda r: (r["clip"], r.get("sample", 0))):
        if row["status"] == "ok":
            table[row["metric"], row["step"]].append(row["value"])

    def score(name: str, step: int) -> float | None:
        statistics = table[name, step]
        value = metrics[name].finalise(statistics) if statistics else math.nan
        number = float(value["score"] if isinstance(value, Mapping) else value)
        return number if math.isfinite(number) else None

    return {name: tuple(score(name, step) for step in steps) for name in metrics}


class Validation(Callback):
    """Predicts and measures the validation clips after each epoch, logs ``val/METRIC``, and keeps all scores."""

    def __init__(
        self,
        run: Run,
        cell: Cell,
        loader: TrainingLoader,
        *,
        batch_size: int,
        folder: Path,
        keeper: Keeper | None,
        say: Callable[[str], None],
    ) -> None:
        self._run, self._cell, self._loader, self._batch_size = run, cell, loader, batch_size
        self._folder, self._keeper, self._say = folder, keeper, say
        self.metrics = cell.frame_metrics
        self._readers: ClipReaders | None = None
        self.seconds = 0.0
        self.history: list[EpochRecord] = []
        """Every validation so far."""

    def state_dict(self) -> dict[str, Any]:
        """Return the history, for the checkpoint."""
        return {"history": [epoch.to_json() for epoch in self.history]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the history from a checkpoint."""
        self.history = [EpochRecord.model_validate(epoch) for epoch in state_dict["history"]]

    @property
    def epoch(self) -> int:
        """The current epoch, from 0. Lightning counts one more if a training resumes at the end of an epoch."""
        return (self._loader.served - 1) // len(self._loader)

    @property
    def current(self) -> bool:
        """Whether the current weights are validated."""
        return bool(self.history) and self.history[-1].batches == self._loader.served

    def overall(self, scores: Scores, metric: str) -> float:
        """Return the mean over the steps, or the last step's score for anchored sampling; NaN if it is undefined."""
        values = [math.nan if value is None else value for value in scores[metric]]
        anchored = isinstance(self._run.protocol.sampling, Anchored)
        return values[-1] if anchored else math.fsum(values) / len(values)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the metrics for the device of this process."""
        device, names = str(trainer.strategy.root_device), list(self._cell.frame_metrics)
        self.metrics = frame_metrics(choose_metrics(self._run.plugins, names, device))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate.

        Raises:
            VpbenchError: data cannot be read, the predictor broke its contract, or a metric failed.
        """
        start = time.perf_counter()
        with evaluation_mode(self._cell.label, self._cell.predictor.value):
            rows = self._rows(trainer)
        scores = finalise_rows(rows, self.metrics, self._run.protocol.steps)
        batches = self._loader.served
        self.history.append(EpochRecord(epoch=self.epoch, batches=batches, scores=scores))
        overall = {name: self.overall(scores, name) for name in self.metrics}
        pl_module.log_dict(
            {f"val/{name}": value for name, value in overall.items()}, sync_dist=True, on_step=False, on_epoch=True
        )
        texts = [f"{name} {value:.{self.metrics[name].info.decimals}f}" for name, value in overall.items()]
        self._say(f"epoch {self.epoch + 1}, batch {batches}: {', '.join(texts)}")
        self.seconds += time.perf_counter() - start

    def _rows(self, trainer: Trainer) -> list[Row]:
        """Return the rows of all clips; each process predicts its share."""
        run, cell, device = self._run, self._cell, str(trainer.strategy.root_device)
        source = run_source(run, [cell])
        size, clips = self._batch_size, run.manifest.clips
        groups = [clips[i : i + size] for i in range(0, len(clips), size)][trainer.global_rank :: trainer.world_size]
        caller = cell.caller(run.settings.seed)
        rows: list[Row] = []
        if self._readers is None:  # the processes of one epoch read the next
            self._readers = ClipReaders(source, run.settings.workers)
        for read in self._readers(groups):
            if isinstance(read, VpbenchError):
                raise read
            for batch in stack(read, device, source):
                checked = caller.predict(batch, 0)
                quantise = run.protocol.quantise
                rows += measure(
                    cell.label,
                    checked,
                    batch,
                    self.metrics,
                    quantise=quantise,
                    sample=None,
                    context=cell.context_modalities,
                )
                if self._keeper is not None:
                    folder = self._folder / f"epoch{self.epoch + 1:04d}"
                    self._keeper.keep(folder, batch, checked.raw, 0)
        if trainer.world_size > 1:
            shares: list[list[Row]] = [[] for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(shares, rows)
            rows = [row for share in shares for row in share]
        return rows
