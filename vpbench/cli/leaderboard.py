"""``vpbench leaderboard``: results in, markdown pages out."""

from __future__ import annotations

from pathlib import Path

import click

from vpbench.cli.common import State, common_options
from vpbench.output import say

REPORTED = Path("leaderboards/reported")


@click.command("leaderboard")
@click.argument("results", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("leaderboards"), show_default=True)
@click.option(
    "--reported",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help=f"Published tables (TOML) to show, too.  [default: {REPORTED}, if it exists]",
)
@click.option("--check", is_flag=True, help="Write nothing; fail if a page is out of date.")
@common_options
@click.pass_obj
def command(state: State, results: tuple[Path, ...], out: Path, reported: Path | None, check: bool) -> None:
    """Turn the results in folders (default: ./results) into one page per protocol and an index.

    Every result is checked as by `vpbench verify`, except its intervals. One that contradicts itself ends the command.
    """
    from vpbench.errors import ResultError
    from vpbench.pages.leaderboard import build_pages, collect, stale_pages, write_pages
    from vpbench.pages.reported import load_reported

    if reported is None and REPORTED.is_dir():
        reported = REPORTED
    tables = load_reported(reported) if reported is not None else []
    pages = build_pages(collect(results or (Path("results"),), state.plugins), state.plugins, tables)
    if not check:
        for path in write_pages(pages, out):
            say(str(path))
        return
    if stale := stale_pages(pages, out):
        raise ResultError(f"stale in {out}: {', '.join(stale)}; `vpbench leaderboard --out {out}` updates them")
