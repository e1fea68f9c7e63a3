"""Who is ranked with whom: ties, seeds, undefined scores, other data, other code, and two results of one identity."""

from __future__ import annotations

import json
import re
import shutil

import folders
import pytest

from vpbench.errors import ResultError, VpbenchWarning
from vpbench.pages.leaderboard import build_pages, collect


@pytest.fixture
def add(tmp_path):
    def make(predictor, scores, *, root="results", **changes):
        return folders.make_result(tmp_path / root, predictor, scores, **changes)

    return make


def page(tmp_path, *roots):
    built = build_pages(
        collect([tmp_path / root for root in roots or ("results",)], folders.plugins()), folders.plugins()
    )
    return built["toy.md"]


def table(text, heading="mse"):
    """The first two cells and the last one of each row of the table under a heading."""
    part = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, flags=re.S | re.M)
    assert part is not None, text
    lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in part[1].splitlines() if line.startswith("|")]
    return [line[:2] for line in lines[2:]]


def cells(text, column, heading="mse"):
    part = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, flags=re.S | re.M)
    lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in part[1].splitlines() if line.startswith("|")]
    return [line[lines[0].index(column)] for line in lines[2:]]


def test_equal_scores_share_a_rank_and_the_next_rank_counts_them_all(add, tmp_path):
    for name, score in {"a": 0.1, "b": 0.2, "c": 0.2, "d": 0.3, "e": 0.3, "f": 0.4}.items():
        add(name, {"mse": [score]})
    assert table(page(tmp_path)) == [["1", "a"], ["2", "b"], ["2", "c"], ["4", "d"], ["4", "e"], ["6", "f"]]


def test_an_undefined_mean_has_no_rank_and_is_not_the_best_of_any_column(add, tmp_path):
    add("last", {"mse": [0.2, 0.2]})
    add("gap", {"mse": [0.1, None]})
    text = page(tmp_path)
    assert table(text) == [["1", "last"], ["—", "gap"]]
    assert cells(text, "t+1")[0].startswith("**0.2000**") and cells(text, "t+1")[1].startswith("0.1000")
    assert cells(text, "t+2")[1] == cells(text, "mean 1-2")[1] == "—"
    assert "gap: mse undefined for 20 frames (empty)" in text


def test_seeds_of_a_stochastic_predictor_are_one_row_with_mean_and_spread(add, tmp_path):
    for seed, score in enumerate([0.1, 0.2, 0.3]):
        add("noisy", {"mse": [score]}, stochastic=True, seed=seed)
    add("last", {"mse": [0.25]})
    text = page(tmp_path)
    assert table(text) == [["1", "noisy (mean of 3 seeds)"], ["2", "last"]]
    assert cells(text, "t+1")[0] == "**0.2000**<br><sub>± 0.1000</sub>", "the sample standard deviation"


def test_a_score_that_is_undefined_for_one_seed_is_undefined(add, tmp_path):
    add("noisy", {"mse": [0.1, 0.1]}, stochastic=True, seed=0)
    add("noisy", {"mse": [0.1, None]}, stochastic=True, seed=1)
    assert table(page(tmp_path)) == [["—", "noisy (mean of 2 seeds)"]]


def test_a_deterministic_predictor_with_two_seeds_is_ranked_once(add, tmp_path):
    for seed in (0, 7):
        add("last", {"mse": [0.1]}, seed=seed)
    assert table(page(tmp_path)) == [["1", "last"]]
    folder = add("last", {"mse": [0.2]}, seed=8)
    with pytest.raises(ResultError, match=rf"{folder}.*not stochastic.* mse differs|not stochastic.*") as caught:
        page(tmp_path)
    assert str(folder) in str(caught.value) and str(caught.value).count("results/toy/last/") == 2


def trained(seed, steps=90, configuration="1"):
    training = {"configuration": configuration * 64, "seed": seed, "steps": steps}
    return {"clips": "disjoint", "seen": 0, "sha256": f"{seed}", "training": training}


