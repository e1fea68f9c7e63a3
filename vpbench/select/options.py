"""Option values by the name of the plugin object that they belong to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from vpbench.errors import UsageError, did_you_mean
from vpbench.files import parse_toml
from vpbench.validation import validation_line

Options = Mapping[str, Mapping[str, Any]]
"""Option values by the name of a predictor or an annotator."""


def parse_assignments(texts: Sequence[str], flag: str) -> dict[str, dict[str, Any]]:
    """Parse ``NAME.OPTION=VALUE`` texts; a value is TOML where it parses as TOML, else a string.

    Raises:
        UsageError: a text has another form.
    """
    parsed: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        name, dot, option = key.rpartition(".")
        if not (equals and dot and name and option):
            raise UsageError(f"{flag} {text}: write it as NAME.OPTION=VALUE")
        parsed.setdefault(name, {})[option] = parse_value(value)
    return parsed


def parse_value(text: str) -> Any:
    """Return the value of a text that is TOML, else the text itself."""
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def check_used(options: Options, names: Collection[str], advice: str = "") -> None:
    """Check that every option belongs to one of the names that take part: another is a typing error, most likely.

    Raises:
        UsageError: an option belongs to another name; ``advice`` replaces the hint at a near name.
    """
    for name, values in options.items():
        if name not in names:
            hint = advice or did_you_mean(name, names)
            raise UsageError(f"option {name}.{next(iter(values))}: {name!r} does not take part{hint}")


def validate_options(model: type[BaseModel], values: Mapping[str, Any], subject: str) -> BaseModel:
    """Return option values as the model of ``subject``.

    Raises:
        UsageError: an unknown option, or a value that does not fit.
    """
    if unknown := [key for key in values if key not in model.model_fields]:
        names, hint = ", nor ".join(map(repr, unknown)), did_you_mean(unknown[0], model.model_fields)
        raise UsageError(f"{subject} has no option {names}{hint}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(f"{subject}: option {validation_line(error)}") from error
