"""The loop over units: read a batch once, and let every predictor that still needs it predict and measure."""

from __future__ import annotations

import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from vpbench.clips.annotations import find_annotations
from vpbench.clips.batch import Batch, stack
from vpbench.clips.prepare import find_prepared
from vpbench.clips.source import ClipSource, batches
from vpbench.errors import DataError, MetricError, PredictorError, VpbenchError
from vpbench.evaluation.keepers import Keeper
from vpbench.evaluation.measure import check_axes, measure
from vpbench.evaluation.plan import Cell, Plan, Settings
from vpbench.evaluation.predicting import Caller
from vpbench.evaluation.published import Recheck
from vpbench.evaluation.repeating import RepeatCheck
from vpbench.evaluation.returned import Checked
from vpbench.plugin.clip import arrays_of
from vpbench.protocol.units import Unit
from vpbench.results.provenance import describe_process, peak_memory
from vpbench.results.rows import Row
from vpbench.results.store import Attempt, Store

__all__ = ["Evaluation", "Progress", "Task"]

Progress = Callable[[int, int], None]
"""Called with (clips done, clips to do), one clip counted once per predictor."""


@dataclass
class Task:
    """One predictor's share of the work: its cell, its open result, its clock, and the rows of the unit at hand."""

    cell: Cell
    store: Store
    attempt: Attempt
    published: frozenset[int]
    check: RepeatCheck
    error: VpbenchError | None = None
    """Why it failed; the others go on."""
    axes_checked: bool = False
    """Whether the tables of its metrics are known to be [clip][step]."""
    rows: list[Row] = field(default_factory=list)
    worked: bool = False
    started: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @classmethod
    def begin(cls, cell: Cell, device: str, shard: tuple[int, int], seed: int) -> Task:
        """Open the cell's result and check what is published in it.

        Raises:
            ResultError: it is another result, cannot be written, or a unit is not what was published.
        """
        store = Store.create(cell.folder, cell.run)
        store.check_claims()
        engines = {str(getattr(metric, "engine", "")) for metric in cell.metrics.values()} - {""}
        name = device if device == "cpu" else torch.cuda.get_device_name(device)
        record = describe_process() | {"device": name, "engine": ", ".join(sorted(engines)), "shard": list(shard)}
        caller = Caller(cell.label, cell.predictor.value, cell.predictor.info, cell.outputs, seed)
        return cls(cell, store, Attempt(store, record), frozenset(store.published()), RepeatCheck(caller))

    @property
    def caller(self) -> Caller:
        """Calls the predictor."""
        return self.check.caller

    @contextmanager
    def clock(self, what: str) -> Iterator[None]:
        """Add the time of the block to ``seconds[what]``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - start

    def publish(self, number: int, stamp: str) -> None:
        """Publish the unit at hand, of data with that stamp."""
        self.worked = True
        with self.clock("publish"):
            self.store.publish(number, self.rows, self.attempt, stamp)

    def end(self) -> None:
        """Record the times, if this process did anything for the result."""
        if self.worked:
            times = {what: round(seconds, 3) for what, seconds in sorted(self.seconds.items())}
            times["wall"] = round(time.perf_counter() - self.started, 3)
            self.attempt.write(seconds=times, peak_memory_bytes=peak_memory())


@dataclass
class Evaluation:
    """A plan being carried out by this process."""

    plan: Plan
    settings: Settings
    tasks: Sequence[Task]
    keepers: Sequence[Keeper]

    def run(self, progress: Progress) -> list[str]:
        """Work through this process's units; return one line per unit that was left out as unreadable.

        The full list of units is strided, and published ones are skipped: striding what remains would lose units when
        another process strides another remainder.

        Raises:
            DataError: data cannot be read (with ``allow_partial``: none of them).
            ResultError: as :meth:`Store.publish`.
        """
        mine = self.plan.manifest.units[self.plan.rank :: self.plan.world]
        source = self.source()
        recheck = Recheck(source, self.plan.probe, self.plan.manifest)
        for task in self.tasks:
            task.published = recheck.valid(task.cell, task.store, task.attempt, mine)
        todo = [(unit, needing) for unit in mine if (needing := [t for t in self.tasks if self._needs(t, unit)])]
        size = self.settings.batch_size
        groups = [unit.clips[i : i + size] for unit, _ in todo for i in range(0, len(unit.clips), size)]
        arrays = batches(source, groups, self.settings.workers)
        done, total = 0, sum(len(unit.clips) * len(needing) for unit, needing in todo)
        progress(done, total)
        left_out: list[str] = []
        for unit, needing in todo:
            problem: VpbenchError | None = None
            for refs in (unit.clips[i : i + size] for i in range(0, len(unit.clips), size)):
                loaded = self._load(arrays, source, needing)
                if isinstance(loaded, VpbenchError):
                    problem = problem or loaded
                for task in needing:
                    if not (task.error or problem or isinstance(loaded, VpbenchError)) and not self._evaluate(
                        task, loaded, unit.number
                    ):
                        loaded = stack([source.read(ref) for ref in refs], self.plan.device, source)
                    done += len(refs)
                    progress(done, total)
            for task in needing:
                self._finish_check(task)
                if not task.error and problem is None and unit.number not in task.published:
                    task.publish(unit.number, self.plan.probe.stamp(unit, self.plan.manifest))
                task.rows.clear()
            if problem is not None:
                if not self.settings.allow_partial:
                    raise problem
                left_out.append(f"unit {unit.number} left out: {problem}")
            if all(task.error for task in self.tasks):
                break
        if left_out and len(left_out) == len(self.plan.manifest.units):
            raise DataError(left_out[0])
        return left_out

    def _needs(self, task: Task, unit: Unit) -> bool:
        if unit.number not in task.published:
            return True
        return not all(keeper.complete(task.store.folder, unit, task.cell.samples) for keeper in self.keepers)

    def source(self) -> ClipSource:
        """Read from the prepared store where there is one with all that is needed, else from the dataset."""
        plan = self.plan
        annotators = {modality: chosen.value for modality, chosen in plan.annotators.items()}
        found = {
            modality: find_annotations(plan.protocol, plan.dataset, plan.manifest, chosen)
            for modality, chosen in plan.annotators.items()
        }
        annotated = {modality: store for modality, store in found.items() if store}
        needs = {m for annotator in annotators.values() for m in annotator.info.needs}
        wanted = {"frames", *plan.future, *((plan.context - set(annotators)) | needs)} & set(
            plan.dataset.info.modalities
        )
        prepared = find_prepared(plan.protocol, plan.dataset, plan.manifest, wanted)
        if plan.flow_to_last or not (prepared and plan.probe.agrees(prepared, plan.manifest, plan.context, wanted)):
            prepared = None  # an oracle's flow is between frames that no store pairs
        return ClipSource(
            prepared or plan.dataset,
            plan.protocol.dataset.name,
            () if prepared else plan.protocol.pixels,
            plan.context,
            plan.future,
            annotators,
            plan.flow_to_last,
            None if prepared else plan.protocol.operations("semantics"),
            annotated,
        )

    def _load(
        self, arrays: Iterator[object], source: ClipSource, needing: Sequence[Task]
    ) -> list[Batch] | VpbenchError:
        """Take the next batch of clips onto the device; its time is shared by the tasks that need it."""
        start = time.perf_counter()
        read = next(arrays)
        loaded = read if isinstance(read, VpbenchError) else stack(read, self.plan.device, source)  # type: ignore[arg-type]
        for task in needing:
            task.seconds["read"] += (time.perf_counter() - start) / len(needing)
        return loaded

    def _finish_check(self, task: Task) -> None:
        """Let nothing be published that was predicted before the predictor was checked."""
        if task.error:
            return
        try:
            with task.clock("predict"):
                task.check.finish()
        except PredictorError as error:
            self._fail(task, error)

    def _evaluate(self, task: Task, loaded: Sequence[Batch], number: int) -> bool:
        """Predict and measure; an error of the predictor, or of a metric on it, fails this task only.

        Returns False if either wrote into the data that others see. A published unit is predicted for the keepers only.
        """
        seals = [_seal(batch) for batch in loaded]
        try:
            for batch, seal in zip(loaded, seals, strict=True):
                for sample in range(task.cell.samples):
                    with task.clock("predict"):
                        checked = task.caller.predict(batch, sample)
                        if _seal(batch) != seal:
                            raise PredictorError(
                                f"predictor {task.cell.label!r} writes into the data that others see: it may change "
                                f"the context that it is given, and nothing else"
                            )
                        if sample == 0:
                            task.check.add(batch, checked.prediction)
                    if number not in task.published:
                        with task.clock("measure"):
                            task.rows += self._measure(task, batch, checked, sample)
                    with task.clock("keep"):
                        for keeper in self.keepers:
                            keeper.keep(task.store.folder, batch, checked.raw, sample)
        except (PredictorError, MetricError) as error:
            self._fail(task, error)
        return [_seal(batch) for batch in loaded] == seals

    def _measure(self, task: Task, batch: Batch, checked: Checked, sample: int) -> list[Row]:
        cell, quantise = task.cell, self.plan.protocol.quantise
        if len(batch.refs) == len(batch.future.steps) and not task.axes_checked:
            check_axes(cell.label, checked, batch, cell.metrics, quantise=quantise)
            task.axes_checked = True
        return measure(
            cell.label,
            checked,
            batch,
            cell.metrics,
            quantise=quantise,
            sample=sample if cell.predictor.info.stochastic else None,
            seen=cell.seen,
        )

    def _fail(self, task: Task, error: VpbenchError) -> None:
        task.error = error
        if len(self.tasks) > 1 and error.__cause__ is not None:
            # The traceback stays; the tensors that its frames hold would take the others' memory.
            traceback.clear_frames(error.__cause__.__traceback__)


def _seal(batch: Batch) -> list[int]:
    """Return a checksum of each tensor that plugins share or that their copies are made of."""
    arrays = [*arrays_of(batch.context).values(), *arrays_of(batch.future).values()]
    return [_checksum(array) for array in arrays if isinstance(array, torch.Tensor)]


_WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def _checksum(tensor: torch.Tensor) -> int:
    whole = tensor.contiguous()
    words = whole.view(_WORDS[whole.itemsize]) if whole.is_floating_point() else whole
    return int(words.sum(dtype=torch.int64))
