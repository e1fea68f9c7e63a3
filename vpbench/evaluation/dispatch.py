"""Let the processes of a cluster evaluate units, and publish their rows here, as if this process had computed them.

A unit whose process ends is evaluated again by another one. An error that a predictor, a metric or a clip causes is not
retried: it would happen again.
"""

from __future__ import annotations

import sys
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from vpbench.errors import PredictorError, UsageError, VpbenchError, VpbenchWarning, describe
from vpbench.evaluation.cell import Cell, Effort
from vpbench.evaluation.keepers import Keeper
from vpbench.evaluation.loop import Counter, LeftOut, Progress, missing_units
from vpbench.evaluation.plan import Run
from vpbench.evaluation.remote import CellReport, Recipe, Reply, UnitReport, UnitRequest, make_recipe
from vpbench.evaluation.source import run_source
from vpbench.evaluation.suite import Choice
from vpbench.evaluation.unit import Task, running
from vpbench.files import write_atomic
from vpbench.results.store import Attempt

TRIALS = 3
"""Processes that may end over one unit, or one after another at their start."""


@dataclass(frozen=True)
class Answer:
    """The reply of a process, or its end."""

    process: int
    reply: Reply[Any] | None
    end: str = ""
    """How the process ended, if there is no reply."""


class Pool(Protocol):
    """Processes of a cluster that evaluate the units of one run."""

    size: int
    """Number of processes to start."""

    def start(self) -> int:
        """Start a process, and return its number. Its first reply is that of :meth:`Worker.prepare`."""

    def wake(self, process: int) -> None:
        """Let an idle process give its first reply again, so that its end is noticed."""

    def send(self, process: int, request: UnitRequest) -> None:
        """Let a process evaluate a unit."""

    def receive(self) -> Answer:
        """Wait for the next answer of any process."""

    def stop(self, process: int) -> None:
        """End a process."""


OpenPool = Callable[[Recipe], AbstractContextManager[Pool]]


@dataclass(frozen=True)
class Cluster:
    """Where the units of a run are evaluated."""

    device: str
    """Device of the processes: ``cpu`` or ``cuda``."""
    open_pool: OpenPool

    def evaluate_units(
        self,
        choices: Sequence[Choice],
        run: Run,
        cells: Sequence[Cell],
        keepers: Sequence[Keeper],
        progress: Progress,
    ) -> None:
        """Evaluate and publish every unit that is missing (as :func:`vpbench.evaluation.loop.evaluate_here`).

        Raises:
            DataError: data cannot be read (with ``allow_partial``: none of them).
            VpbenchError: no process can work, or several processes ended over one unit.
        """
        for cell in running(cells):
            if cell.identity.unproven:  # its processes may hold other values, which no identity shows
                cell.error = UsageError(
                    f"{cell.label}: several processes cannot make one result of it, since it cannot be fingerprinted; "
                    f"a method `fingerprint()` that names everything that decides its numbers lets them"
                )
        tasks = missing_units(run, cells, keepers, run_source(run, cells))
        counter = Counter(progress)
        counter.start(tasks)
        if tasks:
            recipe = make_recipe(run, cells, choices, keepers, self.device)
            with self.open_pool(recipe) as pool:
                Dispatch(run, cells, pool, counter, deque(map(Assignment, tasks)))()


@dataclass
class Assignment:
    """A unit on its way, and the number of processes that ended over it."""

    task: Task
    ends: int = 0


