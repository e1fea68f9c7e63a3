"""The card of a submitted result: statements of its authors that no run can record."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from vpbench import files
from vpbench.errors import did_you_mean
from vpbench.output import brief
from vpbench.results.reading import read_json
from vpbench.results.records import Digest
from vpbench.validation import Record

CARD = "card.json"
"""Name of the file in a submitted result."""
SCHEMA = 1
"""The schema of the card."""
_LONGEST = 500
_ADDRESS = re.compile(r"https://[A-Za-z0-9][A-Za-z0-9._~:/?#@!$&'*+,;=%()-]*")
_MAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .+()-]*")


def _address(text: str) -> str:
    if text and not _ADDRESS.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not an https address")
    return text


def _contact(text: str) -> str:
    if not _MAIL.fullmatch(text) and not _ADDRESS.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is neither an e-mail address nor an https address")
    return text


def _licence(text: str) -> str:
    if not _LICENCE.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not an SPDX expression, such as MIT or Apache-2.0")
    return text


Address = Annotated[str, Field(max_length=_LONGEST), AfterValidator(_address)]


class Card(Record, extra="forbid"):
    """``card.json``: who submits a result, under which licence, and where its code and weights are public."""

    schema_version: int = Field(default=SCHEMA, alias="schema", ge=1, le=SCHEMA)
    """Version of this format."""
    identity: Digest
    """The hash of the identity of the result."""
    contact: Annotated[str, Field(max_length=200), AfterValidator(_contact)]
    """An e-mail address or an https address; it is published."""
    licence: Annotated[str, Field(max_length=100), AfterValidator(_licence)]
    """SPDX expression of the licence of the predictor's code and weights."""
    code: Address = ""
    """Address of the predictor's code; "" if it is not public."""
    paper: Address = ""
    """Address of the paper; "" if there is none."""
    weights_url: Address = ""
    """Address of the file of weights; "" if it is not public. The sha256 in ``run.json`` must fit."""
    training_data: Annotated[str, Field(max_length=_LONGEST)] = ""
    """The data that the weights were trained on, if ``run.json`` does not record them."""


def make_card(values: Mapping[str, Any]) -> tuple[Card | None, list[str]]:
    """Return the card of some values, or None and one line per field that is missing or does not fit."""
    try:
        return Card.model_validate(dict(values)), []
    except ValidationError as error:
        return None, list(_lines(error))


def read_card(path: Path) -> dict[str, Any]:
    """Return the values of a ``card.json``, for :func:`make_card`.

    Raises:
        ResultError: unreadable, not JSON, or of another schema.
    """
    return read_json(path, files.TOML, SCHEMA)


def _lines(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        field = ".".join(map(str, problem["loc"]))
        words = brief(problem["msg"].removeprefix("Value error, "))
        if problem["type"] == "missing":
            words = "it is missing"
        if problem["type"] == "extra_forbidden":
            words = f"there is no such field{did_you_mean(field, Card.model_fields)}"
        yield f"card, {brief(field)}: {words}"
