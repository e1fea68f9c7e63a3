"""Units that are read fast hold the rows that the strict reader returns, and a changed unit is refused by both."""

from __future__ import annotations

import random

import folders
import pytest

from vpbench.errors import ResultError
from vpbench.results.audit import audit_unit, audited_rows
from vpbench.results.layouts import Layouts
from vpbench.results.result import load
from vpbench.results.tally import Tally

SCORES = {"mse": [0.1, 0.2], "psnr": [20.0, 30.5]}


def stores(root, **settings):
    """Two results of one protocol."""
    return [load(folders.make_result(root, name, SCORES, **settings)).store for name in ("first", "second")]


def content(tally):
    return (
        {name: (dict(rows.steps), rows.data, rows.undefined, rows.notes) for name, rows in tally.metrics.items()},
        tally.clips,
        tally.context,
        tally.clamped,
    )


def strict(store):
    return content(Tally(audited_rows(store, exact=False)))


@pytest.mark.parametrize(
    "settings",
    [{}, {"context": "labels"}, {"samples": 3}, {"clamped": True}, {"recordings": lambda i: f"r{i % 3}"}],
    ids=["plain", "context", "samples", "clamped", "recordings"],
)
def test_rows_are_those_of_the_strict_reader(tmp_path, settings):
    layouts = Layouts()
    for store in stores(tmp_path, **settings):
        assert content(layouts.tally(store)) == strict(store)


def test_a_unit_with_the_same_layout_is_not_parsed_again(tmp_path, monkeypatch):
    layouts, (first, second) = Layouts(), stores(tmp_path)
    layouts.tally(first)
    monkeypatch.setattr("vpbench.results.layouts.audit_unit", lambda *_, **__: pytest.fail("parsed"))
    assert content(layouts.tally(second)) == strict(second)


def test_results_of_other_metrics_steps_or_data_do_not_share_a_layout(tmp_path):
    layouts = Layouts()
    results = [
        folders.make_result(tmp_path, "a", {"mse": [0.1, 0.2]}),
        folders.make_result(tmp_path, "b", {"mse": [0.1, 0.2]}, data="other pixels"),
        folders.make_result(tmp_path, "c", {"psnr": [0.1, 0.2]}),
        folders.make_result(tmp_path, "d", {"mse": [0.1, 0.2, 0.3]}),
        folders.make_result(tmp_path, "e", {"mse": [0.1, None]}),
        folders.make_result(tmp_path, "f", {"mse": [0.1, 0.2]}, clips=7),
    ]
    for store in [load(folder).store for folder in results]:
        assert content(layouts.tally(store)) == strict(store)


def outcome(read):
    try:
        return read()
    except ResultError as error:
        return str(error)


def changes(text, draw):
    """Ways to spoil a unit: characters, fields, lines, and values that join into one list."""
    line = draw.choice(text.split("\n")[:-1])
    value = line.rpartition(":")[2][:-1]
    place = draw.randrange(len(text))
    yield text[:place] + draw.choice('0"}{,:[]\n\\e-') + text[place + 1 :]
    yield text[:place] + text[place + 1 :]
    yield text.replace(line + "\n", "", 1)
    yield text.replace(line, line + "\n" + line, 1)
    for replacement in ("1", "NaN", "1e999", "null", '"1"', "[1]", "[1.5]", "01", "1.5 ", "1.5\n", "1.5,2.5", "true"):
        yield text.replace(line, line.replace(value, replacement), 1)
    yield text.replace(line, f"{value}}}", 1)
    yield text.replace("ok", "undefined", 1)
    yield text + line
    yield text.removesuffix("\n")
    first, second, third, *following = text.split("\n")
    joined = [first.replace(first.rpartition(":")[2], "[1}"), second.replace(second.rpartition(":")[2], "2]}")]
    yield "\n".join([*joined, third.replace(third.rpartition(":")[2], "3,4}"), *following])


@pytest.mark.parametrize("seed", range(4))
def test_a_spoiled_unit_is_read_or_refused_as_by_the_strict_reader(tmp_path, seed):
    draw = random.Random(seed)
    first, second = stores(tmp_path, clips=4)
    path = second.unit_path(0)
    original = path.read_text()
    refused = 0
    for text in changes(original, draw):
        layouts = Layouts()
        layouts.tally(first)
        path.write_text(text)
        fast, slow = outcome(lambda: content(layouts.tally(second))), outcome(lambda: strict(second))  # noqa: B023
        assert fast == slow
        refused += isinstance(slow, str)
    assert refused > 10


def test_only_some_units_with_a_context_are_refused(tmp_path):
    layouts = Layouts()
    (plain, _), (informed, _) = stores(tmp_path / "a"), stores(tmp_path / "b", context="labels")
    for store in (plain, informed):
        layouts.tally(store)
    plain.unit_path(1).write_text(informed.unit_path(1).read_text())
    with pytest.raises(ResultError, match="only some rows name a digest of the context"):
        layouts.tally(plain)
    with pytest.raises(ResultError, match="only some rows name a digest of the context"):
        audit_unit(plain, 1, has_context=False)
