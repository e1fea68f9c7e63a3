"""A check: its name, the demand of the contract, and how it runs; and the outcome of one check on one plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from vpbench.errors import PluginError, VpbenchError, describe, text_of
from vpbench.plugin.guard import plugin_errors
from vpbench.plugin.process_state import process_state

S = TypeVar("S")
Status = Literal["ok", "failed", "not applicable"]


class BreachError(PluginError):
    """A plugin breaks its contract: the message says what was seen, and what to do."""


class NotApplicableError(VpbenchError):
    """A check does not apply to a plugin; the message says why."""


@dataclass(frozen=True)
class Check(Generic[S]):
    """One demand of a contract, and how it is tried."""

    name: str
    demand: str
    """One sentence that says what the contract demands."""
    run: Callable[[S], None]
    """Raises :class:`BreachError`, or :class:`NotApplicableError`; another exception is a failure, too."""
    gate: bool = False
    """Whether the later checks are of no use if this one fails."""


@dataclass(frozen=True)
class Outcome:
    """The result of one check."""

    check: str
    demand: str
    status: Status
    detail: str = ""
    """The observation and what to do, for a failure; the reason, for a check that does not apply."""
    error: BaseException | None = None
    """The exception of a failure; the plugin's own is its ``__cause__``."""


def checks_into(checks: list[Check[S]]) -> Callable[..., Callable[[Callable[[S], None]], Callable[[S], None]]]:
    """Return a decorator ``(name, demand, gate=False)`` that adds a function to a list of checks."""

    def decorate(name: str, demand: str, *, gate: bool = False) -> Callable[[Callable[[S], None]], Callable[[S], None]]:
        def add(run: Callable[[S], None]) -> Callable[[S], None]:
            checks.append(Check(name, demand, run, gate))
            return run

        return add

    return decorate


def run_checks(checks: Sequence[Check[S]], run: Callable[[Check[S]], Outcome]) -> Iterator[Outcome]:
    """Yield what ``run`` returns for each check; after a gate that failed, the later ones do not apply."""
    failed_gate = ""
    for check in checks:
        if failed_gate:
            reason = f"the check {failed_gate!r} failed"
            yield Outcome(check.name, check.demand, "not applicable", reason)
            continue
        outcome = run(check)
        if check.gate and outcome.status == "failed":
            failed_gate = check.name
        yield outcome


def run_check(check: Check[S], subject: S) -> Outcome:
    """Run one check. Settings of the process that the plugin changes are restored."""
    try:
        with plugin_errors(_breach), process_state():
            check.run(subject)
    except NotApplicableError as error:
        return Outcome(check.name, check.demand, "not applicable", str(error))
    except VpbenchError as error:
        return Outcome(check.name, check.demand, "failed", text_of(error), error)
    return Outcome(check.name, check.demand, "ok")


def _breach(error: BaseException) -> VpbenchError:
    return error if isinstance(error, VpbenchError) else BreachError(f"it raises {describe(error)}")
