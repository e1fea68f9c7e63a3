"""``vpbench leaderboard``: results in, markdown pages out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vpbench.cli.common import State, common_options, json_option, print_json
from vpbench.output import say

if TYPE_CHECKING:
    from vpbench.pages.alerts import Alert

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
@json_option
@common_options
@click.pass_obj
def command(
    state: State, results: tuple[Path, ...], out: Path, reported: Path | None, check: bool, as_json: bool
) -> None:
    """Turn the results in folders (default: ./results) into one page per protocol and an index.

    Every result is checked as by `vpbench verify`, except its intervals. One that contradicts itself ends the command.
    Warnings name results that may be wrong; pages and --json list them, too.
    """
    from vpbench.errors import ResultError
    from vpbench.pages.alerts import find_alerts
    from vpbench.pages.leaderboard import build_pages, collect, stale_pages, write_pages
    from vpbench.pages.reported import load_reported

    if reported is None and REPORTED.is_dir():
        reported = REPORTED
    tables = load_reported(reported) if reported is not None else []
    candidates = collect(results or (Path("results"),), state.plugins)
    pages = build_pages(candidates, state.plugins, tables)
    stale = stale_pages(pages, out) if check else []
    paths = [] if check else write_pages(pages, out)
    alerts = find_alerts(candidates)
    if as_json:
        print_json({"pages": list(map(str, paths)), "stale": stale, "warnings": [_document(a) for a in alerts]})
    else:
        for path in paths:
            say(str(path))
        for alert in alerts:
            place = f"{alert.result.run.protocol.name}: {alert.name}"
            say(f"vpbench: warning: {alert.kind}: {place}: {alert.text}", err=True)
    if stale:
        raise ResultError(f"stale in {out}: {', '.join(stale)}; `vpbench leaderboard --out {out}` updates them")


def _document(alert: Alert) -> dict[str, str]:
    run = alert.result.run
    return {
        "kind": alert.kind,
        "protocol": run.protocol.name,
        "name": alert.name,
        "identity": run.identity_hash,
        "path": str(alert.result.path),
        "text": alert.text,
    }
