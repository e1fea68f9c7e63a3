"""The place of a submitted job among the others."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from vpbench.evaluation.launch import Shard, find_shard
from vpbench.evaluation.submit import _run, _Share

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "OMP_NUM_THREADS")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("cluster", "tasks", "shards"),
    [
        ("local", 1, [Shard(0, 3, 0), Shard(1, 3, 1), Shard(2, 3, 2)]),  # jobs of one machine choose between its GPUs
        ("slurm", 1, [Shard(0, 3, 0), Shard(1, 3, 0), Shard(2, 3, 0)]),
        ("slurm", 2, [Shard(0, 6, 0), Shard(1, 6, 1), Shard(2, 6, 0), Shard(3, 6, 1), Shard(4, 6, 0), Shard(5, 6, 1)]),
    ],
)
def test_jobs_and_their_tasks_divide_the_units(monkeypatch, cluster, tasks, shards):
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "9")  # what submitit's script inherits decides nothing
    environments = [
        _Share(number, 3, cluster).environment(rank, tasks, rank) for number in range(3) for rank in range(tasks)
    ]
    places = []
    for environment in environments:
        for name in NAMES[:3]:
            monkeypatch.setenv(name, environment[name])
        places.append(find_shard())
    assert places == shards


def test_jobs_of_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    assert _Share(0, 3, "local").environment(0, 1, 0)["OMP_NUM_THREADS"] == "2"
    assert _Share(0, 9, "local").environment(0, 1, 0)["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in _Share(0, 3, "slurm").environment(0, 1, 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert _Share(0, 3, "local").environment(0, 1, 0)["OMP_NUM_THREADS"] == "5"


@pytest.mark.parametrize(
    ("numbers", "gpus", "visible"),
    [("0,1", "4,7,5", "4,7"), ("0,1", "GPU-a", "GPU-a"), ("", "4", ""), ("0", "", ""), ("0,1", None, "0,1")],
)
def test_jobs_of_this_machine_see_the_gpus_that_the_user_chose(monkeypatch, numbers, gpus, visible):
    """Submitit numbers GPUs from 0, whatever the user chose."""
    environments = []

    class Process:
        def __init__(self, command, env):
            environments.append(env)

        def wait(self):
            return 0

    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", numbers)
    _run(["--version"], None, gpus)
    assert environments[0]["CUDA_VISIBLE_DEVICES"] == visible
