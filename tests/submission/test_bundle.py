"""Bundles: the same bytes each time, no name of a machine, and every fault of a hostile one in a line with a name."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from pathlib import Path

import folders
import pytest

from vpbench.errors import ResultError
from vpbench.files import GZIP_HEADER, zip_bytes
from vpbench.results.card import Card
from vpbench.results.result import load
from vpbench.submission import files
from vpbench.submission.bundle import publish_bundle
from vpbench.submission.check import check_bundle, check_submission

FIELDS = {"contact": "me@example.org", "licence": "MIT", "code": "https://example.org/code"}
SCORES = {"mse": [0.1, 0.2]}


def values(result, **changes):
    return FIELDS | {"identity": result.run.identity_hash} | changes


def submit(folder, root, **changes):
    result = load(folder)
    return publish_bundle(result, root, Card.model_validate(values(result, **changes)))


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def original(tmp_path):
    return folders.make_result(tmp_path / "results", "model", SCORES)


@pytest.fixture
def bundle(original, tmp_path):
    return submit(original, tmp_path / "bundles")


def faults(bundle):
    return check_bundle(bundle, folders.plugins()).faults


def edit_json(path: Path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_bundle_is_sound_and_holds_the_rows_of_its_result(original, bundle):
    report = check_bundle(bundle, folders.plugins())
    assert report.faults == ()
    assert report.card.contact == "me@example.org"
    assert list(load(bundle).rows()) == list(load(original).rows())
    assert bundle.parts[-3:] == ("toy", "model", load(original).run.identity_hash[:12])


def test_a_bundle_has_the_same_bytes_again_and_names_no_machine(original, bundle, tmp_path):
    second = submit(original, tmp_path / "again")
    assert content(second) == content(bundle)
    attempt = json.loads((bundle / "attempts/00.json").read_text())
    assert (attempt["host"], attempt["pid"], attempt["command"]) == ("", 0, [])
    assert (bundle / "units/000000.jsonl.gz").read_bytes().startswith(GZIP_HEADER)


def test_a_bundle_of_a_bundle_has_the_same_bytes(bundle, tmp_path):
    assert content(submit(bundle, tmp_path / "again")) == content(bundle)


def test_more_than_a_hundred_processes_are_packed_in_their_order(original, tmp_path):
    """Names of two digits alone would be read in another order than they were written."""
    (attempt,) = (original / "attempts").glob("*.json")
    for number in range(101):
        edit_json(Path(shutil.copy(attempt, attempt.with_name(f"2-{number:03d}.json"))), device=f"gpu {number}")
    bundle = submit(original, tmp_path / "bundles")
    assert faults(bundle) == ()
    assert content(submit(bundle, tmp_path / "again")) == content(bundle)


def test_a_place_that_holds_something_else_is_left_alone(original, bundle, tmp_path):
    assert submit(original, tmp_path / "bundles") == bundle
    before = content(bundle)
    with pytest.raises(ResultError, match="holds something else"):
        submit(original, tmp_path / "bundles", licence="BSD-3-Clause")
    assert content(bundle) == before
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == ["toy"]


@pytest.mark.parametrize("data", [b"", b"rows\n" * 1000, bytes(range(256)) * 300])
def test_zipped_bytes_are_gzip(data):
    assert gzip.decompress(zip_bytes(data)) == data


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"contact": "me"}, "card, contact: 'me' is neither an e-mail address nor an https address"),
        ({"contact": "me@example.org\n<script>"}, "card, contact: .* is neither"),
        ({"licence": ""}, "card, licence: '' is not an SPDX expression"),
        ({"code": "http://example.org"}, "card, code: 'http://example.org' is not an https address"),
        ({"code": "javascript:alert(1)"}, "card, code: .* is not an https address"),
        ({"paper": 3}, "card, paper: Input should be a valid string"),
        ({"contakt": "me"}, "card, contakt: there is no such field; did you mean 'contact'"),
        ({"identity": "0" * 64}, "card, identity: it is the card of another result"),
        ({"weights_url": "https://example.org/w"}, "card, weights_url: the predictor has no weights"),
        ({"training_data": "x" * 501}, "card, training_data: String should have at most 500"),
    ],
)
def test_a_card_that_does_not_fit_is_one_line(original, changes, fault):
    result = load(original)
    (line,) = check_submission(result, values(result, **changes), folders.plugins()).faults
    assert re.match(fault, line)


def test_every_fault_is_listed_at_once(tmp_path):
    weights = {"clips": "unknown", "seen": 0}
    result = load(folders.make_result(tmp_path, "net", {"mse": [0.1]}, weights=weights, sees_truth=True))
    folders.edit_summary(result.path, lambda value: value["scores"]["mse"].update(mean=0.0))
    report = check_submission(load(result.path), {"weights_url": "https://example.org/w"}, folders.plugins())
    assert report.card is None
    starts = ["card, identity: it is missing", "card, contact", "card, licence", "card, identity: it is the card of"]
    starts += ["card, training_data", "card, weights_url: run.json has no sha256", f"{result.path}/summary.json does"]
    starts += ["the predictor is an oracle"]
    assert len(report.faults) == len(starts)
    assert all(fault.startswith(start) for fault, start in zip(report.faults, starts, strict=True))


@pytest.mark.parametrize(
    ("weights", "fault"),
    [
        ({"clips": "none", "seen": 0}, "the weights are not trained"),
        ({"clips": "overlap", "seen": 3, "protocol": "toy"}, "the weights were trained on 3 sequences"),
        ({"clips": "disjoint", "seen": 0, "protocol": "toy", "sha256": "a" * 64}, ""),
    ],
)
def test_only_results_with_a_rank_are_taken(tmp_path, weights, fault):
    result = load(folders.make_result(tmp_path, "net", {"mse": [0.1]}, weights=weights))
    card = values(result, training_data="toys")
    lines = check_submission(result, card, folders.plugins()).faults
    assert [line[: len(fault)] for line in lines] == ([fault] if fault else [])


@pytest.mark.parametrize("protocol", ["", "toy"], ids=["foreign", "fine-tuned from foreign"])
def test_training_data_are_declared_by_the_run_or_by_the_card(tmp_path, protocol):
    weights = {"clips": "unknown", "seen": 0, "protocol": protocol}
    result = load(folders.make_result(tmp_path, "net", {"mse": [0.1]}, weights=weights))
    (fault,) = check_submission(result, values(result), folders.plugins()).faults
    assert fault.startswith("card, training_data: run.json does not record")
    assert check_submission(result, values(result, training_data="toys"), folders.plugins()).faults == ()


def test_partial_and_unfinished_results_are_refused(tmp_path):
    partial = load(folders.make_result(tmp_path, "a", {"mse": [0.1]}, partial="limited to 20 of 40 clips"))
    (fault,) = check_submission(partial, values(partial), folders.plugins()).faults
    assert "is partial (limited to 20 of 40 clips)" in fault
    unfinished = folders.make_result(tmp_path, "b", {"mse": [0.1]})
    (unfinished / "summary.json").unlink()
    result = load(unfinished)
    (fault,) = check_submission(result, values(result), folders.plugins()).faults
    assert "has no summary" in fault


def test_another_protocol_under_an_installed_name_is_refused(tmp_path):
    name = next(name for kind, name in folders.plugins().entries if kind == "protocol")
    result = load(folders.make_result(tmp_path, "a", {"mse": [0.1]}, protocol={"name": name}))
    (fault,) = check_submission(result, values(result), folders.plugins()).faults
    assert fault == f"protocol {name!r} is not the installed one of that name: run it again"


def test_notes_name_what_nobody_else_has(original):
    result = load(original)
    notes = check_submission(result, values(result, code=""), folders.plugins()).notes
    assert [note.split(" is not")[0] for note in notes] == [
        "predictor 'model'",
        "the card names no address of the code",
        "protocol 'toy'",
    ]


class TestHostileBundles:
    def test_links_are_refused_and_not_followed(self, bundle, tmp_path):
        secret = tmp_path / "secret"
        secret.write_text("{}")
        (bundle / "summary.json").unlink()
        (bundle / "summary.json").symlink_to(secret)
        (fault,) = faults(bundle)
        assert "summary.json is a link" in fault

    def test_a_linked_folder_is_refused(self, bundle, tmp_path):
        shutil.move(bundle / "units", tmp_path / "units")
        (bundle / "units").symlink_to(tmp_path / "units")
        assert "units is a link" in faults(bundle)[0]
        shutil.rmtree(bundle.parent / "x", ignore_errors=True)
        (bundle.parent / "x").symlink_to(bundle)
        assert "x is a link, not a folder of bundles" in faults(bundle.parent / "x")[0]

    def test_a_fifo_is_refused(self, bundle):
        os.mkfifo(bundle / "attempts/01.json")
        assert "attempts/01.json is a FIFO" in faults(bundle)[0]

    def test_deep_folders_are_refused_before_they_are_listed(self, bundle):
        (bundle / "/".join("a" * 20)).mkdir(parents=True)
        (fault,) = faults(bundle)
        assert fault.endswith("a/a/a/a/a/a/a/a lies too deep: no bundle nests 8 folders")

    def test_foreign_files_are_named(self, bundle):
        for name in ("run.py", "units/000009.jsonl.gz", "units/000000.jsonl", "attempts/evil.json", "\x1b[31m"):
            (bundle / name).write_text("")
        lines = faults(bundle)
        assert len(lines) == 5
        assert lines[0] == "\\x1b[31m: a bundle has no such file; remove it"
        assert "run.py: a bundle has no such file; remove it" in lines

    def test_missing_files_are_named(self, bundle):
        (bundle / "units/000001.jsonl.gz").unlink()
        assert faults(bundle) == ("units/000001.jsonl.gz: it is missing",)

    def test_too_many_files_and_too_many_bytes_are_refused(self, bundle, monkeypatch):
        monkeypatch.setattr(files, "MAX_FILES", 5)
        assert "more than 5 files and folders" in faults(bundle)[0]
        monkeypatch.setattr(files, "MAX_FILES", 50)
        monkeypatch.setattr(files, "MAX_BYTES", 100)
        assert "a bundle may have 0 MiB" in faults(bundle)[0]

    def test_a_gzip_bomb_is_refused(self, bundle, monkeypatch):
        monkeypatch.setattr("vpbench.files.UNIT", 2**19)
        (bundle / "units/000000.jsonl.gz").write_bytes(zip_bytes(b"." * 2**20))
        (fault,) = faults(bundle)
        assert "000000.jsonl.gz cannot be read: it is larger than" in fault

    def test_a_gzip_header_with_a_name_is_refused(self, bundle):
        path = bundle / "units/000000.jsonl.gz"
        with gzip.GzipFile(path, "wb") as file:
            file.write(b"\n")
        assert "000000.jsonl.gz: its gzip header" in faults(bundle)[0]

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"predictor": "../../evil"}, "is not a name"),
            ({"preset": "/etc"}, "is not a name"),
            ({"manifest": [["../evil", [1], "r"]]}, "is not the id of a clip"),
            ({"schema": 99}, "newer than this vpbench reads"),
        ],
    )
    def test_a_record_that_leads_out_of_the_folder_is_refused(self, bundle, changes, words):
        edit_json(bundle / "run.json", **changes)
        (fault,) = faults(bundle)
        assert "run.json" in fault and words in fault

    @pytest.mark.parametrize("name", ["run.json", "card.json"])
    def test_wrong_json_is_refused_by_name(self, bundle, name):
        (bundle / name).write_text("[" * 100_000)
        (fault,) = faults(bundle)
        assert f"{name} cannot be read as JSON" in fault

    def test_a_card_with_a_foreign_field_is_refused(self, bundle):
        edit_json(bundle / "card.json", rank=1)
        (fault,) = faults(bundle)
        assert fault.startswith("card, rank: there is no such field")

    def test_the_name_of_a_machine_is_refused(self, bundle):
        edit_json(bundle / "attempts/00.json", host="secret-host")
        (fault,) = faults(bundle)
        assert fault.startswith("attempts/00.json: it is not what vpbench writes into a bundle")

    def test_a_bundle_in_the_place_of_another_is_refused(self, bundle):
        moved = bundle.parent.with_name("better")
        bundle.parent.rename(moved)
        (fault,) = faults(moved / bundle.name)
        assert fault.startswith(f"it must lie in a folder toy/model/{bundle.name}")

    def test_edited_rows_are_refused(self, bundle):
        path = bundle / "units/000000.jsonl.gz"
        path.write_bytes(zip_bytes(gzip.decompress(path.read_bytes()).replace(b"0.1", b"0.0", 1)))
        (fault,) = faults(bundle)
        assert "000000.jsonl.gz is not what was published" in fault
