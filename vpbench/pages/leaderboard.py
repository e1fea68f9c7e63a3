"""Leaderboards: one markdown page per protocol and an index, from result folders and tables of papers alone.

Ranked together are results of one protocol hash, one manifest hash and the same data, complete, not oracles, not
trained on these clips. The same results give the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from vpbench.output import markdown
from vpbench.pages import published
from vpbench.pages.boards import table_text
from vpbench.pages.candidates import Candidate, collect
from vpbench.pages.partial import partial_rows
from vpbench.pages.reported import PrintedTable
from vpbench.pages.section import make_section
from vpbench.pages.standings import Standing, group_standings
from vpbench.pages.writing import MARK, stale_pages, write_pages
from vpbench.plugin.loader import Plugins

__all__ = ["MARK", "build_pages", "collect", "stale_pages", "write_pages"]

INDEX = "README.md"


def build_pages(
    candidates: Sequence[Candidate], plugins: Plugins, reported: Sequence[PrintedTable] = ()
) -> dict[str, str]:
    """Return texts by file name: ``<protocol>.md`` for each protocol, its charts, and the index.

    Neither the places of the folders nor their order change a page. Reported scores stand in a separate section, in
    the order of their tables.

    Raises:
        ResultError: two results that must agree do not; names both.
    """
    by_protocol: dict[str, list[Standing]] = defaultdict(list)
    for standing in group_standings(candidates):
        by_protocol[standing.results[0].run.protocol.name].append(standing)
    names = sorted({*by_protocol, *published.protocols(reported)})
    sections = {name: published.section(name, reported) for name in names}
    pages = {INDEX: _index({name: by_protocol[name] for name in names}, reported)}
    for name in names:
        pages |= _page(name, by_protocol[name], plugins, sections[name])
    return pages


def _index(by_protocol: Mapping[str, Sequence[Standing]], reported: Sequence[PrintedTable]) -> str:
    rows = []
    for name, standings in by_protocol.items():
        ranked = sum(_complete(standing) and not standing.unranked_because for standing in standings)
        printed = published.count(name, reported)
        rows.append([f"[{name}]({name}.md)", markdown(_summary(standings)), ranked, len(standings) - ranked, printed])
    heads = ["protocol", "what it is", "ranked", "not ranked", "reported"]
    return f"{MARK}\n# Leaderboards\n\n{table_text(heads, rows)}\n"


def _complete(standing: Standing) -> bool:
    return standing.candidates[0].complete


def _summary(standings: Sequence[Standing]) -> str:
    return standings[0].results[0].run.protocol.summary if standings else "not measured yet"


def _page(name: str, standings: Sequence[Standing], plugins: Plugins, reported: str) -> dict[str, str]:
    """Return a protocol's page and its charts, by file name."""
    groups: dict[tuple[int, str, str], list[Standing]] = defaultdict(list)
    for standing in filter(_complete, standings):
        run = standing.results[0].run
        groups[-run.protocol.version, run.identity.protocol, run.identity.manifest].append(standing)
    partial = [standing for standing in standings if not _complete(standing)]
    paragraphs = [f"{MARK}\n# {name}\n"]
    if summary := _summary(standings):
        paragraphs.append(f"{markdown(summary)}\n")
    pages: dict[str, str] = {}
    for place, key in enumerate(sorted(groups)):
        prefix = f"{name}-{key[1][:8]}-{key[2][:8]}" if place else name
        text, charts = make_section(groups[key], plugins, prefix)
        paragraphs.append(text)
        pages |= charts
    if partial:
        paragraphs.append(_partial(partial))
    return {f"{name}.md": "\n".join([*paragraphs, *filter(None, [reported])]), **pages}


def _partial(standings: Sequence[Standing]) -> str:
    rows = [
        [markdown(row.name), row.clips, markdown(row.reason), ", ".join(map(markdown, row.scores))]
        for row in partial_rows(standings)
    ]
    heads = ["predictor", "clips", "why partial", "scores"]
    return f"## Partial results, not ranked\n\n{table_text(heads, rows)}\n"
