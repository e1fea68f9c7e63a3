"""Carry out the jobs of ``vpbench run``, a protocol at a time, and print their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from vpbench.cli.common import busy
from vpbench.errors import VpbenchError
from vpbench.output import progress_bar

if TYPE_CHECKING:
    from vpbench.evaluation.dispatch import Cluster
    from vpbench.evaluation.evaluate import EvaluateUnits, Outcome
    from vpbench.evaluation.keepers import Keeper
    from vpbench.evaluation.plan import Settings
    from vpbench.evaluation.suite import Errors, Group
    from vpbench.plugin.loader import Plugins
    from vpbench.protocol.suite import Job


@dataclass
class Runner:
    """Plans and evaluates groups of jobs; collects their outcomes and errors."""

    plugins: Plugins
    settings: Settings
    quiet: bool
    """Print no scores."""
    strict: bool
    """End the command at the first error in a plan or in the data."""
    cluster: Cluster | None = None
    outcomes: dict[Job, Outcome] = field(default_factory=dict)
    errors: Errors = field(default_factory=dict)

    def __call__(self, jobs: Sequence[Job], title: str) -> None:
        """Plan and evaluate jobs of one protocol."""
        from vpbench.evaluation.suite import plan_group
        from vpbench.training.suite import find_job_weights

        # The processes of a cluster have GPUs; this one, which only plans and publishes, may have none.
        settings = self.settings if self.cluster is None else replace(self.settings, device="cpu")
        with busy(f"{title}: looking at data, weights and earlier results"):
            groups, failed = plan_group(jobs, self.plugins, settings, find_job_weights)
        if failed and self.strict:
            raise next(iter(failed.values()))
        self.errors |= failed
        for group in groups:
            self._evaluate(group)

    def _evaluate(self, group: Group) -> None:
        """Evaluate one group, and print its scores unless ``quiet``."""
        from vpbench.pages.terminal import print_results

        try:
            outcomes = self._run_cells(group)
        except VpbenchError as error:
            if self.strict:
                raise
            if len(group.cells) == 1:
                self.errors[next(iter(group.cells))] = error
            else:  # the data that one of them needs may be the reason
                for single in group.split():
                    self._evaluate(single)
            return
        self.outcomes |= zip(group.cells, outcomes, strict=True)
        if not self.quiet:
            print_results([outcome.result for outcome in outcomes if outcome.result is not None])

    def _run_cells(self, group: Group) -> list[Outcome]:
        from vpbench.evaluation.evaluate import run_cells
        from vpbench.evaluation.loop import evaluate_here

        run = group.run
        keepers: list[Keeper] = []
        if run.settings.pictures:
            from vpbench.pages.sheets import PictureKeeper

            keepers.append(PictureKeeper(run.manifest, run.settings.pictures))
        evaluate_units: EvaluateUnits = evaluate_here
        if self.cluster is not None:
            evaluate_units = partial(self.cluster.evaluate_units, list(group.choices.values()))
        with progress_bar(run.protocol.name) as progress:
            return run_cells(run, list(group.cells.values()), progress, keepers, evaluate_units)
