"""Which share is this process's: --shard, torchrun, a SLURM step or array, else everything."""

from __future__ import annotations

import os

import pytest

from vpbench.errors import UsageError
from vpbench.evaluation.launch import Shard, choose_device, find_shard


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in list(os.environ):
        if name.startswith("SLURM_") or name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            monkeypatch.delenv(name)


def launch(monkeypatch, prefix="", **env):
    for name, value in env.items():
        monkeypatch.setenv(prefix + name, str(value))


@pytest.mark.parametrize(("text", "shard"), [("", Shard(0, 1, 0)), ("0/4", Shard(0, 4)), ("3/4", Shard(3, 4))])
def test_a_shard_is_counted_from_zero_and_alone_it_is_everything(text, shard):
    assert find_shard(text or None) == shard


@pytest.mark.parametrize(
    ("text", "words"),
    [(text, r"write it as I/N, I from 0: 0/4") for text in ("", "1", "a/b", "1/2/3", "1.5/2", "/")]
    + [(text, rf"shard {text}: I counts from 0, so it must be 0 to 2 for N = 3") for text in ("3/3", "-1/3")]
    + [(text, r"N must be 1 or more") for text in ("0/0", "0/-1")],
)
def test_what_is_no_shard_is_refused(text, words):
    with pytest.raises(UsageError, match=words):
        find_shard(text)


TORCHRUN = {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1}
STEP = {"SLURM_STEP_NUM_TASKS": 6, "SLURM_PROCID": 4, "SLURM_LOCALID": 1}


@pytest.mark.parametrize(
    ("env", "text", "shard"),
    [
        (TORCHRUN, None, Shard(5, 8, 1)),
        (TORCHRUN, "0/2", Shard(0, 2)),  # what the user says goes first
        (STEP, None, Shard(4, 6, 1)),
        (STEP | TORCHRUN, None, Shard(5, 8, 1)),
        ({"SLURM_NTASKS": 4, "SLURM_PROCID": 0}, None, Shard(0, 1)),  # a batch script that does not use srun
        (
            {f"SLURM_ARRAY_TASK_{k}": v for k, v in (("ID", 7), ("MIN", 7), ("COUNT", 1), ("STEP", 1))},
            None,
            Shard(0, 1),
        ),
    ],
)
def test_launchers(monkeypatch, env, text, shard):
    launch(monkeypatch, **env)
    assert find_shard(text) == shard


@pytest.mark.parametrize(
    ("ids", "step"), [(range(4), 1), (range(1, 5), 1), (range(10, 30, 5), 5)], ids=["0-3", "1-4", "10-29:5"]
)
@pytest.mark.parametrize("tasks", [1, 3])
def test_a_slurm_array_of_steps_covers_every_rank_once(monkeypatch, ids, step, tasks):
    shards = []
    for task in ids:
        for rank in range(tasks):
            launch(monkeypatch, "SLURM_ARRAY_TASK_", ID=task, MIN=min(ids), COUNT=len(ids), STEP=step)
            if tasks > 1:
                launch(monkeypatch, "SLURM_", STEP_NUM_TASKS=tasks, PROCID=rank)
            shards.append(find_shard())
    world = len(ids) * tasks
    assert [(s.rank, s.world) for s in shards] == [(rank, world) for rank in range(world)]


def test_an_array_with_gaps_is_refused_where_it_would_lose_units(monkeypatch):
    """``--array=1,3,7``: SLURM says three tasks, step 1."""
    launch(monkeypatch, "SLURM_ARRAY_TASK_", ID=7, MIN=1, COUNT=3, STEP=1)
    with pytest.raises(UsageError, match=r"task 7 of a SLURM array with gaps: .*I/N"):
        find_shard()


def test_devices(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto", Shard(0, 1)) == choose_device("cpu", Shard(0, 1)) == "cpu"
    with pytest.raises(UsageError, match=r"device cuda: torch sees no GPU here"):
        choose_device("cuda", Shard(0, 1))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert choose_device("cpu", Shard(5, 8, 5)) == "cpu"
    assert choose_device("auto", Shard(7, 8, 3)) == choose_device("cuda", Shard(7, 8, 7)) == "cuda:3"
