"""``vpbench leaderboard``: results in, markdown pages out."""

from __future__ import annotations

from pathlib import Path

import click

from vpbench.cli.common import common_options

__all__ = ["command"]


@click.command("leaderboard")
@click.argument("results", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("leaderboards"), show_default=True)
@click.option("--check", is_flag=True, help="Write nothing; fail if a page is not what the results give.")
@common_options
def command(results: tuple[Path, ...], out: Path, check: bool) -> None:
    """Turn the results in folders (default: ./results) into one page per protocol and an index."""
    from vpbench.errors import ResultError
    from vpbench.pages.leaderboard import build_pages, collect, stale_pages, write_pages

    pages = build_pages(collect(results or (Path("results"),)))
    if not check:
        for path in write_pages(pages, out):
            click.echo(str(path))
        return
    if stale := stale_pages(pages, out):
        raise ResultError(f"stale in {out}: {', '.join(stale)}; `vpbench leaderboard --out {out}` makes them anew")
