"""Pictures of clips in a result folder: what ``clip.json`` says, read strictly. ``vpbench.pages`` draws them.

::

    pictures/<clip>/clip.json          describes the sheets; written last
    pictures/<clip>/prediction.webp    a sheet: the pictures of one modality, row by row
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from vpbench.errors import ResultError
from vpbench.names import below
from vpbench.results.reading import read_bytes, read_json
from vpbench.results.records import RunRecord
from vpbench.results.result import Result
from vpbench.toolkit.file_names import file_stem
from vpbench.validation import ClipId, Record, Text, validation_errors

SCHEMA = 1
FOLDER = "pictures"
DESCRIPTION = "clip.json"
SHEET = 256 * 2**20
"""Bytes of the largest sheet."""
LONGEST_SIDE = 16_383
"""Pixels of the longest side of a WebP file."""

Kind: TypeAlias = Literal[
    "context",
    "truth",
    "prediction",
    "error",
    "labels",
    "predicted-labels",
    "flow",
    "predicted-flow",
    "disocclusion",
    "predicted-disocclusion",
]
Side = Annotated[int, Field(ge=1, le=LONGEST_SIDE)]
Level = Annotated[int, Field(ge=0, le=255)]
Step = Annotated[int, Field(ge=-10_000, le=10_000)]


class LegendEntry(Record):
    """A colour of a sheet of labels."""

    name: Text
    """Name of the class."""
    colour: Annotated[tuple[Level, Level, Level], Field(strict=False)]
    """RGB."""


class Sheet(Record):
    """The pictures of one modality in the file ``<kind>.webp``, row by row."""

    steps: Annotated[tuple[Step, ...], Field(min_length=1, strict=False)]
    """The step of each picture: 1 is t+1, 0 the last context frame."""
    size: Annotated[tuple[Side, Side], Field(strict=False)]
    """Height and width of each picture."""
    columns: Annotated[int, Field(ge=1, le=LONGEST_SIDE)]
    """Pictures in a row."""
    limit: Annotated[float, Field(ge=0)] = 0.0
    """The value of the strongest colour: the mean absolute error of a pixel, or its speed in pixels per frame."""
    legend: Annotated[tuple[LegendEntry, ...], Field(strict=False)] = ()
    """The classes that appear."""


class ClipPictures(Record):
    """``pictures/<clip>/clip.json``: the pictures of one clip."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    """Version of this format."""
    clip: ClipId
    """The clip."""
    sample: Annotated[int, Field(ge=0)] = 0
    """Number of the sample that was drawn."""
    size: Annotated[tuple[int, int], Field(strict=False)]
    """Height and width of the frames that were predicted."""
    full_size: bool
    """Whether the pictures have that size and were encoded without loss."""
    sheets: dict[Kind, Sheet]
    """The sheets by modality."""

    @model_validator(mode="after")
    def _check(self) -> ClipPictures:
        for kind, sheet in self.sheets.items():
            if list(sheet.steps) != sorted(set(sheet.steps)):
                raise ValueError(f"the steps of the sheet {kind!r} are not ascending")
        return self


def pictures_root(result: Result, out: Path | None = None) -> Path:
    """Return the folder that holds a result's pictures: its own, or a folder of the same path below ``out``."""
    if out is None:
        return result.path
    return below(out, result.run.protocol.name, result.label, result.run.identity_hash[:12])


def pictures_folder(root: Path, clip: str) -> Path:
    """Return the folder of a clip's pictures."""
    return root / FOLDER / file_stem(clip)


def sheet_file(kind: str) -> str:
    """Return the name of a sheet's file, in the folder of its clip."""
    return f"{kind}.webp"


def spread(clips: Sequence[str], count: int) -> list[str]:
    """Return ``count`` clips, spread evenly over all."""
    count = min(count, len(clips))
    return [clips[i * len(clips) // count] for i in range(count)]


def pictured_clips(root: Path, run: RunRecord) -> list[str]:
    """Return the clips of a result that have pictures, in the order of its manifest."""
    if not (root / FOLDER).is_dir():
        return []
    clips = [entry.clip for entry in run.manifest]
    return [clip for clip in clips if os.path.lexists(pictures_folder(root, clip) / DESCRIPTION)]


def read_pictures(root: Path, clip: str) -> ClipPictures:
    """Read the description of a clip's pictures.

    Raises:
        ResultError: it cannot be read, or is of another clip.
    """
    path = pictures_folder(root, clip) / DESCRIPTION
    value = read_json(path, schema=SCHEMA)
    with validation_errors(ResultError, str(path), f"remove {path.parent} and make the pictures again"):
        pictures = ClipPictures.model_validate(value)
    if pictures.clip != clip:
        raise ResultError(f"{path} is of another clip; remove {path.parent} and make the pictures again")
    return pictures


def read_sheet(root: Path, clip: str, kind: Kind) -> bytes:
    """Read the file of a sheet.

    Raises:
        ResultError: it cannot be read, or is no WebP file.
    """
    path = pictures_folder(root, clip) / sheet_file(kind)
    data = read_bytes(path, SHEET)
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise ResultError(f"{path} is no WebP file; remove {path.parent} and make the pictures again")
    return data
