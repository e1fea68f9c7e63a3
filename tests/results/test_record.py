"""The files of a result: names, types and ranges are checked before anything is made of them."""

from __future__ import annotations

import copy
import json

import pytest

from vpbench.errors import ResultError
from vpbench.protocol.protocol import Protocol
from vpbench.results.reading import has_text, read_attempt, read_run, read_summary
from vpbench.results.result import find_results
from vpbench.results.rows import read_rows

PROTOCOL = {
    "schema": 1,
    "name": "toy",
    "version": 1,
    "dataset": {"name": "toy"},
    "sampling": {"kind": "first", "context": 3, "horizon": 4},
}
FULL_PROTOCOL = Protocol.parse(PROTOCOL, "here").model_dump(mode="json", by_alias=True)
RUN = {
    "schema": 3,
    "identity": {
        "protocol": "a1", "manifest": "b2", "data": "c3", "predictor": "last", "options": {}, "fingerprint": "d4",
        "annotators": {"flow": "still"}, "metrics": {"mse": 1}, "metric_code": {"mse": "e5"}, "seed": 0, "samples": 1,
        "partial": "", "unproven": "",
    },
    "identity_hash": "f6", "predictor": "last", "preset": "", "sees_truth": False, "stochastic": False, "paper": "",
    "parameters": 7, "weights": None, "protocol": PROTOCOL, "cumulative": True, "partial": "", "dropped": [],
    "metrics": {
        "mse": {"revision": 1, "better": "lower", "unit": "", "decimals": 4, "kind": "frame", "released": True},
    },
    "skipped": {}, "classes": [], "manifest": [["a/b@0", [1, 2, 3, 4], "a/b"]],
}  # fmt: skip
SCORE = {
    "per_step": [0.1, None], "ci95": [[0.0, 0.2], None], "mean_to": [0.1, None], "mean": None, "details": [],
    "data": "a", "clips": 20, "recordings": 2, "undefined": {"dark": 1}, "notes": {"floored": 2},
}  # fmt: skip
SUMMARY = {
    "schema": 3, "identity": "f6", "steps": [1, 2], "partial": False, "partial_reason": "", "clips": 20,
    "recordings": 2, "data": "a", "context": "", "clamped_frames": 0, "scores": {"mse": SCORE}, "skipped": {},
}  # fmt: skip
ATTEMPT = {
    "schema": 3,
    "run": "a1",
    "units": {"0": "b2"},
    "stamps": {"0": "c"},
    "engine": "",
    "device": "cpu",
    "seconds": {},
}
ROW = {"clip": "a@0", "step": 1, "metric": "mse", "value": 0.1, "status": "ok", "data": "0123456789abcdef"}


@pytest.fixture
def write(tmp_path):
    def make(value):
        path = tmp_path / "file.json"
        path.write_text(json.dumps(value))
        return path

    return make


def with_value(value, place, new):
    value = copy.deepcopy(value)
    inner = value
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = new
    return value


def test_what_vpbench_writes_is_read(write):
    assert list(read_run(write(RUN)).to_json().items()) == list(with_value(RUN, ["protocol"], FULL_PROTOCOL).items())
    assert json.dumps(read_summary(write(SUMMARY)).to_json()) == json.dumps(SUMMARY)
    attempt = read_attempt(write(ATTEMPT)).to_json()
    assert {key: attempt[key] for key in ATTEMPT} == ATTEMPT
    assert read_run(write({**RUN, "later": 1})).to_json()["later"] == 1, "fields of a later version are kept"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["predictor"], "../../x"),
        (["preset"], "/../../x"),
        (["identity", "predictor"], "a/b"),
        (["identity", "samples"], 10**12),
        (["identity", "samples"], True),
        (["identity", "seed"], -1),
        (["identity", "annotators"], {"../x": "y"}),
        (["identity_hash"], "<b>"),
        (["metrics", "mse", "decimals"], 10**9),
        (["metrics", "mse", "revision"], "1"),
        (["metrics", "../mse"], RUN["metrics"]["mse"]),
        (["metrics", "mse"], None),
        (["metrics"], []),
        (["protocol", "name"], "../../x"),
        (["protocol", "name"], "x" * 101),
        (["protocol", "sampling", "horizon"], 10**12),
        (["protocol", "version"], 10**12),
        (["protocol", "report"], [5]),
        (["protocol", "schema"], 9),
        (["protocol"], None),
        (["manifest"], []),
        (["manifest", 0, 0], "../../x@0"),
        (["manifest", 0, 0], "a\0@0"),
        (["manifest", 0, 1], [10**12]),
        (["manifest", 0, 1], []),
        (["manifest", 0], ["a@0", [1]]),
        (["manifest", 0, 2], ""),
        (["identity", "trust"], 1),
        (["identity", "unproven"], None),
        (["metrics", "mse", "released"], "yes"),
        (["stochastic"], 0),
        (["sees_truth"], "no"),
        (["weights"], {"clips": "surely"}),
        (["paper"], "x" * 10_001),
        (["skipped"], {"\x1b[2J": "why"}),
    ],
)
def test_a_run_json_that_is_refused_in_one_line(write, place, value):
    path = write(with_value(RUN, place, value))
    with pytest.raises(ResultError, match=r"make (the result|it) again") as error:
        read_run(path)
    text = str(error.value)
    assert text.startswith(str(path))
    assert text.isprintable()
    assert len(text) < 1000


