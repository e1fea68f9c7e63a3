"""``vpbench best-of``: a row per n, all metrics or one, and one line where there is nothing to choose from."""

from __future__ import annotations

import folders
import pytest


def test_the_command_prints_a_table(vpbench, tmp_path):
    folder = folders.make_result(tmp_path, "noisy", {"mse": [0.2, 0.4], "psnr": [20.0, 18.0]}, samples=12)
    outcome = vpbench("best-of", folder)
    lines = outcome.out.splitlines()
    assert "toy: noisy, 20 clips of 20 recordings; mean over the steps; best and worst" in lines[0]
    assert lines[1].split() == ["best", "of", "mse", "psnr"]
    assert [line.split()[0] for line in lines[3:]] == [str(n) for n in (*range(1, 11), 12)]
    assert lines[3].split()[1:] == ["0.3000", "19.00"]
    value = vpbench("best-of", folder, "--metric", "psnr", "--json").json["metrics"]
    assert list(value) == ["psnr"] and len(value["psnr"]) == 12
    assert value["psnr"][0]["mean"] == pytest.approx(19.0)


def test_the_command_refuses_a_single_sample(vpbench, tmp_path):
    folder = folders.make_result(tmp_path, "last", {"mse": [0.2]})
    assert "has no metric with several samples per clip" in vpbench("best-of", folder).error
