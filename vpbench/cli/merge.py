"""``vpbench merge``: complete, then summarise."""

from __future__ import annotations

from pathlib import Path

import click

from vpbench.cli.common import State, attempts, common_options
from vpbench.output import say

__all__ = ["command"]


@click.command("merge")
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--allow-partial", is_flag=True, help="Summarise an incomplete result; never ranked.")
@common_options
@click.pass_obj
def command(state: State, result: Path, allow_partial: bool) -> None:
    """Check that a result (or every result below a folder) is complete and write its summary."""
    from vpbench.errors import ResultError
    from vpbench.results.result import find_results
    from vpbench.results.store import Store
    from vpbench.results.summarise import merge

    folders = find_results(result)
    if not folders:
        raise ResultError(f"{result}: there is no result (no run.json) at or below it")
    with attempts() as attempt:
        for folder in folders:
            with attempt():
                merge(Store.open(folder), state.plugins, allow_partial=allow_partial)
                say(str(folder / "summary.json"))
