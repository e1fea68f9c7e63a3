"""``vpbench run``: evaluate predictors on protocols, and print a table of their scores."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import (
    LENGTH,
    SEED,
    State,
    common_options,
    json_option,
    pairs,
    parse_options,
    print_json,
    roots,
)
from vpbench.cli.ranges import FiniteRange
from vpbench.cli.running import Runner
from vpbench.cli.submitting import job_parameters, submit_options, submit_shares
from vpbench.cli.trouble import message
from vpbench.errors import UsageError, VpbenchError
from vpbench.output import say, say_block, say_table

if TYPE_CHECKING:
    from vpbench.evaluation.dispatch import Cluster
    from vpbench.evaluation.plan import Settings
    from vpbench.plugin.loader import Plugins
    from vpbench.protocol.suite import Job, Suite
    from vpbench.results.result import Result


@click.command("run")
@click.argument("suite_file", metavar="[SUITE.toml]", required=False, type=click.Path(path_type=Path))
@click.option("-p", "--protocol", "protocols", multiple=True, metavar="NAME|FILE.toml", help="Protocol.")
@click.option("-m", "--predictor", "predictors", multiple=True, metavar="NAME[:PRESET]", help="Predictor.")
@click.option("-o", "--option", "options", multiple=True, metavar="NAME.OPTION=VALUE", help="An option of a predictor.")
@click.option("--weights", multiple=True, metavar="[NAME=]FILE", help="Weights of a predictor or an annotator.")
@click.option("--data-root", "data_roots", multiple=True, metavar="[DATASET=]DIR", help="Folder of a dataset.")
@click.option("--annotate", multiple=True, metavar="KIND=NAME", help="Annotator that supplies flow or semantics.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Results folder."
)
@click.option("--clips", type=click.IntRange(min=1), help="Evaluate N clips, spread evenly; never ranked.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Metric (default: the protocol's).")
@click.option(
    "--engine",
    default="",
    envvar="VPBENCH_ENGINE",
    metavar="NAME",
    help="Compute metrics with this engine, such as libraries (default: the fastest).",
)
@click.option("--samples", type=LENGTH, show_default="1", help="Samples per clip of stochastic predictors.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Clips predicted at once.")
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes that read ahead.")
@click.option("--isolate", is_flag=True, help="Run each predictor in a process of its own, which may crash.")
@click.option(
    "--timeout",
    type=FiniteRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End a predictor that takes longer for a batch; implies --isolate.",
)
@click.option(
    "--memory",
    type=FiniteRange(min=0, min_open=True),
    metavar="GIB",
    help="End a predictor whose process uses more memory; implies --isolate.",
)
@click.option("--seed", type=SEED, show_default="0")
@click.option("--shard", metavar="I/N", help="Evaluate every N-th unit, starting with unit I (from 0).")
@click.option("--allow-partial", is_flag=True, help="Evaluate incomplete data; the result is never ranked.")
@click.option(
    "--pictures", type=click.IntRange(min=1), metavar="N", help="Keep pictures of N clips in the result folder."
)
@click.option("--save-predictions", is_flag=True, help="Keep the predicted frames in the result folder.")
@submit_options(["slurm", "local", "ray"])
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
    samples: int | None,
    submit: str | None,
    processes: int | None,
    job: tuple[str, ...],
    as_json: bool,
    **values: Any,
) -> None:
    """Evaluate predictors on protocols.

    SUITE.toml lists them, or -p and -m name them. With a suite, -p and -m select a part of it; every other option
    applies to every entry. Without any, the default predictors run on the default protocol. Results are published
    unit by unit: run the same command again to resume.
    """
    from vpbench.evaluation.plan import Settings
    from vpbench.evaluation.suite import check_options, group_jobs
    from vpbench.protocol.suite import Suite
    from vpbench.select.data import protocol_name

    plugins, parameters = state.plugins, job_parameters(submit, job, processes)
    if submit is not None and values["shard"]:
        raise UsageError(f"--shard {values['shard']}: --submit divides the work itself; leave out one of the two")
    if suite_file is None:
        suite = _suite_of(plugins, protocols, predictors)
    else:
        suite = Suite.read(suite_file).narrowed(protocols, predictors)
    for name in values["metrics"]:
        plugins.entry("metric", name)
    folders = roots(data_roots)
    for name in filter(None, folders):
        plugins.entry("dataset", name)
    names = [entry.name for entry in suite.predictors]
    settings = Settings(
        data_roots=folders,
        options=parse_options(options, weights, names),
        annotate=pairs(annotate, "--annotate"),
        **values,
    )
    jobs = suite.jobs(seed, samples)
    titles = {text: protocol_name(plugins, text) for text in dict.fromkeys(job.protocol for job in jobs)}
    check_options(jobs, plugins, settings.options, settings.annotate)
    if submit in ("slurm", "local"):
        submit_shares(
            submit, settings.out / "jobs", parameters, processes, gpu=settings.device == "cuda", as_json=as_json
        )
        return
    # On one protocol, an error in the plan stops everything before any work. In a list, the other protocols run.
    strict = suite_file is None and len(suite.protocols) == 1
    cluster = _cluster(submit, parameters, processes, settings)
    runner = Runner(plugins, settings, quiet=as_json, strict=strict, cluster=cluster)
    for group in group_jobs(jobs):
        runner(group, titles[group[0].protocol])
    outcomes, errors = runner.outcomes, runner.errors
    results = {job: outcome.result for job, outcome in outcomes.items() if outcome.result is not None}
    errors |= {job: outcome.error for job, outcome in outcomes.items() if outcome.error is not None}
    if state.debug:
        for error in dict.fromkeys(errors.values()):
            say_block("".join(traceback.format_exception(error)).rstrip(), err=True)
    _report(suite.name if suite_file else "", titles, jobs, results, errors, as_json=as_json)


def _suite_of(plugins: Plugins, protocols: tuple[str, ...], predictors: tuple[str, ...]) -> Suite:
    """Return a suite of the predictors and protocols that -p and -m name, or of the plugins' defaults."""
    from vpbench.protocol.suite import Entry, Suite
    from vpbench.select.data import open_protocol
    from vpbench.select.shipped import default_predictors

    protocols = protocols or tuple(plugins.defaults("protocol"))
    if not protocols:
        raise UsageError("say what to evaluate on with -p (`vpbench list protocols`)")
    entries = tuple(Entry(name=name) for name in predictors)
    if not entries:
        names = {text: open_protocol(plugins, text).name for text in protocols}
        chosen = default_predictors(plugins, names)
        entries = tuple(Entry(name=name, protocols=fitting) for name, fitting in chosen.items())
    if not entries:
        raise UsageError("say what to evaluate with -m (`vpbench list predictors`)")
    return Suite(schema=1, name="run", protocols=protocols, predictors=entries)


