"""``vpbench plugins``: where each plugin comes from, what it brings, what broke."""

from __future__ import annotations

import click

from vpbench.cli.common import State, common_options, json_option, print_json
from vpbench.output import say


@click.command("plugins")
@json_option
@common_options
@click.pass_obj
def command(state: State, as_json: bool) -> None:
    """Show where each plugin comes from and what broke."""
    plugins = state.plugins
    if as_json:
        print_json({"plugins": [vars(plugin) for plugin in plugins.plugins]})
        return
    if not plugins.plugins:
        say("no plugins are loaded")
    for plugin in plugins.plugins:
        status = f"NOT LOADED: {plugin.error}" if plugin.error else "ok"
        origin = f"{plugin.distribution} {plugin.version}".strip()
        say(f"{plugin.name:<16} {origin:<24} {plugin.module:<24} {status}")
