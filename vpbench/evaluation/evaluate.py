"""Evaluate predictors: resume where earlier processes stopped, publish unit by unit, summarise complete results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import Field, InstanceOf

from vpbench.clips.probe import Probe
from vpbench.errors import MetricError, VpbenchError
from vpbench.evaluation.cell import Cell, plan_cell
from vpbench.evaluation.keepers import Keeper, PredictionKeeper
from vpbench.evaluation.loop import Progress, evaluate_here
from vpbench.evaluation.plan import Run, Settings, add_annotators, open_run
from vpbench.evaluation.prediction import evaluation_mode
from vpbench.names import Selector
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.loader import Plugins, load_plugins
from vpbench.protocol.protocol import MAX_SAMPLES, Protocol, Seed
from vpbench.results.result import Result
from vpbench.results.summarise import write_summary
from vpbench.select.component import choose_predictor, wrap_predictor
from vpbench.select.data import open_protocol, open_protocol_dataset
from vpbench.select.options import check_used
from vpbench.select.shipped import with_shipped_weights
from vpbench.validation import checked_arguments

EvaluateUnits: TypeAlias = Callable[[Run, Sequence[Cell], Sequence[Keeper], Progress], None]


class Outcome(NamedTuple):
    """The outcome of a cell: its result, or its error."""

    cell: Cell
    result: Result | None
    """Complete or, for one shard of several, not."""
    error: VpbenchError | None
    """Why it failed, with the plugin's exception as its cause; published units stay."""


@checked_arguments
def evaluate(
    predictor: object,
    protocol: str | Path | Protocol,
    *,
    data_root: str | Path | None = None,
    out: str | Path = "results",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    annotate: Mapping[str, str] | None = None,
    clips: Annotated[int, Field(ge=1)] | None = None,
    metrics: Sequence[str] = (),
    engine: str = "",
    samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] = 1,
    seed: Seed = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    batch_size: Annotated[int, Field(ge=1)] = 8,
    workers: Annotated[int, Field(ge=0)] = 0,
    shard: str | None = None,
    allow_partial: bool = False,
    save_predictions: bool = False,
    plugins: InstanceOf[Plugins] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Evaluate one predictor on one protocol.

    Args:
        predictor: a name (``"NAME"``, ``"NAME:PRESET"``) or an object with ``info`` and ``predict``.
        protocol: a name, a path to a TOML file, or a :class:`vpbench.Protocol`.
        data_root: the dataset's folder.
        out: folder of all results.
        options: option values by the name of the predictor or annotator: ``{"NAME": {"weights": "FILE"}}``.
        annotate: annotators by modality: ``{"flow": "NAME"}``.
        clips: number of clips, spread evenly over the protocol's; by default all. A part is never ranked.
        metrics: names of metrics; by default the protocol's.
        engine: engine of the metrics that have it, such as ``"libraries"``; by default each metric's own.
        samples: number of predictions per clip of a stochastic predictor.
        seed: seed of the noise of a stochastic predictor.
        device: where to predict and measure; ``"auto"`` is a GPU if there is one.
        batch_size: clips that are predicted at once.
        workers: processes that read ahead.
        shard: ``"I/N"``: evaluate every N-th unit from the I-th (I from 0); by default the launcher's share.
        allow_partial: evaluate the readable clips if some cannot be read; such a result is never ranked.
        save_predictions: also write the predicted frames into the result's folder.
        plugins: loaded plugins; by default the installed ones.
        progress: called with (clips done, clips to do).

    Returns:
        The result; its rows and summary are on disk.

    Raises:
        UsageError: an argument is unknown or does not fit.
        VpbenchError: the run is not possible, or the predictor or a metric failed; published units stay. The plugin's
            exception is its ``__cause__``.

    Example:
        >>> result = vpbench.evaluate("NAME:PRESET", "PROTOCOL", clips=2)  # doctest: +SKIP
    """
    plugins = plugins or load_plugins()
    settings = Settings(
        out=Path(out),
        data_roots={} if data_root is None else {"": Path(data_root)},
        options=options or {},
        annotate=annotate or {},
        clips=clips,
        metrics=metrics,
        engine=engine,
        samples=samples,
        seed=seed,
        device=device,
        batch_size=batch_size,
        workers=workers,
        shard=shard,
        allow_partial=allow_partial,
        save_predictions=save_predictions,
    )
    if not isinstance(protocol, Protocol):
        protocol = open_protocol(plugins, str(protocol))
    component = (
        choose_predictor(
            plugins,
            with_shipped_weights(plugins, predictor, settings.options, protocol.name),
            settings.options,
            protocol,
        )
        if isinstance(predictor, str)
        else wrap_predictor(predictor)
    )
    probe = Probe(protocol, open_protocol_dataset(plugins, protocol, settings.data_roots))
    annotators = add_annotators(settings.annotate, component.info, protocol, probe.dataset)
    check_used(settings.options, [component.name, *(Selector.parse(text).name for text in annotators.values())])
    with evaluation_mode(component.name, component.value):
        run = open_run(protocol, plugins, replace(settings, annotate=annotators), probe)
        ((_, result, error),) = run_cells(run, [plan_cell(run, component)], progress)
    if error is not None:
        raise error
    assert result is not None
    return result


def run_cells(
    run: Run,
    cells: Sequence[Cell],
    progress: Progress | None = None,
    keepers: Sequence[Keeper] = (),
    evaluate_units: EvaluateUnits = evaluate_here,
) -> list[Outcome]:
    """Evaluate the cells of a run. Published units stay.

    Args:
        run: the run.
        cells: its cells.
        progress: called with (clips done, clips to do).
        keepers: keep something of each prediction.
        evaluate_units: evaluates and publishes the units that are missing; by default in this process.

    Raises:
        VpbenchError: the data cannot be read.
    """
    if run.settings.save_predictions:
        keepers = [*keepers, PredictionKeeper()]
    with ExitStack() as ends:
        for cell in cells:
            ends.callback(cell.close)
        with ExitStack() as modes:
            for cell in cells:
                with cell.failing():
                    cell.open(run)
                    modes.enter_context(evaluation_mode(cell.label, cell.predictor.value))
            if any(cell.error is None for cell in cells):
                evaluate_units(run, cells, keepers, progress or (lambda count, total: None))
        return [_conclude(run, cell) for cell in cells]


def _conclude(run: Run, cell: Cell) -> Outcome:
    """Write the summary of a cell that did not fail, if its result is complete."""
    # A shard cannot know whether the others are done: the last one, or `vpbench merge`, summarises.
    partial = run.settings.allow_partial and run.shard.world == 1
    if cell.error is None:
        with cell.failing(), plugin_errors(failed_as(MetricError, "a metric failed")), cell.clock("summary"):
            write_summary(cell.store, cell.metrics, allow_partial=partial)
    return Outcome(cell, None if cell.error else Result(cell.store), cell.error)
