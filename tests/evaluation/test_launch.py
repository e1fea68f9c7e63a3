"""Which share is this process's: --shard, torchrun, a SLURM step or array, else everything."""

from __future__ import annotations

import pytest

from vpbench.errors import UsageError
from vpbench.evaluation.launch import Shard, choose_device, find_shard


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name in (
        "NTASKS",
        "STEP_NUM_TASKS",
        "PROCID",
        "LOCALID",
        *(f"ARRAY_TASK_{n}" for n in ("ID", "MIN", "COUNT", "STEP")),
    ):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)


def launch(monkeypatch, prefix="", **env):
    for name, value in env.items():
        monkeypatch.setenv(prefix + name, str(value))


def test_alone_it_is_everything():
    assert find_shard() == Shard(0, 1, 0)


@pytest.mark.parametrize(("text", "shard"), [("0/1", Shard(0, 1)), ("0/4", Shard(0, 4)), ("3/4", Shard(3, 4))])
def test_a_shard_is_counted_from_zero(text, shard):
    assert find_shard(text) == shard


@pytest.mark.parametrize("text", ["4/3", "3/3", "-1/3"])
def test_a_shard_beyond_the_last_is_refused(text):
    with pytest.raises(UsageError, match=rf"shard {text}: I counts from 0, so it must be 0 to 2 for N = 3"):
        find_shard(text)


@pytest.mark.parametrize("text", ["", "1", "a/b", "1/2/3", "1.5/2", "/"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(UsageError, match=r"write it as I/N, I from 0: 0/4"):
        find_shard(text)


@pytest.mark.parametrize("text", ["0/0", "0/-1"])
def test_there_is_at_least_one_shard(text):
    with pytest.raises(UsageError, match=r"N must be 1 or more"):
        find_shard(text)


def test_torchrun(monkeypatch):
    launch(monkeypatch, RANK=5, WORLD_SIZE=8, LOCAL_RANK=1)
    assert find_shard() == Shard(5, 8, 1)
    assert find_shard("0/2") == Shard(0, 2), "what the user says goes first"


def test_a_slurm_step(monkeypatch):
    launch(monkeypatch, "SLURM_", STEP_NUM_TASKS=6, PROCID=4, LOCALID=1)
    assert find_shard() == Shard(4, 6, 1)


def test_a_batch_script_that_does_not_use_srun_is_alone(monkeypatch):
    launch(monkeypatch, "SLURM_", NTASKS=4, PROCID=0)
    assert find_shard() == Shard(0, 1)


def test_torchrun_inside_slurm_goes_by_torchrun(monkeypatch):
    launch(monkeypatch, "SLURM_", STEP_NUM_TASKS=2, PROCID=1)
    launch(monkeypatch, RANK=3, WORLD_SIZE=4)
    assert find_shard() == Shard(3, 4)


@pytest.mark.parametrize(
    ("ids", "step"), [(range(4), 1), (range(1, 5), 1), (range(10, 30, 5), 5)], ids=["0-3", "1-4", "10-29:5"]
)
@pytest.mark.parametrize("tasks", [1, 3])
def test_a_slurm_array_of_steps_covers_every_rank_once(monkeypatch, ids, step, tasks):
    found = []
    for task in ids:
        for rank in range(tasks):
            launch(monkeypatch, "SLURM_ARRAY_TASK_", ID=task, MIN=min(ids), COUNT=len(ids), STEP=step)
            if tasks > 1:
                launch(monkeypatch, "SLURM_", STEP_NUM_TASKS=tasks, PROCID=rank)
            found.append(find_shard())
    world = len(ids) * tasks
    assert [(s.rank, s.world) for s in found] == [(rank, world) for rank in range(world)]


def test_an_array_with_gaps_is_refused_where_it_would_lose_units(monkeypatch):
    """``--array=1,3,7``: SLURM says three tasks, step 1."""
    launch(monkeypatch, "SLURM_ARRAY_TASK_", ID=7, MIN=1, COUNT=3, STEP=1)
    with pytest.raises(UsageError, match=r"task 7 of a SLURM array with gaps: .*I/N"):
        find_shard()


def test_one_task_of_an_array_is_everything(monkeypatch):
    launch(monkeypatch, "SLURM_ARRAY_TASK_", ID=7, MIN=7, COUNT=1, STEP=1)
    assert find_shard() == Shard(0, 1)


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
