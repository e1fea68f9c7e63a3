"""``vpbench compare``: are the differences between results more than chance?"""

from __future__ import annotations

from pathlib import Path

import click

from vpbench.cli.common import State, busy, common_options, json_option, print_json


@click.command("compare")
@click.argument("results", type=click.Path(path_type=Path), metavar="RESULT RESULT [RESULT...]", nargs=-1)
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="Metric (default: all that every result measured)."
)
@json_option
@common_options
@click.pass_obj
def command(state: State, results: tuple[Path, ...], metrics: tuple[str, ...], as_json: bool) -> None:
    """Compare results on the same clips, each with each, step by step.

    For two results, prints the first's score less the second's, paired recording by recording. Adds its 95 % interval,
    the p-value of a permutation test, and the p-value corrected for the number of steps. Adds the share of clips where
    the first is better. Names the step from which one is significantly better, and the clips where the first is worst.

    For more results, prints a matrix per metric: who is better than whom, from which step on, and on how many clips.
    Results of one predictor that differ in a seed are also summed up as one row, with the spread over the seeds.
    """
    from vpbench.results.comparison import compare

    with busy("comparing"):
        comparison = compare(results, metrics=metrics, plugins=state.plugins)
    if as_json:
        print_json(comparison.to_json())
        return
    from vpbench.pages.comparison import print_comparison

    print_comparison(comparison)