@dataclass
class Dispatch:
    """Sends the units of the queue to the processes of a pool."""

    run: Run
    cells: Sequence[Cell]
    pool: Pool
    counter: Counter
    queue: deque[Assignment]
    _starting: dict[int, int] = field(default_factory=dict)
    """How many processes ended at their start before this one took their place, by process."""
    _busy: dict[int, Assignment] = field(default_factory=dict)
    _idle: list[int] = field(default_factory=list)
    _facts: dict[int, tuple[str, Sequence[Mapping[str, Any]]]] = field(default_factory=dict)
    """The host of each process, and what describes it for each cell."""
    _attempts: dict[tuple[int, int], Attempt] = field(default_factory=dict)
    """By process, and place of the cell."""
    _efforts: dict[tuple[int, int], Effort] = field(default_factory=dict)
    _refusal: VpbenchError | None = None
    """Why a process was given up last."""

    def __call__(self) -> None:
        """Work until the queue is empty, or every cell failed (raises as :meth:`Cluster.evaluate_units`)."""
        left_out = LeftOut(self.run)
        for _ in range(min(self.pool.size, len(self.queue))):
            self._start(0)
        try:
            while (self.queue or self._busy) and running(self.cells):
                if not self._busy and not self._starting and self._refusal:
                    raise self._refusal
                self._take(self.pool.receive(), left_out)
        finally:
            for (process, place), attempt in self._attempts.items():
                with self.cells[place].failing():
                    attempt.write(**vars(self._efforts[process, place]))
        left_out.report()

    def _take(self, answer: Answer, left_out: LeftOut) -> None:
        process, reply = answer.process, answer.reply
        if reply is None:
            self._replace(process, answer.end)
            return
        for text in reply.warnings:
            warnings.warn(text, VpbenchWarning, stacklevel=2)
        if process in self._starting:
            self._welcome(process, reply)
            return
        assignment = self._busy.pop(process)
        if reply.error is not None:
            raise _named(reply.error, reply.host)
        self._assign(process)
        self.counter.advance(assignment.task.clips)
        report: UnitReport | None = reply.value
        assert report is not None
        if report.problem is not None:
            left_out.add(assignment.task.unit, _named(report.problem, reply.host))
        self._publish(process, assignment.task, report)

    def _start(self, ends: int) -> None:
        self._starting[self.pool.start()] = ends

    def _welcome(self, process: int, reply: Reply[Any]) -> None:
        """Give a process that has started its first unit; give up one that cannot work."""
        del self._starting[process]
        if reply.error is not None:
            self._give_up(_named(reply.error, reply.host))
            self.pool.stop(process)
            return
        facts: Sequence[Mapping[str, Any]] | None = reply.value
        assert facts is not None
        self._facts[process] = reply.host, facts
        self._assign(process)

    def _assign(self, process: int) -> None:
        """Send the next unit that some cell still needs, if there is one."""
        while self.queue:
            assignment = self.queue.popleft()
            if cells := running(assignment.task.cells):
                self._busy[process] = assignment
                self.pool.send(process, self._request(assignment.task, cells))
                return
            self.counter.advance(assignment.task.clips)
        self._idle.append(process)

    def _request(self, task: Task, cells: Sequence[Cell]) -> UnitRequest:
        number = task.unit.number
        places = {place: cell for place, cell in enumerate(self.cells) if any(cell is needed for needed in cells)}
        published = tuple(place for place, cell in places.items() if number in cell.published)
        return UnitRequest(number, tuple(places), published)

    def _replace(self, process: int, end: str) -> None:
        """Put the unit of a process that ended back into the queue, and start another process."""
        assignment = self._busy.pop(process, None)
        ends = self._starting.pop(process, -1) + 1
        if assignment is not None:
            self._requeue(assignment, process, end)
        if ends == TRIALS:
            self._give_up(PredictorError(f"{TRIALS} processes ended while they started; the last one: {end}"))
        else:
            self._start(ends)

    def _requeue(self, assignment: Assignment, process: int, end: str) -> None:
        number = assignment.task.unit.number
        assignment.ends += 1
        if assignment.ends == TRIALS:
            labels = ", ".join(cell.label for cell in running(assignment.task.cells))
            raise PredictorError(
                f"{labels}: {TRIALS} processes ended over unit {number}, the last one: {end}. A predictor may crash or "
                f"use too much memory: isolate it to see which"
            )
        host, _ = self._facts[process]
        warnings.warn(
            f"a process on {host} ended ({end}); unit {number} is evaluated again", VpbenchWarning, stacklevel=2
        )
        self.queue.appendleft(assignment)
        for idle in self._idle:  # it may have ended, too
            self._starting[idle] = 0
            self.pool.wake(idle)
        self._idle.clear()

    def _give_up(self, error: VpbenchError) -> None:
        """Work without a process from here on."""
        self._refusal = error
        if self._busy or self._starting or self._idle:
            warnings.warn(f"a process less: {error}", VpbenchWarning, stacklevel=2)

    def _publish(self, process: int, task: Task, report: UnitReport) -> None:
        for place, cell_report in report.cells.items():
            cell = self.cells[place]
            self._efforts[process, place] = cell_report.effort
            if cell_report.error is not None:
                cell.error = cell.error or cell_report.error
            else:
                with cell.failing():
                    self._publish_cell(process, place, task, cell_report, report.stamp)

    def _publish_cell(self, process: int, place: int, task: Task, report: CellReport, stamp: str) -> None:
        cell = self.cells[place]
        for name, content in report.files.items():
            write_atomic(cell.folder / name, content)
        if report.rows is not None:
            attempt = self._attempt(process, place)
            cell.store.publish(task.unit.number, report.rows, attempt, stamp, report.features)

    def _attempt(self, process: int, place: int) -> Attempt:
        """Return the record of a process, which did the work, with the command of this one."""
        if (process, place) not in self._attempts:
            _, facts = self._facts[process]
            self._attempts[process, place] = Attempt(self.cells[place].store, {**facts[place], "command": sys.argv})
        return self._attempts[process, place]


def _named(error: Exception, host: str) -> VpbenchError:
    """Return an error of a process with the name of its host."""
    if isinstance(error, VpbenchError):
        named = type(error)(f"on {host}: {error}", error.remedy, error.subject)
    else:
        named = VpbenchError(f"on {host}: {describe(error)}")
    for text in getattr(error, "__notes__", ()):
        named.add_note(text)
    return named
