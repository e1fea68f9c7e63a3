"""Carry out a training of ``vpbench train``: its lines, its JSON document, and its end by a signal."""

from __future__ import annotations

import shlex
import signal
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import State
from vpbench.output import say

if TYPE_CHECKING:
    from pathlib import Path

    from vpbench.training.plan import TrainingPlan


def carry_out(plan: TrainingPlan, protocol: str, pictures: int) -> None:
    """Carry out a plan; exit as shells expect where a signal stops it."""
    from vpbench.evaluation.launch import is_first_process
    from vpbench.pages.strips import StripKeeper
    from vpbench.training.train import Stopped, train_plan

    main = is_first_process()
    if main:
        _announce(plan)
    try:
        train_plan(plan, say, (lambda manifest: StripKeeper(manifest, pictures)) if pictures else None)
    except Stopped as stopped:
        state = "saved: " if stopped.saved else "what was saved before stays: "
        name = signal.Signals(stopped.number).name
        say(f"vpbench: stopped by {name}; {state}the same command resumes in {plan.folder}", err=True)
        raise click.exceptions.Exit(130 if stopped.number == signal.SIGINT else 143) from None
    if main:
        _conclude(plan, protocol)


def training_document(plan: TrainingPlan, weights: Path) -> dict[str, Any]:
    """Return what ``--json`` prints of a finished training.

    Args:
        plan: the training.
        weights: its file, which may be of a training on other devices.
    """
    from vpbench.select.trained import open_trained

    trained = open_trained(weights)
    stages = trained.record.stages if trained.record else ()
    return {
        "protocol": plan.protocol.name,
        "predictor": plan.chosen.name,
        "preset": plan.chosen.preset,
        "seed": plan.settings.seed,
        "weights": str(weights),
        "sha256": trained.sha256,
        "stages": [{"name": s.name, "steps": s.steps, "kept": s.kept.to_json()} for s in stages],
        "error": None,
    }


def _announce(plan: TrainingPlan) -> None:
    if plan.weights.is_file():
        say("this training is finished already")
        return
    clips, validation = plan.clips[0], plan.validation
    split = plan.protocol.training.split
    say(
        f"{plan.folder}: {len(clips.sequences)} sequences of {split}, {clips.per_epoch} clips per epoch; "
        f"{len(validation.manifest.clips)} clips to validate on"
    )
    for note in plan.notes:
        say(f"vpbench: {note}", err=True)


def _conclude(plan: TrainingPlan, protocol: str) -> None:
    from vpbench.select.trained import open_trained

    record = open_trained(plan.weights).record
    for number, stage in enumerate(record.stages if record else (), 1):
        say(f"stage {number}, {stage.name}: {stage.steps} steps; kept epoch {stage.kept.epoch} ({stage.kept.by})")
    say(f"weights: {plan.weights}")
    root = "".join(f" --data-root {f'{k}=' if k else ''}{v}" for k, v in plan.settings.data_roots.items())
    command = f"vpbench run -p {shlex.quote(protocol)} -m {plan.chosen.name} --weights {shlex.quote(str(plan.weights))}"
    plugins = "".join(
        f" --plugin {shlex.quote(text)}" for text in click.get_current_context().ensure_object(State).extra
    )
    say(f"evaluate them: {command}{root}{plugins}")
