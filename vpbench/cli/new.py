"""``vpbench new``: start a plugin from a template that works."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from vpbench.cli.common import State, common_options, json_option, print_json
from vpbench.errors import UsageError
from vpbench.output import say
from vpbench.scaffold.plugin import KINDS, Scaffold


@click.command("new")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option("--package", "packaged", is_flag=True, help="Write a package for pip, with a test and a CI file.")
@click.option("--trainable", is_flag=True, help="Start a predictor that `vpbench train` trains.")
@click.option("--out", type=click.Path(path_type=Path), default=".", show_default=True, help="Folder to write into.")
@json_option
@common_options
@click.pass_obj
def command(state: State, kind: str, name: str, packaged: bool, trainable: bool, out: Path, as_json: bool) -> None:
    """Start a plugin: a file that works, or a package around it.

    The file draws bars, fades frames or measures brightness, so that you can run it before you change it. Existing
    files are never replaced. Prints the command to run next.
    """
    if trainable and kind != "predictor":
        raise UsageError(f"--trainable: a {kind} is not trained, only predictors are")
    scaffold = Scaffold(kind, name, trainable)
    scaffold.check_name(state.plugins, packaged=packaged)
    path = scaffold.write_package(out) if packaged else scaffold.write_file(out)
    following = _next_command(scaffold, shlex.quote(str(path)), packaged=packaged)
    if as_json:
        print_json({"kind": kind, "name": name, "path": str(path), "next": following})
    else:
        say(f"{path}: next, {following}")


def _next_command(scaffold: Scaffold, path: str, *, packaged: bool) -> str:
    if packaged:
        return f"pip install -e {path} && pytest {path}"
    if scaffold.kind == "protocol":
        return f"vpbench data check {path}"
    return f"vpbench check {scaffold.kind}/{scaffold.name} --plugin {path}"
