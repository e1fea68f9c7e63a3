"""The section of best and worst samples: every predictor with several samples, and none without."""

from __future__ import annotations

import folders

from vpbench.pages.leaderboard import build_pages, collect
from vpbench.pages.terminal import print_results
from vpbench.results.result import load


def page(root):
    return build_pages(collect([root], folders.plugins()), folders.plugins())["toy.md"]


def test_a_page_shows_n_and_marks_oracle_numbers(tmp_path):
    folders.make_result(tmp_path, "last", {"mse": [0.1, 0.3]})
    folders.make_result(tmp_path, "noisy", {"mse": [0.2, 0.4]}, samples=3)
    text = page(tmp_path).partition("## mse, best and worst samples\n")[2]
    assert "means over the steps; best and worst choose each clip's sample by the truth: oracle numbers" in text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == ["predictor", "mean", "best", "worst", "best-per-step", "spread"]
    assert rows[2:] == [["noisy (samples=3)", "0.3000", "0.3000", "0.3000", "0.3000", "0.0000"]]


def test_a_table_of_means_shows_n(tmp_path):
    folders.make_result(tmp_path, "noisy", {"mse": [0.2, 0.4]}, samples=3)
    folders.make_result(tmp_path, "noisy", {"mse": [0.2, 0.4]}, samples=2, partial="limited to 3 of 20 clips")
    means, _, partial = page(tmp_path).partition("## mse, best and worst samples\n")
    assert means.count("noisy (samples=3)") == 2
    assert "noisy (samples=2)" in partial.partition("## Partial results, not ranked\n")[2]


def test_without_samples_nothing_is_added(tmp_path):
    folders.make_result(tmp_path, "last", {"mse": [0.1, 0.3]})
    assert "samples" not in page(tmp_path)


def test_the_terminal_shows_n_and_marks_oracle_numbers(tmp_path, capsys):
    folder = folders.make_result(tmp_path, "noisy", {"mse": [0.2, 0.4]}, samples=3)
    print_results([load(folder)])
    text = capsys.readouterr().out
    names = [line.split()[0] for line in text.splitlines() if line.startswith("mse")]
    assert names == ["mse", "mse@best", "mse@worst", "mse@best-per-step", "mse@spread"]
    assert "noisy: mean over 3 samples per clip; best and worst choose each clip's sample by the truth" in text
