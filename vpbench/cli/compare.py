"""``vpbench compare``: is the difference between two results more than chance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vpbench.cli.common import State, busy, common_options, json_option, print_json
from vpbench.output import say, say_table

if TYPE_CHECKING:
    from vpbench.results.compare import Comparison, SetDifference


@click.command("compare")
@click.argument("first", type=click.Path(path_type=Path), metavar="RESULT")
@click.argument("second", type=click.Path(path_type=Path), metavar="RESULT")
@click.option("--metric", metavar="NAME", help="Metric to compare (default: all that both measured).")
@json_option
@common_options
@click.pass_obj
def command(state: State, first: Path, second: Path, metric: str | None, as_json: bool) -> None:
    """Compare two results on the same clips, step by step.

    Prints the first's score less the second's, paired recording by recording. Adds its 95 % interval, the p-value of
    a permutation test, and the clips where the first is worst compared with the second.
    """
    from vpbench.plugin.sample_metric import set_metrics, step_metrics
    from vpbench.results.comparable import check_comparable, check_data, shared_metrics
    from vpbench.results.compare import compare_rows, compare_sets
    from vpbench.results.result import load
    from vpbench.results.summarise import metrics_of
    from vpbench.results.summary import Tally
    from vpbench.results.verify import check_result

    results = load(first), load(second)
    run = results[0].run
    with busy("comparing"):
        partial = check_comparable(results)
        names = shared_metrics(results, metric)
        metrics = metrics_of(results[0].store, state.plugins)
        for result in results:
            check_result(result, state.plugins)
        tallies = Tally(results[0].rows()), Tally(results[1].rows())
        inputs = check_data(results, tallies, names)
        steps, recordings = results[0].summary.steps, run.recordings
        by_step, sets = step_metrics(metrics), set_metrics(metrics)
        compared = [compare_rows(tallies, by_step[name], steps, recordings) for name in names if name in by_step]
        compared_sets = [compare_sets(*results, sets[name]) for name in names if name in sets]
    if as_json:
        print_json(
            {
                "schema": 1,
                "protocol": run.protocol.name,
                "first": {"path": str(first), "label": results[0].label},
                "second": {"path": str(second), "label": results[1].label},
                "partial": partial,
                "inputs": inputs,
                "metrics": {c.metric: asdict(c) for c in compared} | {c.metric: asdict(c) for c in compared_sets},
            }
        )
        return
    say(f"{run.protocol.name}: {results[0].label} (first) and {results[1].label} (second)")
    for comparison in compared:
        metric_info = run.metrics[comparison.metric]
        counts = [result.run.identity.samples for result in results] if metric_info.kind == "samples" else []
        _print(comparison, run.protocol.report, metric_info.decimals, counts)
    for difference in compared_sets:
        _print_set(difference, metrics[difference.metric].info.decimals)
    if inputs:
        say(inputs)
    if partial:
        say(f"partial ({partial}): a look, not a finding")


def _print(comparison: Comparison, report: Sequence[int], decimals: int, counts: Sequence[int]) -> None:
    from vpbench.pages.numbers import count_clips, number
    from vpbench.plugin.metric import better_text

    def cells(*scores: float | None, interval: tuple[float, float] | None) -> list[str]:
        ends = "—" if interval is None else " to ".join(number(end, decimals) for end in interval)
        return [*(number(score, decimals) for score in scores), ends]

    columns = (comparison.first, comparison.second, comparison.difference, comparison.ci95, comparison.p)
    table = [
        [f"t+{step}", *cells(first, second, difference, interval=interval), number(p, 4)]
        for step, first, second, difference, interval, p in zip(comparison.steps, *columns, strict=True)
        if step in (report or comparison.steps)
    ]
    mean = comparison.mean
    if len(comparison.steps) > 1 and mean.difference is not None:
        table.append(["mean", *cells(mean.first, mean.second, mean.difference, interval=mean.ci95), ""])
    say()
    clips = count_clips(comparison.clips, comparison.recordings)
    say(", ".join([comparison.metric, better_text(comparison.better), clips, *_samples(counts)]))
    say_table(table, ["", "first", "second", "difference", "95 % interval", "p"])
    for reason, count in comparison.undefined.items():
        say(f"undefined: {count} frames ({reason})")
    if comparison.worst:
        say("the first is worst compared with the second on:")
    for clip in comparison.worst:
        say(f"  {clip.clip}: {number(clip.first, decimals)} and {number(clip.second, decimals)}")


def _samples(counts: Sequence[int]) -> list[str]:
    """Return the numbers of samples of both results, as one word of a title; nothing for a metric of single frames."""
    from vpbench.pages.numbers import count_samples

    return [" and ".join(map(count_samples, dict.fromkeys(counts)))] if counts else []


def _print_set(difference: SetDifference, decimals: int) -> None:
    from vpbench.pages.numbers import number
    from vpbench.plugin.metric import better_text

    say()
    clips = f"{difference.clips} clips"
    say(", ".join([difference.metric, better_text(difference.better), clips, *_samples(difference.samples)]))
    values = (difference.first, difference.second, difference.difference)
    say_table([[number(value, decimals) for value in values]], ["first", "second", "difference"])
    if len(set(difference.samples)) > 1:
        say("the sets differ in size, and the score depends on it")
