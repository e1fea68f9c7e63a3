"""Shared parts of commands: the options that every command takes, the loaded plugins, JSON output."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vpbench.cli.trouble import message
from vpbench.errors import DataError, ResultError, UsageError, VpbenchError
from vpbench.files import why_no_file
from vpbench.names import Selector
from vpbench.output import line, say, say_block
from vpbench.plugin.loader import Plugins, load_plugins

if TYPE_CHECKING:
    from vpbench.results.store import Store

LENGTH = click.IntRange(1, 10_000)
"""Samples, and frames of a context or a horizon."""
SEED = click.IntRange(min=0, max=2**63 - 1)
"""The largest seed that torch accepts."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class State:
    """State that the command line carries from its root to a command."""

    debug: bool = False
    extra: list[str] = field(default_factory=list)

    @cached_property
    def plugins(self) -> Plugins:
        """Every plugin, loaded once."""
        return load_plugins(self.extra)


def _take_plugins(ctx: click.Context, _: click.Parameter, value: tuple[str, ...]) -> None:
    state = ctx.ensure_object(State)
    if value:
        state.extra += value
        state.__dict__.pop("plugins", None)


def common_options(function: F) -> F:
    """Add ``--plugin`` and ``--debug``, which every command takes."""
    function = click.option(
        "--plugin",
        "_plugin",
        multiple=True,
        metavar="FILE.py|MODULE",
        expose_value=False,
        is_eager=True,
        callback=_take_plugins,
        help="Load a plugin that is not installed.",
    )(function)
    return click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")(function)


class _Diverted:
    """Standard output, sent to standard error meanwhile: prints of plugins and of their C code go there."""

    def __init__(self) -> None:
        _flush(sys.stdout)
        self._python = sys.stdout
        self._saved: int | None = None
        with suppress(OSError):  # the process was started without standard output
            self._saved = os.dup(1)
        self._divert()

    def print(self, text: str) -> None:
        """Print on the real standard output."""
        self.restore()
        say_block(text)
        _flush(sys.stdout)
        self._divert()

    def restore(self) -> None:
        """Let standard output be what it was."""
        _flush(self._python)
        if self._saved is not None:
            os.dup2(self._saved, 1)
        sys.stdout = self._python

    def close(self) -> None:
        """Restore standard output for good."""
        self.restore()
        if self._saved is not None:
            os.close(self._saved)

    def _divert(self) -> None:
        if self._saved is not None:
            os.dup2(2, 1)
        sys.stdout = sys.stderr


def _flush(stream: Any) -> None:
    """Write what Python holds back, so that it goes where standard output leads now."""
    if stream is not None:
        stream.flush()


def _divert(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
    if value:
        diverted = ctx.meta[__name__] = _Diverted()
        ctx.find_root().call_on_close(diverted.close)
    return value


json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    is_eager=True,
    callback=_divert,
    help="Print one JSON document and nothing else.",
)


