"""Write the rows of results as one table for other programs: CSV or Parquet, a unit of rows at a time."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from vpbench.errors import VpbenchError
from vpbench.files import atomic_file, canonical
from vpbench.output import line
from vpbench.results.records import RunRecord
from vpbench.results.result import Result
from vpbench.results.rows import ALL_STEPS, Row

_GROUP = 65_536
"""Rows of a Parquet row group, which are in memory together."""


@dataclass(frozen=True, slots=True)
class ExportedRow:
    """One row of a result, together with the result that it belongs to. A column that does not apply is None."""

    protocol: str
    predictor: str
    options: str
    """Every option of the predictor, as canonical JSON."""
    seed: int
    training_seed: int | None
    result: str
    """The first 12 hex digits of the identity, which name the result's folder."""
    clip: str
    recording: str
    sample: int | None
    step: int
    metric: str
    status: str
    value: float | None
    vector: list[float] | None
    """The statistic of a metric that keeps several numbers per frame, such as counts per class."""
    reason: str | None


COLUMNS = tuple(column.name for column in fields(ExportedRow))
_values = attrgetter(*COLUMNS)


def exported_rows(results: Iterable[Result]) -> Iterator[ExportedRow]:
    """Yield every row of the results, in order, but for set metrics: they have no value of a single clip.

    Raises:
        ResultError: a unit is not what was published.
    """
    for result in results:
        result.store.check_claims()
        export = _exporter(result.run)
        yield from (export(row) for row in result.rows() if row["step"] != ALL_STEPS)


def _exporter(run: RunRecord) -> Callable[[Row], ExportedRow]:
    training = run.weights.training if run.weights else None
    options, recordings = canonical(run.identity.options), run.recordings

    def export(row: Row) -> ExportedRow:
        value, reason = row["value"], row.get("reason")
        return ExportedRow(
            protocol=run.protocol.name,
            predictor=run.label,
            options=options,
            seed=run.identity.seed,
            training_seed=training.seed if training else None,
            result=run.identity_hash[:12],
            clip=row["clip"],
            recording=recordings[row["clip"]],
            sample=row.get("sample"),
            step=row["step"],
            metric=row["metric"],
            status=row["status"],
            value=None if value is None or isinstance(value, list) else float(value),
            vector=value if isinstance(value, list) else None,
            reason=None if reason is None else line(reason),
        )

    return export


def write_csv(rows: Iterable[ExportedRow], write: Callable[[str], object]) -> None:
    """Write CSV, one call of ``write`` per line: UTF-8, numbers in full precision, None empty, vectors as JSON."""
    writer = csv.writer(_Lines(write), lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(canonical(value) if isinstance(value, list) else value for value in _values(row))


class _Lines(NamedTuple):
    """The one method of a file that ``csv.writer`` calls."""

    write: Callable[[str], object]


def write_csv_file(rows: Iterable[ExportedRow], path: Path) -> None:
    """Write a CSV file that exists whole or not at all (raises as :func:`vpbench.files.atomic_file`)."""
    with atomic_file(path) as file:
        write_csv(rows, lambda text: file.write(text.encode()))


def write_parquet_file(rows: Iterable[ExportedRow], path: Path) -> None:
    """Write a Parquet file that exists whole or not at all.

    Raises:
        VpbenchError: pyarrow is not installed.
        ResultError: as :func:`vpbench.files.atomic_file`.
    """
    try:
        import pyarrow as arrow
        from pyarrow.parquet import ParquetWriter
    except ModuleNotFoundError as error:
        raise VpbenchError("Parquet needs pyarrow: pip install 'vpbench[pandas]'") from error
    types = {
        "seed": arrow.int64(),
        "training_seed": arrow.int64(),
        "sample": arrow.int64(),
        "step": arrow.int64(),
        "value": arrow.float64(),
        "vector": arrow.list_(arrow.float64()),
    }
    schema = arrow.schema([(name, types.get(name, arrow.string())) for name in COLUMNS])
    with atomic_file(path) as file, ParquetWriter(file, schema) as writer:
        for group in _groups(iter(rows)):
            columns = zip(*map(_values, group), strict=True)
            arrays = [arrow.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def _groups(rows: Iterator[ExportedRow]) -> Iterator[Sequence[ExportedRow]]:
    while group := list(islice(rows, _GROUP)):
        yield group
