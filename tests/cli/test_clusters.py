"""Commands that a cluster runs: what is submitted, and what comes of it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from vpbench.evaluation import submit as submission
from vpbench.evaluation.submit import Job


@pytest.fixture
def submitted(vpbench, monkeypatch):
    """Run a command; return its outcome, and the arguments of each submission."""

    def call(*command):
        calls = []

        def record(args, cluster, folder, parameters, *, processes=None):
            calls.append((args, cluster, folder, parameters, processes))
            return [Job(f"7_{number}", folder / f"{number}.out") for number in range(processes or 1)]

        monkeypatch.setattr(submission, "submit", record)
        monkeypatch.setattr(sys, "argv", ["vpbench", *map(str, command)])
        return vpbench(*command), calls

    return call


def test_a_run_is_submitted_without_the_options_of_its_submission(submitted, toy, tmp_path):
    args = ["run", *toy(), "-m", "last", "--out", str(tmp_path / "out"), "--device", "cuda"]
    wrap = ["--submit", "slurm", "--processes=3", "--job", "slurm_partition=gpu", "--job=timeout_min=9"]
    outcome, ((words, cluster, folder, parameters, processes),) = submitted(*args, *wrap)
    assert (words, cluster, folder, processes) == (args, "slurm", tmp_path / "out" / "jobs", 3)
    expected = {"name": "vpbench-run", "slurm_partition": "gpu", "timeout_min": 9, "gpus_per_node": 1}
    assert parameters == expected
    lines = [f"job 7_{number}; its output: {folder}/{number}.out" for number in range(3)]
    assert outcome.out.splitlines() == lines
    outcome, ((words, *_, parameters, processes),) = submitted(*args, "--json", "--submit", "local")
    assert (words, processes, parameters["gpus_per_node"]) == ([*args, "--json"], 1, 1)
    assert outcome.json == {"schema": 1, "jobs": [{"id": "7_0", "output": f"{folder}/0.out"}]}
    assert not (tmp_path / "out").exists()


def test_preparation_is_submitted_to_the_cache(submitted, toy, cache):
    plugin, path, _, protocol = toy()
    outcome, ((words, cluster, folder, parameters, processes),) = submitted(
        "data", "prepare", plugin, path, protocol, "--submit", "local", "--processes", 2
    )
    assert (words, cluster) == (["data", "prepare", plugin, path, protocol], "local")
    assert (folder, processes) == (cache / "jobs", 2)
    assert parameters == {"name": "vpbench-prepare", "timeout_min": 1440}
    assert outcome.code == 0 and not (cache / "prepared").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--job", "a=1"], "--job a=1: is for --submit"),
        (["--processes", "2"], "--processes 2: is for --submit"),
        (["--submit", "local", "--shard", "0/2"], "--shard 0/2: --submit divides the work itself"),
        (["--submit", "local", "--job", "nonsense"], "--job nonsense: write it as NAME=VALUE"),
        (["--submit", "local", "--job", "nonsense=1"], "local does not take the job: "),
        (["--submit", "local", "--job", "timeout_min=long"], 'local does not take the job: Parameter "timeout_min"'),
        (["--submit", "slurm", "-o", "lost.width=1"], "'lost' does not take part"),
        (["--submit", "abacus"], "'abacus' is not one of 'slurm', 'local', 'ray'"),
    ],
)
def test_usage_errors(vpbench, toy, tmp_path, flags, words):
    outcome = vpbench("run", *toy(), "-m", "last", "--out", tmp_path / "out", *flags)
    assert outcome.code == 2
    assert words in outcome.error
    assert not list(tmp_path.glob("out/toy"))


def test_ray_is_an_extra(vpbench, toy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    outcome = vpbench("run", *toy(), "-m", "last", "--out", tmp_path / "out", "--submit", "ray")
    assert (outcome.code, outcome.error) == (1, "vpbench: Ray is not installed: pip install 'vpbench[ray]'")


def results(root: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(root.glob("toy/**/*")) if path.is_file() and path.parent.name != "attempts"]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_jobs_of_this_machine_make_the_result_of_one_process(vpbench, toy, tmp_path, monkeypatch):
    args = ["run", *toy(sequences=40), "-m", "noisy", "--metric", "mean-colour", "--out"]
    assert vpbench(*args, tmp_path / "one").code == 0
    expected = results(tmp_path / "one")
    command = [*args, str(tmp_path / "jobs"), "--submit", "local", "--processes", "2", "--job", "timeout_min=5"]
    monkeypatch.setattr(sys, "argv", ["vpbench", *command])
    outcome = vpbench(*command)
    assert outcome.code == 0, outcome.err
    logs = [Path(line.partition("output: ")[2]) for line in outcome.out.splitlines()]
    assert len(set(logs)) == 2
    assert not list(tmp_path.glob("jobs/jobs/%j")), "a folder that no job uses"
    deadline = time.monotonic() + 120
    while results(tmp_path / "jobs").keys() != expected.keys():
        assert time.monotonic() < deadline, [log.read_text() for log in logs if log.is_file()]
        time.sleep(0.2)
    assert results(tmp_path / "jobs") == expected
    (attempts,) = tmp_path.glob("jobs/toy/*/*/attempts")
    assert len(list(attempts.iterdir())) == 2
