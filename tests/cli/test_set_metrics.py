"""Set metrics from the loop to pages: the same bytes however a run is divided, and no statistics that would mislead."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

import vpbench as api
from vpbench.errors import VpbenchWarning
from vpbench.pages.leaderboard import build_pages, collect
from vpbench.pages.paper import Choice, make_paper_table
from vpbench.plugin.loader import load_plugins
from vpbench.results.result import find_results, load

ROOT = Path(__file__).parents[2]
TOYS = str(ROOT / "tests" / "toys.py")
PROTOCOL = """
schema = 1
name = "toy"
version = 1
dataset = {name = "toy", options = {sequences = 17, size = [4, 6]}}
sampling = {kind = "first", context = 3, horizon = 4}
"""


def evaluate(folder, predictor, **settings):
    path = folder / "toy.toml"
    path.write_text(PROTOCOL)
    plugins = load_plugins([TOYS])
    return api.evaluate(predictor, path, out=folder / "r", plugins=plugins, metrics=["mean-colour"], **settings)


def contents(folder):
    files = [path for name in ("units", "features") for path in sorted((folder / name).glob("*"))]
    return {path.name: path.read_bytes() for path in [folder / "summary.json", *files]}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The folder of a deterministic result and of one with two samples, measured once."""
    folder = tmp_path_factory.mktemp("sets")
    with pytest.warns(VpbenchWarning, match="^mean-colour: 17 clips are few"):
        evaluate(folder, "last")
    with pytest.warns(VpbenchWarning, match="^mean-colour: 17 clips are few"):
        evaluate(folder, "noisy", samples=2)
    return folder / "r"


@pytest.fixture
def result(results, tmp_path):
    """A copy of the stochastic result."""
    return Path(shutil.copytree(find_results(results)[1], tmp_path / "result"))


def test_a_set_score_is_that_of_all_clips_and_samples(result):
    summary, rows = load(result).summary, list(load(result).rows())
    score = summary.sets["mean-colour"]
    assert (score.clips, score.samples, score.recordings) == (17, 2, 17)
    assert score.score is not None and score.score > 0
    assert set(score.details) == {"red"}
    assert score.caution == "17 clips are few"
    assert summary.scores == {}
    assert [(row["sample"], row["step"], "true_features" in row) for row in rows[:2]] == [(0, 0, True), (1, 0, False)]
    assert len(rows) == 34
    assert "mean-colour 0.0" in repr(summary)


def test_a_set_score_has_no_steps(result):
    with pytest.raises(api.ResultError, match="it scores all steps together"):
        load(result).at("mean-colour", 1)


def test_features_that_were_removed_are_computed_again(results, tmp_path):
    folder = tmp_path / "sets"
    shutil.copytree(results, folder / "r")
    result = find_results(folder / "r")[0]
    before = contents(result)
    (result / "features" / "000001.safetensors").unlink()
    with pytest.warns(VpbenchWarning, match="^mean-colour: 17 clips are few"):
        evaluate(folder, "last")
    assert contents(result) == before


@pytest.mark.slow
def test_shards_and_merge_give_the_same_bytes(vpbench, result, tmp_path):
    for i in (1, 0, 2):
        evaluate(tmp_path, "noisy", samples=2, shard=f"{i}/3", batch_size=8)
    (merged,) = find_results(tmp_path / "r")
    (merged / "summary.json").unlink()
    assert vpbench("merge", "--plugin", TOYS, merged).code == 0
    assert contents(merged) == contents(result)


def test_an_archived_result_keeps_its_features(vpbench, result, tmp_path):
    spec = importlib.util.spec_from_file_location("archive", ROOT / "leaderboards" / "archive.py")
    archive = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(archive)
    (copied,) = archive.archive_results([result], tmp_path / "archive")
    assert vpbench("verify", "--plugin", TOYS, copied).code == 0
    assert contents(copied)["000001.safetensors"] == contents(result)["000001.safetensors"]


