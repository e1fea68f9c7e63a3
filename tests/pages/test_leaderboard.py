"""Leaderboards: ranked only with their like, best in bold, the same bytes from the same results."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import folders
import pytest

from vpbench.errors import ResultError
from vpbench.pages.leaderboard import MARK, build_pages, collect, stale_pages, write_pages
from vpbench_metrics.pixels import MSE


@pytest.fixture
def add(tmp_path):
    """Write a result folder from its scores, ``{metric: [value per step]}``."""

    def make(predictor, scores, *, root="results", **changes):
        return folders.make_result(tmp_path / root, predictor, scores, **changes)

    return make


def pages(tmp_path, *roots):
    return build_pages(
        collect([tmp_path / root for root in roots or ("results",)], folders.plugins()), folders.plugins()
    )


def tables(page, heading):
    """The rows, as lists of cells, of the tables under a ``##`` heading."""
    parts = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, flags=re.S | re.M)
    lines = [[line[1:-1].split("|") for line in part.splitlines() if line.startswith("|")] for part in parts]
    return [[[cell.strip() for cell in line] for line in rows if "--" not in line[0]] for rows in lines]


def column(rows, title):
    return [row[rows[0].index(title)] for row in rows[1:]]


def test_rows_are_ranked_by_the_mean_in_the_metrics_direction(add, tmp_path):
    add("last", {"mse": [0.1, 0.3], "psnr": [20.0, 10.0]})
    add("good", {"mse": [0.1, 0.2], "psnr": [21.0, 12.0]})
    add("bad", {"mse": [0.05, 0.9], "psnr": [22.0, 1.0]})
    page = pages(tmp_path)["toy.md"]
    (mse,), (psnr,) = tables(page, "mse"), tables(page, "psnr")
    assert mse[0] == ["", "predictor", "t+1", "t+2", "mean 1-2", "against last"]
    assert [row[:2] for row in mse[1:]] == [["1", "good"], ["2", "last"], ["3", "bad"]]
    assert column(psnr, "predictor") == ["good", "last", "bad"]
    assert "higher is better, dB" in page and "lower is better\n" in page


def test_a_metric_can_have_a_best_value(add, tmp_path, monkeypatch):
    monkeypatch.setattr(MSE, "info", replace(MSE.info, better=1.0))
    for name, value in {"last": 0.6, "above": 1.2, "below": 0.9}.items():
        add(name, {"mse": [value]}, metrics={"mse": {"better": 1.0}})
    page = pages(tmp_path)["toy.md"]
    ((_, *rows),) = tables(page, "mse")
    assert [row[1] for row in rows] == ["below", "above", "last"]
    assert [row[2].startswith("**") for row in rows] == [True, False, False]
    assert [row[-1] for row in rows] == ["+75.0 %", "+50.0 %", "+0.0 %"]
    assert "closer to 1 is better" in page


def test_the_best_of_each_column_is_bold_ties_included(add, tmp_path):
    add("last", {"mse": [0.1, 0.3]})
    add("good", {"mse": [0.1, 0.2]})
    (mse,) = tables(pages(tmp_path)["toy.md"], "mse")
    assert column(mse, "t+1") == ["**0.1000**<br><sub>0.0960 to 0.1040</sub>"] * 2
    assert column(mse, "t+2") == ["**0.2000**<br><sub>0.1960 to 0.2040</sub>", "0.3000<br><sub>0.2960 to 0.3040</sub>"]
    assert column(mse, "mean 1-2") == ["**0.1500**", "0.2000"]


def test_percent_against_the_reference_is_positive_where_it_is_better(add, tmp_path):
    add("last", {"mse": [0.2], "psnr": [20.0]})
    add("good", {"mse": [0.15], "psnr": [25.0]})
    page = pages(tmp_path)["toy.md"]
    for metric in ("mse", "psnr"):
        (rows,) = tables(page, metric)
        assert column(rows, "against last") == ["+25.0 %", "+0.0 %"]
    add("other", {"mse": [0.2]}, protocol={"name": "alone"})
    assert "against" not in pages(tmp_path)["alone.md"]


