"""The part of a page about one version of a protocol and one list of clips: overview, then each metric by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeAlias

from vpbench.names import slug
from vpbench.output import markdown
from vpbench.pages.alerts import find_alerts
from vpbench.pages.boards import Board, line_name, make_boards, result_name, score_cell, table_text
from vpbench.pages.candidates import Candidate
from vpbench.pages.chart import line_chart
from vpbench.pages.costs import cost_section, standing_costs
from vpbench.pages.curves import board_curves, chart_title
from vpbench.pages.numbers import count_clips
from vpbench.pages.overview import order_standings, overview, standing_name
from vpbench.pages.samples import detail_section, sample_section
from vpbench.pages.set_tables import make_set_tables, set_sections
from vpbench.pages.standings import Line, Score, Standing
from vpbench.pages.writing import CHARTS, MARK
from vpbench.plugin.loader import Plugins
from vpbench.plugin.metric import Better, better_text, cost
from vpbench.results.records import RunRecord
from vpbench.results.result import Result

Column: TypeAlias = tuple[str, Callable[[Line], Score], float]
"""Title, score of a row, and the factor that it is shown with."""


def make_section(standings: Sequence[Standing], plugins: Plugins, charts: str) -> tuple[str, dict[str, str]]:
    """Return the text, and the charts that it shows by their file names.

    Args:
        standings: complete results of one protocol and one list of clips.
        plugins: where metrics are looked up.
        charts: how the names of the charts begin.

    Raises:
        VpbenchError: rows cannot be read again, or a metric fails on them.
    """
    results = [result for standing in standings for result in standing.results]
    boards, sets = make_boards(standings), make_set_tables(standings)
    pictures = _charts(boards, charts)
    paragraphs = [_heading(results[0])]
    paragraphs += [overview(boards, sets, plugins)] if boards or sets else []
    paragraphs += filter(None, [_costs(order_standings(boards, sets))])
    paragraphs.append(_introduction(results[0]))
    paragraphs += [_metric(board, pictures.get(board.title, ("", ""))[0]) for board in boards]
    paragraphs += filter(None, map(sample_section, boards))
    paragraphs += filter(None, map(detail_section, boards))
    paragraphs += set_sections(sets)
    metrics = {metric for result in results for metric in result.summary.measured}
    skipped = sorted({item for result in results for item in result.summary.skipped.items()})
    if texts := [markdown(f"{metric} ({reason})") for metric, reason in skipped if metric not in metrics]:
        paragraphs.append(f"Not measured: {'; '.join(texts)}.\n")
    if alerts := find_alerts(c for standing in standings for c in standing.candidates):
        lines = [f"- `{alert.kind}`: {markdown(f'{alert.name}: {alert.text}')}" for alert in alerts]
        paragraphs.append("## Warnings\n\n" + "\n".join(lines) + "\n")
    if texts := list(dict.fromkeys(remarks([c for standing in standings for c in standing.candidates]))):
        paragraphs.append("Remarks: " + "; ".join(map(markdown, texts)) + ".\n")
    return "\n".join(paragraphs), dict(pictures.values())


def _costs(standings: Sequence[Standing]) -> str:
    names = [standing_name(standing, standings).partition("<br>")[0] for standing in standings]
    return cost_section(names, list(map(standing_costs, standings)))


def _heading(result: Result) -> str:
    run, summary = result.run, result.summary
    dropped = f" ({len(run.dropped)} sequences too short and dropped)" if run.dropped else ""
    clips = count_clips(summary.clips, summary.recordings)
    return f"## Version {run.protocol.version}\n\n{clips}{dropped}.\n"


def _introduction(result: Result) -> str:
    identity = result.run.identity
    below = "the 95 % bootstrap interval over recordings, or ± the standard deviation over seeds"
    if result.summary.recordings < 2:
        below = "± the standard deviation over seeds, if there are several (one recording gives no interval)"
    return (
        f"Protocol `{identity.protocol[:12]}`, clips `{identity.manifest[:12]}`: the tables below show the scores at "
        f"each step, and below each score {below}. Bands in the charts are the same intervals.\n"
    )


def _charts(boards: Sequence[Board], prefix: str) -> dict[str, tuple[str, str]]:
    """Return the file name and the content of the chart of each board with several steps, by the board's title."""
    charts: dict[str, tuple[str, str]] = {}
    for board, curves in board_curves(boards):
        name = f"{CHARTS}/{prefix}-{slug(board.title)}.svg"
        if name in (path for path, _ in charts.values()):  # of metrics such as a/b and a-b
            name = f"{CHARTS}/{prefix}-{slug(board.title)}-{len(charts)}.svg"
        steps = board.lines[0].result.summary.steps
        charts[board.title] = name, MARK + line_chart(chart_title(board), steps, curves)
    return charts


def _metric(board: Board, chart: str) -> str:
    """Return the section of one metric: its chart, and its scores at each step."""
    unit = f", {markdown(board.spec.unit)}" if board.spec.unit else ""
    paragraphs = [f"## {markdown(board.title)}", board.separation, f"{better_text(board.better)}{unit}"]
    paragraphs += [f"![{markdown(board.title)} at each step]({chart})"] if chart else []
    return "\n\n".join(filter(None, [*paragraphs, _table(board)])) + "\n"


def _table(board: Board) -> str:
    protocol, spec, better = board.run.protocol, board.spec, board.better
    step_columns = columns(board.metric, protocol.report or board.lines[0].result.summary.steps, board.run)
    reference = board.reference
    rows = []
    for rank, line in board.ranked:
        cells = [rank, line_name(line, board.lines)]
        for _, score, factor in step_columns:
            cells.append(score_cell(score(line), spec.decimals, bold=board.is_best(line, score), factor=factor))
        if reference is not None:
            cells.append(skill(line.overall, reference.overall, better))
        rows.append(cells)
    heads = ["", "predictor", *(head for head, _, _ in step_columns)]
    heads += [markdown(f"against {protocol.reference}")] if reference is not None else []
    return table_text(heads, rows)


def columns(metric: str, steps: Sequence[int], run: RunRecord) -> list[Column]:
    """Return the columns of a metric's table: each step, and the means over the steps where they are defined."""
    protocol = run.protocol
    heads: list[Column] = [(f"t+{k}", partial(Line.at, step=k), 1.0) for k in steps]
    if run.cumulative:
        last = max(steps)
        steps_to = [k for k in [*protocol.report] or [last] if k > 1]
        heads += [(f"mean 1-{k}", partial(Line.mean_to, step=k), 1.0) for k in steps_to]
        if factor := protocol.display.get(metric):
            heads.append((f"mean 1-{last} as printed (x {factor:g})", partial(Line.mean_to, step=last), factor))
    return heads


def skill(overall: float | None, reference: float | None, better: Better) -> str:
    """Return by how much a score's cost is below the reference's, in per cent."""
    if overall is None or reference is None or not (before := cost(reference, better)):
        return "—"
    return f"{100 * (before - cost(overall, better)) / abs(before) + 0.0:+.1f} %"  # + 0.0: never -0.0


def remarks(candidates: Sequence[Candidate]) -> Iterable[str]:
    """Yield remarks on single results; each names its result so that no other one of the page can be meant."""
    results = [candidate.result for candidate in candidates]
    names = [result_name(result, results, seed=True) for result in results]
    named = list(zip(names, results, strict=True))
    for name, result in named:
        if mixed := result.mixed():
            yield f"{name}: mixes {'; '.join(mixed)}"
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
