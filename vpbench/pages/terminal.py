"""The table on the terminal after a run."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from vpbench.output import Strong, is_terminal, say, say_table, width
from vpbench.pages.layout import TableText, bounds, fit, shorten, sparkline
from vpbench.pages.numbers import count_clips, count_samples, number
from vpbench.pages.samples import ORACLE, sample_curves
from vpbench.plugin.metric import cost
from vpbench.results.result import Result

_NAME = 32
"""Characters of a predictor's name in a table."""
METRIC = 24
"""Characters of a metric's name in a table."""


def print_results(results: Sequence[Result]) -> None:
    """Print per-step scores of results of one protocol, one row per metric and predictor, then their folders."""
    with_summary = [result for result in results if (result.path / "summary.json").is_file()]
    if with_summary:
        summary, protocol = with_summary[0].summary, with_summary[0].run.protocol
        clips = count_clips(summary.clips, summary.recordings)
        say(f"{protocol.name} v{protocol.version}: {clips}")
        _print_scores(with_summary, protocol.report or summary.steps)
        print_sets(with_summary)
        for remark in remarks(with_summary):
            say(remark)
    for result in results:
        state = "" if result in with_summary else "  (other processes are not done: no summary yet)"
        say(f"{result.label}: {result.path}{state}")


def _print_scores(results: Sequence[Result], steps: Sequence[int]) -> None:
    """Print the table of scores, with as many steps as fit."""
    metrics = list(dict.fromkeys(name for result in results for name in result.summary.scores))
    lines = [line for metric in metrics for line in _mark_best(_metric_lines(results, metric))]
    if not lines:
        return
    names = shorten((line.label for line in lines), _NAME)
    titles = shorten((line.metric for line in lines), METRIC)
    curves = _sparklines(lines) if is_terminal() else {}

    def build(chosen: Sequence[int]) -> TableText:
        rows = [
            [titles[line.metric], names[line.label], *([curves[line]] if curves else []), *line.cells(chosen)]
            for line in lines
        ]
        heads = ["metric", "predictor", *(["curve"] if curves else []), *(f"t+{k}" for k in chosen), "mean"]
        return rows, heads

    (rows, heads), chosen = fit(build, steps, width())
    say_table(rows, heads)
    if len(chosen) < len(steps):
        say(f"{len(chosen)} of {len(steps)} steps are shown; summary.json has all")


@dataclass(frozen=True)
class _Line:
    """One row of the table: a curve over the steps and its mean."""

    metric: str
    label: str
    curve: Mapping[int, float | None]
    mean: float | None
    decimals: int
    strong: frozenset[int | None] = frozenset()
    """Steps where the score is the best; None for the mean."""

    def __hash__(self) -> int:
        return hash((self.metric, self.label))

    def cells(self, steps: Sequence[int]) -> list[str]:
        """Return the scores of some steps and the mean."""
        return [*(self._cell(self.curve.get(step), step) for step in steps), self._cell(self.mean, None)]

    def _cell(self, value: float | None, step: int | None) -> str:
        text = number(value, self.decimals)
        return Strong(text) if step in self.strong else text


def _metric_lines(results: Sequence[Result], metric: str) -> list[tuple[_Line, Result]]:
    return [(line, result) for result in results for line in _lines(result, metric)]


def _lines(result: Result, metric: str) -> list[_Line]:
    """Return the row of a metric, and those of the best and worst samples if there are several."""
    score, steps = result.summary.scores.get(metric), result.summary.steps
    if score is None:
        return [_Line(metric, result.label, {}, None, 0)]
    decimals = result.run.metrics[metric].decimals
    lines = [_Line(metric, result.label, dict(zip(steps, score.per_step, strict=True)), score.mean, decimals)]
    for title, curve in sample_curves(score.samples).items():
        values = dict(zip(steps, curve.per_step, strict=True))
        lines.append(_Line(f"{metric}@{title}", result.label, values, curve.mean, decimals))
    return lines


