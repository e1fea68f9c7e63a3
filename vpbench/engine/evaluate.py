"""Evaluation: units outside, predictors inside, so that several predictors share the decoding and the truth."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vpbench.engine import measure
from vpbench.engine.choose import choose_predictor, chosen_object, open_protocol
from vpbench.engine.loading import Batch, ClipSource, batches, stack
from vpbench.engine.plan import Cell, Plan, Settings, make_plan
from vpbench.engine.save import save_predictions, saved
from vpbench.engine.summarise import write_summary
from vpbench.errors import DataError, PredictorError, VpbenchError
from vpbench.plugin.loader import Plugins, load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.units import Unit
from vpbench.results.provenance import describe_process, peak_memory
from vpbench.results.result import Result
from vpbench.results.store import Attempt, Row, Store

__all__ = ["Outcome", "Progress", "evaluate", "run"]

Progress = Callable[[int, int], None]
"""Called with (clips done, clips to do), one clip counted once per predictor."""


@dataclass
class Outcome:
    """What a run left: results (complete or not), and what failed."""

    results: list[Result] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """One line per predictor that failed; its published units stay."""
    unreadable: list[str] = field(default_factory=list)
    """One line per unit left out because its data cannot be read (with ``allow_partial``)."""


def evaluate(
    predictor: object,
    protocol: str | Protocol,
    *,
    plugins: Plugins | None = None,
    progress: Progress | None = None,
    data_root: str | Path | None = None,
    out: str | Path = "results",
    **settings: Any,
) -> Result:
    """Evaluate one predictor on one protocol.

    Args:
        predictor: a name (``"repeat"``, ``"cdnet:tiny"``) or an object with ``info`` and ``predict``.
        protocol: a name, a path to a TOML file, or a :class:`vpbench.Protocol`.
        plugins: loaded plugins; by default the installed ones.
        progress: called with (clips done, clips to do).
        data_root: the dataset's folder.
        out: where results go.
        settings: further fields of :class:`vpbench.engine.plan.Settings`.

    Returns:
        The result; its rows and summary are on disk.

    Raises:
        VpbenchError: nothing of it could be done, or the predictor failed; units published before stay.
    """
    plugins = plugins or load_plugins()
    roots = {"": Path(data_root)} if data_root is not None else {}
    chosen_settings = Settings(out=Path(out), data_roots=roots, **settings)
    if isinstance(protocol, str):
        protocol = open_protocol(plugins, protocol)
    if isinstance(predictor, str):
        chosen = choose_predictor(plugins, predictor, chosen_settings.options)
    else:
        chosen = chosen_object(predictor)
    outcome = run(make_plan(protocol, [chosen], plugins, chosen_settings), chosen_settings, progress)
    if outcome.failures:
        raise PredictorError(outcome.failures[0])
    return outcome.results[0]


def run(plan: Plan, settings: Settings, progress: Progress | None = None) -> Outcome:
    """Carry out a plan: go on where earlier processes stopped, publish unit by unit, summarise what is complete.

    Raises:
        VpbenchError: the data cannot be read, or a result cannot be written. Published units stay.
    """
    outcome = Outcome()
    work = [_Work.begin(cell, plan) for cell in plan.cells]
    try:
        _evaluate_units(plan, settings, work, outcome, progress or (lambda done, total: None))
    finally:
        for one in work:
            one.end()
    for one in work:
        if one.cell.error:
            outcome.failures.append(one.cell.error)
            continue
        alone = plan.world == 1
        write_summary(one.store, one.cell.metrics, allow_partial=settings.allow_partial and alone)
        outcome.results.append(Result(one.store))
    return outcome


@dataclass
class _Work:
    """A cell with its open result and its clock."""

    cell: Cell
    store: Store
    attempt: Attempt
    published: set[int]
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    started: float = field(default_factory=time.perf_counter)
    touched: bool = False

    @classmethod
    def begin(cls, cell: Cell, plan: Plan) -> _Work:
        store = Store.create(cell.folder, cell.run)
        store.check_claims()
        engines = sorted({str(getattr(m, "engine", "")) for m in cell.metrics.values()} - {""})
        record = describe_process() | {
            "device": _device_name(plan.device),
            "engine": ", ".join(engines),
            "shard": [plan.rank, plan.world],
        }
        return cls(cell, store, Attempt(store, record), set(store.published()))

    @contextmanager
    def clock(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - start

    def end(self) -> None:
        """Record the times, if this process did anything for the result."""
        if self.touched:
            wall = time.perf_counter() - self.started
            times = {what: round(seconds, 3) for what, seconds in sorted(self.seconds.items())}
            self.attempt.write(seconds=times | {"wall": round(wall, 3)}, peak_memory_bytes=peak_memory())


def _evaluate_units(
    plan: Plan, settings: Settings, work: Sequence[_Work], outcome: Outcome, progress: Progress
) -> None:
    mine = plan.manifest.units[plan.rank :: plan.world]
    todo = [(unit, needing) for unit in mine if (needing := [w for w in work if _needs(w, unit, settings)])]
    groups = [
        (unit, needing, unit.clips[i : i + settings.batch_size])
        for unit, needing in todo
        for i in range(0, len(unit.clips), settings.batch_size)
    ]
    total = sum(len(refs) * len(needing) for _, needing, refs in groups)
    done = 0
    progress(done, total)
    annotators = {modality: chosen.value for modality, chosen in plan.annotators.items()}
    source = ClipSource(plan.dataset, plan.protocol, plan.context, plan.future, annotators)
    rows: dict[int, list[Row]] = defaultdict(list)
    unreadable: set[int] = set()
    arrays = batches(source, [refs for _, _, refs in groups], settings.workers)
    for i, (unit, needing, refs) in enumerate(groups):
        start = time.perf_counter()
        read = next(arrays)
        if isinstance(read, VpbenchError):
            if not settings.allow_partial:
                raise read
            unreadable.add(unit.number)
            outcome.unreadable.append(f"unit {unit.number} left out: {read}")
            loaded: list[Batch] = []
        else:
            loaded = stack(read, plan.device, source)
        del read
        for one in needing:
            one.seconds["read"] += (time.perf_counter() - start) / len(needing)
        last = i + 1 == len(groups) or groups[i + 1][0] is not unit
        for one in needing:
            if not one.cell.error and unit.number not in unreadable:
                _evaluate_batches(one, loaded, plan, settings, rows[id(one)])
                if last and not one.cell.error:
                    with one.clock("publish"):
                        one.touched = True
                        one.store.publish(unit.number, rows[id(one)], one.attempt)
            if last:
                rows[id(one)].clear()
            done += len(refs)
            progress(done, total)
        if all(one.cell.error for one in work):
            return
    if unreadable and not {u.number for u in plan.manifest.units} - unreadable:
        raise DataError(outcome.unreadable[0])


def _evaluate_batches(one: _Work, loaded: Sequence[Batch], plan: Plan, settings: Settings, rows: list[Row]) -> None:
    """Predict and measure; an error of the predictor or of a metric on it fails this cell only."""
    cell = one.cell
    info = cell.predictor.value.info
    try:
        for batch in loaded:
            for sample in range(cell.samples):
                with one.clock("predict"):
                    checked = measure.predict(
                        cell.label,
                        cell.predictor.value,
                        batch,
                        outputs=cell.outputs,
                        seed=settings.seed,
                        sample=sample,
                    )
                with one.clock("measure"):
                    rows += measure.measure(
                        cell.label,
                        checked,
                        batch,
                        cell.metrics,
                        quantise=plan.protocol.quantise,
                        sample=sample if info.stochastic else None,
                    )
                if settings.save_predictions:
                    with one.clock("save"):
                        save_predictions(one.store.folder / "predictions", batch, checked.raw, sample)
    except VpbenchError as error:
        cell.error = f"{plan.protocol.name}: {error}"


def _needs(one: _Work, unit: Unit, settings: Settings) -> bool:
    if unit.number not in one.published:
        return True
    return settings.save_predictions and not saved(one.store.folder / "predictions", unit, one.cell.samples)


def _device_name(device: str) -> str:
    if device == "cpu":
        return "cpu"
    import torch

    return str(torch.cuda.get_device_name(device))
