"""Leaderboards: ranked only with their like, best in bold, the same bytes from the same results."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from vpbench.errors import ResultError
from vpbench.pages.leaderboard import MARK, build_pages, collect, stale_pages, write_pages

SPECS = {
    "mse": {"revision": 1, "higher_is_better": False, "unit": "", "decimals": 4},
    "psnr": {"revision": 1, "higher_is_better": True, "unit": "dB", "decimals": 2},
}


@pytest.fixture
def add(tmp_path):
    """Write a result folder from its scores, ``{metric: [value per step]}``."""

    def make(predictor, scores, *, root="results", protocol=None, manifest="m1", oracle=False, partial="",
             cumulative=True, skipped=None, seed=0, **run_changes):  # fmt: skip
        protocol = {"name": "toy", "version": 1, "summary": "toys", "report": [], "reference": "last", "display": {},
                    "hash": "p1"} | (protocol or {})  # fmt: skip
        identity = {
            "protocol": protocol.pop("hash"), "manifest": manifest, "predictor": predictor, "options": {}, "seed": seed,
            "fingerprint": "", "annotators": {}, "samples": 1, "metrics": dict.fromkeys(scores, 1),
        }  # fmt: skip
        digest = hashlib.sha256(json.dumps([identity, partial]).encode()).hexdigest()
        run = {
            "schema": 1, "identity": identity, "identity_hash": digest, "predictor": predictor, "preset": "",
            "sees_truth": oracle, "paper": "", "protocol": protocol, "cumulative": cumulative, "dropped": [],
            "metrics": {name: SPECS[name] for name in scores}, "manifest": [], "partial": partial,
            "skipped": skipped or {},
        } | run_changes  # fmt: skip
        count = len(next(iter(scores.values())))
        means = {n: [sum(v[: k + 1]) / (k + 1) for k in range(count)] for n, v in scores.items()} if cumulative else {}
        summary = {
            "schema": 1, "identity": digest, "steps": list(range(1, count + 1)), "partial": bool(partial),
            "partial_reason": partial, "clips": 20, "clamped_frames": 0, "skipped": skipped or {},
            "scores": {
                name: {
                    "per_step": values, "ci95": [[v - 0.01, v + 0.01] for v in values],
                    "mean_to": means.get(name, []), "mean": means[name][-1] if means else None, "undefined": {},
                }
                for name, values in scores.items()
            },
        }  # fmt: skip
        folder = tmp_path / root / protocol["name"] / predictor / digest[:12]
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(run))
        (folder / "summary.json").write_text(json.dumps(summary))
        return folder

    return make


def pages(tmp_path, *roots):
    return build_pages(collect([tmp_path / root for root in roots or ("results",)]))


def tables(page, heading):
    """The rows, as lists of cells, of the tables under a ``##`` heading."""
    parts = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, flags=re.S | re.M)
    every = [[line[1:-1].split("|") for line in part.splitlines() if line.startswith("|")] for part in parts]
    return [[[cell.strip() for cell in line] for line in rows if "--" not in line[0]] for rows in every]


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


def test_the_best_of_each_column_is_bold_ties_included(add, tmp_path):
    add("last", {"mse": [0.1, 0.3]})
    add("good", {"mse": [0.1, 0.2]})
    (mse,) = tables(pages(tmp_path)["toy.md"], "mse")
    assert column(mse, "t+1") == ["**0.1000**<br><sub>0.0900 to 0.1100</sub>"] * 2
    assert column(mse, "t+2") == ["**0.2000**<br><sub>0.1900 to 0.2100</sub>", "0.3000<br><sub>0.2900 to 0.3100</sub>"]
    assert column(mse, "mean 1-2") == ["**0.1500**", "0.2000"]


def test_percent_against_the_reference_is_positive_where_it_is_better(add, tmp_path):
    add("last", {"mse": [0.2], "psnr": [20.0]})
    add("good", {"mse": [0.15], "psnr": [25.0]})
    page = pages(tmp_path)["toy.md"]
    for metric in ("mse", "psnr"):
        (rows,) = tables(page, metric)
        assert column(rows, "against last") == ["+25.0 %", "+0.0 %"]
    add("other", {"mse": [0.2]}, protocol={"name": "alone", "reference": "last", "hash": "p9"})
    assert "against" not in pages(tmp_path)["alone.md"]


@pytest.mark.parametrize(
    "apart", [{"protocol": {"hash": "p2"}}, {"protocol": {"version": 2, "hash": "p2"}}, {"manifest": "m2"}]
)
def test_other_protocols_and_clips_are_never_in_one_table(add, tmp_path, apart):
    add("last", {"mse": [0.1]})
    add("good", {"mse": [0.05]}, **apart)
    found = tables(pages(tmp_path)["toy.md"], "mse")
    assert sorted(column(rows, "predictor") for rows in found) == [["good"], ["last"]]
    assert all("**" in rows[1][2] for rows in found)


def test_the_newest_version_comes_first(add, tmp_path):
    add("last", {"mse": [0.1]})
    add("last", {"mse": [0.2]}, protocol={"version": 2, "hash": "p0"})
    page = pages(tmp_path)["toy.md"]
    assert page.index("Version 2") < page.index("Version 1")


