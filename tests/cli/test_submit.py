"""`vpbench submit`: from a result to a bundle, every fault at once, and the check that a reviewer runs."""

from __future__ import annotations

import folders
import pytest

CARD = ["--contact", "me@example.org", "--licence", "MIT"]


@pytest.fixture
def result(tmp_path):
    return folders.make_result(tmp_path / "results", "model", {"mse": [0.1, 0.2]})


def test_a_result_becomes_a_bundle_that_passes_the_check(vpbench, result, tmp_path):
    outcome = vpbench("submit", result, *CARD, "--out", tmp_path / "bundles")
    assert outcome.code == 0, outcome.err
    bundle = tmp_path / "bundles/toy/model" / result.name
    assert outcome.out.startswith(f"{bundle}: packed; open a pull request")
    checked = vpbench("submit", tmp_path / "bundles", "--check", "--json")
    assert checked.code == 0
    (document,) = checked.json["bundles"]
    assert (document["path"], document["faults"]) == (str(bundle), [])
    assert "the card names no address of the code" in document["notes"]


def test_every_fault_is_a_line_and_nothing_is_written(vpbench, result, tmp_path):
    outcome = vpbench("submit", result, "--code", "here", "--out", tmp_path / "bundles")
    assert outcome.code == 1
    assert [line.split(": ", 2)[2] for line in outcome.err.splitlines()] == [
        "card, contact: it is missing",
        "card, licence: it is missing",
        "card, code: 'here' is not an https address",
    ]
    assert not (tmp_path / "bundles").exists()


def test_a_card_file_is_overridden_by_options(vpbench, result, tmp_path):
    card = tmp_path / "card.toml"
    card.write_text('contact = "https://example.org"\nlicence = "MIT"\ntraining_data = "none"\n')
    args = ["submit", result, "--card", card, "--licence", "BSD-3-Clause", "--out", tmp_path / "b"]
    assert vpbench(*args).code == 0
    text = (tmp_path / "b/toy/model" / result.name / "card.json").read_text()
    assert '"licence": "BSD-3-Clause"' in text and '"contact": "https://example.org"' in text


def test_a_check_takes_no_card(vpbench, result):
    outcome = vpbench("submit", result, "--check", *CARD)
    assert outcome.code == 2
    assert "--check reads the card of the bundle" in outcome.error


def test_a_plain_result_is_no_bundle(vpbench, result, tmp_path):
    outcome = vpbench("submit", result, "--check")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].endswith("units/000001.jsonl.gz: it is missing")
    assert "card.json: it is missing" in outcome.err
    assert vpbench("submit", tmp_path / "nowhere", "--check").error.endswith("(no run.json) at or below it")
    assert "is not a result" in vpbench("submit", tmp_path / "nowhere", *CARD).error
