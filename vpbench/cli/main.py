"""The command ``vpbench``: finds its commands by name, imports one only when it runs, and speaks errors in one line."""

from __future__ import annotations

import faulthandler
import importlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import click

from vpbench.allocator import keep_memory
from vpbench.cli.common import State, common_options, leave_stdout
from vpbench.cli.trouble import explain, message, stdout_is_closed
from vpbench.errors import UsageError, VpbenchError, VpbenchWarning, did_you_mean
from vpbench.output import line, say, say_block

_COMMANDS = {
    "run": ("vpbench.cli.run", "Evaluate predictors on protocols."),
    "predict": ("vpbench.cli.predict", "Predict the future of any video, as pictures."),
    "cost": ("vpbench.cli.cost", "Measure what a predictor needs to predict."),
    "compare": ("vpbench.cli.compare", "Say whether one result is better than another, step by step."),
    "best-of": ("vpbench.cli.best_of", "Print the best of n samples against n."),
    "train": ("vpbench.cli.train", "Train a predictor on a protocol's training clips."),
    "export": ("vpbench.cli.export", "Export the rows of results as CSV or Parquet."),
    "table": ("vpbench.cli.table", "Print results as a table for a paper."),
    "leaderboard": ("vpbench.cli.leaderboard", "Turn results into pages."),
    "report": ("vpbench.cli.report", "Turn results into a site with charts."),
    "pictures": ("vpbench.cli.pictures", "Keep pictures of chosen clips of results."),
    "data": ("vpbench.cli.data", "Check a dataset, or prepare or export a protocol's clips."),
    "list": ("vpbench.cli.listing", "List predictors, datasets, metrics, protocols and annotators."),
    "new": ("vpbench.cli.new", "Start a plugin: a file that works, or a package."),
    "check": ("vpbench.cli.check", "Check that a plugin keeps the contract of its kind."),
    "show": ("vpbench.cli.show", "Show one of them, or a result."),
    "plugins": ("vpbench.cli.plugins", "Show where each plugin comes from and what broke."),
    "merge": ("vpbench.cli.merge", "Check that a result is complete and write its summary."),
    "weights": ("vpbench.cli.weights", "Convert files of weights."),
    "reproduce": ("vpbench.cli.reproduce", "Run clips of a result again, and compare their rows."),
    "submit": ("vpbench.cli.submit", "Pack a result for the leaderboards, or check what others packed."),
    "verify": ("vpbench.cli.verify", "Check a result against its own record."),
}


class _Commands(click.Group):
    """First-party commands by name, then those that plugins add."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        ctx.ensure_object(State).plugins.add_commands(self)
        return [*_COMMANDS, *sorted(set(self.commands) - set(_COMMANDS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            module, _ = _COMMANDS[cmd_name]
            command: click.Command = importlib.import_module(module).command
            return command
        ctx.ensure_object(State).plugins.add_commands(self)
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would end silently, whichever pipe broke
            raise RuntimeError("broken pipe") from error

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0]
        if self.get_command(ctx, name) is None:
            raise UsageError(f"there is no command {name!r}{did_you_mean(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        rows = [(name, summary) for name, (_, summary) in _COMMANDS.items()]
        added = self.list_commands(ctx)[len(_COMMANDS) :]
        rows += [(name, self.commands[name].get_short_help_str()) for name in added]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        say(f"vpbench {version('vpbench')}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@common_options
def cli() -> None:
    """How good is this video-prediction model, at each step into the future, and can I trust the number?"""


class _Terminated(BaseException):
    """SIGTERM, as an exception, so that files are closed and the attempt is recorded."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 an error, 2 a usage error, 130 and 143 on signals."""
    signal.signal(signal.SIGTERM, _terminate)
    with suppress(OSError, ValueError, AttributeError, RuntimeError):  # no standard error, or no file of the system's
        faulthandler.enable()
    keep_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal's encoding lacks is shown by its number
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if args is None else args)
    code = _run(arguments)
    if "--json" in arguments:
        leave_stdout()
    sys.exit(code)


def _run(args: list[str]) -> int:
    state = State(debug="--debug" in args)
    warnings.showwarning = _warning_printer()
    try:
        os.getcwd()  # noqa: PTH109  (libraries end the process where there is none)
    except OSError:
        return _fail("the current folder does not exist any more: change to another one", 1)
    try:
        code = cli.main(args=args, prog_name="vpbench", standalone_mode=False, obj=state)
        return code if isinstance(code, int) else 0
    except VpbenchError as error:
        if state.debug:
            raise
        return _fail(message(error), error.exit_code)
    except click.UsageError as error:
        place = error.ctx.command_path if error.ctx else "vpbench"
        return _fail(f"{error.format_message()} (see `{place} --help`)", 2)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; what is published stays: run the same command again to resume", 130)
    except _Terminated:
        return _fail("terminated; what is published stays: run the same command again to resume", 143)
    except Exception as error:
        if isinstance(error.__cause__, BrokenPipeError):
            if stdout_is_closed():
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
                return 128 + signal.SIGPIPE  # as shells expect where the reader has gone, as in `list | head`
            error = error.__cause__
        if state.debug:
            raise
        return _fail(explain(error, state.__dict__.get("plugins")), 1)


def _warning_printer() -> Callable[..., None]:
    """Return a ``warnings.showwarning`` that prints each text for users once, in one line, and others as Python does.

    Python itself repeats a warning after every change of its filters, and libraries change them between batches.
    """
    printed: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *place: Any, **details: Any) -> None:
        text = str(message)
        if not issubclass(category, VpbenchWarning):
            say_block(warnings.formatwarning(message, category, *place[:2]).rstrip(), err=True)
        elif text not in printed:
            printed.add(text)
            say(f"vpbench: warning: {line(text)}", err=True)

    return show


def _fail(text: str, code: int) -> int:
    say(f"vpbench: {line(text)}", err=True)
    return code


def _terminate(signum: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Terminated
