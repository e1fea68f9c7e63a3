"""Options of the commands that a cluster can run, and the submission of such a command as jobs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from vpbench.cli.common import pairs, print_json
from vpbench.errors import UsageError
from vpbench.output import say

F = TypeVar("F", bound=Callable[..., Any])


def submit_options(clusters: Sequence[str], *, processes: bool = True) -> Callable[[F], F]:
    """Add ``--submit`` and ``--job``, and ``--processes`` for a command that several processes can share."""

    def add(function: F) -> F:
        parameter = "a parameter of submitit" + (", or a resource of Ray's processes" if "ray" in clusters else "")
        function = click.option(
            "--job", multiple=True, metavar="KEY=VALUE", help=f"With --submit: {parameter}: slurm_partition=..."
        )(function)
        if processes:
            function = click.option(
                "--processes", type=click.IntRange(min=1), metavar="N", help="With --submit: processes that share this."
            )(function)
        return click.option("--submit", type=click.Choice(clusters), help="Run this command on a cluster.")(function)

    return add


def job_parameters(cluster: str | None, job: tuple[str, ...], processes: int | None = None) -> dict[str, Any]:
    """Return the values of ``--job`` by key.

    Raises:
        UsageError: not of the form KEY=VALUE, or ``--submit`` is missing.
    """
    from vpbench.select.options import parse_value

    if cluster is None and (job or processes):
        raise UsageError(f"{f'--job {job[0]}' if job else f'--processes {processes}'}: is for --submit")
    return {key: parse_value(text) for key, text in pairs(job, "--job").items()}


def submit_command(
    cluster: str, folder: Path, parameters: Mapping[str, Any], *, as_json: bool, processes: int | None = None
) -> None:
    """Submit this command, without the options of :func:`submit_options`, and say where its output goes.

    Args:
        cluster: ``slurm`` or ``local``.
        folder: of the jobs' scripts and outputs.
        parameters: of submitit.
        as_json: whether one JSON document is printed.
        processes: number of jobs that share the command; None for one job that does not share it.
    """
    from vpbench.evaluation.submit import submit

    jobs = submit(
        arguments_without_cluster(), cluster, folder, {"timeout_min": 24 * 60, **parameters}, processes=processes
    )
    if as_json:
        print_json({"jobs": [{"id": job.id, "output": str(job.output)} for job in jobs]})
    else:
        for job in jobs:
            say(f"job {job.id}; its output: {job.output}")


def submit_shares(
    cluster: str, folder: Path, parameters: Mapping[str, Any], processes: int | None, *, gpu: bool, as_json: bool
) -> None:
    """Submit this command as jobs that share its work (arguments as :func:`submit_command`).

    ``gpu`` says whether each of them needs a GPU.
    """
    count = processes or 1
    # Jobs of this machine see the same GPUs, and their ranks choose between them.
    gpus = {"gpus_per_node": count if cluster == "local" else 1} if gpu else {}
    name = f"vpbench-{click.get_current_context().info_name}"
    submit_command(cluster, folder, {"name": name, **gpus, **parameters}, as_json=as_json, processes=count)


def arguments_without_cluster() -> list[str]:
    """Return the arguments of this command without the options of :func:`submit_options` and their values."""
    flags = {"--submit", "--job", "--processes"}
    remaining: list[str] = []
    words = iter(sys.argv[1:])
    for word in words:
        if word in flags:
            next(words)
        elif word.partition("=")[0] not in flags:
            remaining.append(word)
    return remaining
