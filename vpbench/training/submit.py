"""Submit a training as a job of SLURM, or of this machine, with submitit."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpbench.errors import UsageError, VpbenchError


def submit(
    args: Sequence[str],
    cluster: str,
    folder: Path,
    parameters: Mapping[str, Any],
    *,
    nodes: int,
    devices: int,
    gpu: bool,
) -> Any:
    """Submit ``vpbench ARGS`` and return submitit's job: its ``job_id``, ``paths``, ``result()``.

    Args:
        args: arguments of ``vpbench``.
        cluster: ``slurm`` or ``local``.
        folder: folder of the job's script and output.
        parameters: parameters of ``submitit.Executor.update_parameters``; they override the defaults.
        nodes: number of nodes.
        devices: processes per node, each with a GPU if ``gpu`` is set.
        gpu: whether the job needs GPUs.

    Raises:
        VpbenchError: submitit is not installed, or the cluster refuses the job.
        UsageError: submitit does not know a parameter.
    """
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise VpbenchError("jobs need submitit: pip install 'vpbench[slurm]'") from error
    try:
        executor = submitit.AutoExecutor(folder / "%j", cluster=cluster)
        # On this machine Lightning starts the processes; on a cluster srun does.
        tasks = devices if cluster == "slurm" else 1
        defaults = {"name": "vpbench-train", "nodes": nodes, "tasks_per_node": tasks, "timeout_min": 24 * 60}
        if gpu:
            defaults["gpus_per_node"] = devices
        executor.update_parameters(**{**defaults, **parameters})
        return executor.submit(_job, list(args))
    except (NameError, TypeError, ValueError) as error:  # what submitit raises for parameters
        raise UsageError(f"{cluster} does not take the job: {' '.join(str(error).split())}") from error
    except (RuntimeError, OSError) as error:
        raise VpbenchError(f"{cluster} does not take the job: {' '.join(str(error).split())}") from error


def _job(args: list[str]) -> None:
    """Run ``vpbench ARGS`` in a child process, and forward the job's signals to it."""
    process = subprocess.Popen([sys.executable, "-m", "vpbench", *args])
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        signal.signal(number, lambda received, frame: process.send_signal(received))
    if code := process.wait():
        raise RuntimeError(f"vpbench {' '.join(args)} ended with {code}")
