"""The first table of a page: best and ties per metric, cost, training data, and which vpbench evaluated."""

from __future__ import annotations

import json
import re

import folders
import pytest

from vpbench.pages.leaderboard import build_pages, collect


@pytest.fixture
def add(tmp_path):
    def make(predictor, scores, **settings):
        return folders.make_result(tmp_path / "results", predictor, scores, **settings)

    return make


def build(tmp_path):
    return build_pages(collect([tmp_path / "results"], folders.plugins()), folders.plugins())


def overview(page):
    """The cells of the first table of a page, by predictor."""
    table = re.search(r"(?:^\|.*\n)+", page, flags=re.M)[0].splitlines()
    heads, _, *rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in table]
    return {row[0]: dict(zip(heads[1:], row[1:], strict=True)) for row in rows}


def edit_attempt(folder, **changes):
    (path,) = (folder / "attempts").iterdir()
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_page_opens_with_a_row_per_predictor_and_a_column_per_metric(add, tmp_path):
    add("last", {"mse": [0.1, 0.3], "psnr": [20.0, 10.0]})
    add("good", {"mse": [0.1, 0.2], "psnr": [19.0, 10.0]})
    add("short", {"mse": [0.4, 0.4]})
    page = build(tmp_path)["toy.md"]
    table = overview(page)
    assert list(table) == ["good", "last", "short"], "in the order of the first metric"
    assert [row["mse ↓"] for row in table.values()] == ["**0.1500**", "0.2000", "0.4000"]
    assert [row["psnr ↑"] for row in table.values()] == ["14.50", "**15.00**", "—"]
    assert page.index("| predictor") < page.index("## mse")
    assert "Means over t+1 to t+2; the best in bold." in page


def test_a_difference_that_may_be_chance_is_marked_as_a_tie(add, tmp_path):
    """Every second clip is 0.01 above its score, the others are below: ``even`` and ``noisy`` differ in both ways."""
    add("last", {"mse": [0.1, 0.1]})
    add("noisy", {"mse": [0.1005, 0.1005]}, spread=0.03)
    add("worse", {"mse": [0.1005, 0.1005]})
    table = overview(build(tmp_path)["toy.md"])
    assert {name: row["mse ↓"] for name, row in table.items()} == {
        "last": "**0.1000**",
        "noisy": "0.1005 ≈",
        "worse": "0.1005",
    }


def test_equal_scores_are_all_best_and_one_recording_marks_no_tie(add, tmp_path):
    add("last", {"mse": [0.1, 0.1]}, recordings=lambda i: "video")
    add("same", {"mse": [0.1, 0.1]}, recordings=lambda i: "video")
    add("noisy", {"mse": [0.1005, 0.1005]}, spread=0.03, recordings=lambda i: "video")
    page = build(tmp_path)["toy.md"]
    assert [row["mse ↓"] for row in overview(page).values()] == ["**0.1000**", "**0.1000**", "0.1005"]
    assert "so ties are not marked" in page


def test_a_ceiling_is_neither_best_nor_a_tie(add, tmp_path):
    add("last", {"mse": [0.1]})
    add("seer", {"mse": [0.0999]}, sees_truth=True, spread=0.03)
    table = overview(build(tmp_path)["toy.md"])
    assert {name: row["mse ↓"] for name, row in table.items()} == {
        "last": "**0.1000**",
        "seer<br><sub>ceiling</sub>": "0.0999",
    }


def test_seeds_tie_if_any_two_of_them_do(add, tmp_path):
    add("last", {"mse": [0.1]})
    for seed, spread in enumerate((0.01, 0.03)):
        add("noisy", {"mse": [0.1005]}, stochastic=True, seed=seed, spread=spread)
    assert overview(build(tmp_path)["toy.md"])["noisy (mean of 2 seeds)"]["mse ↓"] == "0.1005 ≈"


def test_the_same_score_without_a_rank_is_not_bold(add, tmp_path):
    add("last", {"mse": [0.1]})
    add("seer", {"mse": [0.1]}, sees_truth=True)
    scores = [row["mse ↓"] for row in overview(build(tmp_path)["toy.md"]).values()]
    assert scores == ["**0.1000**", "0.1000"]


