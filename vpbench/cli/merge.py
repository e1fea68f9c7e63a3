"""``vpbench merge``: check that results are complete, and write their summaries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import State, common_options, for_each_result, json_option

if TYPE_CHECKING:
    from vpbench.results.store import Store


@click.command("merge")
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--allow-partial", is_flag=True, help="Summarise an incomplete result; never ranked.")
@json_option
@common_options
@click.pass_obj
def command(state: State, result: Path, allow_partial: bool, as_json: bool) -> None:
    """Check that a result (or every result below a folder) is complete and write its summary."""
    from vpbench.results.summarise import merge

    def work(store: Store) -> dict[str, Any]:
        merge(store, state.plugins, allow_partial=allow_partial)
        return {"summary": str(store.folder / "summary.json")}

    for_each_result(result, work, lambda document: str(document["summary"]), as_json=as_json)
