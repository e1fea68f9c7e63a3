"""Plan the trainings of a suite, and find the weights that they left."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from vpbench.errors import DataError, ResultError, VpbenchError
from vpbench.evaluation.plan import Settings
from vpbench.evaluation.suite import job_annotators, job_options
from vpbench.plugin.loader import Plugins
from vpbench.protocol.suite import Job
from vpbench.results.reading import read_training
from vpbench.select.component import choose_predictor
from vpbench.select.data import open_protocol, open_protocol_dataset
from vpbench.training.plan import TrainingPlan, TrainSettings, make_training_plan


def plan_training(job: Job, plugins: Plugins, settings: TrainSettings) -> TrainingPlan:
    """Plan the training of a job whose entry is trained; the settings override the entry.

    Raises:
        VpbenchError: as :func:`make_training_plan`; Lightning is not installed.
    """
    text, options = job_options(job, plugins, settings.options)
    protocol = open_protocol(plugins, job.protocol)
    dataset = open_protocol_dataset(plugins, protocol, settings.data_roots)
    chosen = choose_predictor(plugins, text, options, protocol)
    recipe = job.entry.train if isinstance(job.entry.train, dict) else {}
    job_settings = replace(
        settings,
        options=options,
        annotate={**job_annotators(job, chosen.info, protocol, dataset, plugins), **settings.annotate},
        recipe=recipe,
        seed=job.seed,
    )
    try:
        return make_training_plan(protocol, text, plugins, job_settings)
    except ModuleNotFoundError as error:
        raise VpbenchError(
            f"{job.label!r} is trained, which needs {error.name}: pip install 'vpbench[train]'"
        ) from error


def find_job_weights(job: Job, plugins: Plugins, settings: Settings) -> Path | None:
    """Return the weights that training this job left; None if it is not trained yet (raises as both steps)."""
    training = TrainSettings(
        out=settings.out, data_roots=settings.data_roots, options=settings.options, annotate=settings.annotate
    )
    return find_weights(plan_training(job, plugins, training))


def find_weights(plan: TrainingPlan) -> Path | None:
    """Return the weights of this training, whatever devices it ran on and whatever metric chose them.

    Raises:
        DataError: it was trained more than once.
    """
    weights = []
    for file in sorted(plan.folder.parent.glob("*/weights.safetensors")):
        with suppress(ResultError):  # not a training of vpbench, or damaged
            if read_training(file.parent / "training.json").same_weights(plan.record):
                weights.append(file)
    if len(weights) > 1:
        raise DataError(f"trained more than once: name one of {', '.join(map(str, weights))} as the entry's weights")
    return weights[0] if weights else None