def _cluster(
    submit: str | None, parameters: dict[str, Any], processes: int | None, settings: Settings
) -> Cluster | None:
    """Return the Ray cluster that evaluates; None if this process does."""
    if submit is None:
        return None
    from vpbench.evaluation.ray_cluster import ray_cluster

    return ray_cluster(parameters, processes, settings.device)


def _report(
    suite: str,
    titles: Mapping[str, str],
    jobs: Sequence[Job],
    results: dict[Job, Result],
    errors: dict[Job, VpbenchError],
    *,
    as_json: bool,
) -> None:
    """Print results and failures, and exit with 1 if anything failed.

    Args:
        suite: its name; "" without a suite.
        titles: the names of protocols, by the names or paths in jobs.
        jobs: in the order of the suite.
        results: of the jobs that have one.
        errors: of the jobs that failed.
        as_json: whether one JSON document is printed.
    """
    reasons = {job: message(error) for job, error in errors.items()}
    failures = list(_failures(titles, jobs, reasons))
    if as_json:
        documents = [
            _document(titles[job.protocol], job, results.get(job), reasons.get(job))
            for job in jobs
            if suite or job in results
        ]
        print_json(({"suite": suite} if suite else {}) | {"results": documents, "failures": failures})
    elif suite:
        _print_states(titles, jobs, results)
    for line in failures:
        say(f"vpbench: {line}", err=True)
    if failures:
        raise click.exceptions.Exit(1)


def _failures(titles: Mapping[str, str], jobs: Sequence[Job], reasons: dict[Job, str]) -> Iterator[str]:
    """Yield one line per protocol and reason; it names the jobs unless all of the protocol failed."""
    lines: dict[tuple[str, str], list[Job]] = {}
    for job, reason in reasons.items():
        lines.setdefault((job.protocol, " ".join(reason.split())), []).append(job)
    for (protocol, reason), failed in lines.items():
        partial = len(failed) < sum(job.protocol == protocol for job in jobs)
        names = f"{', '.join(job.label for job in failed)}: " if partial else ""
        yield f"{titles[protocol]}: {names}{reason}"


def _document(protocol: str, job: Job, result: Result | None, reason: str | None) -> dict[str, Any]:
    selector = job.entry.selector
    complete = result is not None and (result.path / "summary.json").is_file()
    return {
        "path": str(result.path) if result else None,
        "protocol": protocol,
        "predictor": selector.name,
        "preset": result.run.preset if result else selector.argument,
        "seed": job.seed,
        "complete": complete,
        "summary": result.summary.to_json() if result and complete else None,
        "error": reason,
    }


def _print_states(titles: Mapping[str, str], jobs: Sequence[Job], results: dict[Job, Result]) -> None:
    """Print the state of each job: a row per protocol, a column per predictor."""
    states: dict[str, dict[str, str]] = {}
    for job in jobs:
        result = results.get(job)
        state = "failed" if result is None else "done" if (result.path / "summary.json").is_file() else "waiting"
        states.setdefault(titles[job.protocol], {})[job.label] = state
    labels = list(dict.fromkeys(job.label for job in jobs))
    rows = [[protocol, *(row.get(label, "") for label in labels)] for protocol, row in states.items()]
    say_table(rows, ["protocol", *labels])
