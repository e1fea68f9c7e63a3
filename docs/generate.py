"""Write docs/commands.md from the command line itself: ``python docs/generate.py``; a test compares both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from vpbench.cli.main import State, cli

PAGE = Path(__file__).with_name("commands.md")
INTRODUCTION = """# Commands

`python docs/generate.py` writes this page from the help texts. `vpbench COMMAND --help` prints the same.
"""
ENVIRONMENT = {
    "VPBENCH_CACHE": "Folder of prepared clips and annotations; default: the user's cache folder.",
    "VPBENCH_CONFIG": "Configuration file; default: `config.toml` in the user's configuration folder.",
    "VPBENCH_DATA": "Folder with one data root per dataset, named after it.",
    "VPBENCH_ENGINE": "Engine of metrics for `vpbench run`, as `--engine`; default: each metric's own.",
    "VPBENCH_PLUGINS": "Installed plugins to load, by entry point or distribution, separated by commas; default: all.",
    "VPBENCH_WEIGHTS": "Folder that is searched first for the weights of metrics and annotators.",
}


def commands_of(context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Yield every command below a group, with its words, as a user types them."""
    assert isinstance(context.command, click.Group)
    for name in context.command.list_commands(context):
        command = context.command.get_command(context, name)
        assert command is not None
        inner = click.Context(command, parent=context, info_name=name)
        if isinstance(command, click.Group):
            yield from commands_of(inner)
        else:
            yield inner.command_path, command


def section(words: str, command: click.Command) -> str:
    """Return the section of one command: its usage, its help, a row per option."""
    context = click.Context(command)
    arguments = " ".join(piece for p in command.params for piece in p.get_usage_pieces(context))
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    rows = "\n".join(f"| {_names(option)} | {_text(option)} |" for option in options)
    paragraphs = (command.help or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return f"## {words}\n\n`{words} {arguments}`\n\n{text}\n\n| option | meaning |\n|---|---|\n{rows}\n"


def _names(option: click.Option) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    return f"`{names}`" if option.is_flag else f"`{names} {option.metavar or _type(option)}`".replace("|", "\\|")


def _type(option: click.Option) -> str:
    choices = getattr(option.type, "choices", None)
    return "|".join(map(str, choices)) if choices else option.type.name.split()[0].upper()


def _text(option: click.Option) -> str:
    shown = option.show_default if isinstance(option.show_default, str) else option.default
    default = f" Default: {shown}." if option.show_default else ""
    return f"{option.help or ''}{default}".replace("|", "\\|").strip()


def page() -> str:
    """Return the whole page."""
    root = click.Context(cli, info_name="vpbench", obj=State())
    rows = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in ENVIRONMENT.items())
    environment = f"## Environment variables\n\n| variable | meaning |\n|---|---|\n{rows}\n"
    return "\n".join([INTRODUCTION, *(section(*pair) for pair in commands_of(root)), environment])


if __name__ == "__main__":
    PAGE.write_text(page())
