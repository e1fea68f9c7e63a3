"""One JSON document of commands that work on several results or files, failures included."""

from __future__ import annotations

import folders
import pytest


@pytest.fixture
def root(tmp_path):
    """Two results, of which the second has a unit that is not what was published."""
    for name in ("good", "spoilt"):
        folders.make_result(tmp_path / "results", name, {"mse": [0.1]})
    (unit,) = (tmp_path / "results").glob("toy/spoilt/*/units/000000.jsonl")
    unit.write_text(unit.read_text().replace("0.09", "0.08", 1))
    return tmp_path / "results"


@pytest.mark.parametrize(("command", "field"), [("verify", "checked"), ("merge", "summary")])
def test_every_result_stands_in_the_document_also_the_one_that_failed(vpbench, root, command, field):
    outcome = vpbench(command, root, "--json")
    assert outcome.code == 1
    good, spoilt = outcome.json["results"]
    assert good["error"] is None
    assert good[field]
    assert field not in spoilt
    assert spoilt["error"].endswith(outcome.error.removeprefix("vpbench: ")[-60:])
    assert "is not what was published" in spoilt["error"]


@pytest.mark.parametrize("command", ["verify", "merge"])
def test_without_json_the_good_results_are_lines(vpbench, root, command):
    outcome = vpbench(command, root)
    assert outcome.code == 1
    assert len(outcome.out.splitlines()) == 1
    assert "toy/good" in outcome.out


@pytest.mark.parametrize("command", ["verify", "merge"])
def test_a_folder_without_results_prints_no_document(vpbench, tmp_path, command):
    outcome = vpbench(command, tmp_path, "--json")
    assert (outcome.code, outcome.out) == (1, "")
