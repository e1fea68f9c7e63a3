"""Evaluation from a plan: go on where earlier processes stopped, publish unit by unit, summarise what is complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vpbench.engine.choose import choose_predictor, chosen_object, open_protocol
from vpbench.engine.plan import Plan, Settings, make_plan
from vpbench.engine.save import Keeper, PredictionKeeper
from vpbench.engine.summarise import write_summary
from vpbench.engine.work import Evaluation, Progress, Task
from vpbench.errors import MetricError, PredictorError
from vpbench.plugin.loader import Plugins, load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.results.result import Result

__all__ = ["Outcome", "Progress", "evaluate", "run"]


@dataclass
class Outcome:
    """What a run left: results (complete or not), and what failed."""

    results: list[Result] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """One line per predictor that failed; its published units stay."""
    unreadable: list[str] = field(default_factory=list)
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
        settings: further fields of :class:`vpbench.engine.plan.Settings`.

    Returns:
        The result; its rows and summary are on disk.

    Raises:
        VpbenchError: nothing of it could be done, or the predictor failed; units published before stay.
    """
    plugins = plugins or load_plugins()
    roots = {"": Path(data_root)} if data_root is not None else {}
    chosen_settings = Settings(out=Path(out), data_roots=roots, **settings)
    if not isinstance(protocol, Protocol):
        protocol = open_protocol(plugins, str(protocol))
    if isinstance(predictor, str):
        chosen = choose_predictor(plugins, predictor, chosen_settings.options)
    else:
        chosen = chosen_object(predictor)
    outcome = run(make_plan(protocol, [chosen], plugins, chosen_settings), chosen_settings, progress)
    if outcome.failures:
        raise PredictorError(outcome.failures[0])
    return outcome.results[0]


def run(plan: Plan, settings: Settings, progress: Progress | None = None, keepers: Sequence[Keeper] = ()) -> Outcome:
    """Carry out a plan; ``keepers`` keep what they want of each prediction.

    Raises:
        VpbenchError: the data cannot be read, or a result cannot be written. Published units stay.
    """
    if settings.save_predictions:
        keepers = [*keepers, PredictionKeeper()]
    tasks = [Task.begin(cell, plan.device, (plan.rank, plan.world)) for cell in plan.cells]
    outcome = Outcome()
    try:
        outcome.unreadable += Evaluation(plan, settings, tasks, keepers).run(progress or (lambda done, total: None))
        for task in tasks:
            try:
                if task.error:
                    raise PredictorError(task.error)
                # One shard of several cannot know whether the others are done: the last one, or merge, sums up.
                with task.clock("summary"):
                    alone = settings.allow_partial and plan.world == 1
                    write_summary(task.store, task.cell.metrics, allow_partial=alone)
                outcome.results.append(Result(task.store))
            except (PredictorError, MetricError) as error:
                outcome.failures.append(f"{plan.protocol.name}: {error}")
    finally:
        for task in tasks:
            task.end()
    return outcome
