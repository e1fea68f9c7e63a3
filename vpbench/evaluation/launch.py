"""Divide the work between processes that torchrun, SLURM or the user started. There is no process group."""

from __future__ import annotations

import os
from dataclasses import dataclass

from vpbench.errors import UsageError


@dataclass(frozen=True)
class Launch:
    """The processes that torchrun or a SLURM step started, and the place of this one."""

    rank: int
    world: int
    local_rank: int
    nodes: int


@dataclass(frozen=True)
class Shard:
    """The share of this process: every ``world``-th unit of the full list, from ``rank``."""

    rank: int
    world: int
    local_rank: int = 0
    """The rank on this machine, which decides the GPU."""


def find_launch() -> Launch | None:
    """Return the launcher's processes; None if this process was started alone."""
    env = os.environ
    if "RANK" in env and "WORLD_SIZE" in env:  # torchrun
        world = int(env["WORLD_SIZE"])
        nodes = world // int(env.get("LOCAL_WORLD_SIZE", world))
        return Launch(int(env["RANK"]), world, int(env.get("LOCAL_RANK", 0)), nodes)
    # The step's, not the job's: in a batch script without srun, SLURM_NTASKS counts processes that do not run.
    world = int(env.get("SLURM_STEP_NUM_TASKS", 1))
    if world == 1:
        return None
    nodes = int(env.get("SLURM_STEP_NUM_NODES", 1))
    return Launch(int(env.get("SLURM_PROCID", 0)), world, int(env.get("SLURM_LOCALID", 0)), nodes)


def is_first_process() -> bool:
    """Return whether this process prints and writes; Lightning's own processes have a local rank only."""
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return all(os.environ.get(rank, "0") == "0" for rank in ranks)


def find_shard(text: str | None = None) -> Shard:
    """Return the share that ``I/N`` (I from 0) names, else the launcher's or the SLURM array's, else everything.

    Raises:
        UsageError: another form, I is not below N, or a SLURM array with gaps.
    """
    if text is not None:
        return _parse_shard(text)
    env = os.environ
    launch = find_launch() or Launch(0, 1, int(env.get("SLURM_LOCALID", 0)), 1)
    jobs = 1 if "RANK" in env else int(env.get("SLURM_ARRAY_TASK_COUNT", 1))
    job = int(env.get("SLURM_ARRAY_TASK_ID", 0)) - int(env.get("SLURM_ARRAY_TASK_MIN", 0)) if jobs > 1 else 0
    job //= int(env.get("SLURM_ARRAY_TASK_STEP", 1))
    if job >= jobs:
        raise UsageError(f"task {env['SLURM_ARRAY_TASK_ID']} of a SLURM array with gaps: name its shard, I/N")
    return Shard(job * launch.world + launch.rank, jobs * launch.world, launch.local_rank)


def _parse_shard(text: str) -> Shard:
    try:
        rank, world = (int(number) for number in text.split("/"))
    except ValueError:
        raise UsageError(f"shard {text}: write it as I/N, I from 0: 0/4") from None
    if world < 1:
        raise UsageError(f"shard {text}: N must be 1 or more")
    if not 0 <= rank < world:
        raise UsageError(f"shard {text}: I counts from 0, so it must be 0 to {world - 1} for N = {world}")
    return Shard(rank, world)


def choose_device(name: str, shard: Shard) -> str:
    """Return the torch device for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UsageError: ``cuda``, and torch sees no GPU.
    """
    import torch

    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise UsageError("device cuda: torch sees no GPU here; use the device cpu or auto")
    return f"cuda:{shard.local_rank % torch.cuda.device_count()}"
