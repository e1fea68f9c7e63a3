"""Checks in a process of their own: a plugin that crashes, hangs or ends its process fails one check, by name."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vpbench.plugin.loader import load_plugins
from vpbench.testing.check import Check, Outcome, run_check, run_checks
from vpbench.testing.conformance import Request, checks_of
from vpbench.toolkit.processes import Child, ChildEndedError, TooSlowError


@dataclass(frozen=True)
class _Recipe:
    """The parts of a request that can be sent to another process."""

    kind: str
    text: str
    options: Mapping[str, Any]
    roots: Mapping[str, Path]
    extra: tuple[str, ...]


def check_isolated(request: Request, seconds: float | None = None) -> Iterator[Outcome]:
    """Yield the outcomes of all checks, one after another.

    Standard error receives what the plugin prints.

    Args:
        request: the plugin.
        seconds: a limit for one check.

    Raises:
        UsageError: no such name, or a kind that has no checks.
    """
    checks = checks_of(request.kind)
    recipe = _Recipe(request.kind, request.text, request.options, request.roots, tuple(request.extra))
    with closing(_Process(recipe, seconds)) as process:
        yield from run_checks(checks, process.run)


class _Process:
    """Runs checks in a child, which starts again after it ended."""

    def __init__(self, recipe: _Recipe, seconds: float | None) -> None:
        self._recipe, self._seconds = recipe, seconds
        self._child: Child | None = None

    def run(self, check: Check[Any]) -> Outcome:
        """Run one check (raises as :func:`check_isolated`)."""
        try:
            if self._child is None or not self._child.runs:
                self._child = Child("vpbench.testing.isolated:serve_checks", self._recipe)
                self._child.send("")
                self._child.receive()
            self._child.send(check.name)
            outcome: Outcome = self._child.receive(self._seconds)
            return outcome
        except ChildEndedError as error:
            self.close()  # it may have closed its connection only
            detail = f"its process {error}"
        except TooSlowError:
            detail = f"it took more than {self._seconds:g} seconds, and was ended: it hangs, or needs more time"
        return Outcome(check.name, check.demand, "failed", detail)

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.close()


def serve_checks(recipe: _Recipe) -> Callable[[str], Outcome | None]:
    """Return what answers the name of a check with its outcome, and an empty name with None, in a child."""
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a crash would lose what is not written yet
    request = Request(load_plugins(recipe.extra), recipe.kind, recipe.text, recipe.options, recipe.roots, recipe.extra)
    subject = request.subject()
    checks = {check.name: check for check in checks_of(recipe.kind)}

    def answer(name: str) -> Outcome | None:
        # an error of a class of the plugin may refuse to be sent
        return replace(run_check(checks[name], subject), error=None) if name else None

    return answer
