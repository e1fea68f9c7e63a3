"""Read the rows of a unit that someone else may have made: check fields, types and ranges before any use."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from vpbench import files
from vpbench.errors import ResultError
from vpbench.output import line
from vpbench.results.reading import read_text

_Text = Annotated[str, Field(min_length=1)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
_Vector = Annotated[list[float], Field(min_length=1)]


@with_config(ConfigDict(title="Row", extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True))
class Row(TypedDict):
    """One line of a unit: the statistic of one metric on one predicted frame, or on all samples of it."""

    clip: str
    """``<sequence>@<first raw frame>``."""
    step: int
    """1 is t+1; 0 for all steps together, in the row of a set metric."""
    metric: str
    """Name of the metric."""
    value: float | _Vector | None
    """A number, or a list (integers per class for mIoU), in full precision; null if undefined, or of a set metric."""
    status: Literal["ok", "undefined"]
    """An undefined frame is counted, never averaged as zero."""
    data: _Digest
    """Digest of the frames of context and truth, and of the truth that the metric needs; equal for every predictor."""
    context: NotRequired[_Digest]
    """Digest of other inputs that the predictor was shown (labels, flow)."""
    sample: NotRequired[int]
    """Number of the sample, from 0; only for stochastic predictors, and metrics that score each sample separately."""
    reason: NotRequired[_Text]
    """Why the value is undefined."""
    note: NotRequired[_Text]
    """Something to count, such as ``floored``: the MSE under a PSNR was under 1e-10 and the PSNR is 100 dB."""
    features: NotRequired[_Digest]
    """Digest of the features of the predicted clip, for a set metric; the unit's file in ``features/`` holds them."""
    true_features: NotRequired[_Digest]
    """Digest of the features of the true clip, in the row of the first sample."""
    clamped: NotRequired[Literal[True]]
    """The predicted frame left [0,1], by at most 1e-4, and was clamped."""


_ROWS = TypeAdapter(list[Row])
ALL_STEPS = 0
"""The step of a set metric's row."""


def read_rows(path: Path, count: int) -> list[Row]:
    """Read the rows of a unit, which must be ``count``.

    Raises:
        ResultError: names the file, the line and the field.
    """
    lines = read_text(path, files.UNIT).removesuffix("\n").split("\n")
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
        row["clip"], row["data"] = sys.intern(row["clip"]), sys.intern(row["data"])  # equal ones share their memory
        if field := _contradiction(row) or _features_problem(row):
            raise _bad_row(path, number, f"{field} of a row that is {row['status']}")
    return rows


def _contradiction(row: Row) -> str:
    """Return the field that a row of its status must have, or must not have; "" if there is none."""
    undefined = row["status"] == "undefined"
    if (row["value"] is None) != (undefined or "features" in row):
        return "value"
    if ("reason" in row) != undefined:
        return "reason"
    return "note" if undefined and "note" in row else ""


def _features_problem(row: Row) -> str:
    """Return the field of a set metric that the row lacks, or should not have; "" if there is none."""
    features = "features" in row
    if features != (row["step"] == ALL_STEPS) or (features and row["status"] != "ok"):
        return "features"
    if ("true_features" in row) != (features and not row.get("sample", 0)):
        return "true_features"
    return ""


def _bad_row(path: Path, number: int, problem: str) -> ResultError:
    words = f" ({line(problem, 100)})" if problem else ""
    return ResultError(f"{path}, line {number}: not a row{words}; remove the file and run again")
