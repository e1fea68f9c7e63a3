"""``vpbench cost``: what a predictor needs to predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import (
    LENGTH,
    State,
    busy,
    common_options,
    json_option,
    pairs,
    parse_options,
    print_json,
    roots,
)
from vpbench.output import say

if TYPE_CHECKING:
    from vpbench.results.costs import CostRecord


@click.command("cost")
@click.option("-m", "--predictor", required=True, metavar="NAME[:PRESET]", help="Predictor.")
@click.option("-p", "--protocol", required=True, metavar="NAME|FILE", help="Protocol that fixes the shape of clips.")
@click.option("-o", "--option", "options", multiple=True, metavar="NAME.OPTION=VALUE", help="An option of a predictor.")
@click.option("--weights", multiple=True, metavar="[NAME=]FILE", help="Weights of the predictor or an annotator.")
@click.option("--data-root", "data_roots", multiple=True, metavar="[DATASET=]DIR", help="Folder of the dataset.")
@click.option("--annotate", multiple=True, metavar="KIND=NAME", help="Annotator that supplies flow or semantics.")
@click.option("--random-clips", is_flag=True, help="Predict clips of random values, which needs no data.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--batch-size", type=LENGTH, default=8, show_default=True, help="Clips at once, for the throughput.")
@click.option("--rounds", type=click.IntRange(3, 10_000), default=10, show_default=True, help="Timed predictions.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Folder of results."
)
@json_option
@common_options
@click.pass_obj
def command(
    state: State,
    /,
    predictor: str,
    protocol: str,
    options: tuple[str, ...],
    weights: tuple[str, ...],
    data_roots: tuple[str, ...],
    annotate: tuple[str, ...],
    out: Path,
    as_json: bool,
    **values: Any,
) -> None:
    """Measure what one predictor needs to predict: parameters, operations, time and memory.

    The record is a result of its own, next to the results of the predictor. It belongs to one device and is never
    mixed with those of others. Leaderboards show it next to the scores. docs/cost.md describes the procedure.
    """
    from vpbench.evaluation.cost import CostSettings, measure_cost
    from vpbench.results.costs import write_cost
    from vpbench.select.data import open_protocol

    settings = CostSettings(
        options=parse_options(options, weights, [predictor]),
        annotate=pairs(annotate, "--annotate"),
        data_roots=roots(data_roots),
        **values,
    )
    with busy(f"{predictor}: measuring"):
        record = measure_cost(predictor, open_protocol(state.plugins, protocol), state.plugins, settings)
    path = write_cost(out, record)
    if as_json:
        print_json({"path": str(path), "cost": record.to_json()})
        return
    print_cost(record)
    say(path)


def print_cost(record: CostRecord) -> None:
    """Print a record on the terminal."""
    from vpbench.pages.costs import describe_cost

    for text in describe_cost(record):
        say(text)
