"""``vpbench report``: results in, a static site out."""

from __future__ import annotations

from pathlib import Path

import click

from vpbench.cli.common import State, busy, common_options, json_option, print_json
from vpbench.cli.leaderboard import REPORTED
from vpbench.output import say


@click.command("report")
@click.argument("results", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("site"), show_default=True, help="Folder of the site."
)
@click.option(
    "--reported",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help=f"Published tables (TOML) to show, too.  [default: {REPORTED}, if it exists]",
)
@click.option(
    "--pictures",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder that `vpbench pictures --out` wrote (default: the results).",
)
@json_option
@common_options
@click.pass_obj
def command(
    state: State, results: tuple[Path, ...], out: Path, reported: Path | None, pictures: Path | None, as_json: bool
) -> None:
    """Turn the results in folders (default: ./results) into a site that opens from disk.

    Open index.html in a browser; the site needs no server and no network. Every result is checked as by `vpbench
    leaderboard`. A folder --out with an earlier report is replaced; one with other files is refused.
    """
    from vpbench.pages.candidates import collect
    from vpbench.pages.reported import load_reported
    from vpbench.report.site import INDEX, check_site, write_site

    check_site(out)
    if reported is None and REPORTED.is_dir():
        reported = REPORTED
    tables = load_reported(reported) if reported is not None else []
    with busy("writing the report"):
        candidates = collect(results or (Path("results"),), state.plugins)
        pages = write_site(candidates, state.plugins, tables, out, pictures)
    if as_json:
        print_json({"out": str(out), "index": str(out / INDEX), "pages": pages})
        return
    say(f"{out / INDEX} ({pages} pages)")