def edit_score(result, **changes):
    path = result / "summary.json"
    value = json.loads(path.read_text())
    value["sets"]["mean-colour"] |= changes
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def test_verify_computes_a_set_score_again(vpbench, result):
    score = load(result).summary.sets["mean-colour"].score
    assert vpbench("verify", "--plugin", TOYS, result).code == 0
    edit_score(result, score=score * (1 + 1e-8))
    assert vpbench("verify", "--plugin", TOYS, result).code == 0  # rounding of another library
    for changes in ({"score": score * 1.001}, {"score": None}, {"score": score, "clips": 18}):
        edit_score(result, **changes)
        message = vpbench("verify", "--plugin", TOYS, result).error
        assert "does not follow from the rows (mean-colour)" in message


def test_verify_finds_changed_missing_and_further_features(vpbench, result):
    path = result / "features" / "000001.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-4] + b"\0\0\0\0")
    message = vpbench("verify", "--plugin", TOYS, result).error
    assert "000001.safetensors: the features of mean-colour and clip" in message
    assert "are not those that its rows name" in message
    for command in (["merge", "--plugin", TOYS, result], ["leaderboard", "--plugin", TOYS, result.parent]):
        assert "are not those that its rows name" in vpbench(*command).error
    path.unlink()
    assert "000001.safetensors cannot be read" in vpbench("verify", "--plugin", TOYS, result).error
    path.write_bytes(data)
    (result / "features" / "000002.safetensors").write_bytes(data)
    assert "belongs to none of the 2 units" in vpbench("verify", "--plugin", TOYS, result).error


@pytest.mark.slow
def test_a_run_repairs_a_unit_that_was_removed_with_its_features(result, tmp_path):
    evaluate(tmp_path, "noisy", samples=2)
    (folder,) = find_results(tmp_path / "r")
    for name in ("summary.json", "units/000000.jsonl"):
        (folder / name).unlink()
    (folder / "features" / "000000.safetensors").write_bytes(b"cut off")
    evaluate(tmp_path, "noisy", samples=2)
    assert contents(folder) == contents(result)


def test_without_its_plugin_a_set_score_has_no_rank(result):
    plugins = load_plugins()
    page = build_pages(collect([result], plugins), plugins)["toy.md"]
    assert "| not recomputed | noisy" in page.replace("  ", " ").replace("  ", " ")
    edit_score(result, clips=18)
    with pytest.raises(api.ResultError, match="does not follow from the rows"):
        collect([result], plugins)


def test_compare_gives_the_difference_alone(vpbench, results):
    first, second = find_results(results)
    outcome = vpbench("compare", "--plugin", TOYS, first, second, "--json")
    value = outcome.json["metrics"]["mean-colour"]
    assert value["difference"] == value["first"] - value["second"]
    assert not {"p", "ci95", "worst"} & set(value)
    text = vpbench("compare", "--plugin", TOYS, first, second, "--metric", "mean-colour").out
    assert "mean-colour, lower is better, 17 clips, 1 sample per clip and 2 samples per clip" in text
    assert "the sets differ in size" in text


def test_a_page_has_a_table_for_each_size_of_the_set(results):
    plugins = load_plugins([TOYS])
    page = build_pages(collect([results], plugins), plugins)["toy.md"]
    titles = [line for line in page.splitlines() if line.startswith("## mean-colour")]
    assert titles == [
        "## mean-colour, 17 clips of 17 recordings, 1 sample per clip",
        "## mean-colour, 17 clips of 17 recordings, 2 samples per clip",
    ]
    assert page.count("17 clips are few") == 2
    assert "its ties are not marked" in page
    assert "Not measured" not in page


