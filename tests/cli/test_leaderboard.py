"""Results that were made by runs: other pixels, an edited metric, floats in counts, samples without a value."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from vpbench.results.result import find_results, load

METRICS = """
import vpbench


@vpbench.hookimpl
def register_metrics(register):
    for name in ("error", "pooled-mse", "sometimes", "mixed"):
        register(name, f"{__name__}:{name.title().replace('-', '')}")


def errors(comparison):
    return (comparison.prediction.frames - comparison.future.frames).square().mean(dim=(2, 3, 4)).tolist()


class Error(vpbench.ClipMean):
    info = vpbench.MetricInfo(name="error", revision=1, better="lower")

    def measure(self, comparison):
        return [[FACTOR * x for x in clip] for clip in errors(comparison)]


class PooledMse(vpbench.PooledCounts):
    info = vpbench.MetricInfo(name="pooled-mse", revision=1, better="lower")

    def measure(self, comparison):
        return [[[x, 1] for x in clip] for clip in errors(comparison)]

    def ratio(self, counts):
        return {"score": counts[0] / counts[1]}


class Mixed(PooledMse):
    info = vpbench.MetricInfo(name="mixed", revision=1, better="lower")

    def measure(self, comparison):
        return [[[1] * (1 + i % 2) for i, x in enumerate(clip)] for clip in errors(comparison)]