def leave_stdout() -> None:
    """Send to standard error what plugins print while the process ends."""
    _flush(sys.stdout)
    with suppress(OSError):
        os.dup2(2, 1)


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document on standard output, in ASCII, and nothing else there; it starts with its schema."""
    diverted: _Diverted = click.get_current_context().meta[__name__]
    diverted.print(json.dumps({"schema": 1, **document}, indent=1, allow_nan=False))


def pairs(texts: tuple[str, ...], flag: str, *, bare: bool = False) -> dict[str, str]:
    """Parse ``NAME=VALUE`` texts; with ``bare``, a text without ``=`` stands under ``""``.

    Raises:
        UsageError: not of that form, or one name twice.
    """
    parsed: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals and bare:
            name, value = "", text
        if not value or (not name and not bare):
            raise UsageError(f"{flag} {text}: write it as {'[NAME=]' if bare else 'NAME='}VALUE")
        if name in parsed:
            raise UsageError(f"{flag} {text}: given twice{' for ' + name if name else ''}")
        parsed[name] = value
    return parsed


def parse_options(
    options: tuple[str, ...], weights: tuple[str, ...], names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Parse ``-o NAME.OPTION=VALUE`` and ``--weights [NAME=]FILE``, which is another way to set the option ``weights``.

    A bare file belongs to the only one of ``names``, texts as after ``-m``.

    Raises:
        UsageError: not of that form, whose weights is not clear, or they are given twice. DataError: no such file.
    """
    from vpbench.select.options import parse_assignments

    parsed = parse_assignments(options, "-o")
    files = {name: Path(text).expanduser() for name, text in pairs(weights, "--weights", bare=True).items()}
    if "" in files:
        names = sorted({Selector.parse(text).name for text in names})
        if len(names) != 1:
            example = names[0] if names else "NAME"
            raise UsageError(f"--weights {files['']}: whose? Write --weights NAME=FILE, such as {example}=FILE")
        if names[0] in files:
            raise UsageError(f"--weights {files['']}: given twice for {names[0]}")
        files[names[0]] = files.pop("")
    for name, file in files.items():
        if reason := why_no_file(file):
            raise DataError(f"--weights {name}={file}: {reason}")
        values = parsed.setdefault(name, {})
        if "weights" in values:
            raise UsageError(f"--weights {name}={file}: -o {name}.weights={values['weights']} says the same thing")
        values["weights"] = str(file)
    return parsed


def parse_size(_: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """Parse HEIGHTxWIDTH, as the callback of an option."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text or "1x1")
    if match is None:
        raise click.BadParameter(f"{text!r} is no size: write it as HEIGHTxWIDTH, such as 128x160")
    return (int(match[1]), int(match[2])) if text else None


def roots(texts: tuple[str, ...]) -> dict[str, Path]:
    """Parse ``--data-root [DATASET=]DIR``. A path that holds ``=`` and exists is taken as a path."""
    bare = {text for text in texts if "=" in text and Path(text).exists()}
    named = pairs(tuple(t for t in texts if t not in bare), "--data-root", bare=True)
    return {name: Path(value) for name, value in [*named.items(), *(("", text) for text in bare)]}


@contextmanager
def attempts() -> Iterator[Callable[[dict[str, Any]], AbstractContextManager[None]]]:
    """Do several things though some fail; exits with 1 at the end if one failed.

    Each stands within ``with attempt(document):``, which notes the error in its document.
    """
    failed = False

    @contextmanager
    def attempt(document: dict[str, Any]) -> Iterator[None]:
        nonlocal failed
        try:
            yield
        except VpbenchError as error:
            failed = True
            document["error"] = message(error)
            say(f"vpbench: {line(message(error))}", err=True)

    yield attempt
    if failed:
        raise click.exceptions.Exit(1)


def for_each_result(
    root: Path, work: Callable[[Store], dict[str, Any]], text: Callable[[dict[str, Any]], str], *, as_json: bool
) -> None:
    """Do some work on every result at or below a folder; exit with 1 at the end if one failed.

    Args:
        root: a result, or a folder of results.
        work: returns what to report of a result.
        text: returns the lines to print of such a report.
        as_json: print one JSON document at the end, also of failures, instead of lines.

    Raises:
        ResultError: there is none.
    """
    from vpbench.results.result import find_results
    from vpbench.results.store import Store

    folders = find_results(root)
    if not folders:
        raise ResultError(f"{root}: there is no result (no run.json) at or below it")
    documents: list[dict[str, Any]] = []
    with attempts() as attempt:
        for folder in folders:
            document: dict[str, Any] = {"path": str(folder), "error": None}
            documents.append(document)
            with attempt(document):
                document |= work(Store.open(folder))
                if not as_json:
                    say_block(text(document))
        if as_json:
            print_json({"results": documents})


@contextmanager
def busy(title: str) -> Iterator[None]:
    """Say on standard error, where that is a terminal, what takes a while."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(Text(line(title))):
        yield
