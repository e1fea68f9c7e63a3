"""A run may be killed at any moment: what is published stays, and the next run ends in the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vpbench.results.result import find_results

TOYS = str(Path(__file__).parents[1] / "toys.py")
SIX_UNITS = {"sequences": 90}


def contents(root: Path) -> dict[str, bytes]:
    (folder,) = find_results(root)
    return {p.name: p.read_bytes() for p in [folder / "summary.json", *sorted((folder / "units").glob("*"))]}


def units(root: Path) -> list[str]:
    return sorted(p.name for p in root.glob("**/units/*"))


def start(args: list[str], **env: str) -> subprocess.Popen[str]:
    # The code of plugins is part of the identity: conftest has it checked by beartype here, so it must be there, too.
    command = [sys.executable, "-c", "import conftest; from vpbench.cli.main import main; main()", *args]
    env["PYTHONPATH"] = str(Path(__file__).parents[1])
    environment = {**os.environ, **env}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A shell that puts the tests into the background has them ignore SIGINT, and children inherit that.
    return subprocess.Popen(
        command, env=environment, **pipes, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )


@pytest.fixture
def run_args(toy):
    return ["run", *toy(**SIX_UNITS), "-m", "killed", "--metric", "mse", "--metric", "mean-colour"]


@pytest.fixture
def undisturbed(vpbench, run_args, tmp_path):
    assert vpbench(*run_args, "--out", tmp_path / "undisturbed").code == 0
    return contents(tmp_path / "undisturbed")


@pytest.mark.slow
def test_three_shards_of_which_two_are_killed_finished_by_five_then_merged(vpbench, run_args, undisturbed, tmp_path):
    args = [*run_args, "--out", str(tmp_path / "r")]
    killed = [start([*args, "--shard", f"{i}/3"], KILL_AFTER="3") for i in (0, 1)]
    for process in killed:
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert vpbench(*args, "--shard", "2/3").code == 0
    published = units(tmp_path / "r")
    assert 0 < len(published) < 6
    early = vpbench("merge", "--plugin", TOYS, tmp_path / "r")
    assert early.code == 1
    assert f"{6 - len(published)} of 6 units are missing" in early.error
    for i in range(5):
        assert vpbench(*args, "--shard", f"{i}/5").code == 0
    assert vpbench("merge", "--plugin", TOYS, tmp_path / "r").code == 0
    assert contents(tmp_path / "r") == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_it_in_one_line_and_it_goes_on(vpbench, run_args, undisturbed, tmp_path, name, code):
    args = [*run_args, "--out", str(tmp_path / "r")]
    process = start(args, KILL_AFTER="3", KILL_SIGNAL=name)
    _, err = process.communicate()
    assert process.returncode == code
    (line,) = err.strip().splitlines()
    assert "run the same command again to resume" in line
    assert units(tmp_path / "r") == ["000000.jsonl"]
    assert not list((tmp_path / "r").glob("**/*.tmp"))
    (unit,) = (tmp_path / "r").glob("**/units/*")
    before = unit.stat().st_mtime_ns
    assert vpbench(*args).code == 0
    assert contents(tmp_path / "r") == undisturbed
    assert unit.stat().st_mtime_ns == before


@pytest.mark.slow
def test_signal_with_reading_workers_leaves_no_process_behind(run_args, tmp_path):
    args = [*run_args, "--out", str(tmp_path / "r"), "--workers", "2"]
    process = start(args, KILL_AFTER="3", KILL_SIGNAL="SIGTERM")
    process.communicate(timeout=60)  # communicate() returns when no child holds the pipes any more
    assert process.returncode == 143


@pytest.mark.slow
def test_two_processes_on_one_folder_are_harmless(run_args, undisturbed, tmp_path):
    args = [*run_args, "--out", str(tmp_path / "r")]
    processes = [start(args), start(args)]
    for process in processes:
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert contents(tmp_path / "r") == undisturbed


@pytest.mark.slow
def test_allow_partial_sums_what_is_there_and_says_so(vpbench, run_args, undisturbed, tmp_path):
    assert vpbench(*run_args, "--out", tmp_path / "r", "--shard", "0/3").code == 0
    assert vpbench("merge", "--plugin", TOYS, tmp_path / "r", "--allow-partial").code == 0
    (folder,) = find_results(tmp_path / "r")
    summary = vpbench("show", "--plugin", TOYS, folder, "--json").json["summary"]
    assert (summary["partial"], summary["partial_reason"], summary["clips"]) == (True, "2 of 6 units", 32)
    board = vpbench("leaderboard", tmp_path / "r", "--out", tmp_path / "boards")
    assert board.code == 0
    assert "Partial results, not ranked" in (tmp_path / "boards" / "toy.md").read_text()


@pytest.mark.slow
def test_a_complete_result_is_not_computed_again(vpbench, run_args, tmp_path, monkeypatch):
    args = [*run_args, "--out", tmp_path / "r"]
    assert vpbench(*args).code == 0
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "r").rglob("*") if p.is_file()}
    time.sleep(0.01)
    monkeypatch.setenv("KILL_AFTER", "0")  # a single prediction would kill this very process
    monkeypatch.setenv("KILL_SIGNAL", "SIGINT")
    assert vpbench(*args).code == 0
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "r").rglob("*") if p.is_file()} == stamps
