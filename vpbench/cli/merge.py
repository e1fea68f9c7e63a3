"""``vpbench merge``: check that results are complete, and write their summaries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vpbench.cli.common import State, common_options, for_each_result
from vpbench.output import say

if TYPE_CHECKING:
    from vpbench.results.store import Store


@click.command("merge")
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--allow-partial", is_flag=True, help="Summarise an incomplete result; never ranked.")
@common_options
@click.pass_obj
def command(state: State, result: Path, allow_partial: bool) -> None:
    """Check that a result (or every result below a folder) is complete and write its summary."""
    from vpbench.results.summarise import merge

    def work(store: Store) -> None:
        merge(store, state.plugins, allow_partial=allow_partial)
        say(store.folder / "summary.json")

    for_each_result(result, work)