@pytest.mark.parametrize(
    "change",
    [{"protocol": {"quantise": True}}, {"protocol": {"version": 2}}, {"clips": 19}, {"recordings": "all".format}],
)
def test_other_protocols_and_clips_are_never_in_one_table(add, tmp_path, change):
    add("last", {"mse": [0.1]})
    add("good", {"mse": [0.05]}, **change)
    sections = tables(pages(tmp_path)["toy.md"], "mse")
    assert sorted(column(rows, "predictor") for rows in sections) == [["good"], ["last"]]
    assert all("**" in rows[1][2] for rows in sections)


def test_the_newest_version_comes_first(add, tmp_path):
    add("last", {"mse": [0.1]})
    add("last", {"mse": [0.2]}, protocol={"version": 2})
    page = pages(tmp_path)["toy.md"]
    assert page.index("Version 2") < page.index("Version 1")


def test_revisions_of_a_metric_are_never_in_one_table(add, tmp_path):
    add("last", {"mse": [0.1]})
    add("good", {"mse": [0.05]}, metrics={"mse": {"revision": 2}})
    page = pages(tmp_path)["toy.md"]
    assert column(tables(page, "mse")[0], "predictor") == ["good"]
    assert column(tables(page, r"mse \(revision 1\)")[0], "predictor") == ["last"]


def test_rows_of_one_label_say_what_tells_them_apart(add, tmp_path):
    add("last", {"mse": [0.2]})
    add("noisy", {"mse": [0.3]})
    add("noisy", {"mse": [0.4]}, samples=3)
    names = column(tables(pages(tmp_path)["toy.md"], "mse")[0], "predictor")
    assert names == ["last", "noisy (samples=1)", "noisy (samples=3)"]


def test_partial_results_and_oracles_are_apart(add, tmp_path):
    add("last", {"mse": [0.1]})
    add("seer", {"mse": [0.001]}, sees_truth=True)
    add("look", {"mse": [0.01]}, partial="limited to 3 of 20 clips")
    built = pages(tmp_path)
    (mse,) = tables(built["toy.md"], "mse")
    assert [row[:2] for row in mse[1:]] == [["1", "last"], ["ceiling", "seer"]]
    assert ["**" in row[2] for row in mse[1:]] == [True, False]
    (partial,) = tables(built["toy.md"], "Partial results, not ranked")
    assert partial[1] == ["look", "20", "limited to 3 of 20 clips", "mse 0.0100"]
    assert re.search(r"\[toy\]\(toy\.md\) *\| toys *\| 1 *\| 2 *\|", built["README.md"])


def test_only_partial_results_make_a_page_without_a_ranking(add, tmp_path):
    add("look", {"mse": [0.01]}, partial="1 of 2 units")
    page = pages(tmp_path)["toy.md"]
    assert tables(page, "mse") == [] and "look" in page


def test_results_of_one_predictor_with_other_metrics_are_one_row(add, tmp_path):
    add("last", {"mse": [0.1]}, skipped={"psnr": "no weights"})
    add("last", {"mse": [0.1], "psnr": [20.0]})
    built = pages(tmp_path)
    for metric in ("mse", "psnr"):
        (table,) = tables(built["toy.md"], metric)
        assert column(table, "predictor") == ["last"]
    assert "Not measured" not in built["toy.md"]
    assert re.search(r"toys *\| 1 *\| 0 *\|", built["README.md"])


def test_the_page_says_how_many_independent_recordings_there_are(add, tmp_path):
    add("last", {"mse": [0.1]}, clips=12, recordings=lambda i: f"video{i // 4}")
    page = pages(tmp_path)["toy.md"]
    assert "12 clips of 3 recordings." in page and "bootstrap interval over recordings" in page
    add("last", {"mse": [0.1]}, root="one", clips=12, recordings="video".format)
    page = pages(tmp_path, "one")["toy.md"]
    assert "12 clips of 1 recording." in page and "one recording gives no interval" in page
    assert column(tables(page, "mse")[0], "t+1") == ["**0.1000**"]


