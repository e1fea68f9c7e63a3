"""``vpbench submit``: pack a result for the leaderboards, or check bundles that others packed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import State, common_options, json_option, print_json
from vpbench.errors import ResultError, UsageError
from vpbench.output import say

if TYPE_CHECKING:
    from vpbench.submission.check import Report

_FIELDS = {
    "contact": "An e-mail address or an https address; it is published.",
    "licence": "SPDX expression of the licence of code and weights, such as MIT.",
    "code": "Address of the predictor's code.",
    "paper": "Address of the paper.",
    "weights_url": "Address of the file of weights.",
    "training_data": "Data that the weights were trained on, if the run does not record them.",
}


def _card_options(function: Any) -> Any:
    for name, text in reversed(_FIELDS.items()):
        flag = f"--{name.replace('_', '-')}"
        metavar = "URL" if "Address of" in text else "TEXT"
        function = click.option(flag, name, metavar=metavar, help=text)(function)
    return function


@click.command("submit")
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--card", "card_file", type=click.Path(path_type=Path), metavar="FILE.toml", help="Fields of the card.")
@_card_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("leaderboards/results"),
    show_default=True,
    help="Folder of all bundles.",
)
@click.option("--check", is_flag=True, help="Check the bundles at or below RESULT, and write nothing.")
@json_option
@common_options
@click.pass_obj
def command(
    state: State, /, result: Path, card_file: Path | None, out: Path, check: bool, as_json: bool, **fields: str | None
) -> None:
    """Check a result and pack it for the leaderboards.

    The bundle is a folder below --out: the record, the summary, compressed rows and a card, without names of
    machines. The fields of the card come from --card, and options override them. Every fault is one line, and then
    nothing is written. With --check, RESULT is a bundle, or a folder of bundles.
    """
    values = {name: text for name, text in fields.items() if text is not None}
    if check:
        if values or card_file:
            raise UsageError("--check reads the card of the bundle: leave out the options that make one")
        reports = _check_bundles(state, result)
    else:
        reports = _pack(state, result, _card_values(card_file) | values, out)
    if as_json:
        bundles = [{"path": str(p), "faults": list(r.faults), "notes": list(r.notes)} for p, r in reports.items()]
        print_json({"bundles": bundles})
    else:
        _print(reports, "a sound bundle" if check else "packed; open a pull request that adds this folder")
    if any(report.faults for report in reports.values()):
        raise click.exceptions.Exit(1)


def _card_values(path: Path | None) -> dict[str, Any]:
    from vpbench.files import read_toml

    return {} if path is None else read_toml(path, "card file")


def _check_bundles(state: State, root: Path) -> dict[Path, Report]:
    from vpbench.results.result import find_results
    from vpbench.submission.check import check_bundle

    folders = find_results(root)
    if not folders:
        raise ResultError(f"{root}: there is no bundle (no run.json) at or below it")
    return {folder: check_bundle(folder, state.plugins) for folder in folders}


def _pack(state: State, path: Path, values: dict[str, Any], out: Path) -> dict[Path, Report]:
    """Return the report on a result, under the place of its bundle if it was packed."""
    from vpbench.results.result import load
    from vpbench.submission.bundle import publish_bundle
    from vpbench.submission.check import check_submission

    result = load(path)
    paper = {"paper": result.run.paper} if result.run.paper.startswith("https://") else {}
    card_values = paper | values | {"identity": result.run.identity_hash}
    report = check_submission(result, card_values, state.plugins)
    if report.card is None or report.faults:
        return {path: report}
    return {publish_bundle(result, out, report.card): report}


def _print(reports: dict[Path, Report], words: str) -> None:
    for path, report in reports.items():
        for fault in report.faults:
            say(f"vpbench: {fault if fault.startswith(str(path)) else f'{path}: {fault}'}", err=True)
        if not report.faults:
            say(f"{path}: {words}")
        for note in report.notes:
            say(f"  note: {note}")
