"""Text on its way to people: escaped for a terminal or for a markdown page, whoever wrote it.

Files and plugins hold texts that nobody has checked. Control characters, ANSI escape sequences and characters that
change the direction of writing are shown as their numbers, and markup is shown as it was typed.
"""

from __future__ import annotations

import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import click

_LONGEST = 2000
"""Characters of one line: an error's message, a cell."""
WIDTH = 100
"""Columns that a table may use, on wide terminals and in pipes."""
_NUMBER = re.compile(r"[-+]?\d[\d.,e+-]*( %)?|—|")
"""Matches a cell that is aligned to the right."""
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKUP = re.compile(r"[\\`*\[\]|~$&<>]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_START = re.compile(r"[#+=-]|\d+(?=[.)])")
"""Matches a character that begins a heading or an item of a list at the start of a line."""
ADDRESS = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9._~:/?#@!$&'*+,;=%()-]{0,500}")


def line(text: str, longest: int = _LONGEST) -> str:
    """Return a text as one printable line, cut to ``longest`` characters."""
    cut = text[: 2 * longest]  # before the work, which takes time for each character
    flat = _printable(" ".join(cut.split()))
    return flat if len(cut) == len(text) and len(flat) <= longest else flat[: longest - 1] + "…"


def brief(text: str) -> str:
    """Return a name from a file as one printable line of at most 80 characters."""
    return line(text, 80)


def block(text: str) -> str:
    """Return printable lines; line breaks and tabs stay."""
    return "\n".join(_printable(row, keep="\t") for row in text.split("\n"))


def markdown(text: str) -> str:
    """Return a text as one line that markdown shows as it is, in a paragraph, a list or a cell of a table."""
    flat = line(text)
    start = _START.match(flat)
    marked = _MARKUP.sub(lambda match: _HTML.get(match[0], f"\\{match[0]}"), flat)
    if start is None:
        return marked
    return f"\\{marked}" if not start[0].isdigit() else f"{start[0]}\\{marked[start.end() :]}"


def link(text: str, address: str) -> str:
    """Return a link in markdown; the text alone, unless the address is one of http or https without markup."""
    if not ADDRESS.fullmatch(address):
        return markdown(text)
    return f"[{markdown(text)}]({address.replace('(', '%28').replace(')', '%29')})"


def say(text: object = "", *, err: bool = False) -> None:
    """Print one line on the terminal: on standard output, or on standard error."""
    click.echo(_printable(str(text), keep="\t"), err=err)


def say_block(text: str, *, err: bool = False) -> None:
    """Print lines on the terminal."""
    click.echo(block(text), err=err)


class Strong(str):
    """A cell of a table that a terminal shows in bold."""

    __slots__ = ()


def say_table(rows: Iterable[Iterable[object]], heads: Iterable[str]) -> None:
    """Print a table, each row on one line: with rich on a terminal, else as plain text that scripts can rely on."""
    cells = [[_cell(cell) for cell in row] for row in rows]
    titles = [line(head) for head in heads]
    if is_terminal():
        _say_rich_table(cells, titles)
    else:
        say_block(plain_table(cells, titles))


def plain_table(rows: Iterable[Iterable[str]], heads: Iterable[str]) -> str:
    """Return the text of a table as a pipe or a file gets it."""
    from tabulate import tabulate

    return tabulate([list(row) for row in rows], list(heads), disable_numparse=True)


def is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def width() -> int:
    """Return the columns that tables may use: at most 100, and no more than the terminal has."""
    return min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns) if is_terminal() else WIDTH


def _cell(cell: object) -> str:
    text = line(str(cell))
    return Strong(text) if isinstance(cell, Strong) else text


def _say_rich_table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for place, head in enumerate(heads):
        numbers = all(_NUMBER.fullmatch(row[place]) for row in rows)
        table.add_column(Text(head), justify="right" if numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell, style="bold" if isinstance(cell, Strong) else "") for cell in row))
    Console(file=sys.stdout, width=width(), highlight=False).print(table)


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error, where that is a terminal."""
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda count, total: None
        return
    times = progress.TimeElapsedColumn(), progress.TimeRemainingColumn()
    columns = progress.TextColumn("{task.description}", markup=False), progress.BarColumn()
    with progress.Progress(*columns, progress.MofNCompleteColumn(), *times, console=console, transient=True) as bar:
        task = bar.add_task(line(title), total=None)
        yield lambda count, total: bar.update(task, completed=count, total=total)


def _printable(text: str, keep: str = "") -> str:
    if text.isprintable():
        return text
    return "".join(c if _is_shown(c) or c in keep else c.encode("unicode_escape").decode() for c in text)


def _is_shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"  # spaces of other widths
