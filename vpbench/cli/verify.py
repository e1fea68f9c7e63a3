"""``vpbench verify``: check that every byte was published, and that the summary follows from the rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import State, common_options, for_each_result, json_option

if TYPE_CHECKING:
    from vpbench.results.store import Store


@click.command("verify")
@click.argument("result", type=click.Path(path_type=Path))
@json_option
@common_options
@click.pass_obj
def command(state: State, result: Path, as_json: bool) -> None:
    """Check a result (or every result below a folder) against its own record."""
    from vpbench.results.verify import verify

    def work(store: Store) -> dict[str, Any]:
        return {"checked": verify(store, state.plugins), "mixed": store.mixed()}

    def text(document: dict[str, Any]) -> str:
        mixed = [f"  mixed: some units were computed by {kind}" for kind in document["mixed"]]
        return "\n".join([f"{document['path']}: {document['checked']}", *mixed])

    for_each_result(result, work, text, as_json=as_json)
