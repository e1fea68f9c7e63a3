"""``vpbench train``: a predictor's weights from a protocol's training clips."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import SEED, State, attempts, busy, common_options, pairs, parse_options, parse_size, roots
from vpbench.cli.ranges import FiniteRange
from vpbench.cli.trouble import message
from vpbench.errors import PredictorError, UsageError, VpbenchError
from vpbench.names import Selector
from vpbench.output import say
from vpbench.plugin.training import Recipe

if TYPE_CHECKING:
    from vpbench.plugin.loader import Plugins
    from vpbench.training.plan import TrainingPlan, TrainSettings

_RECIPE = tuple(field.name for field in fields(Recipe))
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


@click.command("train")
@click.argument("suite_file", metavar="[SUITE.toml]", required=False, type=click.Path(path_type=Path))
@click.option("-p", "--protocol", "protocols", multiple=True, metavar="NAME|FILE.toml", help="Protocol.")
@click.option("-m", "--predictor", "predictors", multiple=True, metavar="NAME[:PRESET]", help="Predictor.")
@click.option(
    "-o", "--option", "options", multiple=True, metavar="NAME.OPTION=VALUE", help="An option of the predictor."
)
@click.option(
    "--weights",
    multiple=True,
    metavar="[NAME=]FILE",
    help="Start from these weights; or the weights of an annotator.",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of each stage (default: the preset's).")
@click.option(
    "--max-steps", "steps", type=click.IntRange(min=1), help="Optimizer steps of each stage, instead of epochs."
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Clips per batch, over all processes.")
@click.option("--lr", "learning_rate", type=FiniteRange(min=0, min_open=True), help="Learning rate.")
@click.option("--precision", type=click.Choice(["32", "bf16-mixed"]), help="Precision of the arithmetic.")
@click.option("--accumulate", type=click.IntRange(min=1), help="Batches per optimizer step.")
@click.option("--clip", type=FiniteRange(min=0, min_open=True), help="Largest norm of the gradient.")
@click.option("--size", callback=parse_size, metavar="HxW", help="Resize training clips; validation is not resized.")
@click.option("--crop", callback=parse_size, metavar="HxW", help="Train on windows of this size, drawn per clip.")
@click.option("--clip-frames", type=click.IntRange(min=2), help="Frames of each training clip, with its context.")
@click.option("--epoch-clips", type=click.IntRange(min=1), help="Clips of an epoch (default: the preset's).")
@click.option("--compile", is_flag=True, help="Use torch.compile.")
@click.option("--keep", default="", metavar="METRIC|last", help="Keep the best weights by METRIC, or the last.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Validation metric (default: the protocol's).")
@click.option("--data-root", "data_roots", multiple=True, metavar="[DATASET=]DIR", help="Folder of the dataset.")
@click.option("--annotate", multiple=True, metavar="KIND=NAME", help="Annotator that supplies flow or semantics.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--devices", type=click.IntRange(min=1), help="Processes per node (default: every GPU, or one).")
@click.option("--nodes", type=click.IntRange(min=1), help="Nodes (default: the launcher's).")
@click.option("--strategy", default="auto", show_default=True, help="Lightning's strategy for several processes.")
@click.option("--seed", type=SEED, show_default="0")
@click.option("--workers", type=click.IntRange(min=0), default=2, show_default=True, help="Processes that read ahead.")
@click.option("--pictures", type=click.IntRange(min=0), default=4, show_default=True, help="Strips per validation.")
@click.option("--resume/--no-resume", default=True, help="Resume an earlier training (default), or refuse to.")
@click.option("--submit", type=click.Choice(["slurm", "local"]), help="Submit a job with submitit.")
@click.option("--job", "job", multiple=True, metavar="KEY=VALUE", help="A parameter of submitit: slurm_partition=...")
@click.option("--only-job", type=int, hidden=True, help="Of a suite, counted from 0, among those that are trained.")
@common_options
@click.pass_obj
def command(
    state: State,
    /,
    suite_file: Path | None,
    protocols: tuple[str, ...],
    predictors: tuple[str, ...],
    options: tuple[str, ...],
    weights: tuple[str, ...],
    data_roots: tuple[str, ...],
    annotate: tuple[str, ...],
    seed: int | None,
    pictures: int,
    submit: str | None,
    job: tuple[str, ...],
    only_job: int | None,
    **values: Any,
) -> None:
    """Train a predictor on a protocol's training clips, and validate on clips that it does not score.

    The same command resumes a stopped training. The result is one file, weights.safetensors, for
    `vpbench run --weights`. Start processes on several GPUs and nodes with --devices, torchrun or srun.

    With SUITE.toml, the entries that need training are trained one after another. Select a part of the suite
    with -p and -m; every other option applies to every entry.
    """
    from vpbench.select.data import open_protocol
    from vpbench.select.options import check_used
    from vpbench.training.plan import TrainSettings

    if values["epochs"] and values["steps"]:
        raise UsageError("name one of --epochs and --max-steps")
    if suite_file is None and not len(protocols) == len(predictors) == 1:
        raise UsageError("say what to train with one -p and one -m, or name a SUITE.toml")
    values_by_name = parse_options(options, weights, predictors)
    recipe = {key: value for key in _RECIPE if (value := values.pop(key)) is not None}
    settings = TrainSettings(
        data_roots=roots(data_roots),
        options=values_by_name,
        annotate=pairs(annotate, "--annotate"),
        recipe=recipe,
        seed=seed or 0,
        **values,
    )
    if submit is not None:
        _submit(submit, job, settings)
        return
    if job:
        raise UsageError(f"--job {job[0]}: is for --submit")
    if suite_file is not None:
        _train_suite(suite_file, protocols, predictors, seed, state.plugins, settings, pictures, only_job)
        return
    chosen = open_protocol(state.plugins, protocols[0])
    texts = (*predictors, *settings.annotate.values(), *chosen.annotate.values())
    check_used(values_by_name, [Selector.parse(text).name for text in texts])
    import vpbench.training.train  # noqa: F401  (reports a missing Lightning)
    from vpbench.training.plan import make_training_plan

    with busy(f"{chosen.name}: looking at data and weights"):
        plan = make_training_plan(chosen, predictors[0], state.plugins, settings)
    _train(plan, protocols[0], pictures)


def _train_suite(
    file: Path,
    protocols: tuple[str, ...],
    predictors: tuple[str, ...],
    seed: int | None,
    plugins: Plugins,
    settings: TrainSettings,
    pictures: int,
    only: int | None,
) -> None:
    """Train every entry that needs weights and has none; one that fails does not stop the others."""
    from vpbench.evaluation.launch import is_first_process
    from vpbench.evaluation.suite import check_options
    from vpbench.protocol.suite import Suite
    from vpbench.select.data import protocol_name
    from vpbench.training.suite import find_weights, plan_training

    if settings.recipe:
        raise UsageError(
            f"a suite says how its entries train, so that `vpbench run` finds their weights: write "
            f"train = {{ {min(settings.recipe)} = ... }} there"
        )
    jobs = [job for job in Suite.read(file).narrowed(protocols, predictors).jobs(seed) if job.entry.train is not False]
    if not jobs:
        raise UsageError(f"{file}: no entry says `train = true`: there is nothing to train")
    check_options(jobs, plugins, settings.options, settings.annotate)
    main = is_first_process()
    if only is not None:
        with attempts() as attempt, attempt():
            _train(plan_training(jobs[only], plugins, settings), jobs[only].protocol, pictures)
        return
    with attempts() as attempt:
        for number, job in enumerate(jobs):
            with attempt():
                title = f"{protocol_name(plugins, job.protocol)}, {job.label}"
                if main:
                    say(f"{title}:")
                plan = plan_training(job, plugins, settings)
                if weights := find_weights(plan):
                    if main:
                        say(f"weights: {weights}")
                elif plan.resources.world == 1:
                    _train(plan, job.protocol, pictures)
                elif plan.resources.launched:
                    _train_launched(plan, job.protocol, pictures)
                else:
                    _train_in_child(number, title)


def _train_launched(plan: TrainingPlan, protocol: str, pictures: int) -> None:
    """Train a suite's job in a launcher's processes, of which the others end where one fails."""
    try:
        _train(plan, protocol, pictures)
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
    process = subprocess.Popen(command, start_new_session=True)
    before = {n: signal.signal(n, lambda received, _: process.send_signal(received)) for n in _SIGNALS}
    try:
        code = process.wait()
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
    if code in (130, 143) or -code in _SIGNALS:
        raise click.exceptions.Exit(code if code > 0 else 128 - code)
    if code:
        ending = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        raise PredictorError(f"{title}: not trained; its processes ended with {ending}")


def _train(plan: TrainingPlan, protocol: str, pictures: int) -> None:
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


def _submit(cluster: str, job: tuple[str, ...], settings: Any) -> None:
    """Submit this command, without its ``--submit`` and ``--job``."""
    from vpbench.select.options import parse_value
    from vpbench.training.submit import submit

    parameters = {key: parse_value(text) for key, text in pairs(job, "--job").items()}
    submitted = submit(
        _without(sys.argv[1:], {"--submit", "--job"}),
        cluster,
        settings.out / "training" / "jobs",
        parameters,
        nodes=settings.nodes or 1,
        devices=settings.devices or 1,
        gpu=settings.device == "cuda",
    )
    say(f"job {submitted.job_id}; its output: {submitted.paths.stdout}")


def _without(args: list[str], flags: set[str]) -> list[str]:
    """Return arguments without some flags and the value of each."""
    remaining: list[str] = []
    words = iter(args)
    for word in words:
        if word in flags:
            next(words)
        elif word.partition("=")[0] not in flags:
            remaining.append(word)
    return remaining
