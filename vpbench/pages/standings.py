"""Decide which results share a table, which share a row, and which rank each row gets.

A row is one configuration of a predictor. Its results differ in the seed of their training, in the seed of their
samples, or in the metrics that they measured. A table holds rows of one metric revision, one code of the metric (unless
its plugin is released), and one set of data.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import NamedTuple

from vpbench.errors import ResultError
from vpbench.files import canonical
from vpbench.pages.candidates import Candidate
from vpbench.plugin.metric import Better, cost
from vpbench.results.result import Result
from vpbench.results.seeds import configuration_of, seeds_of

_CLOSE = 1e-6
"""How far numbers of one predictor may differ between machines (docs/results.md, "Promises")."""
_EQUAL = 1e-12  # relative: means over seeds that differ by their rounding alone


class Table(NamedTuple):
    """The values that all rows of one table share."""

    metric: str
    revision: int
    code: str
    """Fingerprint of the metric; "" where its revision vouches for it."""
    data: str


@dataclass(frozen=True)
class Score:
    """A number of a table: with its interval for one seed, with its spread for several."""

    value: float | None
    interval: tuple[float, float] | None = None
    spread: float | None = None
    """Standard deviation over seeds (n - 1)."""


@dataclass(frozen=True)
class Standing:
    """One configuration of a predictor, in the order of seeds."""

    candidates: tuple[Candidate, ...]

    @property
    def results(self) -> list[Result]:
        """The results of all seeds and all sets of metrics."""
        return [candidate.result for candidate in self.candidates]

    @property
    def label(self) -> str:
        """The predictor's name with its preset."""
        return self.candidates[0].result.label

    @property
    def unranked_because(self) -> str:
        """Why it stands among the others without a rank; "" where it has one."""
        if any(result.run.sees_truth for result in self.results):
            return "ceiling"
        if any(candidate.rivals for candidate in self.candidates):
            return "runs disagree"
        words = {"overlap": "trained on these clips", "none": "not trained"}
        return next((words[result.training] for result in self.results if result.training in words), "")


@dataclass(frozen=True)
class Line:
    """One row of a table: a standing's results that measured the metric, one per seed."""

    standing: Standing
    metric: str
    candidates: tuple[Candidate, ...]

    @property
    def results(self) -> list[Result]:
        """The results of all seeds."""
        return [candidate.result for candidate in self.candidates]

    @property
    def result(self) -> Result:
        """The result of the lowest seed."""
        return self.candidates[0].result

    @property
    def unranked_because(self) -> str:
        """Why it has no rank; "" where it has one, if its overall score is defined."""
        doubtful = any(self.metric in candidate.doubts for candidate in self.candidates)
        return self.standing.unranked_because or ("not recomputed" if doubtful else "")

    @property
    def overall(self) -> float | None:
        """The score that decides the rank: the mean over all steps, or the last step where no such mean exists."""
        return self.overall_score().value

    def overall_score(self) -> Score:
        """Return the score that decides the rank."""
        last = self.result.summary.steps[-1]
        return self.mean_to(last) if self.result.run.cumulative else self.at(last)

    def at(self, step: int) -> Score:
        """Return the score of one step."""
        summary = self.result.summary
        interval = summary.scores[self.metric].ci95[summary.steps.index(step)]
        return self._over_seeds(lambda result: result.at(self.metric, step), interval)

    def mean_to(self, step: int) -> Score:
        """Return the mean over steps 1 to ``step``."""
        return self._over_seeds(lambda result: result.mean_to(self.metric, step), None)

    def _over_seeds(self, score: Callable[[Result], float | None], interval: tuple[float, float] | None) -> Score:
        scores = [score(candidate.result) for candidate in self.candidates]
        values = [value for value in scores if value is not None]
        if len(scores) == 1 or len(values) < len(scores):
            return Score(scores[0] if len(scores) == 1 else None, interval if len(scores) == 1 else None)
        return Score(statistics.fmean(values), spread=statistics.stdev(values))


def group_standings(candidates: Iterable[Candidate]) -> list[Standing]:
    """Group results by the predictor's configuration, in the order of labels.

    Raises:
        ResultError: two results of one configuration and seed have other scores of a metric; names both.
    """
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in sorted(candidates, key=_order):
        fixed = candidate.result.run.identity.model_dump(exclude={"seed", "metrics", "metric_code"})
        groups[canonical([fixed, candidate.result.summary.partial_reason])].append(candidate)
    for group in groups.values():
        for first, second in combinations(group, 2):
            _check_agreement(first.result, second.result)
    return [Standing(tuple(group)) for group in _join_trainings(list(groups.values()))]


