"""The table on the terminal after a run."""

from __future__ import annotations

from collections.abc import Sequence

import click
from tabulate import tabulate

from vpbench.pages.numbers import number
from vpbench.results.result import Result

__all__ = ["print_results"]


def print_results(results: Sequence[Result]) -> None:
    """Print per-step scores of results of one protocol, one row per metric and predictor, then where they lie."""
    done = [result for result in results if (result.path / "summary.json").is_file()]
    if done:
        summaries = {result.path: result.summary for result in done}
        first = summaries[done[0].path]
        protocol = done[0].run["protocol"]
        steps = protocol["report"] or first["steps"]
        metrics = list(
            dict.fromkeys(name for result in done for name in (*result.run["metrics"], *result.run["skipped"]))
        )
        table = [_row(result, metric, steps) for metric in metrics for result in done]
        click.echo(f"{protocol['name']} v{protocol['version']}: {first['clips']} clips")
        click.echo(tabulate(table, ["metric", "predictor", *(f"t+{k}" for k in steps), "mean"], disable_numparse=True))
        for line in dict.fromkeys(_remarks(result) for result in done):
            if line:
                click.echo(line)
    for result in results:
        state = "" if result in done else "  (other processes are not done: no summary yet)"
        click.echo(f"{result.label}: {result.path}{state}")


def _row(result: Result, metric: str, steps: Sequence[int]) -> list[str]:
    summary = result.summary
    if metric not in summary["scores"]:
        reason = summary["skipped"].get(metric, "not measured")
        return [metric, result.label, *["—"] * len(steps), f"— ({reason})"]
    decimals = result.run["metrics"][metric]["decimals"]
    values = [result.at(metric, k) for k in steps]
    return [
        metric,
        result.label,
        *(number(v, decimals) for v in values),
        number(summary["scores"][metric]["mean"], decimals),
    ]


def _remarks(result: Result) -> str:
    summary = result.summary
    words = []
    if summary["partial"]:
        words.append(f"partial ({summary['partial_reason']}): never ranked")
    if result.run["dropped"]:
        words.append(f"{len(result.run['dropped'])} sequences too short and dropped")
    if summary["clamped_frames"]:
        words.append(f"{result.label}: {summary['clamped_frames']} frames clamped to [0,1]")
    if mixed := result.mixed():
        words.append(f"{result.label}: mixes {'; '.join(mixed)}")
    return "; ".join(words)
