"""A result folder: written whole or not at all, read strictly, explained when it cannot be."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from vpbench.errors import ResultError
from vpbench.files import write_atomic
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.units import ManifestEntry
from vpbench.results import store as stores
from vpbench.results.reading import read_attempt
from vpbench.results.records import Identity, MetricRecord, RunRecord
from vpbench.results.store import Attempt, Store

CLIPS = [f"s{i:02d}@0" for i in range(20)]
DATA = "0123456789abcdef"
RECORD = {"host": "here", "pid": 1, "engine": "plain", "device": "cpu"}
ROOT = Path(__file__).parents[2]


IDENTITY = Identity(
    protocol="p", manifest="m", data="d", predictor="last", options={}, fingerprint="f", annotators={},
    metrics={"mse": 1}, metric_code={"mse": "c"}, seed=0, samples=1, partial="", unproven="",
)  # fmt: skip
PROTOCOL = {
    "schema": 1,
    "name": "toy",
    "version": 1,
    "dataset": {"name": "toy"},
    "sampling": {"kind": "first", "context": 1, "horizon": 2},
}


def make_run(**changes):
    metric = MetricRecord(revision=1, better="lower", unit="", decimals=4, released=True)
    run = RunRecord(
        identity=IDENTITY, identity_hash="i", predictor="last", preset="", sees_truth=False, stochastic=False, paper="",
        weights=None, protocol=Protocol.parse(PROTOCOL, "here"), cumulative=True, partial="", dropped=(),
        metrics={"mse": metric}, skipped={}, classes=(), manifest=[(clip, (1, 2), clip) for clip in CLIPS],
    )  # fmt: skip
    return run.model_copy(update=changes)


def make_rows(unit=0, value=0.25, metrics=("mse",)):
    clips = CLIPS[16 * unit : 16 * unit + 16]
    return [
        {"clip": c, "data": DATA, "step": k, "metric": m, "value": value, "status": "ok"}
        for m in metrics
        for k in (2, 1)
        for c in clips
    ]


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "result", make_run())


def begin(store, **changes):
    return Attempt(store, RECORD | changes)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.parent.name != "attempts")


def test_a_unit_is_one_json_object_per_line_sorted(store):
    attempt = begin(store)
    store.publish(1, make_rows(1), attempt, "stamp")
    lines = (store.folder / "units/000001.jsonl").read_text().splitlines()
    assert lines[0] == '{"clip":"s16@0","data":"0123456789abcdef","metric":"mse","status":"ok","step":1,"value":0.25}'
    keys = [(row["clip"], row["step"]) for row in map(json.loads, lines)]
    assert keys == [(clip, step) for clip in CLIPS[16:] for step in (1, 2)]
    assert store.published() == [1]
    assert store.units == 2
    assert list(store.rows()) == [json.loads(line) for line in lines]
    store.check_claims()


def test_rows_are_sorted_by_sample_before_step_and_metric(store):
    keys = [("a", 0, 1, "mse"), ("a", 0, 1, "psnr"), ("a", 0, 2, "mse"), ("a", 1, 1, "mse"), ("b", 0, 1, "mse")]
    rows = [{"clip": c, "sample": s, "step": k, "metric": m, "value": 0.0, "status": "ok"} for c, s, k, m in keys]
    store.publish(0, rows[::-1], begin(store), "stamp")
    assert [json.loads(line) for line in store.unit_path(0).read_text().splitlines()] == rows


def test_publishing_the_same_again_changes_nothing(store):
    store.publish(0, make_rows(), begin(store), "stamp")
    before = store.unit_path(0).read_bytes()
    store.publish(0, make_rows()[::-1], begin(store), "stamp")
    assert store.unit_path(0).read_bytes() == before
    assert files(store.folder) == ["run.json", "units/000000.jsonl"]


def test_a_result_without_a_unit_or_an_attempt_is_removed(store):
    neighbour = store.folder.parent / "other"
    neighbour.mkdir()
    store.remove_if_empty()
    assert not store.folder.exists() and neighbour.exists()
    attempt = begin(store := Store.create(store.folder, store.run))
    attempt.write()
    store.remove_if_empty()
    assert (store.folder / "run.json").exists()


def test_a_process_publishes_though_another_removed_the_empty_result(store):
    attempt = begin(store)
    run = (store.folder / "run.json").read_bytes()
    store.remove_if_empty()
    store.publish(0, make_rows(), attempt, "")
    assert (store.folder / "run.json").read_bytes() == run
    store.remove_if_empty()
    assert store.published() == [0]


def test_a_unit_that_differs_is_an_error_that_names_both(store):
    store.publish(0, make_rows(), begin(store), "stamp")
    before = store.unit_path(0).read_bytes()
    rows = make_rows()
    rows[-1]["value"] = 0.5  # the last clip's first step: line 31
    attempt = begin(store, pid=2)
    with pytest.raises(ResultError, match=r"units/000000.jsonl was published with other rows .*from line 31") as caught:
        store.publish(0, rows, attempt, "stamp")
    (record,) = (store.folder / "attempts").glob("*-unit-000000.jsonl")
    assert str(record) in str(caught.value)
    assert '"value":0.5' in record.read_text()
    assert store.unit_path(0).read_bytes() == before
    store.check_claims()


def test_the_claim_comes_before_the_unit(store, monkeypatch):
    """A process killed between the two leaves a claim without a unit, never a unit without a claim."""
    attempt = begin(store)
    monkeypatch.setattr(attempt, "claim", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.publish(0, make_rows(), attempt, "stamp")
    assert store.published() == []


def tamper(old, new, count=1):
    return lambda text: text.replace(old, new, count)


DAMAGE = {
    "edited value": tamper('"value":0.25', '"value":0.24'),
    "cut off": lambda text: text[: len(text) // 2],
    "emptied": lambda text: "",
    "last line missing": lambda text: text[: text.rindex("{")],
    "line twice": lambda text: text + text.splitlines(keepends=True)[-1],
    "another clip": tamper("s03@0", "s99@0"),
    "another step": tamper('"step":1', '"step":3'),
    "another metric": tamper('"metric":"mse"', '"metric":"mae"'),
    "no value": tamper(',"value":0.25', ""),
    "not an object": tamper("{", "[{", 1),
    "a list": lambda text: "[]\n" + text,
    "not text": lambda text: "\udcff" + text,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_every_change_of_a_unit_is_found(store, damage):
    store.publish(0, make_rows(), begin(store), "stamp")
    path = store.unit_path(0)
    path.write_bytes(DAMAGE[damage](path.read_text()).encode("utf-8", "surrogateescape"))
    with pytest.raises(ResultError, match=r"000000.jsonl is not what was published; remove the file and run again"):
        store.check_claims()
    if damage != "edited value":  # the one that only the claims can tell
        with pytest.raises(ResultError, match=r"000000\.jsonl"):
            store.unit_rows(0)


def test_rows_of_another_result_are_found(store, tmp_path):
    foreign = Store.create(tmp_path / "other", make_run(manifest=(ManifestEntry("x@0", (1, 2), "x"),)))
    foreign.publish(0, [{**row, "clip": "x@0"} for row in make_rows()[::16]], begin(foreign), "stamp")
    foreign.unit_path(0).rename(store.unit_path(0))
    with pytest.raises(ResultError, match=r"run.json is not what this result was computed with"):
        store.check_claims()  # no process of this result has published anything
    with pytest.raises(ResultError, match=r"000000\.jsonl: 2 rows, 32 expected"):
        list(store.rows())


def test_a_result_resumes_with_the_same_identity_only(store):
    reopened = Store.create(store.folder, make_run(paper="other words"))
    assert reopened.run == store.run
    with pytest.raises(ResultError, match=r"run.json describes another result .*choose another folder"):
        Store.create(store.folder, make_run(identity=IDENTITY.model_copy(update={"protocol": "q"})))


@pytest.mark.parametrize("name", ["run.json", "attempts/one.json"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 4}', "schema 4, newer than this vpbench reads .*upgrade"),
        ('{"schema": 3', "cannot be read as JSON"),
        ('{"schema": 2}', "schema 2, and this vpbench reads schema 3: run the same command again"),
        ("", "cannot be read as JSON"),
        ("[]", "no schema number"),
        ('{"schema": "3"}', "no schema number"),
        ('{"schema": true}', "no schema number"),
    ],
)
def test_files_of_a_newer_schema_or_none_are_refused(store, name, text, message):
    (store.folder / name).write_text(text)
    with pytest.raises(ResultError, match=message) as caught:
        Store.open(store.folder).check_claims()
    assert name in str(caught.value)


def test_what_is_no_result_is_said_to_be_none(tmp_path):
    with pytest.raises(ResultError, match=r"is not a result: there is no run\.json"):
        Store.open(tmp_path)
    (tmp_path / "run.json").write_text('{"schema": 3, "identity": {}}')
    with pytest.raises(
        ResultError, match=r"run\.json: identity\.protocol: Field required; .*\(and \d+ more\); make the"
    ):
        Store.open(tmp_path)


def fail_on_fsync(monkeypatch, code):
    def fsync(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_full_quota_leaves_no_unit_and_says_what_to_do(store, monkeypatch):
    store.publish(0, make_rows(), begin(store), "stamp")
    attempt = begin(store)
    fail_on_fsync(monkeypatch, errno.EDQUOT)
    with pytest.raises(ResultError, match=r"cannot write .*; free some space and run the same command again"):
        store.publish(1, make_rows(1), attempt, "stamp")
    assert files(store.folder) == ["run.json", "units/000000.jsonl"]
    assert not list(store.folder.rglob("*.tmp"))


def test_a_failed_rewrite_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    write_atomic(path, "old")
    fail_on_fsync(monkeypatch, errno.EIO)
    with pytest.raises(ResultError, match=r"cannot write .*summary\.json: "):
        write_atomic(path, "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("summary.json", "old")]


def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match=r"cannot write .*choose a folder you may write to"):
        Store.create(tmp_path / "file" / "result", make_run())


def test_two_processes_with_one_number_do_not_share_a_temporary_file(tmp_path, monkeypatch):
    """In containers every process may be number 1."""
    names, real = [], Path.replace
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(Path, "replace", lambda self, to: names.append(self.name) or real(self, to))
    for _ in range(2):
        write_atomic(tmp_path / "run.json", "{}")
    assert len(set(names)) == 2
    assert all(name.startswith(".") for name in names)


def test_attempts_tell_engines_and_devices_apart(store):
    store.publish(0, make_rows(), begin(store), "stamp")
    store.publish(1, make_rows(1), begin(store), "stamp")
    assert store.mixed() == []
    store.publish(1, make_rows(1), begin(store, device="H100"), "stamp")
    begin(store, device="A100").write()  # published nothing
    assert store.mixed() == ["plain on H100", "plain on cpu"]


def test_an_attempt_records_what_it_published(store):
    attempt = begin(store)
    store.publish(0, make_rows(), attempt, "stamp")
    attempt.write(seconds={"read": 1.5})
    (record,) = store.attempts()
    assert (record.seconds, set(record.units)) == ({"read": 1.5}, {"0"})
    assert read_attempt(attempt.path) == record == attempt.record


def test_a_process_begins_another_record_before_one_becomes_large(store, monkeypatch):
    monkeypatch.setattr(stores, "_CLAIMS", 1)
    attempt = begin(store)
    for unit in (0, 1):
        store.publish(unit, make_rows(unit), attempt, f"stamp {unit}")
    attempt.write(seconds={"read": 1.5})
    assert sorted((list(record.units), list(record.stamps)) for record in store.attempts()) == [
        (["0"], ["0"]),
        (["1"], ["1"]),
    ]
    assert store.stamps() == {0: {"stamp 0"}, 1: {"stamp 1"}}
    store.check_claims()
