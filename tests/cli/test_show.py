"""``vpbench show RESULT``: scores with intervals, what a reader must know of them, the worst clips."""

from __future__ import annotations

import re

import folders
import pytest

from vpbench.results.result import load


@pytest.fixture
def result(tmp_path):
    scores = {"mse": [0.2, 0.3], "psnr": [20.0, 10.0]}
    return folders.make_result(tmp_path, "ours", scores, spread=0.01, options={"width": 8}, parameters=1200)


def rows(outcome, start):
    return [re.split(r"  +", line) for line in outcome.out.splitlines() if re.match(start, line)]


def test_every_metric_has_its_scores_with_intervals_and_the_mean(vpbench, result):
    outcome = vpbench("show", result)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "ours on toy v1"
    assert {"parameters: 1,200", "options: width=8", "20 clips of 20 recordings"} <= set(lines)
    (low, high), _ = load(result).summary.scores["mse"].ci95
    (mse,) = rows(outcome, "mse ")
    assert mse == ["mse", f"0.2000 ({low:.4f} to {high:.4f})", "0.3000 (0.2960 to 0.3040)", "0.2500"]
    assert rows(outcome, "psnr ")[0][-1] == "15.00"


def test_the_worst_clips_are_those_with_the_highest_cost(vpbench, result):
    worst = [line.strip() for line in vpbench("show", result).out.partition("worst clips by mse:\n")[2].splitlines()]
    assert worst == [f"s{place:03d}@0: 0.2600" for place in (0, 2, 4, 6, 8)]
    worst = vpbench("show", result, "--metric", "psnr").out.partition("worst clips by psnr:\n")[2].splitlines()
    assert worst[0].strip() == "s001@0: 14.99", "a low PSNR is the worse one"


def test_one_metric_is_shown_at_each_step(vpbench, result):
    outcome = vpbench("show", result, "--metric", "psnr")
    assert "psnr, higher is better, dB" in outcome.out
    assert [row[:2] for row in rows(outcome, "t\\+|mean")] == [["t+1", "20.00"], ["t+2", "10.00"], ["mean", "15.00"]]


def test_best_and_worst_samples_are_shown(vpbench, tmp_path):
    folder = folders.make_result(tmp_path, "noisy", {"mse": [0.2, 0.4]}, samples=3)
    lines = rows(vpbench("show", folder), "mse")
    assert [row[0] for row in lines] == ["mse", "mse@best", "mse@worst", "mse@best-per-step", "mse@spread"]
    assert lines[1][1:] == ["0.2000", "0.4000", "0.3000"]
    head, first, _, mean = rows(vpbench("show", folder, "--metric", "mse"), "  +score|t\\+|mean")
    assert head[-4:] == ["best", "worst", "best-per-step", "spread"]
    assert [first[-4:], mean[-4:]] == [[text] * 3 + ["0.0000"] for text in ("0.2000", "0.3000")]


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--metric", "psnrr"], 1, "has no psnrr; did you mean 'psnr'?"),
        (["--metric", "ssim"], 1, "has no ssim"),
    ],
)
def test_a_metric_that_was_not_measured_is_one_line(vpbench, result, args, code, words):
    outcome = vpbench("show", result, *args)
    assert outcome.code == code
    assert words in outcome.error


def test_a_metric_belongs_to_a_result(vpbench):
    outcome = vpbench("show", "metric/mse", "--metric", "mse")
    assert outcome.code == 2
    assert "--metric mse: metric/mse is not a result" in outcome.error


def test_an_unfinished_result_says_what_to_do(vpbench, result):
    (result / "summary.json").unlink()
    outcome = vpbench("show", result)
    assert outcome.code == 0
    assert "no summary: 2 of 2 units are there; run the same command again" in outcome.out


def test_scores_are_shown_even_if_the_rows_cannot_be_read(vpbench, result):
    (result / "units" / "000000.jsonl").write_text("{}\n")
    outcome = vpbench("show", result)
    assert outcome.code == 0
    assert rows(outcome, "mse ")
    assert "the worst clips are not known: " in outcome.out


def test_a_partial_result_says_so(vpbench, tmp_path):
    folder = folders.make_result(tmp_path, "ours", {"mse": [0.1]}, partial="limited to 9 of 20 clips")
    assert "partial (limited to 9 of 20 clips): never ranked" in vpbench("show", folder).out
