"""Which share of the work is this process's: torchrun, SLURM or ``--shard``. There is no process group."""

from __future__ import annotations

import os
from dataclasses import dataclass

from vpbench.errors import UsageError

__all__ = ["Shard", "choose_device", "find_shard"]


@dataclass(frozen=True)
class Shard:
    """This process computes every ``world``-th unit of the full list, beginning with ``rank``."""

    rank: int
    world: int
    local: int = 0
    """The rank on this machine: which GPU is its own."""


def find_shard(text: str | None = None) -> Shard:
    """Return the share that ``--shard I/N`` (I from 0) names, else the launcher's, else everything.

    Raises:
        UsageError: not of that form, or I is not below N; a SLURM array with gaps.
    """
    if text is not None:
        try:
            rank, world = (int(part) for part in text.split("/"))
        except ValueError:
            raise UsageError(f"--shard {text}: write it as I/N, I from 0: --shard 0/4") from None
        if world < 1:
            raise UsageError(f"--shard {text}: N must be 1 or more")
        if not 0 <= rank < world:
            raise UsageError(f"--shard {text}: I counts from 0, so it must be 0 to {world - 1} for N = {world}")
        return Shard(rank, world)
    env = os.environ
    if "RANK" in env and "WORLD_SIZE" in env:  # torchrun
        return Shard(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env.get("LOCAL_RANK", 0)))
    # Of the step, not of the job: in a batch script without srun, SLURM_NTASKS counts processes that do not run.
    tasks = int(env.get("SLURM_STEP_NUM_TASKS", 1))
    task = int(env.get("SLURM_PROCID", 0)) if tasks > 1 else 0
    jobs = int(env.get("SLURM_ARRAY_TASK_COUNT", 1))
    job = int(env.get("SLURM_ARRAY_TASK_ID", 0)) - int(env.get("SLURM_ARRAY_TASK_MIN", 0)) if jobs > 1 else 0
    job //= int(env.get("SLURM_ARRAY_TASK_STEP", 1))
    if job >= jobs:
        raise UsageError(
            f"task {env['SLURM_ARRAY_TASK_ID']} of a SLURM array with gaps: say which share with --shard I/N"
        )
    return Shard(job * tasks + task, jobs * tasks, int(env.get("SLURM_LOCALID", 0)))


def choose_device(name: str, shard: Shard) -> str:
    """Return the torch device for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UsageError: ``cuda`` where torch sees no GPU.
    """
    import torch

    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no GPU here; use --device cpu or auto")
    return f"cuda:{shard.local % torch.cuda.device_count()}"
