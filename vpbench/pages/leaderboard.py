"""Leaderboards: one markdown page per protocol and an index, from result folders and tables of papers alone.

Ranked together are results of one protocol hash, one manifest hash and the same data, complete, not oracles, not
trained on these clips. The same results give the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from tabulate import tabulate

from vpbench.output import link, markdown
from vpbench.pages import published
from vpbench.pages.numbers import count_clips, number
from vpbench.pages.reported import PrintedTable
from vpbench.pages.standings import (
    Candidate,
    Line,
    Score,
    Standing,
    Table,
    collect,
    cost_of,
    equal,
    group_standings,
    make_tables,
    ranks,
)
from vpbench.pages.writing import MARK, stale_pages, write_pages
from vpbench.plugin.metric import Better, better_text, cost
from vpbench.results.records import RunRecord
from vpbench.results.result import Result

__all__ = ["MARK", "build_pages", "collect", "stale_pages", "write_pages"]

INDEX = "README.md"
Column: TypeAlias = tuple[str, Callable[[Line], Score], float]
"""Title, score of a row, and the factor that it is shown with."""


def build_pages(candidates: Sequence[Candidate], reported: Sequence[PrintedTable] = ()) -> dict[str, str]:
    """Return page texts by file name: ``<protocol>.md`` for each protocol, and the index.

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
    pages = {f"{name}.md": _page(name, by_protocol[name], sections[name]) for name in names}
    return {INDEX: _index({name: by_protocol[name] for name in names}, reported), **pages}


def _index(by_protocol: Mapping[str, Sequence[Standing]], reported: Sequence[PrintedTable]) -> str:
    rows = []
    for name, standings in by_protocol.items():
        ranked = sum(_complete(standing) and not standing.unranked_because for standing in standings)
        printed = published.count(name, reported)
        rows.append([f"[{name}]({name}.md)", markdown(_summary(standings)), ranked, len(standings) - ranked, printed])
    heads = ["protocol", "what it is", "ranked", "listed apart", "reported"]
    return f"{MARK}\n# Leaderboards\n\n{_table_text(heads, rows)}\n"


def _complete(standing: Standing) -> bool:
    return standing.candidates[0].complete


def _summary(standings: Sequence[Standing]) -> str:
    return standings[0].results[0].run.protocol.summary if standings else "not measured yet"


def _page(name: str, standings: Sequence[Standing], reported: str) -> str:
    groups: dict[tuple[int, str, str], list[Standing]] = defaultdict(list)
    for standing in filter(_complete, standings):
        run = standing.results[0].run
        groups[-run.protocol.version, run.identity.protocol, run.identity.manifest].append(standing)
    partial = [standing for standing in standings if not _complete(standing)]
    paragraphs = [f"{MARK}\n# {name}\n"]
    if summary := _summary(standings):
        paragraphs.append(f"{markdown(summary)}\n")
    paragraphs += [_group(groups[key]) for key in sorted(groups)]
    if partial:
        paragraphs.append(_partial(partial))
    return "\n".join([*paragraphs, *filter(None, [reported])])


def _group(standings: Sequence[Standing]) -> str:
    results = [result for standing in standings for result in standing.results]
    paragraphs = [_introduction(results[0])]
    names = list(dict.fromkeys(metric for result in results for metric in result.summary.scores))
    paragraphs += [text for metric in names for text in _metric(metric, standings)]
    skipped = sorted({item for result in results for item in result.summary.skipped.items()})
    if texts := [markdown(f"{metric} ({reason})") for metric, reason in skipped if metric not in names]:
        paragraphs.append(f"Not measured: {'; '.join(texts)}.\n")
    if remarks := list(dict.fromkeys(_remarks([c for standing in standings for c in standing.candidates]))):
        paragraphs.append("Remarks: " + "; ".join(map(markdown, remarks)) + ".\n")
    return "\n".join(paragraphs)


