"""One result on the terminal: what was run, its scores with intervals, and the clips where it is worst."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from vpbench.errors import ResultError, VpbenchError, did_you_mean
from vpbench.output import is_terminal, line, say, say_table, width
from vpbench.pages.layout import TableText, bounds, fit, shorten, sparkline
from vpbench.pages.numbers import count_clips, interval_text, number
from vpbench.pages.samples import sample_curves
from vpbench.pages.terminal import METRIC, print_sets, remarks
from vpbench.plugin.loader import Plugins
from vpbench.plugin.metric import better_text, cost
from vpbench.plugin.sample_metric import step_metrics
from vpbench.results.clip_scores import clip_scores
from vpbench.results.result import Result
from vpbench.results.scores import Score
from vpbench.results.summarise import metrics_of
from vpbench.results.tally import Tally

_WORST = 5
"""Clips that are named."""


def print_result(result: Result, plugins: Plugins, metric: str | None = None) -> None:
    """Print one result: every metric at some steps, or one ``metric`` at each step.

    Raises:
        ResultError: the metric was not measured.
    """
    run = result.run
    say(f"{result.label} on {run.protocol.name} v{run.protocol.version}")
    for fact in _facts(result):
        say(fact)
    if not os.path.lexists(result.path / "summary.json"):
        published = len(result.store.published())
        say(f"no summary: {published} of {result.store.units} units are there; run the same command again")
        return
    summary = result.summary
    say(count_clips(summary.clips, summary.recordings))
    say()
    if metric is None:
        _print_scores(result)
        print_sets([result])
        metric = next((name for name in summary.scores), None)
    elif metric in summary.sets:
        print_sets([result])
    else:
        _print_steps(result, metric)
    for remark in remarks([result]):
        say(remark)
    if metric in summary.scores:
        _print_worst(result, plugins, metric)


def _facts(result: Result) -> list[str]:
    """Return what was run, one fact per line, cut to the width; facts without a value are left out."""
    run = result.run
    facts: dict[str, object] = {
        "paper": run.paper,
        "parameters": f"{run.parameters:,}" if run.parameters else "",
        "options": ", ".join(f"{name}={value}" for name, value in run.identity.options.items()),
        "annotators": ", ".join(f"{kind} by {name}" for kind, name in run.identity.annotators.items()),
        "samples per clip": f"{run.identity.samples}, seed {run.identity.seed}" if run.stochastic else "",
        "identity": run.identity_hash,
    }
    return [line(f"{name}: {value}", width()) for name, value in facts.items() if value]


def _print_scores(result: Result) -> None:
    """Print a row per metric, with as many steps as fit."""
    lines, steps = list(_lines(result)), result.summary.steps
    if not lines:
        return
    titles = shorten((line.title for line in lines), METRIC)
    curves = [[sparkline(line.values, *bounds([line.values]))] if is_terminal() else [] for line in lines]

    def build(chosen: Sequence[int]) -> TableText:
        places = [steps.index(step) for step in chosen]
        rows = [
            [titles[line.title], *curve, *(line.cells[place] for place in places), line.mean]
            for line, curve in zip(lines, curves, strict=True)
        ]
        return rows, ["metric", *(["curve"] if is_terminal() else []), *(f"t+{step}" for step in chosen), "mean"]

    (rows, heads), chosen = fit(build, result.run.protocol.report or steps, width())
    say_table(rows, heads)
    if len(chosen) < len(steps):
        say(f"{len(chosen)} of {len(steps)} steps are shown; summary.json has all")


class _Line(NamedTuple):
    """One row of the table of scores."""

    title: str
    values: Sequence[float | None]
    """By step."""
    cells: Sequence[str]
    """The values as text, with their intervals."""
    mean: str


def _lines(result: Result) -> Iterator[_Line]:
    """Yield the row of each metric, and those of its best and worst samples."""
    for name, score in result.summary.scores.items():
        decimals = result.run.metrics[name].decimals
        cells = [_score(score, place, decimals) for place in range(len(score.per_step))]
        yield _Line(name, score.per_step, cells, number(score.mean, decimals))
        for convention, curve in sample_curves(score.samples).items():
            cells = [number(value, decimals) for value in curve.per_step]
            yield _Line(f"{name}@{convention}", curve.per_step, cells, number(curve.mean, decimals))


def _score(score: Score, place: int, decimals: int) -> str:
    """Return a score with its interval."""
    ends = score.ci95[place] if score.ci95 else None
    text = number(score.per_step[place], decimals)
    return text if ends is None else f"{text} ({interval_text(ends, decimals)})"


def _print_steps(result: Result, metric: str) -> None:
    """Print one metric, a row per step."""
    summary = result.summary
    if metric not in summary.scores:
        reason = summary.skipped.get(metric)
        hint = f": {reason}" if reason else did_you_mean(metric, summary.measured)
        raise ResultError(f"{result.path} has no {metric}{hint}")
    score, record = summary.scores[metric], result.run.metrics[metric]
    say(", ".join([metric, better_text(record.better), *([record.unit] if record.unit else [])]))
    curves = sample_curves(score.samples)
    rows = []
    for place, step in enumerate(summary.steps):
        values = [score.per_step[place], *(curve.per_step[place] for curve in curves.values())]
        score_text, *samples = [number(value, record.decimals) for value in values]
        rows.append([f"t+{step}", score_text, _interval(score, place, record.decimals), *samples])
    if score.mean is not None:
        samples = [number(curve.mean, record.decimals) for curve in curves.values()]
        rows.append(["mean", number(score.mean, record.decimals), "", *samples])
    say_table(rows, ["", "score", "95 % interval", *curves])


def _interval(score: Score, place: int, decimals: int) -> str:
    return interval_text(score.ci95[place] if score.ci95 else None, decimals)


def _print_worst(result: Result, plugins: Plugins, metric: str) -> None:
    try:
        means = _clip_means(result, plugins, metric)
    except VpbenchError as error:
        say(f"the worst clips are not known: {error}")
        return
    better, decimals = result.run.metrics[metric].better, result.run.metrics[metric].decimals
    ordered = sorted(means, key=lambda clip: (-cost(means[clip], better), clip))
    if ordered:
        say(f"worst clips by {metric}:")
    for clip in ordered[:_WORST]:
        say(f"  {clip}: {number(means[clip], decimals)}")


def _clip_means(result: Result, plugins: Plugins, metric: str) -> Mapping[str, float]:
    """Return the mean over the steps of each clip's scores."""
    measured = step_metrics(metrics_of(result.store, plugins))[metric]
    tally = Tally(row for row in result.rows() if row["metric"] == metric)
    return clip_scores(measured, tally.metrics[metric], tuple(sorted(tally.clips)), result.summary.steps).by_clip()
