"""The page that compares trained models: a table per protocol and budget, seeds as one row, costs next to scores."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import folders
import pytest

from vpbench.errors import ResultError
from vpbench.results.result import load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def comparison(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("comparison")


@pytest.fixture
def add(tmp_path):
    """Make a result with weights, and the costs of their training."""
    costs = {}

    def make(predictor, scores, *budgets, seed=0, steps=10, **settings):
        digest = f"{predictor}{seed}{steps}"
        weights = {"clips": "disjoint", "seen": 0, "sha256": digest, "protocol": "toy"}
        folder = folders.make_result(tmp_path / "results", predictor, scores, fingerprint=digest, weights=weights,
                                     parameters=1200, **settings)  # fmt: skip
        (attempt,) = (folder / "attempts").iterdir()
        counted = {"seconds": {"predict": 3.0}, "predicted_frames": 40}
        attempt.write_text(json.dumps(json.loads(attempt.read_text()) | counted))
        if budgets:
            costs[digest] = {"budgets": budgets, "steps": steps, "clips": 4 * steps, "operations": 25e8}
            costs[digest] |= {"minutes": 10.0 + seed, "seed": seed}
        (tmp_path / "costs.json").write_text(json.dumps(costs))
        return folder

    return make


def tables(page):
    """The rows of each table by its titles, and by predictor."""
    parsed, titles = {}, {}
    for line in page.partition("make readme")[2].splitlines():
        if heading := re.match(r"(#+) (.+)", line):
            titles[len(heading[1])] = heading[2]
        elif line.startswith("|"):
            cells = [cell.strip() for cell in line[1:-1].split("|")]
            parsed.setdefault((titles[2], titles[3]), []).append(cells)
    return {
        key: {row[0]: dict(zip(heads[1:], row[1:], strict=True)) for row in rows}
        for key, (heads, _, *rows) in parsed.items()
    }


def test_seeds_are_one_row_with_mean_and_spread_next_to_the_costs(comparison, add, tmp_path):
    folders.make_result(tmp_path / "results", "last", {"mse": [0.3, 0.3], "psnr": [1.0, 1.0]})
    add("net", {"mse": [0.1, 0.2], "psnr": [20.0, 20.0]}, "time")
    add("net", {"mse": [0.2, 0.3], "psnr": [20.0, 20.0]}, "time", seed=1)
    ((titles, rows),) = tables(comparison.page(tmp_path)).items()
    assert titles == ("toy", "Equal time of one core")
    assert list(rows) == ["net (2 seeds)", "last"], "in the order of MSE"
    assert rows["net (2 seeds)"] == {
        "mse ↓": "**0.2000**<br><sub>± 0.0707</sub>",
        "parameters": "1,200",
        "GFLOP per frame": "2.50",
        "seconds per frame": "0.075",
        "steps": "10",
        "clips": "40",
        "minutes": "10.5",
    }
    assert rows["last"] == {"mse ↓": "0.3000"} | dict.fromkeys(list(rows["net (2 seeds)"])[1:], "—")


def test_each_budget_has_its_table_and_other_trainings_have_none(comparison, add, tmp_path):
    add("both", {"mse": [0.1]}, "time", "clips")
    add("slow", {"mse": [0.2]}, "clips")
    add("slow", {"mse": [0.05]}, "time", steps=90)
    add("unbudgeted", {"mse": [0.0]})
    labels = {titles[1]: list(rows) for titles, rows in tables(comparison.page(tmp_path)).items()}
    assert labels == {"Equal time of one core": ["slow", "both"], "Equal number of clips": ["both", "slow"]}


def test_without_trainings_the_page_says_so(comparison, add, tmp_path):
    folders.make_result(tmp_path / "results", "last", {"mse": [0.3]})
    page = comparison.page(tmp_path)
    assert tables(page) == {} and page.endswith("No training with one of the budgets has a committed result yet.\n")


def test_two_results_of_the_same_weights_are_refused(comparison, add, tmp_path):
    add("net", {"mse": [0.1]}, "time")
    add("net", {"mse": [0.1], "psnr": [3.0]}, "time")
    with pytest.raises(ResultError, match="are results of the same weights: remove the older one"):
        comparison.page(tmp_path)


def test_two_trainings_with_one_seed_are_refused(comparison, add, tmp_path):
    add("net", {"mse": [0.1]}, "time")
    add("net", {"mse": [0.3]}, "time", seed=1)
    costs = json.loads((tmp_path / "costs.json").read_text())
    costs = {digest: training | {"seed": 0} for digest, training in costs.items()}
    (tmp_path / "costs.json").write_text(json.dumps(costs))
    with pytest.raises(ResultError, match="are of two trainings with one seed: remove the older one"):
        comparison.page(tmp_path)


def test_results_that_are_not_comparable_are_refused(comparison, add, tmp_path):
    add("net", {"mse": [0.1]}, "time")
    add("other", {"mse": [0.2]}, "time", metrics={"mse": {"revision": 2}})
    with pytest.raises(ResultError, match="mse was measured with another revision, code or data"):
        comparison.page(tmp_path)


def test_a_seed_without_a_score_leaves_the_cell_empty(comparison, add, tmp_path):
    add("net", {"mse": [0.1]}, "time")
    add("net", {"mse": [None]}, "time", seed=1)
    ((_, rows),) = tables(comparison.page(tmp_path)).items()
    assert rows["net (2 seeds)"]["mse ↓"] == "—"


def test_another_order_of_folders_gives_the_same_page(comparison, add, tmp_path):
    for name in ("b", "a", "c"):
        add(name, {"mse": [0.1]}, "time")
    costs = json.loads((tmp_path / "costs.json").read_text())
    results = [load(path.parent) for path in sorted(tmp_path.rglob("summary.json"))]
    assert comparison.comparison(results, costs) == comparison.comparison(results[::-1], costs)


PAGE = """# Net

