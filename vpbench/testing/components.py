"""Checks that plugins of several kinds share."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from vpbench.errors import describe
from vpbench.plugin.loader import Plugins
from vpbench.plugin.members import members_of
from vpbench.select.component import Component
from vpbench.select.options import Options, validate_options
from vpbench.testing.check import BreachError, NotApplicableError


def check_presets(plugins: Plugins, kind: str, name: str, choose: Callable[[Plugins, str, Options], object]) -> None:
    """Check that ``choose`` builds every preset of a plugin."""
    presets = members_of(plugins.load(kind, name), f"{kind} {name!r}").presets
    if not presets:
        raise NotApplicableError("it has no presets")
    for preset in presets:
        choose(plugins, f"{name}:{preset}", {})


def check_options(target: Any, component: Component) -> None:
    """Check that the options of a component, as JSON, give the same options again."""
    model = members_of(target, component.name).Options
    if model is None:
        raise NotApplicableError("it has no options")
    excluded = [name for name, described in model.model_fields.items() if described.exclude]
    if excluded:
        raise NotApplicableError(f"its option {excluded[0]!r} is excluded from results")
    repeated = validate_options(model, dict(component.options), component.name)
    plain = json.loads(repeated.model_dump_json())
    changed = [name for name, value in plain.items() if component.options.get(name) != value]
    if changed:
        raise BreachError(
            f"the option {changed[0]!r} is {component.options.get(changed[0])!r} in a result, and "
            f"{plain[changed[0]]!r} once read back: use types that JSON holds"
        )


def check_identity(first: Component, second: Component) -> None:
    """Check that two builds of a component have the same fingerprint."""
    if first.unproven:
        raise NotApplicableError(f"vpbench cannot inspect it ({first.unproven}): give it a method `fingerprint()`")
    if first.fingerprint != second.fingerprint:
        raise BreachError(
            "two builds differ in their values: draw weights from torch's global state, which is seeded for each "
            "build, and keep no times, paths or addresses"
        )


def report_changes(call: str, changes: Sequence[str]) -> None:
    """Raise an error that names the settings which a call changes."""
    if changes:
        raise BreachError(f"`{call}` changes {', '.join(changes)}: restore what it sets, and draw from `generators`")


def pickled(value: Any) -> Any:
    """Return a copy through pickle."""
    try:
        return pickle.loads(pickle.dumps(value))
    except Exception as error:  # a plugin's __reduce__ may raise anything
        problem = f"it cannot be pickled: {describe(error)}"
        raise BreachError(f"{problem}: keep no lambdas, open files or local classes") from error
