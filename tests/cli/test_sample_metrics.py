"""Metrics of all samples from the loop to pages: the same bytes however a run is divided, N next to every score."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import vpbench as api
from vpbench.pages.leaderboard import build_pages, collect
from vpbench.plugin.loader import load_plugins
from vpbench.results.reading import read_digest
from vpbench.results.result import find_results, load

TOYS = str(Path(__file__).parents[1] / "toys.py")
METRICS = ["crps", "mae", "truth-rank"]
PROTOCOL = """
schema = 1
name = "toy"
version = 1
dataset = {name = "toy", options = {sequences = 17, size = [4, 6]}}
sampling = {kind = "first", context = 3, horizon = 3}
"""


def evaluate(folder, predictor, **settings):
    path = folder / "toy.toml"
    path.write_text(PROTOCOL)
    return api.evaluate(predictor, path, out=folder / "r", plugins=load_plugins([TOYS]), metrics=METRICS, **settings)


def contents(folder):
    return {p.name: p.read_bytes() for p in [folder / "summary.json", *sorted((folder / "units").glob("*"))]}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The folder of a deterministic result and of one with three samples, measured once."""
    folder = tmp_path_factory.mktemp("samples")
    evaluate(folder, "last")
    evaluate(folder, "noisy", samples=3)
    return folder / "r"


@pytest.fixture
def result(results, tmp_path):
    """A copy of the stochastic result."""
    return Path(shutil.copytree(find_results(results)[1], tmp_path / "result"))


def test_one_row_per_clip_and_step_scores_all_samples(result):
    opened = load(result)
    rows = [row for row in opened.rows() if row["metric"] == "crps"]
    assert len(rows) == 17 * 3
    assert not any("sample" in row for row in rows)
    assert opened.run.metrics["crps"].kind == "samples"
    scores = opened.summary.scores
    assert scores["crps"].mean < scores["mae"].mean
    assert scores["crps"].samples is None and scores["mae"].samples.count == 3
    assert scores["crps"].ci95[0] is not None and scores["truth-rank"].ci95 == (None, None, None)
    histogram = scores["truth-rank"].details[0]
    assert list(histogram) == [f"rank {k}" for k in range(4)]
    assert sum(histogram.values()) == pytest.approx(1)
    with pytest.raises(api.ResultError, match="no best sample by crps: it scores all samples of a clip together"):
        opened.samples("crps")


def test_crps_of_a_deterministic_predictor_is_its_mae_and_it_has_no_rank(results):
    summary = load(find_results(results)[0]).summary
    assert summary.scores["crps"].per_step == pytest.approx(summary.scores["mae"].per_step, rel=1e-6)
    assert summary.skipped == {"truth-rank": "a rank needs 2 samples or more per clip"}


@pytest.mark.slow
def test_shards_and_merge_give_the_same_bytes(vpbench, result, tmp_path):
    for i in (1, 0, 2):
        evaluate(tmp_path, "noisy", samples=3, shard=f"{i}/3", batch_size=5)
    (merged,) = find_results(tmp_path / "r")
    (merged / "summary.json").unlink()
    assert vpbench("merge", "--plugin", TOYS, merged).code == 0
    assert contents(merged) == contents(result)


@pytest.mark.slow
def test_a_resumed_run_gives_the_same_bytes(result, tmp_path):
    evaluate(tmp_path, "noisy", samples=3)
    (resumed,) = find_results(tmp_path / "r")
    for name in ("summary.json", "units/000001.jsonl"):
        (resumed / name).unlink()
    evaluate(tmp_path, "noisy", samples=3)
    assert contents(resumed) == contents(result)


def edit_rows(result, change):
    """Change the first row of crps, and claim the unit as published."""
    path = result / "units" / "000000.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    row = next(line for line in lines if line["metric"] == "crps")
    row |= change
    text = "".join(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n" for line in lines)
    digests = [read_digest(path)]
    path.write_text(text)
    digests.append(read_digest(path))
    for attempt in (result / "attempts").glob("*.json"):
        attempt.write_text(attempt.read_text().replace(*digests))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample": 0}, "crps scores all samples together, and the row names a single one"),
        ({"clamped": True}, "crps scores all samples together, and the row names a single one"),
        ({"value": 9.0}, "does not follow from the rows"),
    ],
)
def test_verify_checks_the_rows(vpbench, result, change, message):
    edit_rows(result, change)
    assert message in vpbench("verify", "--plugin", TOYS, result).error


def test_verify_accepts_the_result(vpbench, result):
    assert vpbench("verify", "--plugin", TOYS, result).code == 0


def test_compare_names_the_numbers_of_samples(vpbench, results):
    first, second = find_results(results)
    text = vpbench("compare", "--plugin", TOYS, first, second, "--metric", "crps").out
    assert "crps, lower is better, 17 clips of 17 recordings, 1 sample per clip and 3 samples per clip" in text
    assert " to " in next(line for line in text.splitlines() if line.startswith("mean"))


def test_a_page_shows_n_and_the_histogram(results):
    plugins = load_plugins([TOYS])
    page = build_pages(collect([results], plugins), plugins)["toy.md"]
    table = page.partition("## crps\n")[2].partition("\n## ")[0]
    names = [line.split("|")[2].strip().strip("[").partition("]")[0] for line in table.splitlines() if "|" in line]
    assert set(names[2:]) == {"last", "noisy (samples=3)"}
    details = page.partition("## truth-rank, details\n")[2]
    assert "noisy (samples=3)" in details
    cells = [line.split("|")[1:3] for line in details.splitlines() if line.startswith("| rank")]
    assert [name.strip() for name, _ in cells] == ["rank 0", "rank 1", "rank 2", "rank 3"]
    assert sum(float(value) for _, value in cells) == pytest.approx(1, abs=1e-3)
    assert "## crps, details" not in page and "## mae, details" not in page


def test_the_terminal_shows_n(vpbench, toy, tmp_path):
    args = ["run", *toy(sequences=2, size=(4, 6)), "-m", "noisy", "--samples", 3, "--metric", "crps"]
    assert "noisy: 3 samples per clip, scored together by crps" in vpbench(*args, "--out", tmp_path / "r").out
