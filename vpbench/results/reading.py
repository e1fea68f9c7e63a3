"""Read the JSON files of a result that someone else may have made: check size, names, types and ranges before any use.

``rows`` reads units; ``audit`` checks that fields and files fit together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from vpbench import files
from vpbench.errors import ResultError, UsageError
from vpbench.output import line
from vpbench.protocol.protocol import Protocol
from vpbench.results.records import SCHEMA, AttemptRecord, RunRecord, TrainingRecord
from vpbench.results.scores import Summary
from vpbench.validation import Record, validation_errors

_REMEDY = "remove it and run again"
_Record = TypeVar("_Record", bound=Record)


def read_run(path: Path) -> RunRecord:
    """Read a ``run.json``.

    Raises:
        ResultError: names the file and what is wrong with it.
    """
    advice = "make the result again in another folder"
    value = read_json(path, files.RUN)
    if isinstance(protocol := value.get("protocol"), Mapping):
        try:
            value["protocol"] = Protocol.parse(protocol, f"{path}: protocol")
        except UsageError as error:
            raise ResultError(f"{line(str(error))}; {advice}") from error
    return _checked(RunRecord, value, path, advice)


def read_summary(path: Path) -> Summary:
    """Read a ``summary.json`` (raises as :func:`read_run`)."""
    advice = f"`vpbench merge {path.parent}` makes it again"
    summary = _checked(Summary, read_json(path), path, advice)
    steps = len(summary.steps)
    for name, score in summary.scores.items():
        if {len(score.per_step), len(score.ci95), len(score.mean_to) or steps} != {steps}:
            raise ResultError(f"{path}: {name} has not one score for each of {steps} steps; {advice}")
    return summary


def read_attempt(path: Path) -> AttemptRecord:
    """Read a file of ``attempts/`` (raises as :func:`read_run`)."""
    return _checked(AttemptRecord, read_json(path), path, "remove it, and the units that only it names")


def read_training(path: Path) -> TrainingRecord:
    """Read a ``training.json`` (raises as :func:`read_run`)."""
    return _checked(TrainingRecord, read_json(path, schema=1), path, "remove the folder and train again")


def has_text(path: Path, text: str) -> bool:
    """Return whether a file can be read and its text is this one."""
    try:
        return read_bytes(path, files.RECORD) == text.encode()
    except ResultError:
        return False


def read_digest(path: Path) -> str:
    """Return the sha256 of the content of a ``run.json`` or a unit (raises as :func:`read_run`)."""
    return hashlib.sha256(read_bytes(path, files.UNIT)).hexdigest()


def read_json(path: Path, limit: int = files.RECORD, schema: int = SCHEMA) -> dict[str, Any]:
    """Read a JSON file of this schema, of at most ``limit`` bytes.

    Raises:
        ResultError: unreadable, not JSON, or of another schema.
    """
    text = read_text(path, limit)
    try:
        value = files.parse_json(text)
    except ValueError as error:
        raise ResultError(f"{path} cannot be read as JSON ({line(str(error))}); {_REMEDY}") from error
    version = value.get("schema") if isinstance(value, dict) else None
    if type(version) is not int:
        raise ResultError(f"{path} has no schema number: it is not a file of vpbench")
    if version > schema:
        raise ResultError(
            f"{path} has schema {version}, newer than this vpbench reads (schema {schema}): upgrade vpbench"
        )
    if version < schema:
        raise ResultError(
            f"{path} has schema {version}, and this vpbench reads schema {schema}: run the same command again, "
            f"the new result gets a folder of its own"
        )
    return dict(value)


def read_text(path: Path, limit: int) -> str:
    """Read a text file of at most ``limit`` bytes (raises as :func:`read_run`)."""
    try:
        return read_bytes(path, limit).decode()
    except UnicodeDecodeError as error:
        raise ResultError(f"{path} cannot be read: it is not UTF-8 (byte {error.start}); {_REMEDY}") from error


def read_bytes(path: Path, limit: int) -> bytes:
    """Read a file of at most ``limit`` bytes, unzipped if it is a gzip file (raises as :func:`read_run`)."""
    try:
        data = files.read_bytes(path, limit)
        return files.unzip(data, limit) if path.suffix == ".gz" else data
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror}; it must be a file that you may read") from error
    except ValueError as error:
        raise ResultError(f"{path} cannot be read: {error}; {_REMEDY}") from error


def _checked(model: type[_Record], value: Mapping[str, Any], path: Path, advice: str) -> _Record:
    with validation_errors(ResultError, str(path), advice):
        return model.model_validate(value)
