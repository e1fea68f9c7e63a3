"""``vpbench train``: a predictor's weights from a protocol's training clips."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import (
    SEED,
    State,
    busy,
    common_options,
    json_option,
    pairs,
    parse_options,
    parse_size,
    print_json,
    roots,
)
from vpbench.cli.ranges import FiniteRange
from vpbench.cli.submitting import job_parameters, submit_command, submit_options
from vpbench.cli.train_suite import read_jobs, train_jobs
from vpbench.cli.training import carry_out, training_document
from vpbench.errors import UsageError
from vpbench.names import Selector
from vpbench.plugin.training import Recipe

if TYPE_CHECKING:
    from vpbench.training.plan import TrainSettings

_RECIPE = tuple(field.name for field in fields(Recipe))


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
@submit_options(["slurm", "local"], processes=False)
@click.option("--only-job", type=int, hidden=True, help="Of a suite, counted from 0, among those that are trained.")
@json_option
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
    as_json: bool,
    **values: Any,
) -> None:
    """Train a predictor on a protocol's training clips, and validate on clips that it does not score.

    The same command resumes a stopped training. The result is one file, weights.safetensors, for
    `vpbench run --weights`. Start processes on several GPUs and nodes with --devices, torchrun or srun.

    With SUITE.toml, the entries that need training are trained one after another. Select a part of the suite
    with -p and -m; every other option applies to every entry.
    """
    from vpbench.evaluation.launch import is_first_process
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
    parameters = job_parameters(submit, job)
    if submit is not None:
        _submit(submit, parameters, settings, as_json=as_json)
        return
    if suite_file is not None:
        jobs = read_jobs(suite_file, protocols, predictors, seed, state.plugins, settings)
        train_jobs(jobs, state.plugins, settings, pictures, only_job, as_json=as_json)
        return
    chosen = open_protocol(state.plugins, protocols[0])
    texts = (*predictors, *settings.annotate.values(), *chosen.annotate.values())
    check_used(values_by_name, [Selector.parse(text).name for text in texts])
    import vpbench.training.train  # noqa: F401  (reports a missing Lightning)
    from vpbench.training.plan import make_training_plan

    with busy(f"{chosen.name}: looking at data and weights"):
        plan = make_training_plan(chosen, predictors[0], state.plugins, settings)
    carry_out(plan, protocols[0], pictures)
    if as_json and is_first_process():
        print_json({"trainings": [training_document(plan, plan.weights)]})


def _submit(cluster: str, job: dict[str, Any], settings: TrainSettings, *, as_json: bool) -> None:
    """Submit this command as one job."""
    nodes, devices = settings.nodes or 1, settings.devices or 1
    # On this machine Lightning starts the processes; on a cluster srun does.
    defaults: dict[str, Any] = {"name": "vpbench-train", "nodes": nodes}
    defaults["tasks_per_node"] = devices if cluster == "slurm" else 1
    if settings.device == "cuda":
        defaults["gpus_per_node"] = devices
    submit_command(cluster, settings.out / "training" / "jobs", defaults | job, as_json=as_json)