def test_display_factor_and_reported_steps(add, tmp_path):
    add("last", {"mse": [0.1, 0.2, 0.3]}, protocol={"display": {"mse": 100}, "report": [1, 3]})
    (mse,) = tables(pages(tmp_path)["toy.md"], "mse")
    assert mse[0][2:] == ["t+1", "t+3", "mean 1-3", "mean 1-3 as printed (x 100)", "against last"]
    assert column(mse, "mean 1-3 as printed (x 100)") == ["**20.0000**"]
    assert column(mse, "t+3")[0].startswith("**0.3000**")


def test_without_a_mean_rows_are_ranked_by_the_last_step(add, tmp_path):
    add("last", {"mse": [0.1, 0.3]}, cumulative=False)
    add("good", {"mse": [0.2, 0.2]}, cumulative=False)
    (mse,) = tables(pages(tmp_path)["toy.md"], "mse")
    assert mse[0] == ["", "predictor", "t+1", "t+2", "against last"]
    assert column(mse, "predictor") == ["good", "last"]


def test_pages_do_not_depend_on_where_results_lie_or_on_their_order(add, tmp_path):
    add("last", {"mse": [0.1], "psnr": [20.0]}, root="a")
    add("good", {"psnr": [21.0], "mse": [0.1]}, root="b")
    add("good", {"mse": [0.1]}, root="b", seed=1)
    texts = pages(tmp_path, "a", "b")
    assert texts == pages(tmp_path, "b", "a") == pages(tmp_path, "a", "b/toy/good", "b", "a")
    assert all(text.startswith(MARK) for text in texts.values())
    assert str(tmp_path) not in "".join(texts.values())


def test_pages_are_written_once_and_stale_ones_found(add, tmp_path):
    out = tmp_path / "boards" / "new"
    add("last", {"mse": [0.1]})
    first = pages(tmp_path)
    assert stale_pages(first, out) == ["README.md", "toy.md"]
    assert sorted(p.name for p in write_pages(first, out)) == ["README.md", "toy.md"]
    assert stale_pages(first, out) == []
    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    write_pages(pages(tmp_path), out)
    assert {p.name: p.stat().st_mtime_ns for p in out.iterdir()} == before
    add("good", {"mse": [0.05]})
    assert stale_pages(pages(tmp_path), out) == ["README.md", "toy.md"]


def test_pages_of_protocols_that_are_gone_are_removed_and_other_files_are_not(add, tmp_path):
    out = tmp_path / "boards"
    out.mkdir()
    (out / "old.md").write_text(f"{MARK}\nold\n")
    (out / "notes.md").write_bytes(b"my own \xff\n")
    add("last", {"mse": [0.1]})
    built = pages(tmp_path)
    assert stale_pages(built, out) == ["README.md", "old.md", "toy.md"]
    write_pages(built, out)
    assert sorted(p.name for p in out.iterdir()) == ["README.md", "notes.md", "toy.md"]


def test_charts_that_are_gone_are_removed_with_their_page(add, tmp_path):
    folder = add("last", {"mse": [0.1, 0.2], "psnr": [20.0, 19.0]})
    out = tmp_path / "boards"
    write_pages(pages(tmp_path), out)
    assert (out / "charts/toy-psnr.svg").read_text().startswith(f"{MARK}<svg ")
    shutil.rmtree(folder)
    add("last", {"mse": [0.1, 0.2]})
    assert stale_pages(pages(tmp_path), out) == ["charts/toy-psnr.svg", "toy.md"]
    write_pages(pages(tmp_path), out)
    assert [path.name for path in (out / "charts").iterdir()] == ["toy-mse.svg"]


def test_a_file_that_was_not_generated_is_never_overwritten(add, tmp_path):
    (tmp_path / "README.md").write_text("# My project\n")
    add("last", {"mse": [0.1]})
    with pytest.raises(
        ResultError, match=r"README\.md was not made by `vpbench leaderboard`: choose another output folder"
    ):
        write_pages(pages(tmp_path), tmp_path)
    assert (tmp_path / "README.md").read_text() == "# My project\n"
    assert not (tmp_path / "toy.md").exists()