class Sometimes(Error):
    info = vpbench.MetricInfo(name="sometimes", revision=1, better="lower")

    def measure(self, comparison):
        rows = errors(comparison)
        middle = sorted(x for clip in rows for x in clip)[len(rows) * len(rows[0]) // 2]
        return [[vpbench.Undefined("dark") if x > middle else x for x in clip] for clip in rows]
"""


@pytest.fixture
def plugin(tmp_path):
    """Write the plugin of metrics, whose code differs by a factor; a process would import it freshly."""

    def write(factor: int = 1) -> Path:
        sys.modules.pop("edited_metrics", None)
        path = tmp_path / "edited_metrics.py"
        path.write_text(METRICS.replace("FACTOR", str(factor)))
        return path

    yield write
    sys.modules.pop("edited_metrics", None)


def pictures(root: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    for clip in range(3):
        (root / f"clip{clip}").mkdir(parents=True)
        for i in range(14):
            cv2.imwrite(str(root / f"clip{clip}" / f"{i:04d}.png"), rng.integers(0, 256, (16, 24, 3), dtype=np.uint8))
    return root


def test_two_roots_with_the_same_names_are_never_ranked_or_compared_together(vpbench, tmp_path):
    for name, seed in (("A", 0), ("B", 1)):
        root = pictures(tmp_path / name, seed)
        run = ["run", "-p", "folder-4to10", "-m", "repeat", "--metric", "mse", "--data-root", f"folder={root}"]
        assert vpbench(*run, "--out", tmp_path / "o").code == 0
    one, other = map(load, find_results(tmp_path / "o"))
    assert one.at("mse", 1) != other.at("mse", 1)
    assert vpbench("verify", tmp_path / "o").code == 0
    assert vpbench("leaderboard", tmp_path / "o", "--out", tmp_path / "pages").code == 0
    page = (tmp_path / "pages/folder-4to10.md").read_text()
    assert len(re.findall(r"^## mse \(data [0-9a-f]{8}\)\n\nNot comparable .* other data", page, flags=re.M)) == 2
    assert len(re.findall(r"^\| 1 +\| repeat ", page, flags=re.M)) == 2
    refused = vpbench("compare", one.path, other.path)
    assert refused.code == 1
    assert f"{one.path} and {other.path} cannot be compared: mse scored other data" in refused.error
    assert "'clip0@0'" in refused.error


def test_an_edited_metric_leaves_no_mixed_table_and_is_not_merged(vpbench, toy, tmp_path, plugin):
    first = ["--plugin", plugin(1)]
    assert (
        vpbench("run", *toy(sequences=4), *first, "-m", "last", "--metric", "error", "--out", tmp_path / "o").code == 0
    )
    second = ["--plugin", plugin(2)]
    args = [*toy(sequences=4), *second, "--metric", "error", "--out", tmp_path / "o"]
    assert vpbench("run", *args, "-m", "noisy").code == 0
    old, new = tmp_path / "o/toy/last", tmp_path / "o/toy/noisy"
    assert vpbench("leaderboard", *second, tmp_path / "o", "--out", tmp_path / "pages").code == 0
    page = (tmp_path / "pages/toy.md").read_text()
    assert len(re.findall(r"^## error \(code [0-9a-f]{8}\)\n\nNot comparable .* other code", page, flags=re.M)) == 2
    for command in ("merge", "verify"):
        assert vpbench(command, *second, new).code == 0
        refused = vpbench(command, *second, old)
        assert refused.code == 1 and "other code of error than that of the plugin now" in refused.error
    (a,), (b,) = find_results(old), find_results(new)
    assert "error was measured with different code under one revision" in vpbench("compare", *second, a, b).error


@pytest.mark.parametrize(
    ("name", "words"),
    [("pooled-mse", "values of type float: return integers"), ("mixed", "1 counts for one frame, 2 for another")],
)
def test_counts_that_are_none_end_the_run_before_anything_is_published(vpbench, toy, tmp_path, plugin, name, words):
    done = vpbench("run", *toy(), "--plugin", plugin(), "-m", "last", "--metric", name, "--out", tmp_path / "o")
    assert done.code == 1 and f"metric '{name}' sums counts, but its statistics hold {words}" in done.err
    assert not list((tmp_path / "o").glob("**/units/*"))


def test_a_metric_undefined_for_some_samples_has_its_score_within_its_interval(vpbench, toy, tmp_path, plugin):
    args = [
        *toy(sequences=12),
        "--plugin",
        plugin(),
        "--metric",
        "sometimes",
        "--samples",
        "4",
        "--out",
        tmp_path / "o",
    ]
    done = vpbench("run", *args, "-m", "noisy", "-m", "last")
    assert done.code == 0 and "sometimes undefined for" in done.out and "12 clips of 12 recordings" in done.out
    results = {folder.parent.name: load(folder) for folder in find_results(tmp_path / "o")}
    score = results["noisy"].summary.scores["sometimes"]
    rows = [row for row in results["noisy"].rows() if row["step"] == 1 and row["status"] == "ok"]
    assert score.per_step[0] == pytest.approx(np.mean([row["value"] for row in rows]), rel=1e-12)
    for value, (low, high) in zip(score.per_step, score.ci95, strict=True):
        assert low <= value <= high
    assert sum(score.undefined.values()) == sum(row["status"] == "undefined" for row in results["noisy"].rows())
    compared = vpbench("compare", *args[:2], *args[4:6], results["noisy"].path, results["last"].path)
    assert compared.code == 0 and re.search(r"undefined: \d+ frames \(dark\)", compared.out)


def test_one_bad_result_refuses_the_page_by_name(vpbench, toy, tmp_path):
    for model in ("last", "noisy"):
        assert vpbench("run", *toy(sequences=4), "-m", model, "--metric", "mse", "--out", tmp_path / "o").code == 0
    assert vpbench("leaderboard", tmp_path / "o", "--out", tmp_path / "pages").code == 0
    before = (tmp_path / "pages/toy.md").read_bytes()
    (bad,) = find_results(tmp_path / "o/toy/last")
    shutil.rmtree(bad / "units")
    done = vpbench("leaderboard", tmp_path / "o", "--out", tmp_path / "pages")
    assert done.code == 1 and f"{bad} has a summary, but no rows" in done.error and "no page was written" in done.error
    assert (tmp_path / "pages/toy.md").read_bytes() == before
