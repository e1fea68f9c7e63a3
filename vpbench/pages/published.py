"""Write the section of a protocol's page with the scores that papers report.

Its rows are marked *reported*, with their source. They have no rank and no bold, and keep the order of the papers.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

from vpbench.output import markdown
from vpbench.pages.reported import CLIPS, HORIZON, PrintedTable, Score
from vpbench.plugin.metric import better_text

_INTRO = (
    "Numbers from papers, on their authors' clips and pixels: *reported*, with source and table, never ranked with what"
    " is measured above. Natural values, and below each what is printed. `?` marks a number in doubt, or not to be"
    " compared with its neighbours; the reasons stand below.\n"
)
_STEPS = {"at": "t+{0}", "mean_to": "mean 1-{0}", "at_or_mean_to": "t+{0} or mean 1-{0}", CLIPS: "all clips"}


def protocols(tables: Sequence[PrintedTable]) -> set[str]:
    """Return the names of the protocols that tables have scores on."""
    return {column.protocol for table in tables for column in table.columns.values()} - {""}


def count(protocol: str, tables: Sequence[PrintedTable]) -> int:
    """Return how many rows of papers' tables have a score on the protocol; a row printed twice counts once."""
    return len({(score.source, score.method) for score in scores_on(protocol, tables)})


def section(protocol: str, tables: Sequence[PrintedTable]) -> str:
    """Return the section of a protocol's page, or "" where no paper reports on it."""
    scores = scores_on(protocol, tables)
    if not scores:
        return ""
    marks = footnotes(scores)
    sections = [f"## Reported by papers\n\n{_INTRO}"]
    sections += [_metric(metric, marks) for metric in printed_metrics(scores)]
    sources = {(score.source, score.table) for score in scores}
    cited = [table for table in tables if (table.source, table.table) in sources]
    lines = [f"- <sup>{mark}</sup> {markdown(reason)}" for reason, mark in marks.items()]
    papers = {table.source: table.paper for table in cited}
    lines += [f"- {markdown(source)} is *{markdown(paper)}*." for source, paper in papers.items()]
    notes = [f"{table.source}, Table {table.table}: {note}" for table in cited for note in table.notes]
    lines += [f"- {markdown(note)}" for note in notes]
    return "\n".join([*sections, "\n".join(lines) + "\n"])


def scores_on(protocol: str, tables: Sequence[PrintedTable]) -> list[Score]:
    """Return every score that tables have on a protocol."""
    return [score for table in tables for score in table.scores() if score.column.protocol == protocol]


def footnotes(scores: Sequence[Score]) -> dict[str, str]:
    """Return the footnote mark of each reason, numbered in order; "?" marks a reason to doubt a number."""
    doubts = {reason for score in scores for reason in score.suspect}
    reasons = dict.fromkeys(reason for score in scores for reason in (*score.suspect, *score.remarks))
    return {reason: f"{'?' if reason in doubts else ''}{i}" for i, reason in enumerate(reasons, 1)}


@dataclass(frozen=True)
class PrintedRow:
    """One row of papers' tables; a row that a paper prints in several tables is shown once."""

    method: str
    source: str
    """The paper and the numbers of its tables."""
    scores: Sequence[Score | None]
    """By horizon."""


@dataclass(frozen=True)
class PrintedMetric:
    """The rows of papers for one metric."""

    metric: str
    better: str
    """Direction and units, in words."""
    horizons: Sequence[str]
    rows: Sequence[PrintedRow]


def printed_metrics(scores: Sequence[Score]) -> list[PrintedMetric]:
    """Group scores by metric, in the order of the papers' rows."""
    metrics = dict.fromkeys(score.column.metric for score in scores)
    return [_printed(metric, [score for score in scores if score.column.metric == metric]) for metric in metrics]


def _printed(metric: str, scores: Sequence[Score]) -> PrintedMetric:
    horizons = sorted({score.column.horizon for score in scores}, key=_horizon)
    by_table: dict[tuple[str, str, str], dict[str, Score]] = defaultdict(dict)
    for score in scores:
        by_table[score.source, score.method, score.table][score.column.horizon] = score
    rows: dict[tuple[object, ...], PrintedRow] = {}
    tables: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for (source, method, table), cells in by_table.items():
        values = tuple(cells.get(horizon) for horizon in horizons)
        contents = tuple(v and (v.printed, v.natural, v.factor, v.suspect, v.remarks) for v in values)
        key = (source, method, contents)
        tables[key].append(table)
        numbers = tables[key]
        rows[key] = PrintedRow(method, f"{source}, Table{'s' * (len(numbers) > 1)} {', '.join(numbers)}", values)
    heads = [_STEPS[kind].format(k) for k, kind in map(_horizon, horizons)]
    better = f"{better_text(scores[0].column.better)}{units_text(scores)}"
    return PrintedMetric(metric, better, heads, list(rows.values()))


def _metric(metric: PrintedMetric, marks: dict[str, str]) -> str:
    lines = [
        ["*reported*", markdown(row.method), markdown(row.source), *(_cell(score, marks) for score in row.scores)]
        for row in metric.rows
    ]
    table = tabulate(lines, ["", "method", "source", *metric.horizons], tablefmt="github", disable_numparse=True)
    return f"### {markdown(metric.metric)}, reported\n\n{markdown(metric.better)}\n\n{table}\n"


def _horizon(text: str) -> tuple[int, str]:
    """Return the last step, 0 for a score of whole clips, and the kind of horizon."""
    if text == CLIPS:
        return 0, CLIPS
    match = HORIZON.fullmatch(text)
    assert match is not None  # the schema says so
    return int(match[2]), match[1]


def units_text(scores: Sequence[Score]) -> str:
    """Return how the papers scale the numbers, for all the factors that occur."""
    factors: dict[str, list[str]] = defaultdict(list)
    for score in scores:
        text = f"{score.factor:g}" + (f" plus {score.column.offset:g}" if score.column.offset else "")
        if score.factor != 1 and text not in factors[score.column.unit]:
            factors[score.column.unit].append(text)
    texts = [f"{unit} (natural value times {' or '.join(values)})" for unit, values in factors.items() if values]
    return f"; printed: {' or '.join(texts)}" if texts else ""


def _cell(score: Score | None, marks: dict[str, str]) -> str:
    """Return the natural value in the printed precision, what is printed, and the marks of its footnotes."""
    if score is None:
        return "—"
    mark = marks_of(score, marks)
    note = f" <sup>{mark}</sup>" if mark else ""
    printed = f"<br><sub>printed {score.printed}</sub>" if score.factor != 1 else ""
    return f"{natural_text(score)}{note}{printed}"


def marks_of(score: Score, marks: dict[str, str]) -> str:
    """Return the marks of a number's footnotes."""
    return ",".join(mark for reason, mark in marks.items() if reason in (*score.suspect, *score.remarks))


def natural_text(score: Score) -> str:
    """Return the natural value in the printed precision."""
    if score.factor == 1:
        return score.printed
    if score.column.offset:
        digits = len(score.printed.partition(".")[2])
        return f"{score.natural:.{digits}f}"
    digits = len(score.printed.replace(".", "").lstrip("-0"))
    digits += not math.log10(score.factor).is_integer()  # one more where the digits themselves change
    return f"{score.natural:#.{digits}g}"
