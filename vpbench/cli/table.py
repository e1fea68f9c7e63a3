"""``vpbench table``: results as a table for a paper."""

from __future__ import annotations

from pathlib import Path

import click

from vpbench.cli.common import State, busy, common_options, json_option, print_json
from vpbench.errors import UsageError
from vpbench.output import say, say_block


@click.command("table")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RESULTS...")
@click.option("--metrics", metavar="NAME,...", help="Metrics, in this order (default: all that the results have).")
@click.option("--steps", metavar="K,...", help="A column for each of these steps of each metric.")
@click.option("--mean", is_flag=True, help="A column for the mean over all steps; the default without --steps.")
@click.option("--format", "kind", type=click.Choice(["latex", "markdown", "csv"]), default="latex", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="File to write (default: print it).")
@json_option
@common_options
@click.pass_obj
def command(
    state: State,
    results: tuple[Path, ...],
    metrics: str | None,
    steps: str | None,
    mean: bool,
    kind: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Print the results of one protocol as a table for a paper.

    RESULTS are results, or folders of them. Each predictor has a row; its seeds are joined into a mean and a spread.
    The best score is bold and the second underlined, with the leaderboard's rules for ranks and ties. Rows without a
    rank are marked. Every result is checked as by `vpbench verify`, except its intervals.
    """
    from vpbench.files import write_atomic
    from vpbench.pages.candidates import collect
    from vpbench.pages.paper import Choice, make_paper_table
    from vpbench.pages.paper_formats import FORMATS, table_document

    choice = Choice(_words(metrics), _numbers(steps), mean)
    with busy("checking results"):
        table = make_paper_table(collect(results, state.plugins), state.plugins, choice)
    text = FORMATS[kind](table)
    if out is not None:
        write_atomic(out, text)
    if as_json:
        print_json(table_document(table) | {"out": None if out is None else str(out)})
    elif out is None:
        say_block(text.removesuffix("\n"))
    else:
        say(out)


def _words(text: str | None) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip())) if text else []


def _numbers(text: str | None) -> list[int]:
    words = _words(text)
    if wrong := [word for word in words if not (word.isascii() and word.isdecimal() and len(word) <= 5)]:
        raise UsageError(f"--steps: {wrong[0]!r} is no step; write numbers with commas, such as 1,3,5")
    return [int(word) for word in words]
