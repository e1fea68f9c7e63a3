"""Write the section of a protocol's page with the scores that papers report.

Its rows are marked *reported*, with their source. They have no rank and no bold, and keep the order of the papers.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from tabulate import tabulate

from vpbench.output import markdown
from vpbench.pages.reported import HORIZON, PrintedTable, Score
from vpbench.plugin.metric import better_text

_INTRO = (
    "Numbers from papers, on their authors' clips and pixels: *reported*, with source and table, never ranked with what"
    " is measured above. Natural values, and below each what is printed. `?` marks a number in doubt, or not to be"
    " compared with its neighbours; the reasons stand below.\n"
)
_STEPS = {"at": "t+{0}", "mean_to": "mean 1-{0}", "at_or_mean_to": "t+{0} or mean 1-{0}"}


def protocols(tables: Sequence[PrintedTable]) -> set[str]:
    """Return the names of the protocols that tables have scores on."""
    return {column.protocol for table in tables for column in table.columns.values()} - {""}


def count(protocol: str, tables: Sequence[PrintedTable]) -> int:
    """Return how many rows of papers' tables have a score on the protocol; a row printed twice counts once."""
    return len({(score.source, score.method) for score in _scores(protocol, tables)})


def section(protocol: str, tables: Sequence[PrintedTable]) -> str:
    """Return the section of a protocol's page, or "" where no paper reports on it."""
    scores = _scores(protocol, tables)
    if not scores:
        return ""
    marks = _marks(scores)
    sections = [f"## Reported by papers\n\n{_INTRO}"]
    for metric in dict.fromkeys(score.column.metric for score in scores):
        sections.append(_metric(metric, [s for s in scores if s.column.metric == metric], marks))
    sources = {(score.source, score.table) for score in scores}
    cited = [table for table in tables if (table.source, table.table) in sources]
    lines = [f"- <sup>{mark}</sup> {markdown(reason)}" for reason, mark in marks.items()]
    papers = {table.source: table.paper for table in cited}
    lines += [f"- {markdown(source)} is *{markdown(paper)}*." for source, paper in papers.items()]
    notes = [f"{table.source}, Table {table.table}: {note}" for table in cited for note in table.notes]
    lines += [f"- {markdown(note)}" for note in notes]
    return "\n".join([*sections, "\n".join(lines) + "\n"])


def _scores(protocol: str, tables: Sequence[PrintedTable]) -> list[Score]:
    return [score for table in tables for score in table.scores() if score.column.protocol == protocol]


def _marks(scores: Sequence[Score]) -> dict[str, str]:
    """Return the footnote mark of each reason, numbered in order; "?" marks a reason to doubt a number."""
    doubts = {reason for score in scores for reason in score.suspect}
    reasons = dict.fromkeys(reason for score in scores for reason in (*score.suspect, *score.remarks))
    return {reason: f"{'?' if reason in doubts else ''}{i}" for i, reason in enumerate(reasons, 1)}


def _metric(metric: str, scores: Sequence[Score], marks: dict[str, str]) -> str:
    horizons = sorted({score.column.horizon for score in scores}, key=_horizon)
    printed: dict[tuple[str, str, str], dict[str, Score]] = defaultdict(dict)
    for score in scores:
        printed[score.source, score.method, score.table][score.column.horizon] = score
    rows: dict[tuple[str, str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (source, method, table), cells in printed.items():
        texts = tuple(_cell(cells[h], marks) if h in cells else "—" for h in horizons)
        rows[source, method, texts].append(table)  # a row that a paper prints in two tables is shown once
    lines = [
        [
            "*reported*",
            markdown(method),
            markdown(f"{source}, Table{'s' * (len(numbers) > 1)} {', '.join(numbers)}"),
            *texts,
        ]
        for (source, method, texts), numbers in rows.items()
    ]
    heads = ["", "method", "source", *(_STEPS[kind].format(k) for k, kind in map(_horizon, horizons))]
    table = tabulate(lines, heads, tablefmt="github", disable_numparse=True)
    arrow = better_text(scores[0].column.better)
    return f"### {markdown(metric)}, reported\n\n{arrow}{_units(scores)}\n\n{table}\n"


def _horizon(text: str) -> tuple[int, str]:
    match = HORIZON.fullmatch(text)
    assert match is not None  # the schema says so
    return int(match[2]), match[1]


def _units(scores: Sequence[Score]) -> str:
    """Return how the papers scale the numbers, for all the factors that occur."""
    factors: dict[str, list[str]] = defaultdict(list)
    for score in scores:
        text = f"{score.factor:g}" + (f" plus {score.column.offset:g}" if score.column.offset else "")
        if score.factor != 1 and text not in factors[score.column.unit]:
            factors[score.column.unit].append(text)
    texts = [f"{unit} (natural value times {' or '.join(values)})" for unit, values in factors.items() if values]
    return f"; printed: {markdown(' or '.join(texts))}" if texts else ""


def _cell(score: Score, marks: dict[str, str]) -> str:
    """Return the natural value in the printed precision, what is printed, and the marks of its footnotes."""
    mark = ",".join(mark for reason, mark in marks.items() if reason in (*score.suspect, *score.remarks))
    note = f" <sup>{mark}</sup>" if mark else ""
    if score.factor == 1:
        return score.printed + note
    if score.column.offset:
        digits = len(score.printed.partition(".")[2])
        return f"{score.natural:.{digits}f}{note}<br><sub>printed {score.printed}</sub>"
    digits = len(score.printed.replace(".", "").lstrip("-0"))
    digits += not math.log10(score.factor).is_integer()  # one more where the digits themselves change
    return f"{score.natural:#.{digits}g}{note}<br><sub>printed {score.printed}</sub>"