@pytest.mark.parametrize("field", sorted({*RUN} - {"schema", "parameters"}))
def test_a_run_json_lacks_nothing(write, field):
    with pytest.raises(ResultError, match=field):
        read_run(write({key: value for key, value in RUN.items() if key != field}))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["steps"], [10**12]),
        (["steps"], []),
        (["scores", "../x"], SCORE),
        (["scores", "mse", "per_step"], [0.1]),
        (["scores", "mse", "per_step"], ["0.1", None]),
        (["scores", "mse", "ci95"], [None]),
        (["scores", "mse", "ci95"], [[0.1], None]),
        (["scores", "mse", "mean_to"], [0.1, 0.1, 0.1]),
        (["scores", "mse", "mean"], "good"),
        (["scores", "mse", "undefined"], {"dark": -1}),
        (["scores", "mse", "notes"], {"floored": 0.5}),
        (["scores", "mse"], 1),
        (["scores", "mse", "clips"], True),
        (["scores", "mse", "trust"], 1),
        (["trust"], 1),
        (["partial"], 0),
        (["clips"], 1e9),
    ],
)
def test_a_summary_that_is_refused_in_one_line(write, place, value):
    with pytest.raises(ResultError, match="`vpbench merge"):
        read_summary(write(with_value(SUMMARY, place, value)))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["units"], ["0"]),
        (["units"], {"x": "b"}),
        (["units"], {"0": 1}),
        (["run"], None),
        (["stamps"], {"x": "c"}),
        (["stamps"], []),
    ],
)
def test_an_attempt_that_is_refused(write, place, value):
    with pytest.raises(ResultError, match="remove it"):
        read_attempt(write(with_value(ATTEMPT, place, value)))


@pytest.mark.parametrize(
    "change",
    [
        {"clip": ["a"]},
        {"step": "1"},
        {"step": True},
        {"metric": None},
        {"value": "0.1"},
        {"value": True},
        {"value": [0.1, None]},
        {"value": [[0.1]]},
        {"value": {}},
        {"value": []},
        {"value": None},
        {"status": "fine"},
        {"status": "undefined"},
        {"status": "undefined", "value": None},
        {"sample": [0]},
        {"sample": 0.5},
        {"status": "undefined", "value": None, "reason": ""},
        {"status": "undefined", "value": None, "reason": "x", "note": "y"},
        {"reason": "x"},
        {"note": ""},
        {"note": 1},
        {"data": None},
        {"data": "x"},
        {"context": ""},
        {"clamped": "yes"},
        {"clamped": False},
        {"trust": 1},
    ],
)
def test_a_row_that_is_refused_is_named(tmp_path, change):
    path = tmp_path / "000000.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps(ROW | change) + "\n")
    with pytest.raises(ResultError, match=r"000000\.jsonl, line 2: not a row \(.*remove the file and run again"):
        read_rows(path, 2)


def test_rows_are_counted_before_anything_of_that_size_is_made(tmp_path):
    path = tmp_path / "000000.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    assert read_rows(path, 1) == [ROW]
    with pytest.raises(ResultError, match="1 rows, 1000000000000000 expected"):
        read_rows(path, 10**15)


def test_only_a_file_that_can_be_read_holds_a_text(tmp_path):
    path = tmp_path / "summary.json"
    assert not has_text(path, "")
    path.write_bytes(b"\xff")
    assert not has_text(path, "\xff")
    path.write_text("ü")
    assert has_text(path, "ü")


def test_results_are_found_at_any_place_and_links_to_folders_are_not_followed(tmp_path):
    for name in ("b/x/1", "a", "a/inside"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    (tmp_path / "b" / "link").symlink_to(tmp_path / "a")
    assert find_results(tmp_path) == [tmp_path / "a", tmp_path / "b/x/1"]
    assert find_results(tmp_path / "b" / "link") == [tmp_path / "b" / "link"]  # named by the user
    assert find_results(tmp_path / "nowhere") == []


def test_a_run_json_that_is_no_file_still_marks_a_result(tmp_path):
    (tmp_path / "a" / "run.json").mkdir(parents=True)
    assert find_results(tmp_path) == [tmp_path / "a"]


def test_the_search_for_results_ends(tmp_path, monkeypatch):
    tmp_path.joinpath(*"abcdefghijklmnopq").mkdir(parents=True)
    with pytest.raises(ResultError, match=r"16 within each other.* name the folder of the results themselves"):
        find_results(tmp_path)
    monkeypatch.setattr("vpbench.results.result._FOLDERS", 3)
    for name in "wxyz":
        (tmp_path / "few" / name).mkdir(parents=True)
    with pytest.raises(ResultError, match="more than 3 folders"):
        find_results(tmp_path / "few")
