"""The loop over units: read each batch once, and let every cell that still needs it predict and measure."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from vpbench.clips.batch import Batch, stack
from vpbench.clips.source import ClipSource, batches
from vpbench.errors import DataError, PredictorError, VpbenchError, VpbenchWarning
from vpbench.evaluation.cell import Cell
from vpbench.evaluation.features import measure_features
from vpbench.evaluation.keepers import Keeper
from vpbench.evaluation.measure import check_axes, measure, scored_prediction
from vpbench.evaluation.plan import Run
from vpbench.evaluation.recheck import Recheck
from vpbench.evaluation.returned import Checked
from vpbench.evaluation.samples import measure_samples
from vpbench.evaluation.source import run_source
from vpbench.plugin.clip import arrays_of
from vpbench.protocol.sampling import ClipRef
from vpbench.protocol.units import Unit
from vpbench.results.rows import Row

Progress = Callable[[int, int], None]
"""Called with (clips done, clips to do); a clip counts once per predictor."""


@dataclass(frozen=True)
class _Task:
    """One unit, the cells that need it, and its clips batch by batch."""

    unit: Unit
    cells: Sequence[Cell]
    groups: Sequence[Sequence[ClipRef]]


@dataclass
class Loop:
    """Runs the cells of a run through this process's units."""

    run: Run
    cells: Sequence[Cell]
    keepers: Sequence[Keeper]
    progress: Progress

    def __call__(self) -> None:
        """Evaluate and publish every unit that is missing; warn of units left out as unreadable.

        Raises:
            DataError: data cannot be read (with ``allow_partial``: none of them).
        """
        source = run_source(self.run, self.cells)
        tasks = self._tasks(source)
        arrays = batches(source, [group for task in tasks for group in task.groups], self._workers)
        self._count, self._total = 0, sum(len(task.unit.clips) * len(task.cells) for task in tasks)
        self.progress(0, self._total)
        problems = []
        for task in tasks:
            if problem := self._run_unit(task, arrays, source):
                if not self.run.settings.allow_partial:
                    raise problem
                problems.append(f"unit {task.unit.number} left out: {problem}")
            if all(cell.error for cell in self.cells):
                break
        if problems and len(problems) == len(self.run.manifest.units):
            raise DataError(problems[0])
        for line in problems:
            warnings.warn(line, VpbenchWarning, stacklevel=2)

    @property
    def _workers(self) -> int:
        """Number of reading processes: a run that survives crashes of predictors survives those of decoders, too."""
        settings = self.run.settings
        return max(1, settings.workers) if settings.isolated else settings.workers

    def _tasks(self, source: ClipSource) -> list[_Task]:
        """Return the work of this process: its share of all units, without those that are published.

        The full list is divided: dividing the rest would lose units if another process sees another rest.
        """
        shard, size = self.run.shard, self.run.settings.batch_size
        units = self.run.manifest.units[shard.rank :: shard.world]
        recheck = Recheck(source, self.run.probe, self.run.manifest)
        for cell in self._running(self.cells):
            with self._failing(cell):
                cell.published = recheck.valid(cell, units)
        tasks = []
        for unit in units:
            if cells := [cell for cell in self._running(self.cells) if self._needs(cell, unit)]:
                tasks.append(_Task(unit, cells, [unit.clips[i : i + size] for i in range(0, len(unit.clips), size)]))
        return tasks

    def _needs(self, cell: Cell, unit: Unit) -> bool:
        if unit.number not in cell.published:
            return True
        return not all(keeper.complete(cell.folder, unit, cell.samples) for keeper in self.keepers)

    def _running(self, cells: Sequence[Cell]) -> list[Cell]:
        return [cell for cell in cells if cell.error is None]

    @contextmanager
    def _failing(self, cell: Cell) -> Iterator[None]:
        with cell.failing():
            yield
        if len(self.cells) > 1 and cell.error and cell.error.__cause__:
            # The traceback stays; the tensors that its frames hold would take the memory of the other cells.
            traceback.clear_frames(cell.error.__cause__.__traceback__)

    def _run_unit(self, task: _Task, arrays: Iterator[object], source: ClipSource) -> VpbenchError | None:
        """Evaluate one unit and publish its rows; return the error if its clips cannot be read."""
        problem: VpbenchError | None = None
        for refs in task.groups:
            loaded = self._load(arrays, source, task.cells)
            if isinstance(loaded, VpbenchError):
                problem = problem or loaded
            seals = [] if isinstance(loaded, VpbenchError) else [_seal(batch) for batch in loaded]
            for cell in task.cells:
                if problem is None and cell.error is None and not isinstance(loaded, VpbenchError):
                    with self._failing(cell):
                        self._evaluate(cell, loaded, seals, task.unit.number)
                    if [_seal(batch) for batch in loaded] != seals:  # the predictor or a metric wrote into them
                        loaded = stack([source.read(ref) for ref in refs], self.run.device, source)
                        seals = [_seal(batch) for batch in loaded]
                self._count += len(refs)
                self.progress(self._count, self._total)
        for cell in self._running(task.cells):
            with self._failing(cell):
                with cell.clock("check"):
                    cell.check.finish()  # nothing may be published before the predictor is checked
                if problem is None and task.unit.number not in cell.published:
                    cell.publish(task.unit.number, self.run.probe.stamp(task.unit, self.run.manifest))
        for cell in task.cells:
            cell.rows.clear()
            cell.features.clear()
        return problem

    def _load(self, arrays: Iterator[object], source: ClipSource, cells: Sequence[Cell]) -> list[Batch] | VpbenchError:
        """Take the next batch of clips onto the device; the cells that need it share its time."""
        start = time.perf_counter()
        read = next(arrays)
        loaded = read if isinstance(read, VpbenchError) else stack(read, self.run.device, source)  # type: ignore[arg-type]
        for cell in cells:
            cell.seconds["read"] += (time.perf_counter() - start) / len(cells)
        return loaded

    def _evaluate(self, cell: Cell, loaded: Sequence[Batch], seals: Sequence[list[int]], number: int) -> None:
        """Predict, measure and keep; of a published unit, predictions are only kept.

        Raises:
            PredictorError, MetricError, ResultError: this cell fails.
        """
        quantise = self.run.protocol.quantise
        for batch, seal in zip(loaded, seals, strict=True):
            samples = []
            for sample in range(cell.samples):
                with cell.clock("predict"):
                    checked = cell.check.caller.predict(batch, sample)
                    if _seal(batch) != seal:
                        raise PredictorError(
                            f"predictor {cell.label!r} writes into the data that others see: it may change the "
                            f"context that it receives, and nothing else"
                        )
                cell.predicted_frames += len(batch.refs) * batch.horizon
                if sample == 0:
                    with cell.clock("check"):
                        cell.check.add(batch, checked.prediction)
                if number not in cell.published:
                    with cell.clock("measure"):
                        cell.rows += self._measure(cell, batch, checked, sample)
                        if cell.sample_metrics:
                            samples.append(scored_prediction(cell.label, checked, batch, quantise))
                with cell.clock("keep"):
                    for keeper in self.keepers:
                        keeper.keep(cell.folder, batch, checked.raw, sample)
            if samples:
                with cell.clock("measure"):
                    metrics, context = cell.sample_metrics, cell.context_modalities
                    cell.rows += measure_samples(cell.label, samples, batch, metrics, context=context)

    def _measure(self, cell: Cell, batch: Batch, checked: Checked, sample: int) -> list[Row]:
        quantise = self.run.protocol.quantise
        if len(batch.refs) == len(batch.future.steps) and not cell.axes_checked:
            check_axes(cell.label, checked, batch, cell.frame_metrics, quantise=quantise)
            cell.axes_checked = True
        number, context = sample if cell.info.stochastic else None, cell.context_modalities
        frames = partial(measure, cell.label, checked, batch, cell.frame_metrics)
        features = partial(measure_features, cell.label, checked, batch, cell.set_metrics, unit=cell.features)
        return [row for rows in (frames, features) for row in rows(quantise=quantise, sample=number, context=context)]


def _seal(batch: Batch) -> list[int]:
    """Return a checksum of each tensor that plugins share or that their copies are made of."""
    arrays = [*arrays_of(batch.context).values(), *arrays_of(batch.future).values()]
    return [_checksum(array) for array in arrays if isinstance(array, torch.Tensor)]


_WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def _checksum(tensor: torch.Tensor) -> int:
    contiguous = tensor.contiguous()
    words = contiguous.view(_WORDS[contiguous.itemsize]) if contiguous.is_floating_point() else contiguous
    return int(words.sum(dtype=torch.int64))
