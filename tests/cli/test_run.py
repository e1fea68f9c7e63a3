"""`vpbench run` from the outside: what it prints, what lies on disk, and that nothing but the identity decides it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vpbench as api
from vpbench.evaluation import keepers as save
from vpbench.results.result import find_results

MSE = ["--metric", "mse"]


def tree(folder: Path) -> dict[str, bytes]:
    """Everything of a result that must not depend on how it was computed."""
    paths = [folder / "summary.json", folder / "run.json", *sorted((folder / "units").iterdir())]
    return {path.name: path.read_bytes() for path in paths}


def only(root: Path, label: str) -> Path:
    (folder,) = root.glob(f"*/{label}/*")
    return folder


@pytest.mark.slow
def test_a_result_folder_holds_what_the_docs_say(vpbench, toy, tmp_path):
    outcome = vpbench("run", *toy(), "-m", "last", *MSE, "--metric", "psnr", "--out", tmp_path / "r", "--json")
    assert outcome.code == 0
    assert outcome.err == ""
    (document,) = outcome.json["results"]
    folder = Path(document["path"])
    run = json.loads((folder / "run.json").read_text())
    assert folder == tmp_path / "r" / "toy" / "last" / run["identity_hash"][:12]
    assert set(run["identity"]) == {
        "protocol", "manifest", "data", "predictor", "options", "fingerprint", "annotators", "metrics", "metric_code",
        "seed", "samples", "partial", "unproven",
    }  # fmt: skip
    rows = [json.loads(line) for line in (folder / "units" / "000000.jsonl").read_text().splitlines()]
    assert len(rows) == 16 * 4 * 2
    assert {**rows[0], "value": 0, "data": ""} == {
        "clip": "test/seq000@0", "metric": "mse", "status": "ok", "step": 1, "value": 0, "data": "",
    }  # fmt: skip
    assert len(rows[0]["data"]) == 16
    assert [(r["clip"], r["step"], r["metric"]) for r in rows] == sorted(
        (r["clip"], r["step"], r["metric"]) for r in rows
    )
    summary = json.loads((folder / "summary.json").read_text())
    assert summary == document["summary"]
    assert summary["steps"] == [1, 2, 3, 4]
    assert summary["partial"] is False
    values = [r["value"] for r in api.load(folder).rows() if r["metric"] == "mse" and r["step"] == 2]
    assert summary["scores"]["mse"]["per_step"][1] == pytest.approx(np.mean(values), abs=1e-15)
    text = "".join(path.read_text() for path in (folder / "summary.json", folder / "run.json"))
    assert str(tmp_path) not in text
    (attempt,) = (folder / "attempts").iterdir()
    record = json.loads(attempt.read_text())
    assert {"host", "versions", "git", "device", "engine", "seconds", "peak_memory_bytes", "units"} <= set(record)


@pytest.mark.slow
def test_batch_workers_shards_and_order_change_no_byte(vpbench, toy, tmp_path):
    args = ["run", *toy(sequences=40), *MSE, "--metric", "psnr", "--samples", "2"]
    vpbench(*args, "-m", "noisy", "-m", "needs-flow", "--out", tmp_path / "a")
    flags = ["-m", "last", "--batch-size", "3", "--workers", "2"]
    vpbench(*args, "-m", "needs-flow", *flags, "-m", "noisy", "--out", tmp_path / "b")
    for shard in ("2/3", "0/3", "1/3"):
        vpbench(*args, "-m", "noisy", "-m", "needs-flow", "--shard", shard, "--out", tmp_path / "c")
    for label in ("noisy", "needs-flow"):
        undisturbed = tree(only(tmp_path / "a", label))
        assert tree(only(tmp_path / "b", label)) == undisturbed
        assert tree(only(tmp_path / "c", label)) == undisturbed


@pytest.mark.slow
def test_the_seed_and_the_samples_decide_what_a_stochastic_predictor_draws(vpbench, toy, tmp_path):
    args = ["run", *toy(), *MSE, "-m", "noisy", "--json"]
    once = vpbench(*args, "--out", tmp_path / "a").json["results"][0]
    reseeded = vpbench(*args, "--seed", "1", "--out", tmp_path / "a").json["results"][0]
    assert once["path"] != reseeded["path"]
    assert once["summary"]["scores"]["mse"]["per_step"] != reseeded["summary"]["scores"]["mse"]["per_step"]
    three = vpbench(*args, "--samples", "3", "--out", tmp_path / "a").json["results"][0]
    rows = list(api.load(three["path"]).rows())
    assert {row["sample"] for row in rows} == {0, 1, 2}
    of_one = {row["sample"]: row["value"] for row in rows if row["clip"] == "test/seq000@0" and row["step"] == 1}
    assert len(set(of_one.values())) == 3


@pytest.mark.slow
def test_a_failing_predictor_fails_alone(vpbench, toy, tmp_path):
    bad = ["raises", "not-a-number", "wrong-shape", "wrong-type", "too-bright"]
    flags = [flag for name in bad for flag in ("-m", name)]
    outcome = vpbench("run", *toy(), "-m", "last", *flags, "-m", "noisy", *MSE, "--out", tmp_path / "r", "--json")
    assert outcome.code == 1
    assert [r["predictor"] for r in outcome.json["results"]] == ["last", "noisy"]
    assert all(r["complete"] for r in outcome.json["results"])
    lines = outcome.err.strip().splitlines()
    assert len(lines) == len(bad)
    for name, line, words in zip(bad, lines, [
        "clip 'test/seq000@0': ValueError: no idea",
        "clip 'test/seq007@0', step 2 hold NaN",
        "frames must be [8, 4, 3, 16, 24]; they are [8, 5, 3, 16, 24]",
        "must return a vpbench.Prediction",
        "clip 'test/seq000@0', step 1 spans [1.01, 1.01]",
    ], strict=True):  # fmt: skip
        assert repr(name) in line
        assert words in line
    folders = {path.parent.name for path in find_results(tmp_path / "r")}
    assert folders == {"last", "noisy"}, "a result without a unit is not left"


@pytest.mark.slow
def test_values_barely_beyond_the_range_are_clamped_and_counted(vpbench, toy, tmp_path):
    outcome = vpbench("run", *toy(), "-m", "slightly-bright", *MSE, "--out", tmp_path, "--json")
    (result,) = outcome.json["results"]
    assert result["summary"]["clamped_frames"] == 20 * 4
    assert all(row["clamped"] for row in api.load(result["path"]).rows())


@pytest.mark.slow
def test_an_oracle_sees_the_truth_and_is_marked(vpbench, toy, tmp_path):
    outcome = vpbench("run", *toy(), "-m", "seer", *MSE, "--metric", "miou", "--out", tmp_path, "--json")
    scores = outcome.json["results"][0]["summary"]["scores"]
    assert scores["mse"]["per_step"] == [0, 0, 0, 0]
    assert scores["miou"]["per_step"] == [1, 1, 1, 1]
    assert api.load(outcome.json["results"][0]["path"]).run.sees_truth is True


@pytest.mark.slow
def test_a_predictor_gets_what_it_declares_from_the_dataset_or_an_annotator(vpbench, toy, tmp_path):
    true = vpbench("run", *toy(), "-m", "needs-flow", *MSE, "--out", tmp_path, "--json").json["results"][0]
    frames_only = toy("bare", dataset="toy-frames")
    refused = vpbench("run", *frames_only, "-m", "needs-flow", *MSE, "--out", tmp_path)
    assert refused.code == 1
    assert "flow=NAME" in refused.error
    still = ["--annotate", "flow=still"]
    outcome = vpbench("run", *frames_only, "-m", "needs-flow", "-m", "last", *still, *MSE, "--out", tmp_path, "--json")
    filled, last = outcome.json["results"]
    named = vpbench("run", *toy(), "-m", "needs-flow", *still, *MSE, "--out", tmp_path, "--json").json["results"][0]
    assert true["summary"]["scores"]["mse"]["mean"] < named["summary"]["scores"]["mse"]["mean"], "it replaces the own"
    # Zero flow makes it repeat the last frame; the true flow does better.
    assert filled["summary"]["scores"]["mse"]["per_step"] == last["summary"]["scores"]["mse"]["per_step"]
    assert true["summary"]["scores"]["mse"]["mean"] < 0.2 * filled["summary"]["scores"]["mse"]["mean"]
    # It is part of the identity of the one that looks at flow, and of no other.
    assert "flow" in api.load(filled["path"]).run.identity.annotators
    assert api.load(last["path"]).run.identity.annotators == {}


@pytest.mark.slow
def test_saved_predictions_score_the_same_rows(vpbench, toy, tmp_path):
    args = ["run", *toy(), "--metric", "mse", "--metric", "ssim", "--out", tmp_path / "r", "--json"]
    first = vpbench(*args, "-m", "needs-flow", "--save-predictions").json["results"][0]
    predictions = Path(first["path"]) / "predictions"
    assert np.load(predictions / "test" / "seq000@0.npy").shape == (4, 16, 24, 3)
    second = vpbench(*args, "-m", f"saved:{predictions}").json["results"][0]
    # Only what their contexts held differs: the one that was saved was shown flow.
    rows = [[{**row, "context": ""} for row in api.load(result["path"]).rows()] for result in (first, second)]
    assert rows[0] == rows[1]
    assert second["summary"]["scores"] == first["summary"]["scores"]


@pytest.mark.slow
def test_saved_predictions_are_made_for_a_result_that_is_already_there(vpbench, toy, tmp_path):
    args = ["run", *toy(), "-m", "last", *MSE, "--out", tmp_path]
    assert vpbench(*args).code == 0
    folder = only(tmp_path, "last")
    before = tree(folder)
    assert not (folder / "predictions").exists()
    assert vpbench(*args, "--batch-size", "3", "--save-predictions").code == 0
    assert len(list((folder / "predictions").rglob("*.npy"))) == 20
    assert tree(folder) == before


def test_anchored_clips_score_their_last_frame_only_and_have_no_mean(vpbench, toy, tmp_path):
    sampling = 'kind = "anchored"\ncontext = 2\ntarget = 6\nsteps = [1, 3]\n'
    outcome = vpbench("run", *toy(sampling=sampling), "-m", "needs-flow", *MSE, "--out", tmp_path, "--json")
    result = api.load(outcome.json["results"][0]["path"])
    rows = list(result.rows())
    assert {(row["clip"], row["step"]) for row in rows if "seq004" in row["clip"]} == {
        ("test/seq004@4", 1),
        ("test/seq004@2", 3),
    }
    assert len(rows) == 40
    assert result.at("mse", 1) < result.at("mse", 3)
    assert result.summary.scores["mse"].mean is None


@pytest.mark.slow
def test_a_metric_that_cannot_apply_is_skipped_by_default_and_an_error_when_named(vpbench, toy, tmp_path):
    outcome = vpbench("run", *toy(dataset="toy-frames"), "-m", "last", "--out", tmp_path, "--json")
    skipped = outcome.json["results"][0]["summary"]["skipped"]
    assert skipped["miou"] == "the dataset has no semantics"
    named = vpbench("run", *toy(dataset="toy-frames"), "-m", "last", "--metric", "miou", "--out", tmp_path)
    assert named.code == 1
    assert "metric 'miou'" in named.error
    assert "the dataset has no semantics" in named.error


def test_the_table_on_the_terminal_shows_every_step_and_where_the_result_lies(vpbench, toy, tmp_path):
    outcome = vpbench("run", *toy(), "-m", "last", *MSE, "--metric", "psnr", "--out", tmp_path)
    assert "t+1" in outcome.out
    assert "t+4" in outcome.out
    assert str(only(tmp_path, "last")) in outcome.out
    document = vpbench("show", only(tmp_path, "last"), "--json").json
    assert document["summary"]["clips"] == 20


@pytest.mark.slow
def test_a_predictor_is_shown_with_all_that_its_presets_set(vpbench):
    lines = vpbench("show", "cdnet:without-mask").out.splitlines()
    assert "  mask: None  (preset without-mask)" in lines
    at = lines.index("  without-mask:")
    assert lines[at + 1] == "    mask: None"
    assert "  paper: {}" in lines
    assert "  context: 10  (protocol)" in vpbench("show", "cdnet", "-p", "ucf101-64x88-10to10").out


@pytest.mark.slow
def test_from_python_a_name_or_an_object_gives_the_same_scores(toy, tmp_path, cache):
    from toys import Last

    from vpbench.plugin.loader import load_plugins

    args = toy()
    plugins = load_plugins([args[1]])
    common = {"plugins": plugins, "out": tmp_path / "r", "metrics": ["mse", "psnr"]}
    named = api.evaluate("last", args[3], **common)
    unnamed = api.evaluate(Last(), args[3], **common)
    assert named.summary.scores == unnamed.summary.scores
    assert api.evaluate(Last(), args[3], **common).path == unnamed.path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "words"),
    [("nothing", "'nothing' failed on 'last'"), ("words", "a statistic is numbers"), ("vectors", "makes no score")],
)
def test_a_metric_that_breaks_its_contract_is_named_and_fails_the_cell(vpbench, toy, tmp_path, metric, words):
    outcome = vpbench("run", *toy(), "-m", "last", "--metric", metric, "--out", tmp_path)
    assert outcome.code == 1
    assert repr(metric) in outcome.error
    assert words in outcome.error


@pytest.mark.slow
def test_predictions_that_a_stop_left_incomplete_are_made_again(vpbench, toy, tmp_path, monkeypatch):
    """A published unit, of which only some files of predictions were written."""
    args = ["run", *toy(sequences=10), "-m", "needs-flow", *MSE, "--batch-size", "10"]
    assert vpbench(*args, "--save-predictions", "--out", tmp_path / "whole").code == 0
    assert vpbench(*args, "--out", tmp_path / "r").code == 0
    write, paths = save.write_atomic, []

    def stopped(path, data):
        if len(paths) == 9:
            raise KeyboardInterrupt
        paths.append(path)
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(save, "write_atomic", stopped)
        assert vpbench(*args, "--save-predictions", "--out", tmp_path / "r").code == 130
    assert vpbench(*args, "--save-predictions", "--out", tmp_path / "r").code == 0
    whole, resumed = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.npy")}
        for name in ("whole", "r")
    )
    assert len(whole) == 20
    assert resumed == whole


def test_a_deterministic_predictor_says_that_it_computes_one_sample(vpbench, toy, tmp_path):
    args = ["run", *toy(sequences=2), "-m", "last", "--metric", "mse", "--samples", "3", "--out", tmp_path / "r"]
    outcome = vpbench(*args)
    assert outcome.error == "vpbench: warning: last is deterministic: one sample per clip instead of 3"
    assert api.load(find_results(tmp_path / "r")[0]).run.identity.samples == 1
