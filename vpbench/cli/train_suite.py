"""``vpbench train SUITE.toml``: train every entry that needs weights and has none."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import attempts, print_json
from vpbench.cli.training import carry_out, training_document
from vpbench.cli.trouble import message
from vpbench.errors import PredictorError, UsageError, VpbenchError
from vpbench.output import say
from vpbench.toolkit.processes import run_forwarding

if TYPE_CHECKING:
    from vpbench.plugin.loader import Plugins
    from vpbench.protocol.suite import Job
    from vpbench.training.plan import TrainingPlan, TrainSettings

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def read_jobs(
    file: Path,
    protocols: tuple[str, ...],
    predictors: tuple[str, ...],
    seed: int | None,
    plugins: Plugins,
    settings: TrainSettings,
) -> list[Job]:
    """Return the jobs of a suite that are trained.

    Raises:
        UsageError: there is none, an option belongs to none of them, or the settings say how to train, which only the
            suite may.
    """
    from vpbench.evaluation.suite import check_options
    from vpbench.protocol.suite import Suite

    if settings.recipe:
        raise UsageError(
            f"a suite says how its entries train, so that `vpbench run` finds their weights: write "
            f"train = {{ {min(settings.recipe)} = ... }} there"
        )
    jobs = [job for job in Suite.read(file).narrowed(protocols, predictors).jobs(seed) if job.entry.train is not False]
    if not jobs:
        raise UsageError(f"{file}: no entry says `train = true`: there is nothing to train")
    check_options(jobs, plugins, settings.options, settings.annotate)
    return jobs


def train_jobs(
    jobs: Sequence[Job], plugins: Plugins, settings: TrainSettings, pictures: int, only: int | None, *, as_json: bool
) -> None:
    """Train every job that has no weights; one that fails does not stop the others, and the exit code is 1.

    Args:
        jobs: jobs of a suite.
        plugins: loaded plugins.
        settings: settings of every training.
        pictures: strips per validation.
        only: the place of the one job that this process trains for another process, which reports it.
        as_json: print one JSON document at the end, also of failures.
    """
    from vpbench.evaluation.launch import is_first_process
    from vpbench.select.data import protocol_name
    from vpbench.training.suite import find_weights, plan_training

    if only is not None:
        carry_out(plan_training(jobs[only], plugins, settings), jobs[only].protocol, pictures)
        return
    main = is_first_process()
    documents = [_untrained(job, protocol_name(plugins, job.protocol)) for job in jobs]
    with attempts() as attempt:
        for number, (job, document) in enumerate(zip(jobs, documents, strict=True)):
            with attempt(document):
                title = f"{document['protocol']}, {job.label}"
                if main:
                    say(f"{title}:")
                plan = plan_training(job, plugins, settings)
                weights = find_weights(plan)
                if weights is None:
                    _train_job(number, title, job.protocol, plan, pictures)
                elif main:
                    say(f"weights: {weights}")
                if as_json and main:
                    document |= training_document(plan, weights or plan.weights)
        if as_json and main:
            print_json({"trainings": documents})


def _untrained(job: Job, protocol: str) -> dict[str, Any]:
    selector = job.entry.selector
    names = {"protocol": protocol, "predictor": selector.name, "preset": selector.argument, "seed": job.seed}
    return names | {"weights": None, "sha256": None, "stages": [], "error": None}


def _train_job(number: int, title: str, protocol: str, plan: TrainingPlan, pictures: int) -> None:
    """Train in this process, in a launcher's processes, or in several of their own."""
    if plan.resources.world == 1:
        carry_out(plan, protocol, pictures)
    elif plan.resources.launched:
        _train_launched(plan, protocol, pictures)
    else:
        _train_in_child(number, title)


def _train_launched(plan: TrainingPlan, protocol: str, pictures: int) -> None:
    """Train a suite's job in a launcher's processes, of which the others end where one fails."""
    try:
        carry_out(plan, protocol, pictures)
    except VpbenchError as error:
        advice = "; here the suite ends, with the launcher's processes: train the others with -p and -m"
        raise click.ClickException(f"{message(error)}{advice}") from error


def _train_in_child(number: int, title: str) -> None:
    """Train a suite's job on several processes below a new child process.

    Lightning's environment, torch's process group and errors of an earlier training would break the next one.

    Raises:
        PredictorError: the training failed; the child process has printed why.
    """
    command = [sys.executable, "-m", "vpbench", *sys.argv[1:], "--only-job", str(number)]
    # In a session of its own, so that Ctrl-C reaches it once: twice means "at once".
    code = run_forwarding(command, _SIGNALS, start_new_session=True)
    if code in (130, 143) or -code in _SIGNALS:
        raise click.exceptions.Exit(code if code > 0 else 128 - code)
    if code:
        ending = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        raise PredictorError(f"{title}: not trained; its processes ended with {ending}")