def test_revisions_of_a_metric_are_never_in_one_table(add, tmp_path):
    add("last", {"mse": [0.1]})
    add("good", {"mse": [0.05]}, metrics={"mse": SPECS["mse"] | {"revision": 2}})
    page = pages(tmp_path)["toy.md"]
    assert column(tables(page, "mse")[0], "predictor") == ["good"]
    assert column(tables(page, r"mse \(revision 1\)")[0], "predictor") == ["last"]


def test_rows_of_one_label_say_what_tells_them_apart(add, tmp_path):
    add("last", {"mse": [0.2]})
    add("noisy", {"mse": [0.3]}, seed=0)
    add("noisy", {"mse": [0.4]}, seed=7)
    names = column(tables(pages(tmp_path)["toy.md"], "mse")[0], "predictor")
    assert names == ["last", "noisy (seed=0)", "noisy (seed=7)"]


def test_partial_results_and_oracles_are_apart(add, tmp_path):
    add("last", {"mse": [0.1]})
    add("seer", {"mse": [0.001]}, oracle=True)
    add("look", {"mse": [0.01]}, partial="--clips 3 of 20")
    built = pages(tmp_path)
    (mse,) = tables(built["toy.md"], "mse")
    assert [row[:2] for row in mse[1:]] == [["1", "last"], ["ceiling", "seer"]]
    assert ["**" in row[2] for row in mse[1:]] == [True, False]
    (partial,) = tables(built["toy.md"], "Partial results, not ranked")
    assert partial[1] == ["look", "20", "--clips 3 of 20", "mse 0.0100"]
    assert re.search(r"\[toy\]\(toy\.md\) *\| toys *\| 1 *\| 2 *\|", built["README.md"])


def test_only_partial_results_make_a_page_without_a_ranking(add, tmp_path):
    add("look", {"mse": [0.01]}, partial="1 of 2 units")
    page = pages(tmp_path)["toy.md"]
    assert tables(page, "mse") == [] and "look" in page


def test_a_superseded_result_is_left_out(add, tmp_path):
    add("last", {"mse": [0.1]}, skipped={"psnr": "no weights"})
    add("last", {"mse": [0.1], "psnr": [20.0]})
    add("last", {"mse": [0.2]}, seed=1)
    built = pages(tmp_path)
    (mse,) = tables(built["toy.md"], "mse")
    assert column(mse, "t+1")[0].startswith("**0.1000**") and len(mse) == 3
    assert "Not measured" not in built["toy.md"]
    assert re.search(r"toys *\| 2 *\| 0 *\|", built["README.md"])


def test_a_partial_result_supersedes_no_complete_one(add, tmp_path):
    add("last", {"mse": [0.1]})
    add("last", {"mse": [0.5], "psnr": [20.0]}, partial="1 of 2 units")
    (mse,) = tables(pages(tmp_path)["toy.md"], "mse")
    assert column(mse, "t+1") == ["**0.1000**<br><sub>0.0900 to 0.1100</sub>"]


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


def test_what_was_not_measured_is_said(add, tmp_path):
    add("last", {"mse": [0.1]}, skipped={"lpips": "its weights cannot be had"})
    assert "Not measured: lpips (its weights cannot be had)." in pages(tmp_path)["toy.md"]


def test_pages_do_not_depend_on_where_results_lie_or_on_their_order(add, tmp_path):
    add("last", {"mse": [0.1], "psnr": [20.0]}, root="a")
    add("good", {"psnr": [21.0], "mse": [0.1]}, root="b")
    add("good", {"mse": [0.1]}, root="b", seed=1)
    one = pages(tmp_path, "a", "b")
    assert one == pages(tmp_path, "b", "a") == pages(tmp_path, "a", "b/toy/good", "b", "a")
    assert all(text.startswith(MARK) for text in one.values())
    assert str(tmp_path) not in "".join(one.values())


def test_a_copy_of_a_result_counts_once(add, tmp_path):
    add("last", {"mse": [0.1]}, root="a")
    add("last", {"mse": [0.1]}, root="b")
    assert pages(tmp_path, "a", "b") == pages(tmp_path, "a")


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


def test_a_file_that_was_not_generated_is_never_overwritten(add, tmp_path):
    (tmp_path / "README.md").write_text("# My project\n")
    add("last", {"mse": [0.1]})
    with pytest.raises(ResultError, match=r"README\.md was not made by `vpbench leaderboard`: .*--out"):
        write_pages(pages(tmp_path), tmp_path)
    assert (tmp_path / "README.md").read_text() == "# My project\n"
    assert not (tmp_path / "toy.md").exists()


def test_a_folder_that_cannot_be_written_is_explained(add, tmp_path):
    (tmp_path / "file").write_text("")
    add("last", {"mse": [0.1]})
    with pytest.raises(ResultError, match=r"cannot write .*--out"):
        write_pages(pages(tmp_path), tmp_path / "file")


def test_no_results_and_foreign_summaries_are_errors(add, tmp_path):
    with pytest.raises(ResultError, match=r"no finished result below it; make one with `vpbench run"):
        collect([tmp_path / "nowhere"])
    folder = add("last", {"mse": [0.1]})
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"identity": "another"}))
    with pytest.raises(ResultError, match=r"summary\.json is of another run .*`vpbench merge"):
        pages(tmp_path)
    (folder / "summary.json").unlink()
    with pytest.raises(ResultError, match=r"no finished result below it"):
        pages(tmp_path)
