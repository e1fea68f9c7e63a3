"""Evaluate one unit: read each of its batches once, and let every cell that needs it predict and measure."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch

from vpbench.clips.batch import Batch, stack
from vpbench.clips.source import ClipArrays, ClipSource
from vpbench.errors import PredictorError, VpbenchError
from vpbench.evaluation.cell import Cell
from vpbench.evaluation.features import measure_features
from vpbench.evaluation.keepers import Keeper
from vpbench.evaluation.measure import check_axes, measure, scored_prediction
from vpbench.evaluation.plan import Run
from vpbench.evaluation.returned import Checked
from vpbench.evaluation.samples import measure_samples
from vpbench.plugin.clip import arrays_of
from vpbench.protocol.sampling import ClipRef
from vpbench.protocol.units import Unit
from vpbench.results.rows import Row

Arrays: TypeAlias = Iterator[list[ClipArrays] | VpbenchError]
"""The clips of each batch, or the error that kept them from being read."""


@dataclass(frozen=True)
class Task:
    """One unit, and the cells that need it."""

    unit: Unit
    cells: Sequence[Cell]

    @property
    def clips(self) -> int:
        """Number of predictions: a clip counts once per cell."""
        return len(self.unit.clips) * len(self.cells)

    def batches(self, size: int) -> list[Sequence[ClipRef]]:
        """Return the unit's clips in batches of ``size``."""
        clips = self.unit.clips
        return [clips[i : i + size] for i in range(0, len(clips), size)]


@dataclass(frozen=True)
class UnitRunner:
    """Evaluates units of a run, and publishes their rows."""

    run: Run
    cells: Sequence[Cell]
    """All cells of the run."""
    source: ClipSource
    keepers: Sequence[Keeper]
    publish: Callable[[Cell, Unit], None]
    """Called with each cell and its rows of a unit, once the predictor is checked."""
    advance: Callable[[int], None]
    """Called with the number of clips after each batch and cell."""

    def __call__(self, task: Task, arrays: Arrays) -> VpbenchError | None:
        """Evaluate one unit and publish its rows; return the error if its clips cannot be read.

        Args:
            task: the unit.
            arrays: yields the arrays of the unit's batches next.
        """
        problem: VpbenchError | None = None
        for refs in task.batches(self.run.settings.batch_size):
            loaded = self._load(arrays, task.cells)
            if isinstance(loaded, VpbenchError):
                problem = problem or loaded
            seals = [] if isinstance(loaded, VpbenchError) else [_seal(batch) for batch in loaded]
            for cell in task.cells:
                if problem is None and cell.error is None and not isinstance(loaded, VpbenchError):
                    with self.failing(cell):
                        self._evaluate(cell, loaded, seals, task.unit.number)
                    if [_seal(batch) for batch in loaded] != seals:  # the predictor or a metric wrote into them
                        loaded = stack([self.source.read(ref) for ref in refs], self.run.device, self.source)
                        seals = [_seal(batch) for batch in loaded]
                self.advance(len(refs))
        for cell in running(task.cells):
            with self.failing(cell):
                with cell.clock("check"):
                    cell.check.finish()  # nothing may be published before the predictor is checked
                if problem is None and task.unit.number not in cell.published:
                    self.publish(cell, task.unit)
        for cell in task.cells:
            cell.clear()
        return problem

    @contextmanager
    def failing(self, cell: Cell) -> Iterator[None]:
        """Let an error in the block end this cell only."""
        with cell.failing():
            yield
        if len(self.cells) > 1 and cell.error and cell.error.__cause__:
            # The traceback stays; the tensors that its frames hold would take the memory of the other cells.
            traceback.clear_frames(cell.error.__cause__.__traceback__)

    def _load(self, arrays: Arrays, cells: Sequence[Cell]) -> list[Batch] | VpbenchError:
        """Take the next batch of clips onto the device; the cells that need it share its time."""
        start = time.perf_counter()
        read = next(arrays)
        loaded = read if isinstance(read, VpbenchError) else stack(read, self.run.device, self.source)
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


def running(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells that have not failed."""
    return [cell for cell in cells if cell.error is None]