def _introduction(result: Result) -> str:
    run, summary = result.run, result.summary
    dropped = f" ({len(run.dropped)} sequences too short and dropped)" if run.dropped else ""
    below = "the 95 % bootstrap interval over recordings, or ± the standard deviation over seeds"
    if summary.recordings < 2:
        below = "± the standard deviation over seeds, if there are several (one recording gives no interval)"
    return (
        f"Version {run.protocol.version}, protocol `{run.identity.protocol[:12]}`, clips "
        f"`{run.identity.manifest[:12]}`: {count_clips(summary.clips, summary.recordings)}{dropped}. "
        f"Scores at each step; below each {below}.\n"
    )


def _remarks(candidates: Sequence[Candidate]) -> Iterable[str]:
    """Yield remarks on single results; each names its result so that no other one of the page can be meant."""
    results = [candidate.result for candidate in candidates]
    names = [_name(result, results, seed=True) for result in results]
    named = list(zip(names, results, strict=True))
    for name, result in named:
        if mixed := result.mixed():
            yield f"{name}: mixes {'; '.join(mixed)}"
    for name, result in named:
        if result.training == "unknown":
            yield f"{name}: nothing is known of the clips that it was trained on"
    for name, result in named:
        if frames := result.summary.clamped_frames:
            yield f"{name}: {frames} frames clamped to [0,1]"
    for name, result in named:
        for metric, score in result.summary.scores.items():
            for reason, frames in score.undefined.items():
                yield f"{name}: {metric} undefined for {frames} frames ({reason})"
    for name, candidate in zip(names, candidates, strict=True):
        for metric, doubt in candidate.doubts.items():
            yield f"{name}: {metric} could not be computed again from the rows ({doubt})"


def _metric(metric: str, standings: Sequence[Standing]) -> list[str]:
    """Return one table per revision, code and data of a metric: in each, the same frames have the same scores."""
    tables = make_tables(metric, standings)
    newest = max((table.revision for table in tables), default=0)
    texts = []
    for table, lines in tables.items():
        siblings = [sibling for sibling in tables if sibling.revision == table.revision]
        marks = [] if table.revision == newest else [f"revision {table.revision}"]
        marks += [f"code {table.code[:8] or 'released'}"] if len({sibling.code for sibling in siblings}) > 1 else []
        marks += [f"data {table.data[:8]}"] if len({sibling.data for sibling in siblings}) > 1 else []
        texts.append(_table(f"{metric} ({', '.join(marks)})" if marks else metric, _separation(siblings), lines))
    return texts


def _separation(tables: Sequence[Table]) -> str:
    reasons = ["other code of the metric under the same revision"] if len({table.code for table in tables}) > 1 else []
    reasons += ["other data (frames, labels or flow)"] if len({table.data for table in tables}) > 1 else []
    return f"Not comparable with the other tables of this metric: {' and '.join(reasons)}.\n\n" if reasons else ""


def _table(title: str, separation: str, lines: Sequence[Line]) -> str:
    run, metric = lines[0].result.run, lines[0].metric
    protocol, spec = run.protocol, run.metrics[metric]
    better = spec.better
    columns = _columns(metric, protocol.report or lines[0].result.summary.steps, run)
    ranked = ranks(lines, better)
    contenders = [line for rank, line in ranked if rank.isdecimal()]
    costs = {head: [cost_of(score(line).value, better) for line in contenders] for head, score, _ in columns}
    best = {head: min((c for c in costs[head] if c is not None), default=None) for head in costs}
    reference = next((line for _, line in ranked if line.standing.label == protocol.reference), None)
    rows = []
    for rank, line in ranked:
        cells = [rank, _line_name(line, [rival for _, rival in ranked])]
        for head, score, factor in columns:
            bold = line in contenders and equal(cost_of(score(line).value, better), best[head])
            cells.append(_cell(score(line), factor, spec.decimals, bold=bold))
        if reference is not None:
            cells.append(_skill(line.overall, reference.overall, better))
        rows.append(cells)
    heads = ["", "predictor", *(head for head, _, _ in columns)]
    heads += [markdown(f"against {protocol.reference}")] if reference is not None else []
    unit = f", {markdown(spec.unit)}" if spec.unit else ""
    return f"## {markdown(title)}\n\n{separation}{better_text(better)}{unit}\n\n{_table_text(heads, rows)}\n"