def test_trainings_of_one_configuration_are_one_row_with_mean_and_spread_over_their_seeds(add, tmp_path):
    add("net", {"mse": [0.3]}, fingerprint="a" * 64, weights=trained(1))
    add("net", {"mse": [0.1]}, fingerprint="b" * 64, weights=trained(0))
    add("net", {"mse": [0.15]}, fingerprint="c" * 64, weights=trained(0, 400, "2"))
    text = page(tmp_path)
    assert table(text) == [["1", "net (steps=400)"], ["2", "net (steps=90) (mean of 2 seeds)"]]
    assert cells(text, "t+1")[1] == "0.2000<br><sub>± 0.1414</sub>"
    assert "| net (steps=90) (mean of 2 seeds) |" in text.partition("## mse")[0]


def test_two_trainings_of_one_seed_stay_apart_and_are_told_apart_by_their_content(add, tmp_path):
    add("net", {"mse": [0.1]}, fingerprint="a" * 64, weights=trained(0))
    add("net", {"mse": [0.3]}, fingerprint="b" * 64, weights=trained(0))
    assert table(page(tmp_path)) == [["1", "net (content=aaaaaaaa)"], ["2", "net (content=bbbbbbbb)"]]


def test_weights_of_unknown_training_are_named_by_content_next_to_trained_ones(add, tmp_path):
    add("net", {"mse": [0.1]}, fingerprint="a" * 64, weights=trained(0))
    add("net", {"mse": [0.2]}, fingerprint="b" * 64, weights={"clips": "unknown", "seen": 0, "sha256": "x"})
    assert table(page(tmp_path)) == [["1", "net (steps=90)"], ["2", "net (content=bbbbbbbb)"]]


def test_settings_tell_rows_apart_before_digests_do(add, tmp_path):
    add("net", {"mse": [0.1]}, fingerprint="a" * 64, options={"width": 3})
    add("net", {"mse": [0.2]}, fingerprint="b" * 64, options={"width": 4})
    assert table(page(tmp_path)) == [["1", "net (width=3)"], ["2", "net (width=4)"]]


def test_remarks_name_the_result_that_they_mean(add, tmp_path):
    add("noisy", {"mse": [0.1]}, stochastic=True, seed=0)
    add("noisy", {"mse": [0.2]}, stochastic=True, seed=3, clamped=True)
    add("net", {"mse": [0.3]}, fingerprint="a" * 64)
    add("net", {"mse": [0.4]}, fingerprint="b" * 64, weights={"clips": "unknown", "seen": 0, "sha256": "x"})
    text = page(tmp_path)
    assert "noisy (seed=3): 20 frames clamped" in text
    assert "net (content=bbbbbbbb): nothing is known of the clips that it was trained on" in text
    assert [name for _, name in table(text)] == ["noisy (mean of 2 seeds)", "net (content=aaaaaaaa)",
                                                 "net (content=bbbbbbbb)"]  # fmt: skip


def test_other_data_are_in_another_table_that_says_why(add, tmp_path):
    add("last", {"mse": [0.1]})
    add("good", {"mse": [0.05]})
    add("last", {"mse": [0.9]}, data="other pixels", root="b")
    text = page(tmp_path, "results", "b")
    first, second = re.findall(r"^## (mse \(data [0-9a-f]{8}\))\n\n(.*)$", text, flags=re.M)
    assert [name for _, name in table(text, re.escape(first[0]))] == ["good", "last"]
    assert [name for _, name in table(text, re.escape(second[0]))] == ["last"]
    assert first[1] == second[1] and "Not comparable" in first[1] and "other data" in first[1]


def test_code_of_an_unreleased_metric_is_never_mixed_under_one_revision(add, tmp_path):
    edited, released = {"mse": {"released": False}}, {"mse": {"released": True}}
    add("last", {"mse": [0.1]}, metrics=edited, metric_code={"mse": "a" * 64})
    add("good", {"mse": [0.2]}, metrics=edited, metric_code={"mse": "b" * 64})
    text = page(tmp_path)
    assert table(text, r"mse \(code aaaaaaaa\)") == [["1", "last"]]
    assert table(text, r"mse \(code bbbbbbbb\)") == [["1", "good"]]
    assert text.count("other code of the metric under the same revision") == 2
    add("last", {"mse": [0.1]}, root="released", metrics=released, metric_code={"mse": "a" * 64})
    add("good", {"mse": [0.2]}, root="released", metrics=released, metric_code={"mse": "b" * 64})
    assert table(page(tmp_path, "released")) == [["1", "last"], ["2", "good"]], "the revision vouches"


