"""The loop over units: this process's share of them, one after another, read ahead."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from vpbench.clips.source import ClipSource, batches
from vpbench.errors import DataError, VpbenchError, VpbenchWarning
from vpbench.evaluation.cell import Cell
from vpbench.evaluation.keepers import Keeper
from vpbench.evaluation.plan import Run
from vpbench.evaluation.recheck import Recheck
from vpbench.evaluation.source import run_source
from vpbench.evaluation.unit import Task, UnitRunner, running
from vpbench.protocol.units import Unit

Progress = Callable[[int, int], None]
"""Called with (clips done, clips to do); a clip counts once per predictor."""


def evaluate_here(run: Run, cells: Sequence[Cell], keepers: Sequence[Keeper], progress: Progress) -> None:
    """Evaluate and publish every unit of this process's share that is missing; warn of unreadable ones.

    Raises:
        DataError: data cannot be read (with ``allow_partial``: none of them).
    """
    source = run_source(run, cells)
    counter = Counter(progress)
    runner = UnitRunner(
        run, cells, source, keepers, lambda cell, unit: cell.publish(unit, run.probe, run.manifest), counter.advance
    )
    tasks = missing_units(run, cells, keepers, source)
    groups = [refs for task in tasks for refs in task.batches(run.settings.batch_size)]
    arrays = batches(source, groups, run.settings.readers)
    counter.start(tasks)
    left_out = LeftOut(run)
    for task in tasks:
        if problem := runner(task, arrays):
            left_out.add(task.unit, problem)
        if not running(cells):
            break
    left_out.report()


def missing_units(run: Run, cells: Sequence[Cell], keepers: Sequence[Keeper], source: ClipSource) -> list[Task]:
    """Return the work of this process: its share of all units, without those that are published and of current data.

    The full list is divided: dividing the rest would lose units if another process sees another rest.

    Raises:
        DataError: a clip cannot be read.
    """
    units = run.manifest.units[run.shard.rank :: run.shard.world]
    recheck = Recheck(source, run.probe, run.manifest)
    for cell in running(cells):
        with cell.failing():
            cell.published = recheck.valid(cell, units)
    tasks = [Task(unit, [cell for cell in running(cells) if _needs(cell, unit, keepers)]) for unit in units]
    return [task for task in tasks if task.cells]


def _needs(cell: Cell, unit: Unit, keepers: Sequence[Keeper]) -> bool:
    if unit.number not in cell.published:
        return True
    return not all(keeper.complete(cell.folder, unit, cell.samples) for keeper in keepers)


@dataclass
class Counter:
    """Counts clips for a progress bar."""

    progress: Progress
    count: int = 0
    total: int = 0

    def start(self, tasks: Iterable[Task]) -> None:
        """Begin to count towards the clips of all tasks."""
        self.total = sum(task.clips for task in tasks)
        self.progress(0, self.total)

    def advance(self, clips: int) -> None:
        """Count more clips."""
        self.count += clips
        self.progress(self.count, self.total)


@dataclass
class LeftOut:
    """The units of a run that cannot be read."""

    run: Run
    problems: dict[int, VpbenchError] = field(default_factory=dict)

    def add(self, unit: Unit, problem: VpbenchError) -> None:
        """Leave out a unit, if the run may be partial.

        Raises:
            VpbenchError: the problem, if it may not.
        """
        if not self.run.settings.allow_partial:
            raise problem
        self.problems[unit.number] = problem

    def report(self) -> None:
        """Warn of each unit that was left out.

        Raises:
            DataError: those are all.
        """
        problems = [self.problems[number] for number in sorted(self.problems)]
        if problems and len(problems) == len(self.run.manifest.units):
            raise DataError(f"unit 0 left out: {problems[0]}")
        for number, problem in sorted(self.problems.items()):
            warnings.warn(f"unit {number} left out: {problem}", VpbenchWarning, stacklevel=2)