def test_without_means_the_last_step_is_shown(add, tmp_path):
    add("last", {"mse": [0.1, 0.3]}, cumulative=False)
    add("noisy", {"mse": [0.1, 0.301]}, cumulative=False, spread=0.03)
    page = build(tmp_path)["toy.md"]
    assert [row["mse ↓"] for row in overview(page).values()] == ["**0.3000**", "0.3010 ≈"]
    assert "Scores at t+2; the best in bold." in page


def test_cost_and_training_data_are_columns(add, tmp_path):
    add("last", {"mse": [0.1]})
    weights = {"clips": "disjoint", "seen": 0, "sha256": "x", "protocol": "toy-training"}
    folder = add("net", {"mse": [0.2]}, parameters=1234567, weights=weights)
    edit_attempt(folder, seconds={"predict": 3.0, "check": 50.0}, predicted_frames=40)
    (attempt,) = (folder / "attempts").iterdir()
    uncounted = json.loads(attempt.read_text()) | {"predicted_frames": 0}
    (folder / "attempts/uncounted.json").write_text(json.dumps(uncounted))
    add("new", {"mse": [0.3]}, weights={"clips": "none", "seen": 0})
    add("foreign", {"mse": [0.4]}, weights={"clips": "unknown", "seen": 0})
    costs = {name: list(row.values())[1:] for name, row in overview(build(tmp_path)["toy.md"]).items()}
    assert costs == {
        "last": ["—", "—", "—"],
        "net": ["1,234,567", "0.075", "toy-training"],
        "new<br><sub>not trained</sub>": ["—", "—", "not trained"],
        "foreign": ["—", "—", "unknown"],
    }


def test_the_version_that_evaluated_is_named(add, tmp_path):
    versions = {"vpbench": "0.1.0", "torch": "2.6"}
    for name in ("last", "net"):
        edit_attempt(add(name, {"mse": [0.1]}), versions=versions, git="0123456789abcdef", cpu="Fast 9")
    page = build(tmp_path)["toy.md"]
    assert "Evaluated with vpbench 0.1.0 (commit 0123456789ab, torch 2.6) on Fast 9." in page
    edit_attempt(add("old", {"mse": [0.5]}), versions={"vpbench": "0.0.9"}, git="fedcba-dirty", device="Fast GPU")
    page = build(tmp_path)["toy.md"]
    assert "- last, net: evaluated with vpbench 0.1.0 (commit 0123456789ab, torch 2.6) on Fast 9.\n" in page
    assert "- old: evaluated with vpbench 0.0.9 (commit fedcba with changes) on Fast GPU.\n" in page


def test_each_metric_has_a_chart_of_at_most_eight_predictors_and_the_reference(add, tmp_path):
    for number in range(10):
        add(f"net{number}", {"mse": [0.1 + number, 0.2 + number], "psnr": [20.0, 19.0 - number]})
    add("last", {"mse": [20.0, 30.0], "psnr": [9.0, 8.0]})
    built = build(tmp_path)
    assert {"charts/toy-mse.svg", "charts/toy-psnr.svg"} <= built.keys()
    assert "![mse at each step](charts/toy-mse.svg)" in built["toy.md"]
    for metric in ("mse", "psnr"):
        labels = re.findall(r">(net\d|last)</text>", built[f"charts/toy-{metric}.svg"])
        assert sorted(labels) == ["last", *(f"net{i}" for i in range(7))]


def test_one_step_needs_no_chart(add, tmp_path):
    add("last", {"mse": [0.1]})
    assert set(build(tmp_path)) == {"README.md", "toy.md"}


def test_charts_of_two_versions_and_of_metrics_with_similar_names_are_separate_files(add, tmp_path):
    add("last", {"mse": [0.1, 0.2]})
    add("last", {"mse": [0.3, 0.4]}, protocol={"version": 2})
    built = build(tmp_path)
    charts = [name for name in built if name.endswith(".svg")]
    assert len(charts) == 2 and all(built["toy.md"].count(f"({name})") == 1 for name in charts)
