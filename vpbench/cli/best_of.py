"""``vpbench best-of``: how a score improves with the number of samples that the best is chosen from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vpbench.cli.common import State, common_options, json_option, print_json
from vpbench.errors import ResultError
from vpbench.output import say, say_table

if TYPE_CHECKING:
    from vpbench.results.result import Result
    from vpbench.results.scores import SampleCurve


@click.command("best-of")
@click.argument("result", type=click.Path(path_type=Path))
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Metric to choose by (default: all whose score is a mean over frames).",
)
@json_option
@common_options
@click.pass_obj
def command(state: State, result: Path, metrics: tuple[str, ...], as_json: bool) -> None:
    """Print the best of n samples against n, for n = 1 to N.

    Each score is the expected best of n random samples of a clip, computed exactly from the N samples of one result.
    The best sample of a clip has the best mean over steps, by each metric separately.
    """
    from vpbench.pages.numbers import count_clips
    from vpbench.pages.samples import ORACLE
    from vpbench.results.result import load
    from vpbench.results.verify import check_result

    opened = load(result)
    check_result(opened, state.plugins)
    curves = {name: opened.best_of(name) for name in metrics} or _curves(opened)
    run, summary = opened.run, opened.summary
    if as_json:
        documents = {name: [curve.to_json() for curve in by_size] for name, by_size in curves.items()}
        print_json({"path": str(result), "label": opened.label, "metrics": documents})
        return
    score = "mean over the steps" if run.cumulative else "last step"
    say(f"{run.protocol.name}: {opened.label}, {count_clips(summary.clips, summary.recordings)}; {score}; {ORACLE}")
    say_table(_rows(opened, curves), ["best of", *curves])


def _curves(result: Result) -> dict[str, tuple[SampleCurve, ...]]:
    """Return the curves of every metric that has them.

    Raises:
        ResultError: none has.
    """
    curves = {}
    for name, score in result.summary.scores.items():
        if score.samples is not None:
            try:
                curves[name] = result.best_of(name)
            except ResultError:  # its score is not a mean
                continue
    if not curves:
        raise ResultError(f"{result.path} has no metric with several samples per clip and a score that is a mean")
    return curves


def _rows(result: Result, curves: dict[str, tuple[SampleCurve, ...]]) -> list[Sequence[str]]:
    """Return a row for each n up to 10, for each multiple of 10, and for N."""
    from vpbench.pages.numbers import number

    count = result.run.identity.samples
    sizes = [size for size in range(1, count + 1) if size <= 10 or size % 10 == 0 or size == count]

    def cell(name: str, size: int) -> str:
        curve = curves[name][size - 1]
        value = curve.mean if result.run.cumulative else curve.per_step[-1]
        return number(value, result.run.metrics[name].decimals)

    return [[str(size), *(cell(name, size) for name in curves)] for size in sizes]
