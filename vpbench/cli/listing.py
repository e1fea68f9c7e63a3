"""``vpbench list``: every name that plugins registered."""

from __future__ import annotations

import click

from vpbench.cli.common import State, common_options, json_option, print_json
from vpbench.errors import UsageError, did_you_mean
from vpbench.output import say
from vpbench.plugin.loader import KINDS


@click.command("list")
@click.argument("kind", required=False, metavar="[predictors|datasets|metrics|protocols|annotators|networks]")
@json_option
@common_options
@click.pass_obj
def command(state: State, kind: str | None, as_json: bool) -> None:
    """List predictors, datasets, metrics, protocols, annotators and published networks."""
    plurals = {f"{k}s": k for k in KINDS}
    if kind is not None and kind not in plurals:
        raise UsageError(f"there is no kind {kind!r}{did_you_mean(kind, plurals)}")
    kinds = [plurals[kind]] if kind else list(KINDS)
    entries = [entry for k in kinds for entry in state.plugins.of(k)]
    if as_json:
        fields = ("kind", "name", "summary", "default", "plugin")
        print_json({"entries": [{name: getattr(entry, name) for name in fields} for entry in entries]})
        return
    width = max((len(entry.name) for entry in entries), default=0)
    for k in kinds:
        group = [entry for entry in entries if entry.kind == k]
        if len(kinds) > 1:
            say(f"{k}s" if group else f"{k}s: none")
        for entry in group:
            mark = "*" if entry.default else " "
            say(f"{mark} {entry.name:<{width}}  {entry.summary}".rstrip())
    if any(entry.default for entry in entries):
        say("(* used where a command names none)")
    for plugin in state.plugins.plugins:
        if plugin.error:
            say(f"vpbench: plugin {plugin.name} is not loaded: {plugin.error}", err=True)
