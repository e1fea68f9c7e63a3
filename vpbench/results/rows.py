"""Read the rows of a unit that someone else may have made: check fields, types and ranges before any use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Required, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from vpbench import files
from vpbench.errors import ResultError
from vpbench.output import line
from vpbench.results.record import read_text

__all__ = ["Row", "read_rows", "read_unit"]

Row: TypeAlias = dict[str, Any]
"""``clip``, ``step``, ``metric``, ``value``, ``status``, ``data``; maybe ``context``, ``sample``, ``reason``, ``note``,
``clamped``."""

_Text = Annotated[str, Field(min_length=1)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
_Vector = Annotated[list[float], Field(min_length=1)]


class _Row(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)  # type: ignore[misc]

    clip: Required[str]
    step: Required[int]
    metric: Required[str]
    value: Required[float | _Vector | None]
    status: Required[Literal["ok", "undefined"]]
    data: Required[_Digest]
    sample: int
    reason: _Text
    note: _Text
    context: _Digest
    clamped: Literal[True]


_ROWS = TypeAdapter(list[_Row])


def read_rows(path: Path, count: int) -> list[Row]:
    """Read the rows of a unit, which must be ``count``.

    Raises:
        ResultError: names the file, the line and the field.
    """
    lines = read_unit(path).removesuffix("\n").split("\n")
    if len(lines) != count:  # before anything of that size is made
        raise ResultError(f"{path}: {len(lines)} rows, {count} expected; remove the file and run again")
    rows: list[Row] = []
    for number, text in enumerate(lines, 1):
        try:
            rows.append(files.parse_json(text))
        except ValueError as error:
            raise _bad_row(path, number, str(error)) from error
    try:
        _ROWS.validate_python(rows)
    except ValidationError as error:
        index, *fields = error.errors(include_url=False)[0]["loc"]
        raise _bad_row(path, int(index) + 1, ".".join(map(str, fields[:1]))) from error
    for number, row in enumerate(rows, 1):
        if field := _contradiction(row):
            raise _bad_row(path, number, f"{field} of a row that is {row['status']}")
    return rows


def read_unit(path: Path) -> str:
    """Read the text of a unit.

    Raises:
        ResultError: names the file and what is wrong with it.
    """
    return read_text(path, files.UNIT)


def _contradiction(row: Row) -> str:
    """Return the field that a row of its status must have, or must not have; "" if there is none."""
    undefined = row["status"] == "undefined"
    if (row["value"] is None) != undefined:
        return "value"
    if ("reason" in row) != undefined:
        return "reason"
    return "note" if undefined and "note" in row else ""


def _bad_row(path: Path, number: int, problem: str) -> ResultError:
    words = f" ({line(problem, 100)})" if problem else ""
    return ResultError(f"{path}, line {number}: not a row{words}; remove the file and run again")
