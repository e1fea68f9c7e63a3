"""``vpbench compare``: a table or one document, and only of results that can be compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import folders
import pytest

import vpbench as public
from vpbench.plugin.loader import load_plugins
from vpbench.results.result import load

TOYS = str(Path(__file__).resolve().parent.parent / "toys.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of two predictors on the same toy clips, and of one of them in other circumstances."""
    folder = tmp_path_factory.mktemp("results")
    plugins = load_plugins([TOYS])

    def make(name: str, predictor: str, version: int = 1, **settings: object) -> Path:
        protocol = folder / f"{name}.toml"
        protocol.write_text(
            f'schema = 1\nname = "toy"\nversion = {version}\n[dataset]\nname = "toy"\n'
            f'[sampling]\nkind = "first"\ncontext = 3\nhorizon = 4\n'
        )
        out = folder / name
        return public.evaluate(predictor, protocol, plugins=plugins, out=out, **settings).path

    return {
        "flow": make("flow", "needs-flow", metrics=["mse", "psnr"]),
        "last": make("last", "last", metrics=["mse", "mae"]),
        "some": make("some", "last", metrics=["mse"], clips=9),
        "some-flow": make("some-flow", "needs-flow", metrics=["mse"], clips=9),
        "newer": make("newer", "last", version=2, metrics=["mse"]),
        "other": make("other", "last", metrics=["psnr"]),
        "labels": make("labels", "last"),
    }


@pytest.mark.slow
def test_one_document_says_it_all(vpbench, results):
    outcome = vpbench("compare", results["flow"], results["last"], "--json")
    document = outcome.json
    assert outcome.code == 0
    assert (document["first"], document["second"]["label"]) == (
        {"path": str(results["flow"]), "label": "needs-flow"},
        "last",
    )
    assert list(document["metrics"]) == ["mse"], "what both measured"
    mse = document["metrics"]["mse"]
    assert (mse["steps"], mse["clips"], document["partial"]) == ([1, 2, 3, 4], 20, "")
    for k in range(4):
        low, high = mse["ci95"][k]
        assert mse["first"][k] == load(results["flow"]).at("mse", k + 1)
        assert mse["second"][k] == load(results["last"]).at("mse", k + 1)
        assert mse["difference"][k] == mse["first"][k] - mse["second"][k]
        assert low < mse["difference"][k] < high < 0
        assert mse["p"][k] == 1 / 10_001
    assert mse["worst"] == []
    worst = vpbench("compare", results["last"], results["flow"], "--json").json["metrics"]["mse"]["worst"]
    assert len(worst) == 5
    assert all(clip["first"] > clip["second"] for clip in worst)


def test_a_table_for_people(vpbench, results):
    outcome = vpbench("compare", results["last"], results["flow"], "--metric", "mse")
    assert outcome.code == 0
    assert "last (first) and needs-flow (second)" in outcome.out
    assert "mse, lower is better, 20 clips" in outcome.out
    heads = [line.split()[0] for line in outcome.out.splitlines() if line.startswith(("t+", "mean"))]
    assert heads == ["t+1", "t+2", "t+3", "t+4", "mean"]
    assert "1.0e-04" in outcome.out
    assert outcome.out.count("  test/seq") == 5, "the worst clips"


def test_other_inputs_than_frames_are_mentioned(vpbench, results, tmp_path):
    words = "needs-flow alone was shown more than frames (labels, flow)"
    assert words in vpbench("compare", results["flow"], results["last"]).out.splitlines()
    assert vpbench("compare", results["last"], results["flow"], "--json").json["inputs"] == words
    assert vpbench("compare", results["last"], results["labels"], "--json").json["inputs"] == ""
    first, second = (
        folders.make_result(tmp_path, name, {"mse": [0.1]}, context=name, recordings=lambda i: f"video{i // 5}")
        for name in ("a", "b")
    )
    outcome = vpbench("compare", first, second)
    assert outcome.code == 0
    assert "the predictors were shown different inputs besides frames (labels, flow)" in outcome.out
    assert "mse, lower is better, 20 clips of 4 recordings" in outcome.out


def test_partial_results_are_compared_and_said_to_be_partial(vpbench, results):
    assert "limited to 9 of 20 clips" in vpbench("compare", results["some"], results["some-flow"]).out
    assert (
        vpbench("compare", results["some"], results["some-flow"], "--json").json["partial"]
        == "limited to 9 of 20 clips"
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("flow", "newer"), ["toy v1 and toy v2"]),
        (("last", "some"), ["the same protocol, but of other clips"]),
        (("last", "other"), ["share no metric"]),
        (("flow", "last", "--metric", "psnr"), ["has no psnr", "known: mae, mse"]),
        (("flow", "last", "--metric", "msee"), ["has no msee", "did you mean 'mse'?"]),
        (("labels", "last", "--metric", "miou"), ["has no miou: the predictor gives no semantics"]),
    ],
)
def test_what_cannot_be_compared(vpbench, results, args, words):
    outcome = vpbench("compare", results[args[0]], results[args[1]], *args[2:])
    assert outcome.code == 1
    for word in words:
        assert word in outcome.error


def test_a_result_that_is_not_finished_or_not_one(vpbench, results, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(results["last"], half)
    (half / "summary.json").unlink()
    assert "has no summary" in vpbench("compare", half, results["flow"]).error
    assert "is not a result" in vpbench("compare", tmp_path, results["flow"]).error


def test_rows_that_were_edited_are_refused(vpbench, results, tmp_path):
    edited = tmp_path / "edited"
    shutil.copytree(results["last"], edited)
    unit = edited / "units" / "000000.jsonl"
    first, *lines = unit.read_text().splitlines(keepends=True)
    unit.write_text("".join([json.dumps(json.loads(first) | {"value": 0.0}) + "\n", *lines]))
    assert "is not what was published" in vpbench("compare", results["flow"], edited).error


UNRELEASED = {"metrics": {"mse": {"released": False}}}


@pytest.mark.parametrize(
    ("common", "change", "words"),
    [
        ({}, {"metrics": {"mse": {"revision": 2}}}, "mse was measured with revisions 1 and 2"),
        (UNRELEASED, {"metric_code": {"mse": "b" * 64}}, "mse was measured with different code under one revision"),
        (
            {},
            {"data": "other pixels"},
            "cannot be compared: mse scored other data, for example other frames of clip",
        ),
    ],
)
def test_scores_that_do_not_mean_the_same_are_refused(vpbench, tmp_path, common, change, words):
    first = folders.make_result(tmp_path, "a", {"mse": [0.1]}, **common)
    second = folders.make_result(tmp_path, "b", {"mse": [0.1]}, **{**common, **change})
    outcome = vpbench("compare", first, second)
    assert outcome.code == 1
    assert words in outcome.error
