"""Check values that people pass: the arguments of public functions, and pydantic's errors as one line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vpbench.errors import UsageError, did_you_mean, one_line

__all__ = ["checked_arguments", "validation_line"]

P = ParamSpec("P")
R = TypeVar("R")
_CONFIG = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function raise UsageError, by name, for an argument that its signature or annotations do not allow.

    Values are passed on as they are. Bounds stand in the annotations: ``clips: Annotated[int, Field(ge=1)] | None``.

    Example:
        >>> @checked_arguments
        ... def draw(seed: int = 0) -> int:
        ...     return seed
        >>> draw(seed="1")
        Traceback (most recent call last):
        vpbench.errors.UsageError: draw(seed='1'): Input should be a valid integer
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs.keys() - signature.parameters.keys():
            raise UsageError(f"{function.__name__} has no argument {name!r}{did_you_mean(name, signature.parameters)}")
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise UsageError(f"{function.__name__}: {error}") from None
        adapters = _adapters(function)
        for name, value in bound.arguments.items():
            try:
                adapters[name].validate_python(value)
            except ValidationError as error:
                where = f"{function.__name__}({name}={one_line(repr(value))})"
                raise UsageError(f"{where}: {validation_line(error)}") from None
        return function(*args, **kwargs)

    return call


@cache
def _adapters(function: Callable[..., Any]) -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(function, include_extras=True)
    return {name: _adapter(hints[name]) for name in inspect.signature(function).parameters}


def _adapter(hint: Any) -> TypeAdapter[Any]:
    has_config = isinstance(hint, type) and hasattr(hint, "model_config")
    return TypeAdapter(hint) if has_config else TypeAdapter(hint, config=_CONFIG)


def validation_line(error: ValidationError) -> str:
    """Return the first problem of a pydantic error as ``field.path: what is wrong``."""
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    what = first["msg"].removeprefix("Value error, ")
    return f"{path}: {what}{more}" if path else f"{what}{more}"
