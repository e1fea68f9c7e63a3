"""``vpbench compare``: a table or one document, and only of results that can be compared."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import folders
import pytest

import vpbench as public
from vpbench.plugin.loader import load_plugins
from vpbench.results.result import load

ROOT = Path(__file__).resolve().parents[2]
TOYS = str(ROOT / "tests" / "toys.py")


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


def test_the_table_of_two_says_who_is_better_from_which_step_on(vpbench, tmp_path):
    second = folders.make_result(tmp_path, "b", {"mse": [0.2, 0.3, 0.3]})
    first = folders.make_result(tmp_path, "a", {"mse": [0.2, 0.2, 0.1]})
    outcome = vpbench("compare", first, second)
    lines = outcome.out.splitlines()
    assert lines[3].split()[-3:] == ["p", "corrected", "wins"]
    rows = [line.split() for line in lines if line.startswith(("t+", "mean"))]
    assert [row[-2:] for row in rows] == [["50", "%"], ["100", "%"], ["100", "%"], ["100", "%"]]
    assert [row[-3] for row in rows[:3]] == ["1.0000", "0.0003", "0.0003"], "three tests"
    assert "the first is significantly better from t+2 on" in outcome.out
    mse = vpbench("compare", first, second, "--json").json["metrics"]["mse"]
    assert mse["lead_from"] == {"lead": "first", "step": 2}
    assert mse["step_win_rates"] == [0.5, 1.0, 1.0]
    assert mse["leads"] == ["", "first", "first"]


def test_more_than_two_are_compared_each_with_each(vpbench, tmp_path):
    scores = {"a": [0.2, 0.1], "b": [0.2, 0.3], "c": [0.2, 0.2]}
    results = [folders.make_result(tmp_path, name, {"mse": values}) for name, values in scores.items()]
    outcome = vpbench("compare", *results)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "toy: 3 results"
    assert "mse, lower is better, 20 clips of 20 recordings, p corrected over 6 tests" in lines
    rows = [re.split(r"  +", line) for line in lines if re.match(r"\d ", line)]
    assert rows == [
        ["1", "a", "0.1500", "> t+2 100 %", "> t+2 100 %"],
        ["2", "b", "0.2500", "< t+2 0 %", "< t+2 0 %"],
        ["3", "c", "0.2000", "< t+2 0 %", "> t+2 100 %"],
    ]
    document = vpbench("compare", *results, "--json").json
    assert [result["label"] for result in document["results"]] == ["a", "b", "c"]
    pairs = {(pair["first"]["label"], pair["second"]["label"]): pair["metrics"]["mse"] for pair in document["pairs"]}
    assert list(pairs) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs["a", "b"]["p_holm"][1] == pytest.approx(6 / 10_001)
    assert {pair["family"] for pair in pairs.values()} == {6}
    assert document["seeds"] == []


def test_a_lead_in_the_mean_alone_and_no_lead(vpbench, tmp_path):
    scores = {"a": [0.1, 0.2], "b": [0.3, 0.2], "c": [0.3, 0.2]}
    out = vpbench("compare", *(folders.make_result(tmp_path, n, {"mse": v}) for n, v in scores.items())).out
    rows = [re.split(r"  +", line) for line in out.splitlines() if re.match(r"\d ", line)]
    assert [row[3:] for row in rows] == [
        ["> mean 100 %", "> mean 100 %"],
        ["< mean 0 %", "= 50 %"],
        ["< mean 0 %", "= 50 %"],
    ]


def test_few_recordings_cannot_show_anything_and_the_table_says_so(vpbench, tmp_path):
    first, second = (
        folders.make_result(tmp_path, name, {"mse": [value]}, recordings=lambda i: f"video{i // 5}")
        for name, value in (("a", 0.1), ("b", 0.2))
    )
    words = "nothing can be significant: p of 4 recordings is at least 0.1250, and 0.1250 x 1 tests is not below 0.05"
    assert words in vpbench("compare", first, second).out
    assert (
        "nothing can be"
        not in vpbench("compare", *(folders.make_result(tmp_path, n, {"mse": [0.1]}) for n in "cd")).out
    )


def test_seeds_of_one_predictor_are_summed_up(vpbench, tmp_path):
    seeds = [
        folders.make_result(tmp_path, "a", {"mse": [value]}, seed=seed, stochastic=True)
        for seed, value in enumerate([0.1, 0.2, 0.3])
    ]
    rival = folders.make_result(tmp_path, "b", {"mse": [0.4]})
    outcome = vpbench("compare", *seeds, rival)
    row = next(line for line in outcome.out.splitlines() if line.startswith("a  "))
    assert re.split(r"  +", row) == ["a", "mse", "3 runs", "0.2000", "0.1000", "0.1960 to 0.2040"]
    assert [line.split()[1:3] for line in outcome.out.splitlines()[5:8]] == [["a", f"(seed={k})"] for k in range(3)]
    (seed_scores,) = vpbench("compare", *seeds, rival, "--json").json["seeds"]
    assert (seed_scores["label"], len(seed_scores["paths"])) == ("a", 3)
    mean = seed_scores["metrics"]["mse"]["mean"]
    assert mean["run_spread"] == mean["spread"] == pytest.approx(0.1)
    assert mean["training_spread"] is None


def test_who_was_shown_more_is_named_once(vpbench, tmp_path):
    results = [folders.make_result(tmp_path, name, {"mse": [0.1]}, context=name * (name != "a")) for name in "abc"]
    assert "shown more than frames (labels, flow): b, c" in vpbench("compare", *results).out.splitlines()


@pytest.mark.parametrize(
    ("names", "words"),
    [((), "two results or more"), (("last",), "two results or more"), (("last", "flow", "last"), "is named twice")],
)
def test_fewer_than_two_results_and_one_twice_are_usage_errors(vpbench, results, names, words):
    outcome = vpbench("compare", *(results[name] for name in names))
    assert outcome.code == 2
    assert words in outcome.error


def test_any_pair_of_several_may_be_the_one_that_cannot_be_compared(vpbench, results):
    outcome = vpbench("compare", results["flow"], results["last"], results["newer"])
    assert outcome.code == 1
    assert "toy v1 and toy v2" in outcome.error


def test_the_same_from_python(results):
    comparison = public.compare([results["last"], load(results["flow"])], metrics=["mse"], plugins=load_plugins([TOYS]))
    assert [result.label for result in comparison.results] == ["last", "needs-flow"]
    assert comparison.pairs == [(0, 1)]
    assert comparison.metrics["mse"][0, 1].lead_from.lead == "second"
    assert comparison.metrics["mse"][0, 1].win_rate == 0.0
    assert comparison.informed == (False, True)
    with pytest.raises(public.UsageError, match="compare: results must be a list of"):
        public.compare(results["last"])


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


def test_each_metric_that_is_named_is_compared(vpbench, tmp_path):
    scores = {"mse": [0.1], "psnr": [10.0]}
    pair = [folders.make_result(tmp_path, name, scores) for name in ("a", "b")]
    outcome = vpbench("compare", *pair, "--metric", "psnr", "--metric", "mse", "--metric", "psnr", "--json")
    assert list(outcome.json["metrics"]) == ["psnr", "mse"]


PAGE = ROOT / "docs" / "compare.md"


@pytest.mark.slow
@pytest.mark.parametrize("start", ["scenes: flow-extrapolation (first)", "scenes: 3 results"])
def test_the_examples_of_the_page_are_what_is_printed(vpbench, monkeypatch, start):
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```sh\nvpbench (compare [^\n]+)\n```\n.*?```text\n(.*?)```", PAGE.read_text(), re.S)
    ((command, expected),) = [block for block in blocks if block[1].startswith(start)]
    folders = [path for word in command.split()[1:-2] for path in expand(word)]
    assert vpbench("compare", *folders, *command.split()[-2:]).out == expected


def expand(pattern: str) -> list[Path]:
    """The paths of a shell's pattern with one pair of braces, in the order of a shell."""
    if braces := re.search(r"\{(.+)\}", pattern):
        return [path for name in braces[1].split(",") for path in expand(pattern.replace(braces[0], name))]
    return sorted(ROOT.glob(pattern))
