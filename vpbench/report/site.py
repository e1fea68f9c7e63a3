"""Write the site: the first page, and a page per protocol, metric, predictor and pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vpbench.pages.boards import result_name
from vpbench.pages.candidates import Candidate
from vpbench.pages.costs import cost_facts
from vpbench.pages.partial import PartialRow, partial_rows
from vpbench.pages.published import protocols
from vpbench.pages.replacing import check_replaceable, replaced
from vpbench.pages.reported import PrintedTable
from vpbench.pages.standings import Standing
from vpbench.plugin.loader import Plugins
from vpbench.report import charts, predictor, protocol, tables
from vpbench.report.clips import Contestant, clip_pages
from vpbench.report.costs import cost_figures
from vpbench.report.pages import MARK, Pages
from vpbench.report.pairs import (
    Contest,
    Matrix,
    Pair,
    differing_clips,
    make_contests,
    matrix,
    pair_pages,
    pair_tables,
    partners,
)
from vpbench.report.section import Results, Section, gallery_page, make_results
from vpbench.results.result import Result

INDEX = "index.html"


def check_site(out: Path) -> None:
    """Check that a report may go to a folder: it is missing, empty, or holds only an earlier report.

    Raises:
        ResultError: it is a file, holds anything else, or cannot be written; nothing of it was touched.
    """
    check_replaceable(out, MARK, "vpbench report")


def write_site(
    candidates: Sequence[Candidate],
    plugins: Plugins,
    reported: Sequence[PrintedTable],
    out: Path,
    pictures: Path | None = None,
) -> int:
    """Write the report in place of an earlier one; the folder appears whole or not at all.

    Neither the places of the results nor their order change a byte.

    Args:
        candidates: the results.
        plugins: loaded plugins.
        reported: tables of papers.
        out: the folder.
        pictures: folder of pictures that do not lie in the results.

    Returns:
        The number of pages.

    Raises:
        ResultError: as :func:`check_site`, or two results that must agree do not.
        VpbenchError: rows cannot be read again, or a metric fails on them.
    """
    check_site(out)
    results = make_results(candidates, plugins)
    with replaced(out) as folder:
        pages = Pages(folder)
        names = [*results, *sorted(protocols(reported) - results.keys())]
        for name in names:
            _protocol(pages, name, results.get(name), reported, plugins, pictures)
        rows = [protocol.summary_of(name, results.get(name), reported) for name in names]
        pages.page(INDEX, "index.html.j2", rows=rows)
        pages.finish()
    return sum(name.endswith(".html") for name in pages.names)


@dataclass(frozen=True)
class Partial:
    """Results of a part of the clips."""

    rows: Sequence[PartialRow]
    galleries: Sequence[tuple[str, str]]
    """The page and the title of each gallery."""


_NO_PARTIAL = Partial((), ())


def _partial(pages: Pages, results: Results, pictures: Path | None) -> Partial:
    """Write the pages of the clips of partial results."""
    name = results.name
    groups: dict[tuple[str, str], list[Standing]] = {}
    for standing in results.partial:
        identity = standing.results[0].run.identity
        groups.setdefault((identity.manifest, identity.protocol), []).append(standing)
    galleries = []
    for (manifest, digest), members in sorted(groups.items()):
        folder = f"{name}/partial-{manifest[:8]}-{digest[:8]}"
        first = [standing.results[0] for standing in members]
        names = [result_name(result, first, seed=False) for result in first]
        contestants = [Contestant(*pair) for pair in zip(names, _results(members), strict=True)]
        if clips := clip_pages(pages, folder, f"{name}, partial", f"{name}/index.html", contestants, pictures):
            galleries.append(
                (gallery_page(folder), f"{len(clips)} clip{'s' * (len(clips) != 1)} of {', '.join(names)}")
            )
    return Partial(partial_rows(results.partial), galleries)


def _results(standings: Sequence[Standing]) -> list[Sequence[Result]]:
    return [standing.results for standing in standings]


def _protocol(
    pages: Pages,
    name: str,
    results: Results | None,
    reported: Sequence[PrintedTable],
    plugins: Plugins,
    pictures: Path | None,
) -> None:
    """Write all pages of one protocol; papers and partial results stand on the page of the newest version."""
    printed = protocol.reported_by_papers(name, reported)
    partial = _partial(pages, results, pictures) if results else _NO_PARTIAL
    if results is None or not results.sections:
        about = results.summary if results else ""
        pages.page(f"{name}/index.html", "unmeasured.html.j2", name=name, about=about, printed=printed, partial=partial)
        return
    newest, *older = results.sections
    earlier = [(section.page, section.run.protocol.version) for section in older]
    _section(pages, newest, plugins, pictures, printed, partial, earlier)
    for section in older:
        _section(pages, section, plugins, pictures)


def _section(
    pages: Pages,
    section: Section,
    plugins: Plugins,
    pictures: Path | None,
    printed: protocol.Reported | None = None,
    partial: Partial = _NO_PARTIAL,
    earlier: Sequence[tuple[str, int]] = (),
) -> None:
    contests = make_contests(section, plugins)
    compared = pair_pages(section, contests)
    matrices = [matrix(section, contest, compared) for contest in contests]
    contestants = [Contestant(*pair) for pair in zip(section.names, _results(section.standings), strict=True)]
    section.clips.update(clip_pages(pages, section.folder, section.folder, section.page, contestants, pictures))
    _overview(pages, section, matrices, printed, partial, earlier)
    _metrics(pages, section)
    _predictors(pages, section, compared, plugins)
    _pairs(pages, section, compared, contests)


def _overview(
    pages: Pages,
    section: Section,
    matrices: Sequence[Matrix],
    printed: protocol.Reported | None,
    partial: Partial,
    earlier: Sequence[tuple[str, int]],
) -> None:
    rows = tables.overview_rows(section)
    pages.page(
        section.page,
        "protocol.html.j2",
        section=section,
        about=section.run.protocol.summary,
        facts=protocol.facts(section),
        heads=tables.overview_heads(section),
        rows=rows,
        choices=tables.choices(rows),
        legend=protocol.legend(section),
        figures=charts.step_figures(section),
        key=charts.chart_key(section),
        costs=cost_figures(section),
        matrices=matrices,
        multiples=[*charts.region_multiples(section), *charts.class_multiples(section)],
        printed=printed,
        partial=partial,
        earlier=earlier,
        unmeasured=protocol.unmeasured(section),
        remarks=protocol.section_remarks(section),
        origins=protocol.origins(section),
    )


def _metrics(pages: Pages, section: Section) -> None:
    for board, page in zip(section.boards, section.metric_pages, strict=True):
        pages.page(
            page,
            "metric.html.j2",
            section=section,
            board=board,
            figure=charts.board_figure(section, board),
            heads=tables.step_heads(board),
            rows=tables.step_rows(section, board),
        )


def _predictors(pages: Pages, section: Section, compared: Mapping[Pair, str], plugins: Plugins) -> None:
    rows = tables.overview_rows(section)
    heads = tables.overview_heads(section)
    for place, standing in enumerate(section.standings):
        pages.page(
            section.predictor_pages[place],
            "predictor.html.j2",
            section=section,
            name=section.names[place],
            paper=protocol.paper_address(section, place),
            facts=predictor.facts(section, standing, plugins),
            costs=[cost_facts(record) for _, record in sorted(section.costs[place].items())],
            options=predictor.options(standing),
            scores=list(zip(heads, rows[place].cells, strict=False)),
            figures=charts.predictor_figures(section, standing),
            clips=predictor.clip_tables(section, standing),
            partners=partners(section, place, compared),
            remarks=predictor.predictor_remarks(section, standing),
        )


def _pairs(pages: Pages, section: Section, compared: Mapping[Pair, str], contests: Sequence[Contest]) -> None:
    for pair, page in compared.items():
        pages.page(
            page,
            "pair.html.j2",
            section=section,
            names=[section.seed_names[place] for place in pair],
            predictor_pages=[section.predictor_pages[place] for place in pair],
            tables=pair_tables(section, pair, contests),
            clips=differing_clips(section, pair),
        )
