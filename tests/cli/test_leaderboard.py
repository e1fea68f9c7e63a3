"""`vpbench leaderboard`, `verify` and `merge` of results that cannot stand beside the others."""

from __future__ import annotations

import re
import shutil
import sys

import pytest

from vpbench.results.result import find_results

METRIC = """
import vpbench


@vpbench.hookimpl
def register_metrics(register):
    register("error", f"{__name__}:Error")


class Error(vpbench.ClipMean):
    info = vpbench.MetricInfo(name="error", revision=1, better="lower")

    def measure(self, comparison):
        errors = (comparison.prediction.frames - comparison.future.frames).square().mean(dim=(2, 3, 4))
        return (FACTOR * errors).tolist()
"""


@pytest.mark.slow
def test_an_edited_metric_leaves_no_mixed_table_and_is_not_merged(vpbench, toy, tmp_path, monkeypatch):
    path = tmp_path / "edited_metric.py"
    args = [*toy(sequences=4), "--plugin", path, "--metric", "error", "--out", tmp_path / "o"]
    for predictor, factor in (("last", "1"), ("noisy", "2")):
        monkeypatch.delitem(sys.modules, "edited_metric", raising=False)  # as another process
        path.write_text(METRIC.replace("FACTOR", factor))
        assert vpbench("run", *args, "-m", predictor).code == 0
    old, new = tmp_path / "o/toy/last", tmp_path / "o/toy/noisy"
    assert vpbench("leaderboard", "--plugin", path, tmp_path / "o", "--out", tmp_path / "pages").code == 0
    page = (tmp_path / "pages/toy.md").read_text()
    assert len(re.findall(r"^## error \(code [0-9a-f]{8}\)\n\nNot comparable .* other code", page, flags=re.M)) == 2
    for command in ("merge", "verify"):
        assert vpbench(command, "--plugin", path, new).code == 0
        refused = vpbench(command, "--plugin", path, old)
        assert refused.code == 1
        assert "other code of error than that of the plugin now" in refused.error


@pytest.mark.slow
def test_one_bad_result_refuses_the_page_by_name(vpbench, toy, tmp_path):
    assert (
        vpbench("run", *toy(sequences=4), "-m", "last", "-m", "noisy", "--metric", "mse", "--out", tmp_path / "o").code
        == 0
    )
    assert vpbench("leaderboard", tmp_path / "o", "--out", tmp_path / "pages").code == 0
    before = (tmp_path / "pages/toy.md").read_bytes()
    (bad,) = find_results(tmp_path / "o/toy/last")
    shutil.rmtree(bad / "units")
    outcome = vpbench("leaderboard", tmp_path / "o", "--out", tmp_path / "pages")
    assert outcome.code == 1
    assert f"{bad} has a summary, but no rows" in outcome.error
    assert "no page was written" in outcome.error
    assert (tmp_path / "pages/toy.md").read_bytes() == before
