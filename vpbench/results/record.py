"""Read the JSON files of a result that someone else may have made: check names, types and ranges before any use.

Other fields are free, except in an identity. ``rows`` reads units; ``audit`` checks that fields and files fit together.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from vpbench import files
from vpbench.errors import ResultError, UsageError
from vpbench.names import clip_problem, is_metric, is_name
from vpbench.output import line
from vpbench.plugin.metric import Better
from vpbench.protocol.protocol import MAX_SAMPLES, Frame, Length, Protocol, Seed
from vpbench.validation import validation_line

__all__ = [
    "SCHEMA",
    "holds",
    "read_attempt",
    "read_digest",
    "read_json",
    "read_run",
    "read_summary",
    "read_text",
]

SCHEMA = 2
_AGAIN = "remove it and run again"


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


class _Record(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


Name = Annotated[str, AfterValidator(_name)]
Preset = Annotated[str, AfterValidator(lambda text: text and _name(text))]
MetricName = Annotated[str, AfterValidator(_metric)]
ClipId = Annotated[str, AfterValidator(_clip)]
Text = Annotated[str, Field(max_length=10_000)]
Digest = Annotated[str, Field(max_length=64, pattern=r"^\w*$")]
UnitNumber = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
Scores = list[float | None]
Recording = Annotated[str, Field(min_length=1, max_length=10_000)]
Entry = Annotated[tuple[ClipId, Annotated[list[Length], Field(min_length=1)], Recording], Field(strict=False)]


class _Spec(_Record):
    """A metric as it was measured."""

    revision: Frame
    better: Better
    unit: Text
    decimals: Annotated[int, Field(ge=0, le=15)]
    released: bool


class _Weights(_Record):
    clips: Literal["unknown", "disjoint", "overlap", "none"]
    seen: Frame


class _Identity(_Record, extra="forbid"):
    protocol: Digest
    manifest: Digest
    data: Digest
    predictor: Name
    options: dict[Text, Any]
    fingerprint: Text
    annotators: dict[Name, Text]
    metrics: dict[MetricName, Frame]
    metric_code: dict[MetricName, Text]
    seed: Seed
    samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)]
    partial: Text
    unproven: Digest


class _Run(_Record):
    identity: _Identity
    identity_hash: Digest
    predictor: Name
    preset: Preset
    sees_truth: bool
    stochastic: bool
    paper: Text
    weights: _Weights | None
    protocol: dict[str, Any]
    cumulative: bool
    partial: Text
    dropped: list[Text]
    metrics: dict[MetricName, _Spec]
    skipped: dict[MetricName, Text]
    classes: list[Text]
    manifest: Annotated[list[Entry], Field(min_length=1)]


class _Attempt(_Record):
    run: Digest
    units: dict[UnitNumber, Digest]
    stamps: dict[UnitNumber, Text]
    engine: Text
    device: Text


class _Score(_Record):
    per_step: Scores
    ci95: list[Annotated[tuple[float, float], Field(strict=False)] | None]
    mean_to: Scores
    mean: float | None
    data: Digest
    clips: Frame
    recordings: Frame
    undefined: dict[Text, Frame]
    notes: dict[Text, Frame]
    details: list[dict[Text, float | None]]


class _Summary(_Record):
    identity: Digest
    steps: Annotated[list[Length], Field(min_length=1)]
    partial: bool
    partial_reason: Text
    clips: Frame
    recordings: Frame
    data: Digest
    context: Digest
    clamped_frames: Frame
    scores: dict[MetricName, _Score]
    skipped: dict[MetricName, Text]


def read_run(path: Path) -> dict[str, Any]:
    """Read a ``run.json``.

    Raises:
        ResultError: names the file and what is wrong with it.
    """
    run = _checked(_Run, read_json(path, files.RUN), path, "make the result again in another folder")
    try:
        Protocol.parse(run["protocol"], f"{path}: protocol")
    except UsageError as error:
        raise ResultError(f"{line(str(error))}; make the result again in another folder") from error
    return run


def read_summary(path: Path) -> dict[str, Any]:
    """Read a ``summary.json`` (raises as :func:`read_run`)."""
    advice = f"`vpbench merge {path.parent}` makes it again"
    summary = _checked(_Summary, read_json(path), path, advice)
    steps = len(summary["steps"])
    for name, score in summary["scores"].items():
        lengths = {len(score["per_step"]), len(score["ci95"]), len(score["mean_to"]) or steps}
        if lengths != {steps}:
            raise ResultError(f"{path}: {name} has not one score for each of {steps} steps; {advice}")
    return summary


def read_attempt(path: Path) -> dict[str, Any]:
    """Read a file of ``attempts/`` (raises as :func:`read_run`)."""
    return _checked(_Attempt, read_json(path), path, "remove it, and the units that only it names")


def holds(path: Path, text: str) -> bool:
    """Return whether a file can be read and holds just this text."""
    try:
        return _bytes(path, files.RECORD) == text.encode()
    except ResultError:
        return False


def read_digest(path: Path) -> str:
    """Return the sha256 of a ``run.json`` or a unit (raises as :func:`read_run`)."""
    return hashlib.sha256(_bytes(path, files.UNIT)).hexdigest()


def read_json(path: Path, limit: int = files.RECORD) -> dict[str, Any]:
    """Read a JSON file of this schema, of at most ``limit`` bytes.

    Raises:
        ResultError: unreadable, not JSON, or of another schema.
    """
    text = read_text(path, limit)
    try:
        value = files.parse_json(text)
    except ValueError as error:
        raise ResultError(f"{path} cannot be read as JSON ({line(str(error))}); {_AGAIN}") from error
    schema = value.get("schema") if isinstance(value, dict) else None
    if type(schema) is not int:
        raise ResultError(f"{path} has no schema number: it is not a file of vpbench")
    if schema > SCHEMA:
        raise ResultError(
            f"{path} has schema {schema}, newer than this vpbench reads (schema {SCHEMA}): upgrade vpbench"
        )
    if schema < SCHEMA:
        raise ResultError(
            f"{path} has schema {schema}, which does not say what data were scored: run the same command "
            f"again, the new result gets a folder of its own"
        )
    return dict(value)


def read_text(path: Path, limit: int) -> str:
    """Read a text file of at most ``limit`` bytes (raises as :func:`read_run`)."""
    try:
        return _bytes(path, limit).decode()
    except UnicodeDecodeError as error:
        raise ResultError(f"{path} cannot be read: it is not UTF-8 (byte {error.start}); {_AGAIN}") from error


def _bytes(path: Path, limit: int) -> bytes:
    try:
        return files.read_bytes(path, limit)
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror}; it must be a file that you may read") from error
    except ValueError as error:
        raise ResultError(f"{path} cannot be read: {error}; {_AGAIN}") from error


def _checked(model: type[_Record], value: dict[str, Any], path: Path, advice: str) -> dict[str, Any]:
    try:
        model.model_validate(value)
    except ValidationError as error:
        raise ResultError(f"{path}: {line(validation_line(error), 500)}; {advice}") from error
    return value