def test_the_first_table_has_a_column_for_each_size_of_the_set(results):
    plugins = load_plugins([TOYS])
    page = build_pages(collect([results], plugins), plugins)["toy.md"]
    heads, _, *rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("|")][:4]
    assert [head.strip() for head in heads[1:3]] == [
        f"mean-colour ↓<br><sub>{count} per clip</sub>" for count in ("1 sample", "2 samples")
    ]
    cells = {row[0].strip().strip("[").partition("]")[0]: [cell.strip() for cell in row[1:3]] for row in rows}
    scores = [load(path).summary.sets["mean-colour"].score for path in find_results(results)]
    assert cells == {"last": [f"**{scores[0]:.4f}**", "—"], "noisy (samples=2)": ["—", f"**{scores[1]:.4f}**"]}


def test_the_best_set_score_is_bold_and_one_without_a_rank_is_not(results, tmp_path):
    for number, path in enumerate(find_results(results)):
        shutil.copytree(path, tmp_path / str(number))
    with pytest.warns(VpbenchWarning):
        evaluate(tmp_path, "slightly-bright")
    plugins = load_plugins([TOYS])
    page = build_pages(collect([tmp_path], plugins), plugins)["toy.md"]
    assert page.split("its ties are not marked")[0].count("**") == 4
    page = build_pages(collect([tmp_path], load_plugins()), load_plugins())["toy.md"]
    assert "**" not in page.split("its ties are not marked")[0]


def test_the_terminal_shows_clips_and_samples(vpbench, toy, tmp_path):
    args = ["run", *toy(sequences=2, size=(4, 6)), "-m", "last", "-m", "noisy", "--samples", 3]
    outcome = vpbench(*args, "--metric", "mean-colour", "--metric", "truth-rank", "--out", tmp_path / "r")
    lines = outcome.out.splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("set metric"))
    assert lines[head].split() == ["set", "metric", "predictor", "score", "clips", "samples"]
    assert [line.split()[-2:] for line in lines[head + 2 : head + 4]] == [["2", "1"], ["2", "3"]]
    assert [line for line in lines if "2 clips are few" in line] == ["last, noisy: mean-colour: 2 clips are few"]
    assert outcome.err.count("2 clips are few") == 1
    assert "last: not measured: truth-rank (a rank needs 2 samples or more per clip)" in lines


@pytest.mark.parametrize(
    ("sampling", "clips", "message"),
    [
        ('kind = "anchored"\ncontext = 2\ntarget = 6\nsteps = [1, 3]\n', 2, "it needs every step of a clip"),
        ("", 1, "needs 2 clips or more"),
    ],
)
def test_a_run_that_cannot_be_scored_is_refused(vpbench, toy, tmp_path, sampling, clips, message):
    args = ["run", *toy(sampling=sampling, sequences=clips, size=(4, 6)), "-m", "last", "--metric", "mean-colour"]
    assert message in vpbench(*args, "--out", tmp_path / "r").error


def test_a_page_has_the_set_scores_of_partial_results(tmp_path):
    with pytest.warns(VpbenchWarning, match="^mean-colour: 4 clips are few"):
        evaluate(tmp_path, "last", clips=4)
    plugins = load_plugins([TOYS])
    page = build_pages(collect([tmp_path / "r"], plugins), plugins)["toy.md"]
    score = load(*find_results(tmp_path / "r")).summary.sets["mean-colour"].score
    assert f"| mean-colour {score:.4f} " in page.partition("## Partial results, not ranked\n")[2]


def test_a_table_for_a_paper_has_a_column_per_size_of_the_set(results):
    plugins = load_plugins([TOYS])
    paper = make_paper_table(collect([results], plugins), plugins, Choice(["mean-colour"], (2,), mean=True))
    assert [(column.title, column.head) for column in paper.columns] == [
        ("mean-colour", "1 sample per clip"),
        ("mean-colour", "2 samples per clip"),
    ]
    scores = {load(path).label: load(path).summary.sets["mean-colour"].score for path in find_results(results)}
    assert [[cell.score.value for cell in column.cells] for column in paper.columns] == [
        [scores["last"], None],
        [None, scores["noisy"]],
    ]
    assert [[cell.mark for cell in column.cells] for column in paper.columns] == [["best", ""], ["", "best"]]
