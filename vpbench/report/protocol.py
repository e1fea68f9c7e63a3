"""The contents of a protocol's page besides its tables: facts, remarks, partial results, and rows of papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vpbench.output import ADDRESS
from vpbench.pages.costs import LATENCY
from vpbench.pages.numbers import count_clips, number
from vpbench.pages.overview import origins_of
from vpbench.pages.published import (
    PrintedMetric,
    footnotes,
    marks_of,
    natural_text,
    printed_metrics,
    scores_on,
)
from vpbench.pages.reported import PrintedTable, Score
from vpbench.pages.section import remarks
from vpbench.report.section import Results, Section


@dataclass(frozen=True)
class Summary:
    """One line of the first page."""

    name: str
    page: str
    about: str
    clips: str
    results: int
    """Rows with a rank."""
    unranked: int
    reported: int
    best: str
    """The best predictor by the first metric, with its score."""
    best_page: str
    remarks: int


@dataclass(frozen=True)
class ReportedCell:
    """A number that a paper prints."""

    text: str
    printed: str
    marks: str


@dataclass(frozen=True)
class Reported:
    """The scores that papers report on a protocol."""

    metrics: Sequence[tuple[PrintedMetric, Sequence[tuple[str, str, Sequence[ReportedCell]]]]]
    """Each metric with its rows: method, source, numbers."""
    footnotes: Sequence[tuple[str, str]]
    papers: Sequence[tuple[str, str]]
    notes: Sequence[str]


def summary_of(name: str, results: Results | None, tables: Sequence[PrintedTable]) -> Summary:
    """Return the line of a protocol on the first page."""
    reported = len({(score.source, score.method) for score in scores_on(name, tables)})
    section = results.sections[0] if results and results.sections else None
    page = f"{name}/index.html"
    about = results.summary if results else ""
    if section is None:
        partial = len(results.partial) if results else 0
        return Summary(name, page, about or "not measured yet", "—", 0, partial, reported, "—", "", 0)
    ranked = sum(not standing.unranked_because for standing in section.standings)
    best, best_page = _best(section)
    return Summary(
        name,
        page,
        about,
        clips_text(section),
        ranked,
        len(section.standings) - ranked + len(results.partial if results else ()),
        reported,
        best,
        best_page,
        len(section_remarks(section)),
    )


def _best(section: Section) -> tuple[str, str]:
    """Return the best predictor by the first metric with its score, and its page."""
    lines = section.boards[0].contenders if section.boards else []
    if not lines or lines[0].overall is None:
        return "—", ""
    board, line = section.boards[0], lines[0]
    place = next(i for i, standing in enumerate(section.standings) if standing is line.standing)
    score = f"{board.title} {number(line.overall, board.spec.decimals)}"
    return f"{section.names[place]} ({score})", section.predictor_pages[place]


def clips_text(section: Section) -> str:
    """Return how many clips and recordings were scored."""
    summary = section.standings[0].results[0].summary
    return count_clips(summary.clips, summary.recordings)


def facts(section: Section) -> list[tuple[str, str]]:
    """Return what is known of a protocol, as pairs of a name and a text."""
    run, summary = section.run, section.standings[0].results[0].summary
    first, last = summary.steps[0], summary.steps[-1]
    dropped = f"{len(run.dropped)} sequences, too short" if run.dropped else ""
    pairs = [
        ("version", str(run.protocol.version)),
        ("clips", clips_text(section)),
        ("steps", f"t+{first}" if first == last else f"t+{first} to t+{last}"),
        ("dropped", dropped),
        ("protocol hash", run.identity.protocol[:12]),
        ("clip list", run.identity.manifest[:12]),
    ]
    return [(name, text) for name, text in pairs if text]


def legend(section: Section) -> list[str]:
    """Return what the marks of the overview mean."""
    if not section.boards:
        return []
    steps = section.boards[0].steps
    scores = f"Means over t+{steps[0]} to t+{steps[-1]}" if len(steps) > 1 else f"Scores at t+{steps[-1]}"
    ties = "≈ marks a tie: the 95 % interval of the paired difference from the best score covers zero."
    if section.standings[0].results[0].summary.recordings < 2:
        ties = "One recording gives no interval, so ties are not marked."
    seconds = LATENCY.replace("`", "") if section.devices else "Seconds per frame compare only within one machine."
    return [f"{scores}, the best in bold.", ties, seconds]


def section_remarks(section: Section) -> list[str]:
    """Return the warnings of all results of a section, and the remarks on them."""
    candidates = [candidate for standing in section.standings for candidate in standing.candidates]
    return list(dict.fromkeys([*map(str, section.alerts), *remarks(candidates)]))


def unmeasured(section: Section) -> list[str]:
    """Return the metrics that no result has a score of, each with its reason."""
    results = [result for standing in section.standings for result in standing.results]
    metrics = {metric for result in results for metric in result.summary.measured}
    skipped = sorted({item for result in results for item in result.summary.skipped.items()})
    return [f"{metric} ({reason})" for metric, reason in skipped if metric not in metrics]


def origins(section: Section) -> list[str]:
    """Return the versions and machines that evaluated the results."""
    return origins_of([result for standing in section.standings for result in standing.results])


def reported_by_papers(name: str, tables: Sequence[PrintedTable]) -> Reported | None:
    """Return what papers report on a protocol; None if none does."""
    scores = scores_on(name, tables)
    if not scores:
        return None
    marks = footnotes(scores)
    metrics = [
        (
            metric,
            [(row.method, row.source, [_reported_cell(score, marks) for score in row.scores]) for row in metric.rows],
        )
        for metric in printed_metrics(scores)
    ]
    sources = {(score.source, score.table) for score in scores}
    cited = [table for table in tables if (table.source, table.table) in sources]
    papers = {table.source: table.paper for table in cited}
    notes = [f"{table.source}, Table {table.table}: {note}" for table in cited for note in table.notes]
    return Reported(metrics, [(mark, reason) for reason, mark in marks.items()], list(papers.items()), notes)


def _reported_cell(score: Score | None, marks: dict[str, str]) -> ReportedCell:
    if score is None:
        return ReportedCell("—", "", "")
    printed = score.printed if score.factor != 1 else ""
    return ReportedCell(natural_text(score), printed, marks_of(score, marks))


def paper_address(section: Section, place: int) -> str:
    """Return the address of a predictor's paper; "" unless it is one of http or https without markup."""
    paper = section.standings[place].results[0].run.paper
    return paper if ADDRESS.fullmatch(paper) else ""
