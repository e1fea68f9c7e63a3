"""Submit a command as jobs of SLURM, or of this machine, with submitit."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpbench.errors import UsageError, VpbenchError
from vpbench.toolkit.processes import run_forwarding

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


@dataclass(frozen=True)
class Job:
    """A submitted job."""

    id: str
    output: Path
    """The file that its standard output goes to."""


def submit(
    args: Sequence[str], cluster: str, folder: Path, parameters: Mapping[str, Any], *, processes: int | None = None
) -> list[Job]:
    """Submit ``vpbench ARGS``.

    Args:
        args: arguments of ``vpbench``.
        cluster: ``slurm`` or ``local``.
        folder: folder of the jobs' scripts and outputs.
        parameters: parameters of ``submitit.Executor.update_parameters``.
        processes: number of jobs that share the command's units, as a launcher's processes do: on SLURM, an array. None
            is one job with the variables of its cluster alone.

    Returns:
        The jobs.

    Raises:
        VpbenchError: submitit is not installed, or the cluster refuses the jobs.
        UsageError: submitit does not know a parameter.
    """
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise VpbenchError("jobs need submitit: pip install 'vpbench[slurm]'") from error
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES") if cluster == "local" else None
    try:
        executor = submitit.AutoExecutor(folder / "%j", cluster=cluster)
        executor.update_parameters(**parameters)
        if processes is None:
            jobs = [executor.submit(_run, list(args), None, gpus)]
        else:
            shares = [_Share(number, processes, cluster) for number in range(processes)]
            jobs = executor.map_array(_run, [list(args)] * processes, shares, [gpus] * processes)
        with suppress(OSError):  # submitit makes it, and writes into the folders of its jobs
            (folder / "%j").rmdir()
        return [Job(str(job.job_id), Path(job.paths.stdout)) for job in jobs]
    except (AssertionError, LookupError, NameError, TypeError, ValueError) as error:  # submitit's, for parameters
        raise UsageError(f"{cluster} does not take the job: {' '.join(str(error).split())}") from error
    except (RuntimeError, OSError) as error:
        raise VpbenchError(f"{cluster} does not take the job: {' '.join(str(error).split())}") from error


@dataclass(frozen=True)
class _Share:
    """The place of a job among all jobs of a command."""

    number: int
    jobs: int
    cluster: str

    def environment(self, rank: int, tasks: int, local_rank: int) -> dict[str, str]:
        """Return the environment of one of the job's tasks, with the variables of a launcher."""
        world, rank = self.jobs * tasks, self.number * tasks + rank
        environment = dict(os.environ)
        if self.cluster == "local":
            local_rank = rank
            # Processes that each take every core slow each other down.
            environment.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // world)))
        return environment | {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(local_rank)}


def _run(args: list[str], share: _Share | None = None, gpus: str | None = None) -> None:
    """Run ``vpbench ARGS`` in a child process, and forward the job's signals to it.

    ``gpus`` is the submitter's CUDA_VISIBLE_DEVICES, for jobs of its machine.
    """
    environment = dict(os.environ)
    if share is not None:
        import submitit

        job = submitit.JobEnvironment()
        environment = share.environment(job.global_rank, job.num_tasks, job.local_rank)
    if gpus is not None:
        environment["CUDA_VISIBLE_DEVICES"] = _visible(environment.get("CUDA_VISIBLE_DEVICES", ""), gpus)
    if code := run_forwarding([sys.executable, "-m", "vpbench", *args], _SIGNALS, env=environment):
        raise RuntimeError(f"vpbench {' '.join(args)} ended with {code}")


def _visible(numbers: str, gpus: str) -> str:
    """Return as many of a user's GPUs as submitit gives a job, which it numbers from 0 whatever the user chose."""
    count = len(numbers.split(",")) if numbers else 0
    return ",".join(gpus.split(",")[:count])
