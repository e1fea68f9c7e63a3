"""``vpbench pictures``: keep pictures of chosen clips of results, from predictions that are made again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import State, attempts, busy, common_options, json_option, parse_options, print_json, roots
from vpbench.errors import ResultError
from vpbench.output import say_table

if TYPE_CHECKING:
    from vpbench.results.pictures import ClipPictures
    from vpbench.results.result import Result

_WORDS = ("best", "median", "worst")


@click.command("pictures")
@click.argument("folders", metavar="RESULT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--clips",
    "words",
    multiple=True,
    metavar="ID|N|best|median|worst|differ",
    help="Clips: an id, a number spread evenly, or a place by the metric. Repeatable.  [default: best median worst]",
)
@click.option("--metric", default="", metavar="NAME", help="Metric that orders clips (default: the result's first).")
@click.option("--full-size", is_flag=True, help="Keep the size of the frames and encode without loss.")
@click.option("--weights", multiple=True, metavar="[NAME=]FILE", help="Weights that a result was evaluated with.")
@click.option("--data-root", "data_roots", multiple=True, metavar="[DATASET=]DIR", help="Folder of a dataset.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for pictures (default: those of the results).")
@json_option
@common_options
@click.pass_obj
def command(
    state: State,
    /,
    folders: tuple[Path, ...],
    words: tuple[str, ...],
    metric: str,
    full_size: bool,
    weights: tuple[str, ...],
    data_roots: tuple[str, ...],
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Keep pictures of chosen clips of results, for `vpbench report`.

    RESULT is a result or a folder of results. Each clip is predicted again, with the same weights, options and seed,
    unless the result saved its prediction. Weights or data that are not the recorded ones are refused, and so is code
    that does not repeat the recorded scores of these clips. Results of one protocol get pictures of the same clips:
    those that --clips names for any of them.
    """
    from vpbench.pages.result_pictures import Drawing
    from vpbench.results.clip_choice import choose_clips
    from vpbench.results.pictures import pictures_root

    groups = _groups(folders)
    options = parse_options((), weights, [result.run.predictor for group in groups for result in group])
    data_folders = roots(data_roots)
    chosen = [choose_clips(group, words or _WORDS, metric) for group in groups]
    rows: list[dict[str, Any]] = []
    drawn: list[dict[str, Any]] = []
    try:
        with attempts() as attempt:
            for group, clips in zip(groups, chosen, strict=True):
                for result in group:
                    drawing = Drawing(result, state.plugins, data_folders, options, device, full_size)
                    root = pictures_root(result, out)
                    drawn.append({"path": str(result.path), "error": None})
                    with attempt(drawn[-1]), busy(f"{result.label} on {result.run.protocol.name}"):
                        rows += (_row(result, root, pictures) for pictures in drawing.draw(clips, root))
    finally:
        _report(rows, drawn, as_json=as_json)


def _groups(folders: Sequence[Path]) -> list[list[Result]]:
    """Return the results at or below some folders, grouped by protocol and list of clips.

    Raises:
        ResultError: there is none below one of the folders.
    """
    from vpbench.results.result import find_results, load

    groups: dict[tuple[str, str], list[Result]] = {}
    for folder in folders:
        paths = find_results(folder)
        if not paths:
            raise ResultError(f"{folder}: there is no result (no run.json) at or below it")
        for path in paths:
            result = load(path)
            groups.setdefault((result.run.identity.protocol, result.run.identity.manifest), []).append(result)
    return list(groups.values())


def _row(result: Result, root: Path, pictures: ClipPictures) -> dict[str, Any]:
    from vpbench.results.pictures import pictures_folder, sheet_file

    folder = pictures_folder(root, pictures.clip)
    size = sum((folder / sheet_file(kind)).stat().st_size for kind in pictures.sheets)
    labels = {"protocol": result.run.protocol.name, "predictor": result.label, "clip": pictures.clip}
    return labels | {"sheets": list(pictures.sheets), "bytes": size, "path": str(folder)}


def _report(rows: Sequence[dict[str, Any]], drawn: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"results": drawn, "pictures": rows})
        return
    table = [[row["protocol"], row["predictor"], row["clip"], f"{row['bytes'] / 1000:.0f} kB"] for row in rows]
    if table:
        say_table(table, ["protocol", "predictor", "clip", "size"])
