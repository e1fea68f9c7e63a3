"""``vpbench verify``: check that every byte was published, and that the summary follows from the rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vpbench.cli.common import State, common_options, for_each_result
from vpbench.output import say

if TYPE_CHECKING:
    from vpbench.results.store import Store


@click.command("verify")
@click.argument("result", type=click.Path(path_type=Path))
@common_options
@click.pass_obj
def command(state: State, result: Path) -> None:
    """Check a result (or every result below a folder) against its own record."""
    from vpbench.results.verify import verify

    def work(store: Store) -> None:
        say(f"{store.folder}: {verify(store, state.plugins)}")
        for kind in store.mixed():
            say(f"  mixed: some units were computed by {kind}")

    for_each_result(result, work)
