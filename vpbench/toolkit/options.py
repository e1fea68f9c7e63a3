"""Fields of a predictor's options."""

from __future__ import annotations

from typing import Any

from pydantic import Field


def stated(place: str, value: Any, description: str, **bounds: Any) -> Any:
    """Return a field whose default the paper states.

    Args:
        place: where the paper states it, such as ``section 4.2``. The JSON schema of the options keeps it as ``paper``.
        value: the default.
        description: one line for users.
        bounds: arguments of :func:`pydantic.Field`, such as ``ge=1``.
    """
    return Field(
        default=value, description=f"{description} (paper: {place})", json_schema_extra={"paper": place}, **bounds
    )
