"""Leaderboards: one markdown page per protocol and an index, from result folders and tables of papers alone.

Ranked together are results of one protocol hash and one manifest hash, complete, not oracles, not trained on these
clips. The same results give the same bytes.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from vpbench.errors import ResultError
from vpbench.output import link, markdown
from vpbench.pages import published
from vpbench.pages.numbers import number
from vpbench.pages.reported import PrintedTable
from vpbench.pages.writing import MARK, stale_pages, write_pages
from vpbench.results.identity import canonical
from vpbench.results.result import Result, find_results, load

__all__ = ["MARK", "build_pages", "collect", "stale_pages", "write_pages"]

INDEX = "README.md"


def collect(roots: Sequence[Path]) -> list[Result]:
    """Open every summarised result below the roots, each folder once.

    Raises:
        ResultError: a root holds none, or one cannot be read or is not what was published.
    """
    folders: dict[Path, Path] = {}
    for root in roots:
        found = [path for path in find_results(root) if os.path.lexists(path / "summary.json")]
        if not found:
            raise ResultError(f"{root}: there is no finished result below it; make one with `vpbench run --out {root}`")
        folders |= {path.resolve(): path for path in found}
    results = [load(path) for path in folders.values()]
    for result in results:
        result.check()
    return results


def build_pages(results: Sequence[Result], reported: Sequence[PrintedTable] = ()) -> dict[str, str]:
    """Return page texts by file name: ``<protocol>.md`` for each protocol, and the index.

    Where the folders lie and in which order they are given does not matter. Reported scores stand in a section of
    their own, in the order of their tables.
    """
    by_protocol: dict[str, list[Result]] = defaultdict(list)
    ordered = sorted(results, key=lambda r: (r.label, str(r.run["identity_hash"]), bool(r.summary["partial"])))
    for result in _without_superseded(ordered):
        by_protocol[result.run["protocol"]["name"]].append(result)
    names = sorted({*by_protocol, *published.protocols(reported)})
    sections = {name: published.section(name, reported) for name in names}
    pages = {f"{name}.md": _page(name, by_protocol[name], sections[name]) for name in names}
    return {INDEX: _index({name: by_protocol[name] for name in names}, reported), **pages}


def _index(by_protocol: Mapping[str, Sequence[Result]], reported: Sequence[PrintedTable]) -> str:
    rows = []
    for name, results in by_protocol.items():
        ranked = sum(_ranked(r) for r in results)
        printed = published.count(name, reported)
        rows.append([f"[{name}]({name}.md)", markdown(_summary(results)), ranked, len(results) - ranked, printed])
    heads = ["protocol", "what it is", "ranked", "listed apart", "reported"]
    table = tabulate(rows, heads, tablefmt="github", disable_numparse=True)
    return f"{MARK}\n# Leaderboards\n\n{table}\n"


def _ranked(result: Result) -> bool:
    return not result.summary["partial"] and not _apart(result)


def _apart(result: Result) -> str:
    """Return why a complete result stands among the others without a rank; "" where it has one."""
    if result.run["sees_truth"]:
        return "ceiling"
    return {"overlap": "trained on these clips", "none": "not trained"}.get(result.training, "")


def _summary(results: Sequence[Result]) -> str:
    return results[0].run["protocol"]["summary"] if results else "not measured yet"


def _page(name: str, results: Sequence[Result], reported: str) -> str:
    groups: dict[tuple[int, str, str], list[Result]] = defaultdict(list)
    for result in results:
        identity = result.run["identity"]
        groups[result.run["protocol"]["version"], identity["protocol"], identity["manifest"]].append(result)
    complete = {key: group for key, group in groups.items() if any(not r.summary["partial"] for r in group)}
    partial = [r for group in groups.values() for r in group if r.summary["partial"]]
    parts = [f"{MARK}\n# {name}\n"]
    if summary := _summary(results):
        parts.append(f"{markdown(summary)}\n")
    for key in sorted(complete, key=lambda k: (-k[0], k[1], k[2])):
        parts += [_group([r for r in complete[key] if not r.summary["partial"]])]
    if partial:
        parts.append(_partial(partial))
    if reported:
        parts.append(reported)
    return "\n".join(parts)


def _without_superseded(results: Sequence[Result]) -> list[Result]:
    """Leave out a result where another one is of the same run with more metrics (made when weights were at hand), and
    copies. A partial result supersedes no complete one.
    """
    runs: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        identity = {key: value for key, value in result.run["identity"].items() if key != "metrics"}
        runs[canonical(identity)].append(result)

    def metrics(result: Result) -> set[tuple[str, int]]:
        return set(result.run["identity"]["metrics"].items())

    def beats(other: Result, result: Result) -> bool:
        if other.summary["partial"] and not result.summary["partial"]:
            return False
        return metrics(other) > metrics(result)

    kept: list[Result] = []
    for group in runs.values():
        of_one = {str(r.run["identity_hash"]): r for r in reversed(group)}  # the first of copies: a complete one
        kept += [r for r in group if r in of_one.values() and not any(beats(o, r) for o in group)]
    return kept


def _group(results: Sequence[Result]) -> str:
    run = results[0].run
    protocol, identity = run["protocol"], run["identity"]
    clips = results[0].summary["clips"]
    parts = [
        f"Version {protocol['version']}, protocol `{identity['protocol'][:12]}`, clips `{identity['manifest'][:12]}`: "
        f"{clips} clips"
        + (f" ({len(run['dropped'])} sequences too short and dropped)" if run["dropped"] else "")
        + ". Scores at each step; below each the 95 % bootstrap interval over clips.\n"
    ]
    names = list(dict.fromkeys(metric for result in results for metric in result.summary["scores"]))
    parts += [table for metric in names for table in _metric(metric, results)]
    if reasons := sorted({(m, why) for r in results for m, why in r.summary["skipped"].items() if m not in names}):
        parts.append("Not measured: " + "; ".join(markdown(f"{metric} ({why})") for metric, why in reasons) + ".\n")
    remarks = [f"{r.label}: mixes {'; '.join(r.mixed())}" for r in results if r.mixed()]
    remarks += [
        f"{r.label}: nothing is known of the clips that it was trained on" for r in results if r.training == "unknown"
    ]
    remarks += [
        f"{r.label}: {r.summary['clamped_frames']} frames clamped to [0,1]"
        for r in results
        if r.summary["clamped_frames"]
    ]
    for result in results:
        for metric, score in result.summary["scores"].items():
            remarks += [
                f"{result.label}: {metric} undefined for {n} frames ({why})" for why, n in score["undefined"].items()
            ]
    if remarks:
        parts.append("Remarks: " + "; ".join(map(markdown, remarks)) + ".\n")
    return "\n".join(parts)


def _metric(metric: str, results: Sequence[Result]) -> list[str]:
    """Return one table per revision of the metric, newest first: the same frames may score otherwise in each."""
    revisions: dict[int, list[Result]] = defaultdict(list)
    for result in results:
        if metric in result.summary["scores"]:
            revisions[result.run["metrics"][metric]["revision"]].append(result)
    newest, *older = sorted(revisions, reverse=True)
    tables = [_table(metric, metric, revisions[newest])]
    return tables + [_table(f"{metric} (revision {old})", metric, revisions[old]) for old in older]


def _table(title: str, metric: str, measured: list[Result]) -> str:
    run = measured[0].run
    protocol, spec = run["protocol"], run["metrics"][metric]
    steps = protocol["report"] or measured[0].summary["steps"]
    sign = -1 if spec["higher_is_better"] else 1

    def order(result: Result) -> tuple[bool, bool, float, str]:
        mean = _overall(result, metric)
        return (bool(_apart(result)), mean is None, sign * (mean or 0.0), result.label)

    measured.sort(key=order)
    columns = _columns(metric, steps, bool(run["cumulative"]), protocol)
    reference = next((r for r in measured if r.label == protocol["reference"]), None)
    contenders = [r for r in measured if not _apart(r)]
    best = {head: _best([value(r)[0] for r in contenders], spec["higher_is_better"]) for head, value in columns}
    rows = []
    for rank, result in enumerate(measured, 1):
        cells: list[str] = [_apart(result) or str(rank), _name(result, measured)]
        for head, value in columns:
            score, interval = value(result)
            cells.append(_cell(score, interval, spec["decimals"], bold=result in contenders and score == best[head]))
        if reference is not None:
            cells.append(_skill(_overall(result, metric), _overall(reference, metric), sign))
        rows.append(cells)
    heads = ["", "predictor", *(head for head, _ in columns)]
    heads += [markdown(f"against {protocol['reference']}")] if reference is not None else []
    arrow = "higher is better" if spec["higher_is_better"] else "lower is better"
    unit = f", {markdown(spec['unit'])}" if spec["unit"] else ""
    table = tabulate(rows, heads, tablefmt="github", disable_numparse=True)
    return f"## {markdown(title)}\n\n{arrow}{unit}\n\n{table}\n"


def _columns(metric: str, steps: Sequence[int], cumulative: bool, protocol: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return (title, function from a result to (score, interval)) per column."""

    def at(k: int) -> Any:
        def value(result: Result) -> tuple[float | None, list[float] | None]:
            summary = result.summary
            return result.at(metric, k), summary["scores"][metric]["ci95"][summary["steps"].index(k)]

        return value

    def mean_to(k: int, factor: float = 1.0) -> Any:
        def value(result: Result) -> tuple[float | None, None]:
            mean = result.mean_to(metric, k)
            return (None if mean is None else mean * factor), None

        return value

    columns = [(f"t+{k}", at(k)) for k in steps]
    if cumulative:
        last = max(steps)
        columns += [(f"mean 1-{k}", mean_to(k)) for k in ([*protocol["report"]] or [last]) if k > 1]
        if factor := protocol["display"].get(metric):
            columns.append((f"mean 1-{last} as printed (x {factor:g})", mean_to(last, factor)))
    return columns


