"""The tables of set metrics on a page: one score per predictor, next to the number of clips and samples."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vpbench.output import link, markdown
from vpbench.pages.boards import mean_of, result_name, score_cell, table_text
from vpbench.pages.candidates import Candidate
from vpbench.pages.numbers import count_clips, count_samples
from vpbench.pages.standings import Score, Standing, cost_of, equal, one_per_seed
from vpbench.plugin.metric import better_text
from vpbench.results.records import MetricRecord
from vpbench.results.scores import SetScore


class SetTable(NamedTuple):
    """The values that all rows of one table share: an estimate depends on the size of its set."""

    metric: str
    samples: int
    revision: int
    code: str
    data: str


@dataclass(frozen=True)
class SetRow:
    """One configuration of a predictor: the results of its seeds."""

    standing: Standing
    table: SetTable
    candidates: Sequence[Candidate]

    @property
    def scores(self) -> list[SetScore]:
        """The score of each seed."""
        return [candidate.result.summary.sets[self.table.metric] for candidate in self.candidates]

    @property
    def score(self) -> Score:
        """The mean over seeds, with their standard deviation."""
        values = [score.score for score in self.scores if score.score is not None]
        if len(values) < len(self.scores):
            return Score(None)
        return Score(statistics.fmean(values), spread=statistics.stdev(values) if len(values) > 1 else None)

    @property
    def spec(self) -> MetricRecord:
        """The metric as it was measured."""
        return self.candidates[0].result.run.metrics[self.table.metric]

    @property
    def cost(self) -> float | None:
        """A number that is lower for the better of two rows; None without a rank."""
        return None if self.unranked_because else cost_of(self.score.value, self.spec.better)

    @property
    def unranked_because(self) -> str:
        """Why it has no rank; "" where it has one, if its score is defined."""
        doubtful = any(self.table.metric in candidate.doubts for candidate in self.candidates)
        return self.standing.unranked_because or ("not recomputed" if doubtful else "")


def make_set_tables(standings: Sequence[Standing]) -> dict[SetTable, list[SetRow]]:
    """Return the rows of each set metric and size of the set, in the order of the results."""
    tables: dict[SetTable, list[SetRow]] = defaultdict(list)
    for standing in standings:
        for row in _rows(standing):
            tables[row.table].append(row)
    metrics = list(dict.fromkeys(table.metric for table in tables))
    order = sorted(tables, key=lambda table: (metrics.index(table.metric), table.samples, -table.revision, table))
    return {table: tables[table] for table in order}


def set_sections(tables: Mapping[SetTable, Sequence[SetRow]]) -> Iterator[str]:
    """Yield a section per table."""
    for table, rows in tables.items():
        yield _section(table, rows, [sibling for sibling in tables if sibling[:2] == table[:2]])


def best_rows(rows: Sequence[SetRow]) -> list[SetRow]:
    """Return the rows with the best score of all that have a rank."""
    costs = [row.cost for row in rows if row.cost is not None]
    return [row for row in rows if costs and equal(row.cost, min(costs))]


def _rows(standing: Standing) -> list[SetRow]:
    candidates: dict[SetTable, list[Candidate]] = defaultdict(list)
    for candidate in standing.candidates:
        run = candidate.result.run
        for metric, score in candidate.result.summary.sets.items():
            code, revision = candidate.result.metric_code(metric), run.metrics[metric].revision
            table = SetTable(metric, score.samples, revision, code, score.data)
            candidates[table].append(candidate)
    return [SetRow(standing, table, one_per_seed(rows)) for table, rows in candidates.items()]


def _section(table: SetTable, rows: Sequence[SetRow], siblings: Sequence[SetTable]) -> str:
    result = rows[0].candidates[0].result
    spec, score = result.run.metrics[table.metric], result.summary.sets[table.metric]
    marks = [f"revision {table.revision}"] if len({s.revision for s in siblings}) > 1 else []
    marks += [f"code {table.code[:8] or 'released'}"] if len({s.code for s in siblings}) > 1 else []
    marks += [f"data {table.data[:8]}"] if len({s.data for s in siblings}) > 1 else []
    size = f"{count_clips(score.clips, score.recordings)}, {count_samples(score.samples)}"
    title = f"## {markdown(', '.join([table.metric, size, *marks]))}"
    unit = f", {markdown(spec.unit)}" if spec.unit else ""
    text = (
        f"{better_text(spec.better)}{unit}. One score of all clips and steps. It depends on the number of clips and "
        f"samples, and has no interval."
    )
    cautions = sorted({score.caution for row in rows for score in row.scores if score.caution})
    heads = ["", "predictor", "score", *_details(rows)]
    return "\n\n".join([title, text, *map(markdown, cautions), table_text(heads, _cells(rows, spec))]) + "\n"


def _details(rows: Sequence[SetRow]) -> list[str]:
    return sorted({name for row in rows for name in row.scores[0].details})


def _cells(rows: Sequence[SetRow], spec: MetricRecord) -> list[list[str]]:
    """Return the rows in their order, each with its rank or the reason why it has none; equal scores share a rank."""

    def order(row: SetRow) -> tuple[bool, bool, float, str]:
        loss = cost_of(row.score.value, spec.better)
        return bool(row.unranked_because), loss is None, loss or 0.0, row.standing.label

    ordered = sorted(rows, key=order)
    results = [row.candidates[0].result for row in ordered]
    cells: list[list[str]] = []
    rank, last = "", None
    for place, (row, result) in enumerate(zip(ordered, results, strict=True), 1):
        value = row.score.value
        rank = rank if equal(value, last) and rank.isdecimal() else str(place)
        last = value
        rank_text = row.unranked_because or (rank if value is not None else "—")
        name = link(result_name(result, results, seed=False), result.run.paper) + mean_of(len(row.candidates))
        score = score_cell(row.score, spec.decimals, bold=rank_text == "1")
        details = [score_cell(Score(row.scores[0].details.get(d)), spec.decimals, bold=False) for d in _details(rows)]
        cells.append([rank_text, name, score, *details])
    return cells
