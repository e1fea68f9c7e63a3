"""Evaluate units of a run in a process of a cluster, which need not share a file system with the head.

The head decides what is evaluated, and publishes it. A worker builds the same run from a recipe. It refuses to work if
the identity of a result would be another one than at the head. It returns the rows of each unit.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from vpbench.allocator import keep_memory
from vpbench.clips.probe import Probe
from vpbench.clips.source import ClipReaders
from vpbench.errors import ResultError, UsageError, VpbenchError, VpbenchWarning
from vpbench.evaluation.cell import Cell, Effort, plan_cell
from vpbench.evaluation.keepers import Keeper
from vpbench.evaluation.plan import Run, Settings, open_run
from vpbench.evaluation.prediction import evaluation_mode
from vpbench.evaluation.source import run_source
from vpbench.evaluation.suite import Choice
from vpbench.evaluation.unit import Task, UnitRunner, running
from vpbench.names import Selector
from vpbench.plugin.loader import load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.units import Unit
from vpbench.results.records import Identity
from vpbench.results.rows import Row
from vpbench.select.data import find_data_root, open_protocol_dataset
from vpbench.toolkit.processes import portable

T = TypeVar("T")
_VARIABLES = "VPBENCH_"
"""Begins the names of the environment variables that a worker receives."""


@dataclass(frozen=True)
class Recipe:
    """How a worker builds the cells of a run."""

    folder: Path
    """The head's current folder, where relative paths start."""
    variables: Mapping[str, str]
    """Environment variables."""
    plugins: tuple[str, ...]
    """Plugins that are not installed."""
    protocol: Protocol
    settings: Settings
    choices: tuple[Choice, ...]
    identities: tuple[Identity, ...]
    weights: tuple[bytes, ...]
    """The file of weights that each choice names; empty if it names none that vpbench loads."""
    keepers: tuple[Keeper, ...]


@dataclass(frozen=True)
class UnitRequest:
    """A unit to evaluate."""

    number: int
    cells: tuple[int, ...]
    """Places of the cells in the recipe."""
    published: tuple[int, ...]
    """Those of the cells that keep predictions only, since the rows are published."""


@dataclass(frozen=True)
class CellReport:
    """Everything that a worker computed for one cell of a unit."""

    error: VpbenchError | None
    """Why the cell failed. It is not evaluated again by this process."""
    rows: Sequence[Row] | None
    """None if there is nothing to publish."""
    features: bytes
    files: Mapping[str, bytes]
    """Files that keepers wrote, by their paths in the folder of the result, in the order to write them."""
    effort: Effort
    """The work of the process so far."""


@dataclass(frozen=True)
class UnitReport:
    """Everything that a worker computed for one unit."""

    problem: VpbenchError | None
    """Why its clips cannot be read."""
    stamp: str
    """The stamp of the data that it was computed from."""
    cells: Mapping[int, CellReport]


@dataclass(frozen=True)
class Reply(Generic[T]):
    """A value, or the exception that a worker raised."""

    host: str
    value: T | None
    error: Exception | None
    warnings: Sequence[str]


def make_recipe(
    run: Run, cells: Sequence[Cell], choices: Sequence[Choice], keepers: Sequence[Keeper], device: str
) -> Recipe:
    """Return the recipe of a run's cells for workers that use ``device``.

    Raises:
        ResultError: a file of weights cannot be read any more.
    """
    name = run.protocol.dataset.name
    root = find_data_root(name, run.settings.data_roots)
    return Recipe(
        folder=Path.cwd(),
        variables=harness_variables(),
        plugins=run.plugins.extra,
        protocol=run.protocol,
        settings=replace(run.settings, data_roots={} if root is None else {name: root}, device=device, shard="0/1"),
        choices=tuple(choices),
        identities=tuple(cell.identity for cell in cells),
        weights=tuple(map(_weights, cells, choices)),
        keepers=tuple(keepers),
    )


def harness_variables() -> dict[str, str]:
    """Return the environment variables that a process of a cluster receives."""
    return {key: value for key, value in os.environ.items() if key.startswith(_VARIABLES)}


def _weights(cell: Cell, choice: Choice) -> bytes:
    """Return the file of weights that a user named; those that a plugin ships are installed with it."""
    trained = cell.predictor.trained
    if trained is None or "weights" not in choice.options.get(cell.predictor.name, {}):
        return b""
    try:
        return trained.path.read_bytes()
    except OSError as error:
        raise ResultError(f"{trained.path} cannot be read: {error.strerror}") from error


class Worker:
    """Evaluates units of one run in this process."""

    def __init__(self) -> None:
        self._evaluator: _Evaluator | None = None

    def prepare(self, recipe: Recipe) -> Reply[list[dict[str, Any]]]:
        """Build the run once; return what describes this process for each cell, as :meth:`Cell.describe` does."""

        def build() -> list[dict[str, Any]]:
            self._evaluator = self._evaluator or _Evaluator(recipe)
            return self._evaluator.describe()

        return _reply(build)

    def evaluate(self, request: UnitRequest) -> Reply[UnitReport]:
        """Evaluate a unit."""
        assert self._evaluator is not None
        evaluator = self._evaluator
        return _reply(lambda: evaluator.evaluate(request))

    def close(self) -> None:
        """Remove temporary files, and end processes."""
        if self._evaluator is not None:
            self._evaluator.close()


