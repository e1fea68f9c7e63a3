"""The published JSON schemas: generated from the records, and the tables of docs/results.md name the same fields."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from vpbench.results.records import Identity
from vpbench.results.rows import Row
from vpbench.results.schemas import json_schemas, write_schemas
from vpbench.results.scores import Score

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "docs" / "schemas"


def comparable(schema):
    """A schema without the keywords that differ between versions of pydantic and mean the same."""
    if isinstance(schema, list):
        return [comparable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = {"title", "description"} if "properties" in schema else {"title"}
    items = {key: value for key, value in schema.items() if not (key in dropped and isinstance(value, str))}
    return {key: comparable(value) for key, value in items.items() if (key, value) != ("additionalProperties", True)}


@pytest.mark.parametrize("name", sorted(json_schemas()))
def test_a_published_schema_is_the_one_that_the_code_generates(name):
    published = json.loads((PUBLISHED / f"{name}.json").read_text())
    remedy = "`python -m vpbench.results.schemas` writes them again"
    assert comparable(published) == comparable(json_schemas()[name]), remedy


def test_schemas_are_written_and_nothing_else_is_published(tmp_path):
    written = {path.name for path in write_schemas(tmp_path / "schemas")}
    assert written == {path.name for path in PUBLISHED.iterdir()}
    assert json.loads((tmp_path / "schemas" / "row.json").read_text()) == json_schemas()["row"]


@pytest.mark.parametrize("name", sorted(json_schemas()))
def test_every_field_is_described(name):
    schema = json_schemas()[name]
    records = [schema, *(part for key, part in schema.get("$defs", {}).items() if key.endswith(("Record", "Score")))]
    missing = [
        field
        for record in records
        for field, value in record["properties"].items()
        if not ("description" in value or "$ref" in value)
    ]
    assert not missing


@pytest.mark.parametrize(
    ("heading", "fields"),
    [("## Identity", Identity.model_fields), ("## Rows", Row.__annotations__), ("## Summary", Score.model_fields)],
)
def test_the_tables_of_the_docs_name_every_field(heading, fields):
    text = (ROOT / "docs" / "results.md").read_text()
    table = text.partition(f"{heading}\n")[2].partition("| field | meaning |\n|---|---|\n")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()]
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == set(fields)


def test_the_docs_link_every_schema():
    text = "".join((ROOT / "docs" / name).read_text() for name in ("results.md", "report.md"))
    assert set(re.findall(r"\(schemas/(\w+)\.json\)", text)) == set(json_schemas())