def test_scores_that_cannot_be_computed_again_have_no_rank(add, tmp_path):
    """A metric of another revision, of which the installed one makes other scores."""
    add("good", {"mse": [0.2]})
    folder = add("last", {"mse": [0.1]}, metrics={"mse": {"revision": 2}})
    assert table(page(tmp_path)) == [["1", "last"]], "the installed metric makes the same scores of the rows"
    folders.edit_summary(
        folder, lambda summary: summary["scores"]["mse"].update(per_step=[0.3], mean=0.3, mean_to=[0.3])
    )
    text = page(tmp_path)
    assert table(text) == [["not recomputed", "last"]]
    assert "could not be computed again from the rows (mse revision 2, installed is revision 1)" in text


def test_a_metric_that_is_not_installed_has_no_rank(add, tmp_path):
    folder = add("last", {"mse": [0.1]})
    rename = {"mse": "foreign"}

    def change(run):
        for table in (run["metrics"], run["identity"]["metrics"], run["identity"]["metric_code"]):
            table["foreign"] = table.pop("mse")

    folders.edit_unit(folder, lambda rows: [row.update(metric=rename[row["metric"]]) for row in rows], 0)
    folders.edit_unit(folder, lambda rows: [row.update(metric=rename[row["metric"]]) for row in rows], 1)
    folders.edit_run(folder, change, rehash=True)
    folders.edit_summary(folder, lambda value: value["scores"].update(foreign=value["scores"].pop("mse")))
    text = page(tmp_path)
    assert table(text, "foreign") == [["not recomputed", "last"]]
    assert "foreign is not installed: load its plugin" in text


def test_two_results_of_one_identity_with_other_numbers_have_no_rank(add, tmp_path):
    for root, score in (("a", 0.1), ("b", 0.2), ("c", 0.1 + 5e-7)):
        add("last", {"mse": [score]}, root=root)
    add("net", {"mse": [0.3]}, root="a")
    text = page(tmp_path, "a", "b")
    assert text == page(tmp_path, "b", "a")
    assert table(text) == [["1", "net"], ["runs disagree", "last"]]
    assert table(page(tmp_path, "a", "c")) == [["1", "last"], ["2", "net"]], "another machine rounds otherwise"


def test_copies_count_once_and_a_complete_one_stands_for_a_partial_one(add, tmp_path):
    whole = add("last", {"mse": [0.1]}, root="a")
    shutil.copytree(whole, tmp_path / "c" / "copy")
    add("last", {"mse": [0.1]}, root="b", units=[1])
    text = page(tmp_path, "a")
    assert text == page(tmp_path, "b", "c", "a") == page(tmp_path, "a", "b")


def test_the_same_numbers_from_two_machines_agree(add, tmp_path):
    """Within 1e-6: results of one predictor with other metrics, measured elsewhere."""
    add("last", {"mse": [0.1]})
    add("last", {"mse": [0.1 + 5e-7], "psnr": [20.0]})
    assert table(page(tmp_path)) == [["1", "last"]]
    add("last", {"mse": [0.1 + 5e-6]}, seed=1)
    with pytest.raises(ResultError, match="mse differs"):
        page(tmp_path)


def test_a_result_without_a_summary_is_mentioned(add, tmp_path):
    add("last", {"mse": [0.1]})
    folder = add("good", {"mse": [0.1]})
    (folder / "summary.json").unlink()
    with pytest.warns(VpbenchWarning, match=rf"without a summary are left out \(1, for example {folder}\)"):
        assert table(page(tmp_path)) == [["1", "last"]]


def test_no_results_are_an_error(add, tmp_path):
    with pytest.raises(ResultError, match=r"no finished result below it; evaluate a predictor"):
        page(tmp_path, "nowhere")
    folder = add("last", {"mse": [0.1]})
    (folder / "summary.json").unlink()
    with pytest.raises(ResultError, match=r"no finished result below it"):
        page(tmp_path)


def test_a_foreign_summary_is_refused(add, tmp_path):
    folder = add("last", {"mse": [0.1]})
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"identity": "another"}))
    with pytest.raises(ResultError, match=r"summary\.json is of another run .*`vpbench merge"):
        page(tmp_path)
