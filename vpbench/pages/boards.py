"""One table of a page: the rows of one metric that may be compared, in the order of their ranks, and their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from tabulate import tabulate

from vpbench.output import link
from vpbench.pages.numbers import interval_text, number
from vpbench.pages.standings import Line, Score, Standing, Table, cost_of, equal, make_tables, ranks
from vpbench.plugin.metric import Better
from vpbench.results.records import MetricRecord, RunRecord
from vpbench.results.result import Result


@dataclass(frozen=True)
class Board:
    """The rows of one metric that scored the same frames in the same way."""

    metric: str
    title: str
    """The metric's name, with what distinguishes this board from others of the metric."""
    separation: str
    """Why there are several boards of the metric; "" for the only one."""
    lines: Sequence[Line]

    @property
    def run(self) -> RunRecord:
        """The record of one of its results."""
        return self.lines[0].result.run

    @property
    def spec(self) -> MetricRecord:
        """The metric as it was measured."""
        return self.run.metrics[self.metric]

    @property
    def better(self) -> Better:
        """Which scores are better."""
        return self.spec.better

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that decide the rank: all, or the last where there is no mean over steps."""
        steps = self.lines[0].result.summary.steps
        return steps if self.run.cumulative else steps[-1:]

    @cached_property
    def ranked(self) -> list[tuple[str, Line]]:
        """The rows in their order, each with its rank or why it has none."""
        return ranks(self.lines, self.better)

    @cached_property
    def contenders(self) -> list[Line]:
        """The rows with a rank, the best first."""
        return [line for rank, line in self.ranked if rank.isdecimal()]

    @cached_property
    def reference(self) -> Line | None:
        """The first row of the protocol's reference; None if it was not measured."""
        name = self.run.protocol.reference
        return next((line for _, line in self.ranked if line.standing.label == name), None)

    def line_of(self, standing: Standing) -> Line | None:
        """Return the row of a predictor; None if it was not measured."""
        return next((line for line in self.lines if line.standing is standing), None)

    def is_best(self, line: Line, score: Callable[[Line], Score]) -> bool:
        """Return whether a row has the best score of all rows with a rank."""
        is_ranked = any(line is contender for contender in self.contenders)
        return is_ranked and equal(cost_of(score(line).value, self.better), self._least_cost(score))

    @cached_property
    def _least_cost(self) -> Callable[[Callable[[Line], Score]], float | None]:
        """Return the cost of the best score of all rows with a rank."""

        @cache
        def least_cost(score: Callable[[Line], Score]) -> float | None:
            costs = [cost_of(score(contender).value, self.better) for contender in self.contenders]
            return min((cost for cost in costs if cost is not None), default=None)

        return least_cost


def make_boards(standings: Sequence[Standing]) -> list[Board]:
    """Return a board per metric, and for each revision, code and data of it; metrics in the order of the results."""
    results = [result for standing in standings for result in standing.results]
    metrics = dict.fromkeys(metric for result in results for metric in result.summary.scores)
    return [board for metric in metrics for board in _boards(metric, standings)]


def _boards(metric: str, standings: Sequence[Standing]) -> list[Board]:
    tables = make_tables(metric, standings)
    newest = max((table.revision for table in tables), default=0)
    boards = []
    for table, lines in tables.items():
        siblings = [sibling for sibling in tables if sibling.revision == table.revision]
        marks = [] if table.revision == newest else [f"revision {table.revision}"]
        marks += [f"code {table.code[:8] or 'released'}"] if len({sibling.code for sibling in siblings}) > 1 else []
        marks += [f"data {table.data[:8]}"] if len({sibling.data for sibling in siblings}) > 1 else []
        title = f"{metric} ({', '.join(marks)})" if marks else metric
        boards.append(Board(metric, title, _separation(siblings), lines))
    return boards


def _separation(tables: Sequence[Table]) -> str:
    reasons = ["other code of the metric under the same revision"] if len({table.code for table in tables}) > 1 else []
    reasons += ["other data (frames, labels or flow)"] if len({table.data for table in tables}) > 1 else []
    return f"Not comparable with the other tables of this metric: {' and '.join(reasons)}." if reasons else ""


def score_cell(score: Score, decimals: int, *, bold: bool, factor: float = 1.0) -> str:
    """Return a number as a cell of a table, with its interval or spread below."""
    text = number(None if score.value is None else score.value * factor, decimals)
    if bold:
        text = f"**{text}**"
    if score.interval is not None:
        text += f"<br><sub>{interval_text(score.interval, decimals)}</sub>"
    if score.spread is not None:
        text += f"<br><sub>± {number(score.spread * factor, decimals)}</sub>"
    return text


def table_text(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in markdown."""
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def line_name(line: Line, lines: Sequence[Line]) -> str:
    """Return a row's name, linked to the paper: the label, what distinguishes it from other rows, the seeds."""
    name = result_name(line.result, [row.result for row in lines], seed=False)
    return link(name, line.result.run.paper) + mean_of(len(line.candidates))


def mean_of(seeds: int) -> str:
    """Return the remark that a row's scores are means over seeds; "" for one seed."""
    return f" (mean of {seeds} seeds)" if seeds > 1 else ""


def result_name(result: Result, among: Sequence[Result], *, seed: bool) -> str:
    """Return a result's label, with the settings that distinguish it from others of the same label.

    Several samples per clip are always stated, since best of N, diversity and set metrics depend on their number.
    Digests tell a reader nothing, so they appear only if no setting distinguishes it.
    """
    namesakes = [rival for rival in among if rival.label == result.label and rival is not result]
    settings, rivals = _settings(result, seed=seed), [_settings(rival, seed=seed) for rival in namesakes]
    if any(settings.items() <= rival.items() for rival in rivals):
        settings |= _digests(result)
        rivals = [rival | _digests(namesake) for rival, namesake in zip(rivals, namesakes, strict=True)]
    stated = {"samples"} if result.run.identity.samples > 1 else set()
    stated |= {key for key, value in settings.items() if any(rival.get(key) != value for rival in rivals)}
    marks = [f"{key}={value}" for key, value in settings.items() if key in stated]
    return f"{result.label} ({', '.join(marks)})" if marks else result.label


def _settings(result: Result, *, seed: bool) -> dict[str, Any]:
    identity = result.run.identity
    training = result.run.weights.training if result.run.weights else None
    annotators = {f"annotate {kind}": value for kind, value in identity.annotators.items()}
    lengths = {"steps": training.steps} if training else {}
    seeds = {"seed": identity.seed} | ({"training seed": training.seed} if training else {})
    return {**identity.options, **annotators, **lengths, "samples": identity.samples, **(seeds if seed else {})}


def _digests(result: Result) -> dict[str, str]:
    identity = result.run.identity
    digests = {"content": identity.fingerprint, "data": identity.data, "run": identity.unproven}
    return {word: digest[:8] for word, digest in digests.items()}
