"""``vpbench run``: predictors on protocols, results in a folder, a table on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import State, busy, common_options, json_option, pairs, print_json, progress_bar, roots
from vpbench.errors import DataError, UsageError, VpbenchError

if TYPE_CHECKING:
    from vpbench.engine.evaluate import Outcome
    from vpbench.engine.plan import Settings
    from vpbench.engine.save import Keeper
    from vpbench.plugin.loader import Plugins

__all__ = ["command"]


@click.command("run")
@click.option("-p", "--protocol", "protocols", multiple=True, metavar="NAME|FILE.toml", help="What to evaluate on.")
@click.option("-m", "--predictor", "predictors", multiple=True, metavar="NAME[:PRESET]", help="What to evaluate.")
@click.option("-o", "--option", "options", multiple=True, metavar="NAME.OPTION=VALUE", help="An option of a predictor.")
@click.option("--weights", multiple=True, metavar="[NAME=]FILE", help="Weights of a predictor or an annotator.")
@click.option("--data-root", "data_roots", multiple=True, metavar="[DATASET=]DIR", help="Where a dataset lies.")
@click.option("--annotate", multiple=True, metavar="KIND=NAME", help="Who supplies flow or semantics to predictors.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Results folder."
)
@click.option("--clips", type=click.IntRange(min=1), help="Take N clips, spread evenly: a look, never ranked.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Measure this (default: the protocol's).")
@click.option("--samples", type=click.IntRange(min=1), default=1, show_default=True, help="Samples of stochastic ones.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Clips in memory at once.")
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes that read ahead.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--shard", metavar="I/N", help="Compute every N-th unit, from the I-th (I from 0).")
@click.option("--allow-partial", is_flag=True, help="Evaluate what is there; the result is marked and never ranked.")
@click.option(
    "--pictures", type=click.IntRange(min=1), metavar="N", help="Keep strips of N clips in the result folder."
)
@click.option("--save-predictions", is_flag=True, help="Keep the predicted frames in the result folder.")
@json_option
@common_options
@click.pass_obj
def command(
    state: State,
    /,
    protocols: tuple[str, ...],
    predictors: tuple[str, ...],
    options: tuple[str, ...],
    weights: tuple[str, ...],
    data_roots: tuple[str, ...],
    annotate: tuple[str, ...],
    as_json: bool,
    **values: Any,
) -> None:
    """Evaluate predictors on protocols.

    Without -p and -m, runs what plugins registered as defaults. Results are published unit by unit: run the same
    command again to go on after a stop.
    """
    plugins = state.plugins
    protocols = protocols or tuple(plugins.defaults("protocol"))
    predictors = predictors or tuple(plugins.defaults("predictor"))
    if not protocols:
        raise UsageError("say what to evaluate on with -p (`vpbench list protocols`)")
    if not predictors:
        raise UsageError("say what to evaluate with -m (`vpbench list predictors`)")

    from vpbench.engine.choose import parse_assignments
    from vpbench.engine.plan import Settings

    for name in values["metrics"]:
        plugins.entry("metric", name)
    folders = roots(data_roots)
    for name in filter(None, folders):
        plugins.entry("dataset", name)
    settings = Settings(
        data_roots=folders,
        options=_with_weights(parse_assignments(options, "-o"), _weights(weights, predictors)),
        annotate=pairs(annotate, "--annotate"),
        **values,
    )
    _check_option_names(settings, plugins, protocols, predictors)
    failures: list[str] = []
    documents: list[dict[str, Any]] = []
    for name in protocols:
        try:
            outcome = _run_one(plugins, name, predictors, settings)
        except VpbenchError as error:
            if state.debug or len(protocols) == 1:
                raise
            failures.append(str(error))
            continue
        for line in outcome.unreadable:
            click.echo(f"vpbench: {line}", err=True)
        failures += outcome.failures
        if as_json:
            documents += [_document(result) for result in outcome.results]
        else:
            _print(outcome)
    if as_json:
        print_json({"results": documents, "failures": failures})
    for line in failures:
        click.echo(f"vpbench: {' '.join(line.split())}", err=True)
    if failures:
        raise click.exceptions.Exit(1)


def _run_one(plugins: Plugins, name: str, predictors: tuple[str, ...], settings: Settings) -> Outcome:
    from vpbench.engine.choose import choose_predictor, open_protocol
    from vpbench.engine.evaluate import run
    from vpbench.engine.plan import make_plan

    protocol = open_protocol(plugins, name)
    with busy(f"{protocol.name}: looking at data, weights and earlier results"):
        chosen = [choose_predictor(plugins, text, settings.options) for text in predictors]
        plan = make_plan(protocol, chosen, plugins, settings)
    keepers: list[Keeper] = []
    if settings.pictures:
        from vpbench.pages.strips import PictureKeeper

        keepers.append(PictureKeeper(plan.manifest, settings.pictures))
    with progress_bar(protocol.name) as progress:
        return run(plan, settings, progress, keepers)


def _weights(texts: tuple[str, ...], predictors: tuple[str, ...]) -> dict[str, Path]:
    """Parse ``--weights [NAME=]FILE``; a bare file is the only predictor's."""
    files = {name: Path(text).expanduser() for name, text in pairs(texts, "--weights", bare=True).items()}
    if "" in files:
        names = sorted({text.partition(":")[0] for text in predictors})
        if len(names) > 1:
            raise UsageError(f"--weights {files['']}: whose? Write --weights NAME=FILE, such as {names[0]}=FILE")
        if names[0] in files:
            raise UsageError(f"--weights {files['']}: given twice for {names[0]}")
        files[names[0]] = files.pop("")
    for name, file in files.items():
        if not file.is_file():
            raise DataError(f"--weights {name}={file}: there is no such file")
    return files


def _with_weights(options: dict[str, dict[str, Any]], files: dict[str, Path]) -> dict[str, dict[str, Any]]:
    for name, file in files.items():
        own = options.setdefault(name, {})
        if "weights" in own:
            raise UsageError(f"--weights {name}={file}: -o {name}.weights={own['weights']} says the same thing")
        own["weights"] = str(file)
    return options


def _check_option_names(
    settings: Settings, plugins: Plugins, protocols: tuple[str, ...], predictors: tuple[str, ...]
) -> None:
    """Refuse options of something that this run does not use: a typing error, most likely."""
    from vpbench.errors import did_you_mean

    used = {text.partition(":")[0] for text in (*predictors, *settings.annotate.values())}
    if set(settings.options) - used:
        from vpbench.engine.choose import open_protocol

        annotate = [text for name in protocols for text in open_protocol(plugins, name).annotate.values()]
        used |= {text.partition(":")[0] for text in annotate}
    for name in settings.options:
        if name not in used:
            known = {e.name for kind in ("predictor", "annotator") for e in plugins.of(kind)}
            hint = did_you_mean(name, used) if name not in known else "; add it with -m or --annotate"
            option = next(iter(settings.options[name]))
            raise UsageError(f"option {name}.{option}: {name!r} does not take part in this run{hint}")


def _document(result: Any) -> dict[str, Any]:
    complete = (result.path / "summary.json").is_file()
    return {
        "path": str(result.path),
        "protocol": result.run["protocol"]["name"],
        "predictor": result.run["predictor"],
        "preset": result.run["preset"],
        "complete": complete,
        "summary": result.summary if complete else None,
    }


def _print(outcome: Outcome) -> None:
    from vpbench.pages.terminal import print_results

    print_results(outcome.results)
