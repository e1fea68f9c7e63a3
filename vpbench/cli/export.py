"""``vpbench export``: the rows of results, for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vpbench.cli.common import common_options, json_option, print_json
from vpbench.errors import ResultError, UsageError
from vpbench.output import say

if TYPE_CHECKING:
    from vpbench.results.result import Result


@click.command("export")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RESULT...")
@click.option("--format", "kind", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="File to write (CSV: standard output).")
@json_option
@common_options
def command(results: tuple[Path, ...], kind: str, out: Path | None, as_json: bool) -> None:
    """Export the rows of results as one table: a row per clip, sample, step and metric.

    RESULT is a result, or a folder of results. Each row names its protocol, predictor, options and seeds. Numbers have
    full precision. Set metrics have no value per clip, so they have no rows. Parquet needs the extra `pandas`.
    """
    from vpbench.results.export import exported_rows, write_csv, write_csv_file, write_parquet_file

    if kind == "parquet" and out is None:
        raise UsageError("Parquet is no text for a terminal: name the file with --out FILE.parquet")
    if as_json and out is None:
        raise UsageError("--json prints what was exported, so the rows need a file: name it with --out")
    opened = _open(results)
    rows = exported_rows(opened)
    if out is None:
        write_csv(rows, lambda text: say(text.removesuffix("\n")))
        return
    (write_parquet_file if kind == "parquet" else write_csv_file)(rows, out)
    if as_json:
        exported = [{"path": str(result.path), "label": result.label} for result in opened]
        print_json({"out": str(out), "format": kind, "results": exported})
    else:
        say(out)


def _open(roots: Sequence[Path]) -> list[Result]:
    """Open every result at or below some folders, each once; name those that lack units.

    Raises:
        ResultError: there is none below a folder, or one cannot be read.
    """
    from vpbench.results.result import find_results, load

    results: dict[Path, Result] = {}
    for root in roots:
        folders = find_results(root)
        if not folders:
            raise ResultError(f"{root}: there is no result (no run.json) at or below it; name one that a run wrote")
        results |= {folder.resolve(): load(folder) for folder in folders}
    for result in results.values():
        units, published = result.store.units, len(result.store.published())
        if published < units:
            say(
                f"vpbench: {result.path}: {published} of {units} units are there; only their rows are exported",
                err=True,
            )
    return list(results.values())
