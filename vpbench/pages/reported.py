"""Tables printed in papers, as data: read from ``leaderboards/reported/*.toml``, never from the network. See
docs/protocols.md, "Published tables".

A file is one table of one paper. ``printed`` is what the paper prints; ``natural`` is the same in the units in which
results are stored: ``printed = natural * factor + offset``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from vpbench.errors import DataError
from vpbench.files import TOML, parse_toml, read_text
from vpbench.plugin.metric import Better
from vpbench.validation import Strict, parse_document

HORIZON = re.compile(r"(at|mean_to|at_or_mean_to)\(([1-9][0-9]*)\)")
"""Steps that a number covers: step k, the mean over steps 1 to k, or either if the paper does not say which."""
CLIPS = "clips"
"""Horizon of a set metric, such as FVD: one score of all clips as wholes, without a step."""
ROUNDING = 1e-6  # relative: natural values are written with seven digits

Text = Annotated[str, Field(min_length=1, pattern=r"^[^\n]*$")]
Keys = Annotated[tuple[str, ...], Field(strict=False)]


class Column(Strict):
    """One printed column: what its numbers measure, on which protocol, at which steps and in which unit."""

    metric: Text
    protocol: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9.-]*)?$", max_length=100)
    """Name of the protocol; "" in a table of parameters."""
    horizon: str = Field(default="", pattern=rf"^({HORIZON.pattern}|{CLIPS})?$")
    better: Better
    unit: str
    """How the paper scales the number, in words; "" where it prints natural values."""
    factor: float
    offset: float = 0.0
    """printed = natural * factor + offset: DSSIM, (1 - SSIM) / 2, is SSIM with -0.5 and 0.5."""

    @model_validator(mode="after")
    def _is_a_scale(self) -> Column:
        if not (self.factor > 0 or (self.factor < 0 and self.offset)):
            raise ValueError("factor must be above 0; with an offset, it may be below")
        return self


class Cell(Strict):
    """One printed number."""

    printed: str = Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$")
    """As printed, with its digits; where the cell is garbled, as read, and then it is suspect."""
    natural: float
    factor: float | None = Field(default=None, gt=0)
    """Where this number was scaled otherwise than its column."""
    suspect: Keys = ()
    """Keys of ``reasons`` why the number is not to be trusted, or not comparable with the others."""
    remarks: Keys = ()
    """Keys of ``reasons`` that say more about a number that is not in doubt."""


@dataclass(frozen=True)
class Score:
    """One printed number with all that is known about it; reasons in full."""

    source: str
    table: str
    method: str
    column: Column
    printed: str
    natural: float
    factor: float
    suspect: tuple[str, ...]
    remarks: tuple[str, ...]


class PrintedTable(Strict):
    """One table of one paper: ``rows[method][column]`` are its cells; a missing cell is missing here too."""

    schema_: Literal[1] = Field(alias="schema")
    kind: Literal["scores", "parameters"]
    """Tables of parameters are shown on no leaderboard."""
    source: Text
    """Short name of the paper."""
    paper: Text
    table: Text
    """The table's number in the paper."""
    about: Text
    notes: tuple[Text, ...] = Field(default=(), strict=False)
    """Remarks on the whole table."""
    reasons: dict[str, Text] = Field(default_factory=dict)
    columns: dict[str, Column] = Field(min_length=1)
    rows: dict[Text, dict[str, Cell]] = Field(min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> PrintedTable:
        columns: dict[tuple[str, str, str], str] = {}
        for key, column in self.columns.items():
            if (self.kind == "scores") != bool(column.protocol and column.horizon):
                raise ValueError(f"columns.{key}: tables of scores, and they alone, have a protocol and a horizon")
            content = (column.protocol, column.metric, column.horizon)
            if content in columns:
                raise ValueError(f"columns.{key} is a duplicate of columns.{columns[content]}")
            columns[content] = key
        return self

    @model_validator(mode="after")
    def _consistent(self) -> PrintedTable:
        used: set[str] = set()
        for method, cells in self.rows.items():
            for key, cell in cells.items():
                location = f"rows.{method}.{key}"
                if key not in self.columns:
                    raise ValueError(f"{location}: there is no columns.{key}")
                if unknown := {*cell.suspect, *cell.remarks} - set(self.reasons):
                    raise ValueError(f"{location}: there is no reasons.{min(unknown)}")
                used |= {*cell.suspect, *cell.remarks}
                column, printed = self.columns[key], float(cell.printed)
                factor = cell.factor or column.factor
                if not abs(cell.natural * factor + column.offset - printed) <= ROUNDING * abs(printed):
                    offset = f" + {column.offset:g}" if column.offset else ""
                    raise ValueError(
                        f"{location}: natural {cell.natural:g} x {factor:g}{offset} is not the printed {cell.printed}"
                    )
        if idle := set(self.reasons) - used:
            raise ValueError(f"reasons.{min(idle)} is used by no cell")
        return self

    def scores(self) -> Iterator[Score]:
        """Yield every cell, in the order of the rows."""
        for method, cells in self.rows.items():
            for key, cell in cells.items():
                column = self.columns[key]
                yield Score(
                    source=self.source,
                    table=self.table,
                    method=method,
                    column=column,
                    printed=cell.printed,
                    natural=cell.natural,
                    factor=cell.factor or column.factor,
                    suspect=tuple(self.reasons[reason] for reason in cell.suspect),
                    remarks=tuple(self.reasons[reason] for reason in cell.remarks),
                )


def parse_table(text: str, source: str) -> PrintedTable:
    """Validate the text of one file.

    Raises:
        DataError: it is not TOML, of a newer schema, or not a table as it should be; one line that names the field.
    """
    try:
        value = parse_toml(text)
    except ValueError as error:  # such as a method that stands there twice
        raise DataError(f"{source} is not valid TOML: {error}") from error
    return parse_document(PrintedTable, value, source, DataError)


def load_reported(root: Path) -> list[PrintedTable]:
    """Read every ``*.toml`` of a directory, in the order of their names.

    Raises:
        DataError: there is none, one is not as it should be, or two hold the same table of a paper.
    """
    paths = sorted(root.glob("*.toml"))
    if not paths:
        raise DataError(f"{root}: there is no table of a paper (*.toml) in it; name another folder of published tables")
    tables: dict[tuple[str, str], tuple[Path, PrintedTable]] = {}
    for path in paths:
        try:
            text = read_text(path, TOML)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        table = parse_table(text, str(path))
        key = (table.source, table.table)
        if key in tables:
            raise DataError(f"{path}: {table.source}, Table {table.table}, is a duplicate of {tables[key][0]}")
        tables[key] = (path, table)
    return [table for _, table in tables.values()]