<!-- Generated by `python docs/generate.py`: edits are lost. -->
old
<!-- End of the generated part. -->
end
"""


def test_a_models_page_has_its_own_trainings_with_the_mean_over_seeds_at_each_step(comparison, add, tmp_path):
    model_results = importlib.import_module("model_results")
    (tmp_path / "net.md").write_text(PAGE)
    (tmp_path / "other.md").write_text(PAGE)
    (tmp_path / "shared.md").write_text("# Shared\n")
    add("net", {"mse": [0.1, 0.2]}, "time")
    add("net", {"mse": [0.2, 0.3]}, "time", seed=1)
    add("both", {"mse": [0.2, 0.3]}, "clips", "time")
    (tmp_path / "both.md").write_text(PAGE)
    pages = model_results.pages(tmp_path, tmp_path)
    assert [path.stem for path in pages] == ["both", "net", "other"], "only pages with a part for results"
    text = pages[tmp_path / "net.md"]
    assert "### toy, equal time of one core\n" in text and "old" not in text and text.endswith("-->\nend\n")
    assert "10 steps, 40 clips, 10.5 minutes, seeds 0, 1" in text and re.search(
        r"\| mse +\| 0\.1500 +\| 0\.2500 +\|", text
    )
    assert text.count("###") == 1
    assert "### toy, equal time of one core, equal number of clips\n" in pages[tmp_path / "both.md"]
    assert "No training has a committed result yet." in pages[tmp_path / "other.md"]


def test_a_models_page_leaves_a_cell_empty_if_a_seed_has_no_score(comparison, add, tmp_path):
    model_results = importlib.import_module("model_results")
    (tmp_path / "net.md").write_text(PAGE)
    add("net", {"mse": [0.1, 0.2]}, "clips")
    add("net", {"mse": [0.1, None]}, "clips", seed=1)
    text = model_results.pages(tmp_path, tmp_path)[tmp_path / "net.md"]
    assert re.search(r"\| mse +\| 0\.1000 +\| — +\|", text)
