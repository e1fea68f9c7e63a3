"""Which scores differ from the best one by chance: the paired interval that ``vpbench compare`` prints covers zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product, starmap
from pathlib import Path

from vpbench.pages.boards import Board
from vpbench.pages.candidates import Candidate
from vpbench.pages.standings import Line, Score, cost_of
from vpbench.plugin.loader import Plugins
from vpbench.plugin.metric import StepMetric
from vpbench.results.clip_arrays import mean_difference_interval
from vpbench.results.compare import compare_means
from vpbench.results.result import Result
from vpbench.results.tally import Tally


@dataclass(frozen=True)
class Ties:
    """Finds ties: from the scores of clips where those decide a score, else from rows, which it reads once."""

    plugins: Plugins
    _tallies: dict[Path, Tally] = field(default_factory=dict)

    def lines(self, board: Board, score: Callable[[Line], Score], steps: Sequence[int]) -> list[Line]:
        """Return the rows whose difference from the best one may be chance.

        Several seeds are compared each with each: one interval that covers zero makes a tie.

        Args:
            board: the rows of one metric.
            score: the score that decides which row is best.
            steps: the steps whose mean that score is.

        Raises:
            VpbenchError: rows cannot be read again, or a metric fails on them.
        """
        costs = {id(line): cost_of(score(line).value, board.better) for line in board.contenders}
        rivals = sorted(board.contenders, key=lambda line: (costs[id(line)] is None, costs[id(line)] or 0.0))
        if len(rivals) < 2:
            return []
        best, *rivals = rivals
        metric = self.plugins.load("metric", board.metric)("cpu")

        def tied(first: Candidate, second: Candidate) -> bool:
            interval = self._interval((first, second), metric, steps)
            return interval is not None and interval[0] <= 0 <= interval[1]

        return [line for line in rivals if any(starmap(tied, product(best.candidates, line.candidates)))]

    def _interval(
        self, pair: tuple[Candidate, Candidate], metric: StepMetric, steps: Sequence[int]
    ) -> tuple[float, float] | None:
        name = metric.info.name
        if all(name in candidate.clips.averages for candidate in pair) and pair[0].clips.clips == pair[1].clips.clips:
            return mean_difference_interval(pair[0].clips, pair[1].clips, name, steps)
        tallies, recordings = (self._tally(pair[0].result), self._tally(pair[1].result)), pair[0].result.run.recordings
        return compare_means(tallies, metric, steps, recordings).ci95

    def _tally(self, result: Result) -> Tally:
        if result.path not in self._tallies:
            self._tallies[result.path] = Tally(result.rows())
        return self._tallies[result.path]