def _reply(call: Callable[[], T]) -> Reply[T]:
    value: T | None = None
    error: Exception | None = None
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always", VpbenchWarning)
        try:
            value = call()
        except Exception as failure:
            error = portable(failure)
    texts = dict.fromkeys(str(warning.message) for warning in issued if issubclass(warning.category, VpbenchWarning))
    return Reply(socket.gethostname(), value, error, tuple(texts))


@dataclass
class _Evaluator:
    """The run of a recipe in this process."""

    recipe: Recipe
    run: Run = field(init=False)
    cells: list[Cell] = field(init=False)
    _rows: dict[int, tuple[list[Row], bytes]] = field(default_factory=dict)
    """Rows and features of the current unit, by the number of the cell."""
    _resources: ExitStack = field(default_factory=ExitStack)
    """A temporary folder, processes, and the eval mode of modules."""

    def __post_init__(self) -> None:
        with ExitStack() as stack:
            self._build(stack)
            self._resources = stack.pop_all()

    def _build(self, stack: ExitStack) -> None:
        recipe = self.recipe
        os.environ.update(recipe.variables)
        with suppress(OSError):  # relative paths mean the same as at the head, if there is such a folder
            os.chdir(recipe.folder)
        keep_memory()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vpbench-")))
        settings = replace(recipe.settings, out=folder / "results")
        plugins = load_plugins(recipe.plugins)
        probe = Probe(recipe.protocol, open_protocol_dataset(plugins, recipe.protocol, settings.data_roots))
        components = [choice.build(plugins, settings, recipe.protocol) for choice in self._choices(folder)]
        self.run = open_run(recipe.protocol, plugins, settings, probe)
        self.cells = [plan_cell(self.run, component) for component in components]
        for cell, identity in zip(self.cells, recipe.identities, strict=True):
            stack.callback(cell.close)
            check_identity(cell.label, cell.identity, identity)
            stack.enter_context(evaluation_mode(cell.label, cell.predictor.value))
            cell.start(self.run)
        source = run_source(self.run, self.cells)
        self._readers = ClipReaders(source, settings.readers)
        stack.callback(self._readers.close)
        self._runner = UnitRunner(self.run, self.cells, source, recipe.keepers, self._collect, lambda clips: None)

    def _choices(self, folder: Path) -> list[Choice]:
        """Return the choices with the received files of weights, which are written below a folder."""
        choices = []
        for number, (choice, weights) in enumerate(zip(self.recipe.choices, self.recipe.weights, strict=True)):
            name = Selector.parse(choice.text).name
            path = folder / f"{number}.safetensors"
            if weights:
                path.write_bytes(weights)
                values = {**choice.options[name], "weights": str(path)}
                choice = Choice(choice.text, {**choice.options, name: values})
            choices.append(choice)
        return choices

    def describe(self) -> list[dict[str, Any]]:
        return [cell.describe(self.run) for cell in self.cells]

    def evaluate(self, request: UnitRequest) -> UnitReport:
        unit = self.run.manifest.units[request.number]
        for place, cell in enumerate(self.cells):
            cell.published = frozenset({request.number} if place in request.published else ())
        self._rows.clear()
        problem: VpbenchError | None = None
        if cells := running([self.cells[place] for place in request.cells]):
            task = Task(unit, cells)
            problem = self._runner(task, self._readers(task.batches(self.run.settings.batch_size)))
        reports = {place: self._report(self.cells[place]) for place in request.cells}
        return UnitReport(_portable(problem), self.run.probe.stamp(unit, self.run.manifest), reports)

    def _collect(self, cell: Cell, unit: Unit) -> None:
        self._rows[id(cell)] = list(cell.rows), cell.features.to_bytes()

    def _report(self, cell: Cell) -> CellReport:
        rows, features = self._rows.get(id(cell), (None, b""))
        files = _taken_files(cell.folder, self.recipe.keepers)
        return CellReport(_portable(cell.error), rows, features, files, cell.effort())

    def close(self) -> None:
        self._resources.close()


def _portable(error: VpbenchError | None) -> VpbenchError | None:
    """Return an error of vpbench that can be sent, with its traceback as a note."""
    if error is not None and not getattr(error, "__notes__", None):
        portable(error)
    return error


def check_identity(label: str, identity: Identity, expected: Identity) -> None:
    """Check that a worker computes the result that the head publishes.

    Raises:
        UsageError: the worker has other data, weights, code or versions; names what differs.
    """
    names = [name for name in Identity.model_fields if name != "unproven"]
    if differing := [name for name in names if getattr(identity, name) != getattr(expected, name)]:
        raise UsageError(
            f"{label} would be another result here than at the head ({', '.join(differing)} differ): install the same "
            f"versions of Python, vpbench and plugins, and the same data, on every node"
        )


def _taken_files(folder: Path, keepers: Sequence[Keeper]) -> dict[str, bytes]:
    """Read and remove the files below a folder; those that complete a clip come last, since the head may be killed."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    shutil.rmtree(folder, ignore_errors=True)
    names = sorted(files, key=lambda name: any(keeper.completes(name) for keeper in keepers))
    return {name: files[name] for name in names}
