"""``vpbench verify``: is every byte what was published, and does the summary follow from the rows?"""

from __future__ import annotations

from pathlib import Path

import click

from vpbench.cli.common import State, attempts, common_options
from vpbench.output import say

__all__ = ["command"]


@click.command("verify")
@click.argument("result", type=click.Path(path_type=Path))
@common_options
@click.pass_obj
def command(state: State, result: Path) -> None:
    """Check a result (or every result below a folder) against its own record."""
    from vpbench.errors import ResultError
    from vpbench.results.result import find_results
    from vpbench.results.store import Store
    from vpbench.results.verify import verify

    folders = find_results(result)
    if not folders:
        raise ResultError(f"{result}: there is no result (no run.json) at or below it")
    with attempts() as attempt:
        for folder in folders:
            with attempt():
                store = Store.open(folder)
                say(f"{folder}: {verify(store, state.plugins)}")
                for kind in store.mixed():
                    say(f"  mixed: some units were computed by {kind}")