def _mark_best(lines: Sequence[tuple[_Line, Result]]) -> list[_Line]:
    """Mark the best scores of one metric at each step, if several predictors that do not see the truth have one."""
    metric = lines[0][0].metric
    rivals = [(line, result) for line, result in lines if line.metric == metric and not result.run.sees_truth]
    scored = [(line, result) for line, result in rivals if metric in result.run.metrics and line.curve]
    if len(scored) < 2:
        return [line for line, _ in lines]
    better = scored[0][1].run.metrics[metric].better
    best: dict[int | None, float] = {}
    for line, _ in scored:
        for step, value in [*line.curve.items(), (None, line.mean)]:
            if value is not None:
                best[step] = min(best.get(step, math.inf), cost(value, better))

    def strong(line: _Line) -> frozenset[int | None]:
        values = [*line.curve.items(), (None, line.mean)]
        return frozenset(s for s, value in values if value is not None and cost(value, better) == best.get(s))

    contenders = {id(line) for line, _ in scored}
    return [replace(line, strong=strong(line)) if id(line) in contenders else line for line, _ in lines]


def _sparklines(lines: Sequence[_Line]) -> dict[_Line, str]:
    """Return the sparkline of each row, on one scale per metric."""
    scales = {
        metric: bounds(list(line.curve.values()) for line in lines if line.metric == metric)
        for metric in {line.metric for line in lines}
    }
    return {line: sparkline(list(line.curve.values()), *scales[line.metric]) for line in lines}


def print_sets(results: Sequence[Result]) -> None:
    """Print the scores of set metrics, if there are any."""
    if rows := _set_rows(results):
        say_table(rows, ["set metric", "predictor", "score", "clips", "samples"])


def _set_rows(results: Sequence[Result]) -> list[list[str]]:
    names = shorten((result.label for result in results), _NAME)
    rows = []
    for metric in dict.fromkeys(name for result in results for name in result.summary.sets):
        for result in results:
            if score := result.summary.sets.get(metric):
                text = number(score.score, result.run.metrics[metric].decimals)
                rows.append([metric, names[result.label], text, str(score.clips), str(score.samples)])
    return rows


def remarks(results: Sequence[Result]) -> list[str]:
    """Return what a reader of the scores must know: what was not measured, samples, weights, undefined frames.

    A remark that applies to several results is returned once.
    """
    everywhere = set.intersection(*(set(result.summary.skipped) for result in results))
    lines = [line for result in results for line in _remarks(result, everywhere)]
    cautions: dict[str, list[str]] = {}
    for result in results:
        for metric, score in result.summary.sets.items():
            if score.caution:
                cautions.setdefault(f"{metric}: {score.caution}", []).append(result.label)
    return [*dict.fromkeys(lines), *(f"{', '.join(labels)}: {text}" for text, labels in cautions.items())]


def _remarks(result: Result, everywhere: Collection[str]) -> list[str]:
    """Return the remarks on one result; ``everywhere`` has the metrics that no result of the table has."""
    summary = result.summary
    remarks = [
        f"{'' if metric in everywhere else f'{result.label}: '}not measured: {metric} ({reason})"
        for metric, reason in summary.skipped.items()
    ]
    counts = {score.samples.count for score in summary.scores.values() if score.samples}
    remarks += [f"{result.label}: mean over {count} samples per clip; {ORACLE}" for count in counts]
    run = result.run
    if names := [name for name in summary.scores if run.metrics[name].kind == "samples"]:
        samples = count_samples(run.identity.samples)
        remarks.append(f"{result.label}: {samples}, scored together by {', '.join(names)}")
    if summary.partial:
        remarks.append(f"partial ({summary.partial_reason}): never ranked")
    if result.run.weights and result.training == "overlap":
        remarks.append(f"{result.label}: {result.run.weights.seen} of these sequences were trained on: never ranked")
    if result.run.weights and result.training == "disjoint":
        weights = result.run.weights
        remarks.append(f"{result.label}: weights {weights.sha256[:12]}, trained on {weights.protocol}")
    if result.training == "none":
        remarks.append(f"{result.label}: not trained (no weights): never ranked; train it, or name weights")
    if result.training == "unknown":
        remarks.append(f"{result.label}: nothing is known of the clips that its weights were trained on")
    if result.run.dropped:
        remarks.append(f"{len(result.run.dropped)} sequences too short and dropped")
    if summary.clamped_frames:
        remarks.append(f"{result.label}: {summary.clamped_frames} frames clamped to [0,1]")
    for metric, score in summary.scores.items():
        for reason, count in score.undefined.items():
            remarks.append(f"{result.label}: {metric} undefined for {count} frames ({reason})")
    if mixed := result.mixed():
        remarks.append(f"{result.label}: mixes {'; '.join(mixed)}")
    return remarks
