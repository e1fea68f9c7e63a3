"""Alerts: for each kind a result that has it and one that does not, on pages, on the site and in JSON."""

from __future__ import annotations

import json

import folders
import pytest

from vpbench.cli.main import _run
from vpbench.pages.alerts import find_alerts
from vpbench.pages.leaderboard import build_pages, collect
from vpbench.report.site import write_site
from vpbench.results.card import CARD
from vpbench.results.result import load
from vpbench.results.store import Store
from vpbench.results.summarise import merge
from vpbench.submission.check import check_submission

DECIBELS = {"mse": [0.1, 0.01], "psnr": [10.0, 20.0]}
UNKNOWN = {"clips": "unknown", "seen": 0}


@pytest.fixture
def add(tmp_path):
    def make(name, scores, root="r", **options):
        return folders.make_result(tmp_path / root, name, scores, spread=0.0, **options)

    return make


def alerts(tmp_path, *roots):
    candidates = collect([tmp_path / root for root in roots or ("r",)], folders.plugins())
    return [(alert.kind, alert.name, alert.text) for alert in find_alerts(candidates)]


def test_a_sound_result_has_none(add, tmp_path):
    add("last", DECIBELS)
    add("net", {"mse": [0.2, 0.02]}, weights={"clips": "disjoint", "seen": 0})
    assert alerts(tmp_path) == []


def test_psnr_that_does_not_follow_from_mse(add, tmp_path):
    add("net", {"mse": [0.1, 0.01], "psnr": [10.0, 20.1]})
    assert alerts(tmp_path) == [
        ("inconsistent-metrics", "net", "psnr of 20 of 40 frames does not follow from mse"),
    ]


def test_psnr_of_equal_frames_is_that_of_the_smallest_error(add, tmp_path):
    add("net", {"mse": [0.0], "psnr": [100.0]})
    assert alerts(tmp_path) == []


def test_psnr_alone_is_not_compared(add, tmp_path):
    add("net", {"psnr": [33.0]})
    assert alerts(tmp_path) == []


def test_inconsistent_metrics_are_a_fault_of_a_submission(add):
    result = load(add("net", {"mse": [0.1], "psnr": [12.0]}))
    values = {"contact": "me@example.org", "licence": "MIT", "identity": result.run.identity_hash}
    faults = check_submission(result, values, folders.plugins()).faults
    assert faults == ("psnr of 20 of 20 frames does not follow from mse",)


def test_two_runs_of_one_identity_that_disagree(add, tmp_path):
    first = add("net", {"mse": [0.1]}, root="a")
    add("net", {"mse": [0.2]}, root="b")
    add("net", {"mse": [0.1 + 5e-7]}, root="c")
    text = f"1 other run of the same identity {first.name} with other rows"
    assert alerts(tmp_path, "a", "b") == alerts(tmp_path, "b", "a") == [("runs-disagree", "net", text)]
    assert alerts(tmp_path, "a", "c") == []
    assert alerts(tmp_path, "a") == []


def test_runs_of_one_identity_on_other_pixels_disagree(add, tmp_path):
    add("net", {"mse": [0.1]}, root="a")
    folder = add("net", {"mse": [0.1]}, root="b")
    folders.edit_unit(folder, lambda rows: rows[3].update(data="0" * 16))
    (folder / "summary.json").unlink()
    merge(Store.open(folder), folders.plugins(), allow_partial=False)
    assert [kind for kind, _, _ in alerts(tmp_path, "a", "b")] == ["runs-disagree"]


def test_scores_equal_to_those_of_the_reference(add, tmp_path):
    add("last", {"mse": [0.1, 0.2], "psnr": [10.0, 7.0]})
    add("net", {"mse": [0.1, 0.2]})
    add("other", {"mse": [0.1, 0.3]})
    add("elsewhere", {"mse": [0.1, 0.2]}, data="other pixels")
    kinds = [alert for alert in alerts(tmp_path) if alert[0] == "equals-reference"]
    assert kinds == [
        ("equals-reference", "net", "the same mse at every step as of last, the reference of the protocol")
    ]


def test_undefined_scores_equal_nothing(add, tmp_path):
    for name in ("last", "net"):
        add(name, {"mse": [0.1, None]})
    assert alerts(tmp_path) == []


def test_unknown_training_data_and_the_statement_of_the_authors(add, tmp_path):
    folder = add("net", {"mse": [0.1]}, weights=UNKNOWN)
    text = "nothing is known of the clips that it was trained on"
    assert alerts(tmp_path) == [("unknown-training", "net", text)]
    (folder / CARD).write_text(json.dumps({"schema": 1, "training_data": "toys | and more"}))
    assert alerts(tmp_path) == [("unknown-training", "net", f"{text}; its authors say: toys | and more")]


@pytest.mark.parametrize(("clamped", "expected"), [(0, []), (2, []), (3, ["clamped-frames"])])
def test_many_clamped_frames(add, tmp_path, clamped, expected):
    folder = add("net", {"mse": [0.1]})

    def clamp(rows):
        for row in rows[:clamped]:
            row["clamped"] = True

    folders.edit_unit(folder, clamp)
    folders.edit_summary(folder, lambda value: value.update(clamped_frames=clamped))
    found_alerts = alerts(tmp_path)
    assert [kind for kind, _, _ in found_alerts] == expected
    if expected:
        assert found_alerts[0][2] == "3 of 20 predicted frames (15 %) were clamped to [0,1]"


def test_partial_results_have_none(add, tmp_path):
    add("net", {"mse": [0.1]}, weights=UNKNOWN, partial="limited to 20 of 40 clips")
    assert alerts(tmp_path) == []


def test_pages_and_the_command_list_them(add, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    add("net", {"mse": [0.1]}, weights=UNKNOWN)
    pages = build_pages(collect([tmp_path / "r"], folders.plugins()), folders.plugins())
    line = "net: nothing is known of the clips that it was trained on"
    assert f"## Warnings\n\n- `unknown-training`: {line}\n" in pages["toy.md"]
    assert _run(["leaderboard", "r", "--out", "pages"]) == 0
    captured = capsys.readouterr()
    assert captured.err == f"vpbench: warning: unknown-training: toy: {line}\n"
    assert _run(["leaderboard", "r", "--out", "pages", "--check", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (warning,) = document["warnings"]
    assert (warning["kind"], warning["protocol"], warning["name"]) == ("unknown-training", "toy", "net")
    assert document["stale"] == []


def test_the_site_lists_them(add, tmp_path):
    add("net", {"mse": [0.1]}, weights=UNKNOWN)
    write_site(collect([tmp_path / "r"], folders.plugins()), folders.plugins(), (), tmp_path / "site")
    line = "warning (unknown-training): net: nothing is known of the clips"
    texts = [path.read_text() for path in (tmp_path / "site").rglob("*.html")]
    assert sum(line in text for text in texts) == 2, "on the pages of the protocol and of the predictor"