def _overall(result: Result, metric: str) -> float | None:
    """Return what rows are ranked by: the mean over all steps, or the last step where such a mean means nothing."""
    score = result.summary["scores"][metric]
    value = score["mean"] if result.run["cumulative"] else score["per_step"][-1]
    return None if value is None else float(value)


def _best(values: Sequence[float | None], higher: bool) -> float | None:
    known = [value for value in values if value is not None]
    return (max(known) if higher else min(known)) if known else None


def _cell(score: float | None, interval: list[float] | None, decimals: int, *, bold: bool) -> str:
    text = number(score, decimals)
    if bold and score is not None:
        text = f"**{text}**"
    if interval is not None:
        text += f"<br><sub>{number(interval[0], decimals)} to {number(interval[1], decimals)}</sub>"
    return text


def _skill(mean: float | None, reference: float | None, sign: int) -> str:
    if mean is None or not reference:
        return "—"
    return f"{100 * sign * (reference - mean) / abs(reference) + 0.0:+.1f} %"  # + 0.0: never -0.0


def _name(result: Result, among: Sequence[Result]) -> str:
    """Return the result's label, linked to its paper, with what tells it from others of the same label."""
    paper, text = result.run["paper"], result.label
    others = [_settings(other) for other in among if other.label == result.label and other is not result]
    own = _settings(result)
    told = [f"{key}={value}" for key, value in own.items() if any(other.get(key) != value for other in others)]
    if told:
        text += f" ({', '.join(told)})"
    return link(text, paper)


def _settings(result: Result) -> dict[str, Any]:
    identity = result.run["identity"]
    annotators = {f"annotate {kind}": value for kind, value in identity["annotators"].items()}
    fixed = {"seed": identity["seed"], "samples": identity["samples"], "content": identity["fingerprint"][:8]}
    return {**identity["options"], **annotators, **fixed}


def _partial(results: Sequence[Result]) -> str:
    rows = []
    for result in sorted(results, key=lambda r: (r.label, str(r.run["identity_hash"]))):
        summary = result.summary
        means = [
            markdown(f"{metric} {number(_overall(result, metric), result.run['metrics'][metric]['decimals'])}")
            for metric in summary["scores"]
        ]
        reason = markdown(summary["partial_reason"])
        rows.append([markdown(result.label), summary["clips"], reason, ", ".join(means)])
    table = tabulate(rows, ["predictor", "clips", "why partial", "means"], tablefmt="github", disable_numparse=True)
    return f"## Partial results, not ranked\n\n{table}\n"
