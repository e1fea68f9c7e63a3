"""JSON schemas of every file of a result, of a training, and of weights: ``python -m vpbench.results.schemas``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from vpbench.output import say
from vpbench.results.card import Card
from vpbench.results.costs import CostRecord
from vpbench.results.pictures import ClipPictures
from vpbench.results.records import AttemptRecord, RunRecord, TrainingRecord
from vpbench.results.rows import Row
from vpbench.results.scores import Summary
from vpbench.select.weights_record import WeightsRecord

FOLDER = Path("docs/schemas")
_FILES = {
    "attempt": AttemptRecord,
    "card": Card,
    "pictures": ClipPictures,
    "cost": CostRecord,
    "row": Row,
    "run": RunRecord,
    "summary": Summary,
    "training": TrainingRecord,
    "weights": WeightsRecord,
}


class _WithoutTitles(GenerateJsonSchema):
    """A title would only repeat the name of the field."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schema of each kind of file, by name."""
    return {name: TypeAdapter(kind).json_schema(schema_generator=_WithoutTitles) for name, kind in _FILES.items()}


def write_schemas(folder: Path) -> list[Path]:
    """Write ``<name>.json`` for every schema, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, schema in json_schemas().items():
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(_text(schema) + "\n")
    return paths


def _text(value: Any, indent: str = "\n") -> str:
    """Return JSON in which a value stands on one line if it fits."""
    flat = json.dumps(value)
    if not isinstance(value, dict | list) or len(indent + flat) <= 160:
        return flat
    inner = f"{indent} "
    if isinstance(value, list):
        return f"[{inner}{f',{inner}'.join(_text(item, inner) for item in value)}{indent}]"
    members = (f"{json.dumps(key)}: {_text(item, inner)}" for key, item in value.items())
    return f"{{{inner}{f',{inner}'.join(members)}{indent}}}"


if __name__ == "__main__":
    for path in write_schemas(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER):
        say(path)
