"""Check values from people and files: strict records, names, arguments of functions; pydantic's errors in one line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vpbench.errors import UsageError, VpbenchError, did_you_mean, one_line
from vpbench.names import clip_problem, is_metric, is_name
from vpbench.output import line

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound=BaseModel)


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"{text[:100]!r} is not a name")
    return text


def _metric(text: str) -> str:
    if not is_metric(text):
        raise ValueError(f"{text[:100]!r} is not the name of a metric")
    return text


def _clip(text: str) -> str:
    if problem := clip_problem(text):
        raise ValueError(f"{text[:100]!r} is not the id of a clip: {problem}")
    return text


Name = Annotated[str, AfterValidator(_name)]
Preset = Annotated[str, AfterValidator(lambda text: text and _name(text))]
MetricName = Annotated[str, AfterValidator(_metric)]
ClipId = Annotated[str, AfterValidator(_clip)]
Text = Annotated[str, Field(max_length=10_000)]


class Strict(BaseModel):
    """A frozen value that takes no other types, no unknown fields and no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Record(Strict):
    """A file, or a part of one, that other versions may add fields to; docstrings of fields describe its JSON schema.

    A field called ``schema_version`` stands in the file as ``schema``.
    """

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, in the order of the fields."""
        return self.model_dump(mode="json", by_alias=True)


_UNKNOWN = "extra_forbidden"
_LIST = 'must be a list, such as [1, 2] or ["a", "b"]'
_TEXTS = {_UNKNOWN: "is unknown", "tuple_type": _LIST, "list_type": _LIST}
"""Problems that pydantic names in the terms of Python."""
_LINE = 5
"""Problems in a message of one line."""
_LONGEST = 1000
"""Characters of a message about a document."""
_WORDS = {Any: "anything", object: "anything", Callable: "a function", NoneType: "None", float: "a finite number"}
"""Types whose names say less than these words."""
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
        vpbench.errors.UsageError: draw: seed must be int, not '1'
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
            except ValidationError:
                type_text = _type_text(_hints(function)[name])
                raise UsageError(
                    f"{function.__name__}: {name} must be {type_text}, not {one_line(repr(value))}"
                ) from None
        return function(*args, **kwargs)

    return call


@cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(function, include_extras=True)


@cache
def _adapters(function: Callable[..., Any]) -> dict[str, TypeAdapter[Any]]:
    return {name: _adapter(_hints(function)[name]) for name in inspect.signature(function).parameters}


def _adapter(hint: Any) -> TypeAdapter[Any]:
    has_config = isinstance(hint, type) and hasattr(hint, "model_config")
    return TypeAdapter(hint) if has_config else TypeAdapter(hint, config=_CONFIG)


def _type_text(hint: Any) -> str:
    """Return a type in words: ``int (1 or more) or None``, ``a list of str``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _type_text(arguments[0]) + _limits_text(arguments[1:])
    if origin in (Union, UnionType):
        return " or ".join(map(_type_text, arguments))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin is tuple:
        return f"a tuple ({', '.join(map(_type_text, arguments))})"
    if origin is Mapping:
        return f"a mapping of {_type_text(arguments[0])} to {_type_text(arguments[1])}"
    if origin is Sequence:
        return f"a list of {_type_text(arguments[0])}"
    return _WORDS.get(origin or hint) or str(hint.__name__)


def _limits_text(marks: Sequence[Any]) -> str:
    bounds = [bound for mark in marks for bound in getattr(mark, "metadata", ())]
    limits = {name: getattr(bound, name) for bound in bounds for name in ("gt", "ge", "le") if hasattr(bound, name)}
    match limits:
        case {"ge": low, "le": high}:
            return f" ({low} to {high})"
        case {"ge": low}:
            return f" ({low} or more)"
        case {"gt": low}:
            return f" (above {low})"
    return ""


@contextmanager
def validation_errors(kind: type[VpbenchError], subject: str, advice: str = "") -> Iterator[None]:
    """Turn a pydantic error in the block into a vpbench error of one line: subject, field, problem, advice."""
    try:
        yield
    except ValidationError as error:
        raise kind(f"{subject}: {line(validation_line(error), 500)}{advice and f'; {advice}'}") from error


def parse_document(model: type[M], value: Mapping[str, Any], source: str, kind: type[VpbenchError]) -> M:
    """Validate a TOML value of schema 1 as a model.

    Raises:
        VpbenchError: it is invalid, or of a newer schema. One line of this kind names every wrong field.
    """
    if isinstance(schema := value.get("schema"), int) and schema > 1:
        raise kind(f"{source}: schema {schema} is newer than this vpbench reads (schema 1); upgrade vpbench")
    try:
        return model.model_validate(dict(value))
    except ValidationError as error:
        raise kind(f"{source}: {line('; '.join(_all_problems(error)), _LONGEST)}") from error


def _all_problems(error: ValidationError) -> list[str]:
    """Return every problem of a document; unknown fields first: a misspelt name leaves another field missing, too."""
    problems = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != _UNKNOWN)
    return list(dict.fromkeys(_problem(problem["loc"], problem["type"], problem["msg"]) for problem in problems))


def _problem(place: Sequence[str | int], kind: str, message: str) -> str:
    path = ".".join(map(str, place))
    text = _TEXTS.get(kind) or message.removeprefix("Value error, ")
    return f"{path}: {text}" if path else text


def validation_line(error: ValidationError) -> str:
    """Return the problems of a pydantic error, each as ``field.path: what is wrong``; unknown fields first."""
    problems = _all_problems(error)
    count = f" (and {len(problems) - _LINE} more)" if len(problems) > _LINE else ""
    return "; ".join(problems[:_LINE]) + count
