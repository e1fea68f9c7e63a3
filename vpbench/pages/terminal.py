"""The table on the terminal after a run."""

from __future__ import annotations

from collections.abc import Sequence

from vpbench.output import say, say_table
from vpbench.pages.numbers import count_clips, count_samples, number
from vpbench.pages.samples import ORACLE, sample_curves
from vpbench.results.result import Result


def print_results(results: Sequence[Result]) -> None:
    """Print per-step scores of results of one protocol, one row per metric and predictor, then their folders."""
    with_summary = [result for result in results if (result.path / "summary.json").is_file()]
    if with_summary:
        summary, protocol = with_summary[0].summary, with_summary[0].run.protocol
        steps = protocol.report or summary.steps
        metrics = list(dict.fromkeys(name for result in with_summary for name in result.summary.scores))
        table = [row for metric in metrics for result in with_summary for row in _rows(result, metric, steps)]
        clips = count_clips(summary.clips, summary.recordings)
        say(f"{protocol.name} v{protocol.version}: {clips}")
        if table:
            say_table(table, ["metric", "predictor", *(f"t+{k}" for k in steps), "mean"])
        if sets := _sets(with_summary):
            say_table(sets, ["set metric", "predictor", "score", "clips", "samples"])
        for line in dict.fromkeys(line for result in with_summary for line in _remarks(result)):
            say(line)
    for result in results:
        state = "" if result in with_summary else "  (other processes are not done: no summary yet)"
        say(f"{result.label}: {result.path}{state}")


def _row(result: Result, metric: str, steps: Sequence[int]) -> list[str]:
    scores = result.summary.scores
    if metric not in scores:
        return [metric, result.label, *["—"] * (len(steps) + 1)]
    decimals = result.run.metrics[metric].decimals
    values = [*(result.at(metric, k) for k in steps), scores[metric].mean]
    return [metric, result.label, *(number(value, decimals) for value in values)]


def _rows(result: Result, metric: str, steps: Sequence[int]) -> list[list[str]]:
    """Return the row of a metric, and those of the best and worst samples if there are several."""
    rows = [_row(result, metric, steps)]
    score = result.summary.scores.get(metric)
    if score is None or score.samples is None:
        return rows
    decimals, indices = result.run.metrics[metric].decimals, [result.summary.steps.index(step) for step in steps]
    for title, curve in sample_curves(score.samples).items():
        values = [*(curve.per_step[index] for index in indices), curve.mean]
        rows.append([f"{metric}@{title}", result.label, *(number(value, decimals) for value in values)])
    return rows


def _sets(results: Sequence[Result]) -> list[list[str]]:
    """Return the rows of the set metrics."""
    rows = []
    for metric in dict.fromkeys(name for result in results for name in result.summary.sets):
        for result in results:
            if score := result.summary.sets.get(metric):
                text = number(score.score, result.run.metrics[metric].decimals)
                rows.append([metric, result.label, text, str(score.clips), str(score.samples)])
    return rows


def _remarks(result: Result) -> list[str]:
    summary = result.summary
    remarks = [f"not measured: {metric} ({reason})" for metric, reason in summary.skipped.items()]
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
    remarks += [f"{result.label}: {metric}: {score.caution}" for metric, score in summary.sets.items() if score.caution]
    if mixed := result.mixed():
        remarks.append(f"{result.label}: mixes {'; '.join(mixed)}")
    return remarks