def _join_trainings(groups: Sequence[list[Candidate]]) -> list[list[Candidate]]:
    """Join groups of one configuration whose weights differ in the seed of their training alone.

    Two weights of one seed stay apart: other code trained them.
    """
    joined: dict[str, list[list[Candidate]]] = defaultdict(list)
    for group in groups:
        joined[configuration_of(group[0].result)].append(group)
    rows: list[list[Candidate]] = []
    for trainings in joined.values():
        ordered = sorted(trainings, key=lambda group: seeds_of(group[0].result))
        seeds = {seeds_of(group[0].result)[0] for group in trainings}
        rows += [[*chain(*ordered)]] if len(seeds) == len(trainings) else trainings
    return rows


def _order(candidate: Candidate) -> tuple[str, str, int, str]:
    run = candidate.result.run
    return run.label, run.identity.fingerprint, run.identity.seed, run.identity_hash


def _check_agreement(first: Result, second: Result) -> None:
    """Check that two results of one predictor with one file of weights agree where the seed must not matter."""
    if seeds_of(first) != seeds_of(second):
        return
    for metric in first.summary.scores.keys() & second.summary.scores.keys():
        if table_of(first, metric) != table_of(second, metric):
            continue
        if not all(map(_agree, first.summary.scores[metric].per_step, second.summary.scores[metric].per_step)):
            raise ResultError(
                f"{first.path} and {second.path} are of one predictor that is not stochastic or has one seed, but "
                f"their {metric} differs: find out which of the two is wrong, and remove it"
            )


def _agree(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return math.isclose(first, second, rel_tol=_CLOSE, abs_tol=_CLOSE)


def table_of(result: Result, metric: str) -> Table:
    """Return the table that a result's metric belongs in."""
    revision, data = result.run.metrics[metric].revision, result.summary.scores[metric].data
    return Table(metric, revision, result.metric_code(metric), data)


def make_tables(metric: str, standings: Sequence[Standing]) -> dict[Table, list[Line]]:
    """Return the rows of each table of a metric: the newest revision first, then the table with the most rows."""
    tables: dict[Table, list[Line]] = defaultdict(list)
    for standing in standings:
        measured: dict[Table, list[Candidate]] = defaultdict(list)
        for candidate in standing.candidates:
            if metric in candidate.result.summary.scores:
                measured[table_of(candidate.result, metric)].append(candidate)
        for table, candidates in measured.items():
            tables[table].append(Line(standing, metric, one_per_seed(candidates)))
    return dict(sorted(tables.items(), key=lambda item: (-item[0].revision, -len(item[1]), item[0])))


def one_per_seed(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the first result of each pair of seeds, in the order of the seeds."""
    seeds = {seeds_of(candidate.result): candidate for candidate in reversed(candidates)}
    return tuple(seeds[pair] for pair in sorted(seeds))


def ranks(lines: Sequence[Line], better: Better) -> list[tuple[str, Line]]:
    """Return the rows in their order, each with its rank or the reason why it has none.

    Equal scores share a rank, and the next rank counts them all: 1, 2, 2, 4. An undefined score has none.
    """

    def order(line: Line) -> tuple[bool, bool, float, str]:
        loss = cost_of(line.overall, better)
        return bool(line.unranked_because), loss is None, loss or 0.0, line.standing.label

    ranked: list[tuple[str, Line]] = []
    for place, line in enumerate(sorted(lines, key=order), 1):
        rank = line.unranked_because or ("—" if line.overall is None else str(place))
        loss = cost_of(line.overall, better)
        if ranked and rank == str(place) and equal(loss, cost_of(ranked[-1][1].overall, better)):
            rank = ranked[-1][0]
        ranked.append((rank, line))
    return ranked


def cost_of(value: float | None, better: Better) -> float | None:
    """Return the cost of a score (lower is better); None for an undefined score."""
    return None if value is None else cost(value, better)


def equal(first: float | None, second: float | None) -> bool:
    """Return whether two scores are the same number."""
    return first is not None and second is not None and math.isclose(first, second, rel_tol=_EQUAL)
