"""Evaluation from a plan: go on where earlier processes stopped, publish unit by unit, summarise what is complete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpbench.errors import MetricError, PredictorError, VpbenchError, describe
from vpbench.evaluation.keepers import Keeper, PredictionKeeper
from vpbench.evaluation.loop import Evaluation, Progress, Task
from vpbench.evaluation.plan import Cell, Plan, Settings, make_plan
from vpbench.evaluation.predicting import evaluation_mode
from vpbench.plugin.guard import plugin_errors
from vpbench.plugin.loader import Plugins, load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.results.result import Result
from vpbench.results.summarise import write_summary
from vpbench.select.component import choose_predictor, wrap_predictor
from vpbench.select.data import open_protocol

__all__ = ["CellOutcome", "Outcome", "Progress", "evaluate", "run"]


@dataclass(frozen=True)
class CellOutcome:
    """The result of one predictor on one protocol, or its error."""

    cell: Cell
    result: Result | None
    """Complete or, for one shard of several, not."""
    error: VpbenchError | None
    """Why it failed, with the plugin's exception as its cause; units published before stay."""


@dataclass(frozen=True)
class Outcome:
    """The outcomes of a run: one per cell, in the plan's order."""

    cells: Sequence[CellOutcome]
    unreadable: Sequence[str]
    """One line per unit left out because its data cannot be read (with ``allow_partial``)."""


def evaluate(
    predictor: object,
    protocol: str | Path | Protocol,
    *,
    plugins: Plugins | None = None,
    progress: Progress | None = None,
    data_root: str | Path | None = None,
    out: str | Path = "results",
    **settings: Any,
) -> Result:
    """Evaluate one predictor on one protocol.

    Args:
        predictor: a name (``"NAME"``, ``"NAME:PRESET"``) or an object with ``info`` and ``predict``.
        protocol: a name, a path to a TOML file, or a :class:`vpbench.Protocol`.
        plugins: loaded plugins; by default the installed ones.
        progress: called with (clips done, clips to do).
        data_root: the dataset's folder.
        out: where results go.
        settings: further fields of :class:`vpbench.evaluation.plan.Settings`.

    Returns:
        The result; its rows and summary are on disk.

    Raises:
        VpbenchError: the run is not possible, or the predictor or a metric failed; units published before stay. An
            exception of a plugin is its ``__cause__``.
    """
    plugins = plugins or load_plugins()
    roots = {"": Path(data_root)} if data_root is not None else {}
    chosen_settings = Settings(out=Path(out), data_roots=roots, **settings)
    if not isinstance(protocol, Protocol):
        protocol = open_protocol(plugins, str(protocol))
    if isinstance(predictor, str):
        chosen = choose_predictor(plugins, predictor, chosen_settings.options)
    else:
        chosen = wrap_predictor(predictor)
    with evaluation_mode(chosen.name, chosen.value):
        outcome = run(make_plan(protocol, [chosen], plugins, chosen_settings), chosen_settings, progress)
    (cell,) = outcome.cells
    if cell.error is not None:
        raise cell.error
    assert cell.result is not None
    return cell.result


def run(plan: Plan, settings: Settings, progress: Progress | None = None, keepers: Sequence[Keeper] = ()) -> Outcome:
    """Carry out a plan; ``keepers`` keep what they want of each prediction.

    Raises:
        VpbenchError: the data cannot be read, or a result cannot be written. Published units stay.
    """
    if settings.save_predictions:
        keepers = [*keepers, PredictionKeeper()]
    shard = plan.rank, plan.world
    tasks = [Task.begin(cell, plan.device, shard, settings.seed) for cell in plan.cells]
    try:
        with ExitStack() as modes:
            for task in tasks:
                with _failing(task):
                    modes.enter_context(evaluation_mode(task.cell.label, task.cell.predictor.value))
            evaluation = Evaluation(plan, settings, tasks, keepers)
            unreadable = evaluation.run(progress or (lambda done, total: None))
        # One shard of several cannot know whether the others are done: the last one, or merge, summarises.
        partial = settings.allow_partial and plan.world == 1
        return Outcome([_conclude(task, allow_partial=partial) for task in tasks], unreadable)
    finally:
        for task in tasks:
            task.end()


def _conclude(task: Task, *, allow_partial: bool) -> CellOutcome:
    """Write the summary of a task that did not fail, if its result is complete."""
    if not task.error:
        with _failing(task), task.clock("summary"):
            write_summary(task.store, task.cell.metrics, allow_partial=allow_partial)
    return CellOutcome(task.cell, None if task.error else Result(task.store), task.error)


@contextmanager
def _failing(task: Task) -> Iterator[None]:
    """Let an error of a plugin in the block fail this task only."""

    def fail(error: BaseException) -> VpbenchError:
        return error if isinstance(error, VpbenchError) else MetricError(f"a metric failed: {describe(error)}")

    try:
        with plugin_errors(fail):
            yield
    except (PredictorError, MetricError) as error:
        task.error = error
