"""``vpbench reproduce``: run some clips of a result again, and compare their rows with the published ones."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vpbench.cli.common import State, busy, common_options, json_option, parse_options, print_json, roots
from vpbench.cli.ranges import FiniteRange
from vpbench.output import say, say_table

if TYPE_CHECKING:
    from vpbench.evaluation.reproduce import Reproduction


@click.command("reproduce")
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--clips", type=click.IntRange(min=1), default=8, show_default=True, help="Clips to run again.")
@click.option("--weights", multiple=True, metavar="[NAME=]FILE", help="The recorded weights.")
@click.option("--data-root", "data_roots", multiple=True, metavar="[DATASET=]DIR", help="Folder of a dataset.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Clips predicted at once.")
@click.option("--engine", default="", envvar="VPBENCH_ENGINE", metavar="NAME", help="Engine of the metrics.")
@click.option(
    "--tolerance",
    type=FiniteRange(min=0),
    show_default="1e-6",
    help="Largest difference of a row: absolute for values up to 1, relative above.",
)
@json_option
@common_options
@click.pass_obj
def command(
    state: State,
    result: Path,
    clips: int,
    weights: tuple[str, ...],
    data_roots: tuple[str, ...],
    device: str,
    batch_size: int,
    engine: str,
    tolerance: float | None,
    as_json: bool,
) -> None:
    """Run clips of a result again with the recorded predictor, options, weights and seed, and compare every row.

    The clips are spread evenly over the list. Rows are equal bit by bit on one type of machine and with the same
    libraries. The exit code is 1 if a row differs by more than the tolerance.
    """
    from vpbench.evaluation.plan import Settings
    from vpbench.evaluation.reproduce import reproduce
    from vpbench.results.agreement import TOLERANCE
    from vpbench.results.result import load

    original = load(result)
    settings = Settings(
        data_roots=roots(data_roots),
        options=parse_options((), weights, [original.run.predictor]),
        device=device,
        batch_size=batch_size,
        engine=engine,
    )
    with busy("running clips again"):
        limit = TOLERANCE if tolerance is None else tolerance
        outcome = reproduce(original, state.plugins, settings, clips=clips, tolerance=limit)
    if as_json:
        print_json(_document(result, outcome))
    else:
        _print(original.label, outcome)
    if not outcome.succeeded:
        raise click.exceptions.Exit(1)


def _document(path: Path, outcome: Reproduction) -> dict[str, object]:
    metrics = [asdict(m) | {"largest": m.largest if math.isfinite(m.largest) else None} for m in outcome.metrics]
    return {
        "path": str(path),
        "clips": list(outcome.clips),
        "tolerance": outcome.tolerance,
        "reproduced": outcome.succeeded,
        "metrics": metrics,
        "skipped": dict(outcome.skipped),
        "remarks": list(outcome.remarks),
    }


def _print(label: str, outcome: Reproduction) -> None:
    say(f"{label}: {len(outcome.clips)} clips again, tolerance {outcome.tolerance:g}")
    rows = [
        [m.metric, m.rows, m.equal, f"{m.largest:.2g}", m.beyond, m.worst if m.largest else ""] for m in outcome.metrics
    ]
    say_table(rows, ["metric", "rows", "bit-equal", "largest difference", "beyond", "worst clip"])
    for name, reason in outcome.skipped.items():
        say(f"{name}: not compared, {reason}")
    for remark in outcome.remarks:
        say(f"note: {remark}")
    failed = [metric.metric for metric in outcome.metrics if metric.beyond]
    say(f"not reproduced: {', '.join(failed)}" if failed else "reproduced")