def _columns(metric: str, steps: Sequence[int], run: RunRecord) -> list[Column]:
    protocol = run.protocol
    columns: list[Column] = [(f"t+{k}", partial(Line.at, step=k), 1.0) for k in steps]
    if run.cumulative:
        last = max(steps)
        steps_to = [k for k in [*protocol.report] or [last] if k > 1]
        columns += [(f"mean 1-{k}", partial(Line.mean_to, step=k), 1.0) for k in steps_to]
        if factor := protocol.display.get(metric):
            columns.append((f"mean 1-{last} as printed (x {factor:g})", partial(Line.mean_to, step=last), factor))
    return columns


def _cell(score: Score, factor: float, decimals: int, *, bold: bool) -> str:
    """Return a number as a cell of a table, with its interval or spread below."""
    text = number(None if score.value is None else score.value * factor, decimals)
    if bold:
        text = f"**{text}**"
    if score.interval is not None:
        text += f"<br><sub>{number(score.interval[0], decimals)} to {number(score.interval[1], decimals)}</sub>"
    if score.spread is not None:
        text += f"<br><sub>± {number(score.spread * factor, decimals)}</sub>"
    return text


def _skill(overall: float | None, reference: float | None, better: Better) -> str:
    if overall is None or reference is None or not (before := cost(reference, better)):
        return "—"
    return f"{100 * (before - cost(overall, better)) / abs(before) + 0.0:+.1f} %"  # + 0.0: never -0.0


def _line_name(line: Line, lines: Sequence[Line]) -> str:
    """Return a row's name: the label with what tells it from other rows, linked to the paper; how many seeds."""
    text, paper = _name(line.result, [rival.result for rival in lines], seed=False), line.result.run.paper
    seeds = f" (mean of {len(line.candidates)} seeds)" if len(line.candidates) > 1 else ""
    return link(text, paper) + seeds


def _name(result: Result, among: Sequence[Result], *, seed: bool) -> str:
    """Return a result's label, with the settings that tell it from others of the same label."""
    rivals = [_settings(rival, seed=seed) for rival in among if rival.label == result.label and rival is not result]
    differing = [
        f"{key}={value}"
        for key, value in _settings(result, seed=seed).items()
        if any(rival.get(key) != value for rival in rivals)
    ]
    return f"{result.label} ({', '.join(differing)})" if differing else result.label


def _settings(result: Result, *, seed: bool) -> dict[str, Any]:
    identity = result.run.identity
    annotators = {f"annotate {kind}": value for kind, value in identity.annotators.items()}
    digests = {"content": identity.fingerprint, "data": identity.data, "run": identity.unproven}
    fixed = {"samples": identity.samples} | {word: digest[:8] for word, digest in digests.items()}
    return {**identity.options, **annotators, **fixed, **({"seed": identity.seed} if seed else {})}


def _partial(standings: Sequence[Standing]) -> str:
    rows = []
    for standing in standings:
        summary = standing.results[0].summary
        means = []
        for metric in dict.fromkeys(name for result in standing.results for name in result.summary.scores):
            for line in (line for lines in make_tables(metric, [standing]).values() for line in lines):
                decimals = line.result.run.metrics[metric].decimals
                means.append(markdown(f"{metric} {number(line.overall, decimals)}"))
        reason = markdown(summary.partial_reason)
        rows.append([markdown(standing.label), summary.clips, reason, ", ".join(means)])
    heads = ["predictor", "clips", "why partial", "means"]
    return f"## Partial results, not ranked\n\n{_table_text(heads, rows)}\n"


def _table_text(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)
