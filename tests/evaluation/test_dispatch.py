"""Units that the processes of a cluster evaluate: here, scripted ones that live in this process and end when told."""

from __future__ import annotations

import json
import pickle
import sys
from collections import deque
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock

import pytest
import torch
import toys
from safetensors.torch import save_file

import vpbench
from vpbench.clips.probe import Probe
from vpbench.errors import DataError, PredictorError, ResultError, UsageError, VpbenchWarning
from vpbench.evaluation import remote
from vpbench.evaluation.cell import plan_cell
from vpbench.evaluation.dispatch import TRIALS, Answer, Cluster
from vpbench.evaluation.evaluate import run_cells
from vpbench.evaluation.keepers import PredictionKeeper
from vpbench.evaluation.plan import Settings, open_run
from vpbench.evaluation.remote import Reply, Worker, make_recipe
from vpbench.evaluation.suite import Choice
from vpbench.files import write_atomic
from vpbench.pages.sheets import PictureKeeper
from vpbench.plugin.loader import load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.results.store import Attempt
from vpbench.select.component import choose_predictor
from vpbench.select.data import open_protocol_dataset
from vpbench.toolkit.processes import portable

pytestmark = pytest.mark.filterwarnings("ignore::vpbench.errors.VpbenchWarning")
PLUGINS = load_plugins(["toys"])
PROTOCOL = """
schema = 1
name = "toy"
version = 1
reference = "last"
[dataset]
name = "toy-frames"
options = { sequences = 34, size = [8, 12], broken = BROKEN }
[sampling]
kind = "first"
context = 2
horizon = 2
"""
"""Three units: of 16, 16 and 2 clips."""


class Processes:
    """A pool of workers; ``ends(process, call)`` says which calls a process does not survive.

    A call is the number of a unit, or "prepare".
    """

    def __init__(self, recipe, size=3, ends=lambda process, call: False, change=lambda process, recipe: recipe) -> None:
        self.size, self.ends, self.change = size, ends, change
        self.recipe = recipe
        self.workers, self.calls, self.log, self.files = {}, deque(), [], []

    def start(self):
        number = len(self.workers)
        recipe = pickle.loads(pickle.dumps(self.change(number, self.recipe)))
        self.workers[number] = prepared(recipe)
        self.wake(number)
        return number

    def wake(self, process):
        self.calls.append((process, "prepare", None))

    def send(self, process, request):
        self.calls.append((process, request.number, request))

    def receive(self):
        process, call, request = self.calls.popleft()
        self.log.append((process, call))
        if self.ends(process, call):
            return Answer(process, None, "ActorDiedError: it died")
        worker, first_reply = self.workers[process]
        reply = first_reply if request is None else worker.evaluate(request)
        if request is not None and reply.value is not None:
            self.files += [name for report in reply.value.cells.values() for name in report.files]
        return Answer(process, pickle.loads(pickle.dumps(reply)))

    def stop(self, process):
        del self.workers[process]


WORKERS = {}


def prepared(recipe):
    """Return a worker that is prepared with a recipe, and its reply; processes of one recipe share it."""
    key = repr((recipe.identities, [*map(type, recipe.keepers)], replace(recipe.settings, out=Path())))
    if key not in WORKERS:
        worker = Worker()
        reply = worker.prepare(recipe)
        facts = reply.value and [{**facts, "command": ["ray::Worker"]} for facts in reply.value]
        WORKERS[key] = worker, replace(reply, value=facts)
    return WORKERS[key]


@pytest.fixture(scope="module", autouse=True)
def workers():
    yield
    for worker, _ in WORKERS.values():
        worker.close()
    WORKERS.clear()


@pytest.fixture(autouse=True)
def loaded_plugins(monkeypatch):
    monkeypatch.setattr(remote, "load_plugins", lambda extra: PLUGINS)


@pytest.fixture
def setting(tmp_path, cache):
    """Plan a run of toys; return it with its cells and their choices."""

    def make(out, *names, broken=-1, options=None, **settings):
        path = tmp_path / "toy.toml"
        path.write_text(PROTOCOL.replace("BROKEN", str(broken)))
        protocol = Protocol.read(path)
        values = {"metrics": ("mean-colour",), "samples": 1, "batch_size": 4} | settings
        chosen = Settings(out=tmp_path / out, options=options or {}, **values)
        choices = [Choice(name, options or {}) for name in names]
        run = open_run(protocol, PLUGINS, chosen, Probe(protocol, open_protocol_dataset(PLUGINS, protocol, {})))
        cells = [plan_cell(run, choose_predictor(PLUGINS, *choice, protocol)) for choice in choices]
        return run, cells, choices

    return make


@pytest.fixture
def spread(setting):
    """Evaluate a run on scripted processes; return its outcomes and the pool."""

    def evaluate(
        *names, out="cluster", keepers=(), planned=None, size=3, ends=None, change=None, pool=Processes, **settings
    ):
        pools = []

        def open_pool(recipe):
            scripts = {name: value for name, value in (("ends", ends), ("change", change)) if value}
            pools.append(pool(recipe, size, **scripts))
            return nullcontext(pools[-1])

        run, cells, choices = setting(out, *names, **settings)
        units = partial(Cluster("cpu", open_pool).evaluate_units, choices)
        progress = []
        outcomes = run_cells(run, cells, lambda count, total: progress.append((count, total)), keepers, units)
        return outcomes, pools, progress

    return evaluate


def files(root: Path) -> dict[str, bytes]:
    """The files of all results below a folder, without those that describe processes."""
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and path.parent.name != "attempts"]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def evaluate_locally(setting, root, *names, keepers=(), **settings):
    run, cells, _ = setting("here", *names, **settings)
    outcomes = run_cells(run, cells, keepers=keepers)
    return outcomes, files(root / "here")


def test_results_have_the_bytes_of_one_process(setting, spread, tmp_path):
    keepers = [PredictionKeeper()]
    _, expected = evaluate_locally(setting, tmp_path, "last", "noisy", keepers=keepers)
    outcomes, (pool,), progress = spread("last", "noisy", keepers=keepers)
    assert files(tmp_path / "cluster") == expected
    assert len(expected) == 2 * (2 + 3 + 3) + 34 * 2, "run.json, the summary, units, features, and predictions"
    assert {process for process, _ in pool.log} == {0, 1, 2}
    assert len(pool.files) == len(set(pool.files)) + 34 == 68, "each file is sent once"
    assert progress[-1] == progress[0][1:] * 2 == (68, 68)
    attempts = [json.loads(path.read_text()) for path in outcomes[0].cell.store.folder.glob("attempts/*")]
    assert sorted(number for attempt in attempts for number in attempt["units"]) == list("012")
    assert len(attempts) == 3
    for attempt in attempts:
        assert attempt["predicted_frames"] >= 4 and attempt["seconds"]["predict"] > 0
        assert (attempt["device"], attempt["command"], attempt["shard"]) == ("cpu", sys.argv, [0, 1])


class Holding(toys.Last):
    """Holds a network, which drops pixels in training mode, and is none itself."""

    def __init__(self) -> None:
        self.net = torch.nn.Dropout(0.9)

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=self.net(toys.repeat(context, horizon)))


def test_modules_that_a_predictor_holds_are_in_eval_mode(setting, spread, tmp_path, monkeypatch):
    monkeypatch.setattr(toys, "Last", Holding)
    _, expected = evaluate_locally(setting, tmp_path, "last")
    (outcome,), _, _ = spread("last")
    assert outcome.error is None and files(tmp_path / "cluster") == expected


class Locked(toys.Last):
    """Holds a lock, which vpbench cannot look into."""

    def __init__(self) -> None:
        self.lock = Lock()


def test_what_has_no_fingerprint_is_refused_and_the_others_run(setting, spread, tmp_path, monkeypatch):
    """The processes may hold other values, which no identity shows."""
    monkeypatch.setattr(toys, "Last", Locked)
    with pytest.raises(UsageError, match=r"several processes cannot make one result of it, since .* fingerprint"):
        setting("cluster", "last", shard="0/2")
    (refused, good), _, _ = spread("last", "noisy")
    assert "last: several processes cannot make one result of it" in str(refused.error)
    assert isinstance(refused.error, UsageError) and good.result.summary
    assert not list((tmp_path / "cluster").glob("toy/last"))


@pytest.fixture
def no_record(monkeypatch):
    """Let the record of the work for `last` fail."""
    write = Attempt.write

    def fail(attempt, **changes):
        if "predicted_frames" in changes and "last" in attempt.path.parts:
            raise ResultError("cannot write: no space")
        write(attempt, **changes)

    monkeypatch.setattr(Attempt, "write", fail)


@pytest.mark.parametrize("names", [("last", "noisy"), ("noisy", "last")], ids="-".join)
def test_every_cell_is_closed_if_a_record_cannot_be_written(setting, tmp_path, no_record, names):
    run, cells, _ = setting("here", *names)
    with pytest.raises(ResultError, match="no space"):
        run_cells(run, cells)
    (attempt,) = tmp_path.glob("here/toy/noisy/*/attempts/*")
    assert json.loads(attempt.read_text())["predicted_frames"] > 0


def test_a_record_that_cannot_be_written_ends_its_cell_alone(spread, no_record):
    (failed, good), _, _ = spread("last", "noisy")
    assert str(failed.error) == "cannot write: no space" and good.result.summary


def test_a_process_that_is_refused_leaves_no_temporary_folder(setting, tmp_path, monkeypatch):
    file = tmp_path / "w.safetensors"
    save_file(choose_predictor(PLUGINS, "convlstm:tiny", {}).value.state_dict(), file)
    run, cells, choices = setting("cluster", "convlstm:tiny", options={"convlstm": {"weights": str(file)}})
    recipe = make_recipe(run, cells, choices, [], "cpu")
    (tmp_path / "node").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    reply = Worker().prepare(replace(recipe, settings=replace(recipe.settings, seed=5)))
    assert isinstance(reply.error, UsageError) and not list((tmp_path / "node").iterdir())


def test_units_of_a_process_that_ends_are_evaluated_again(setting, spread, tmp_path):
    _, expected = evaluate_locally(setting, tmp_path, "last")
    with pytest.warns(VpbenchWarning, match=r"a process on \S+ ended \(ActorDiedError: it died\); unit 1 is evaluated"):
        _, (pool,), progress = spread("last", ends=lambda process, call: (process, call) == (1, 1))
    assert files(tmp_path / "cluster") == expected
    assert [call for _, call in pool.log].count(1) == 2
    assert (3, "prepare") in pool.log, "another process takes its place"
    assert progress[-1] == (34, 34)


def test_an_idle_process_that_ended_costs_no_unit(setting, spread, tmp_path):
    """The last unit is lost while all other processes are idle, and they are lost with it."""
    _, expected = evaluate_locally(setting, tmp_path, "last")
    lost = []

    def ends(process, call):
        lost.extend([process] if call == 2 and not lost else [])
        return bool(lost) and process < 3

    with pytest.warns(VpbenchWarning, match="unit 2 is evaluated again"):
        _, (pool,), _ = spread("last", ends=ends)
    assert files(tmp_path / "cluster") == expected
    assert [call for _, call in pool.log].count(2) == 2


def test_a_unit_that_ends_every_process_fails_and_the_others_stay(spread):
    with pytest.raises(
        PredictorError, match=rf"^last: {TRIALS} processes ended over unit 1, the last one: Actor.*it d"
    ):
        spread("last", size=1, ends=lambda process, call: call == 1)


def test_processes_that_end_at_their_start_are_given_up(spread):
    with pytest.raises(PredictorError, match=r"3 processes ended while they started; the last one: ActorDied"):
        spread("last", size=2, ends=lambda process, call: call == "prepare")
    outcomes, (pool,), _ = spread("last", ends=lambda process, call: call == "prepare" and process > 0)
    assert outcomes[0].result is not None
    assert {process for process, call in pool.log if call != "prepare"} == {0}


def test_a_predictor_that_fails_is_not_tried_again(setting, spread, tmp_path):
    (local, *_), _ = evaluate_locally(setting, tmp_path, "raises")
    (failed, good), (pool,), progress = spread("raises", "last")
    assert str(failed.error) == str(local.error)
    assert "ValueError: no idea" in failed.error.__notes__[0], "the traceback, for --debug"
    assert good.result.summary.sets["mean-colour"]
    assert progress[-1] == (68, 68)
    (failed,), (pool,), _ = spread("raises", out="failed", size=2)
    assert len([call for _, call in pool.log if call != "prepare"]) <= 2, "no process is asked again"
    assert failed.error and not files(tmp_path / "failed")


def test_a_process_that_would_compute_another_result_is_refused(spread, tmp_path):
    def change(process, recipe):
        return recipe if process == 1 else replace(recipe, settings=replace(recipe.settings, seed=5))

    message = r"on \S+: last would be another result here than at the head \(seed differ\): install the same"
    with pytest.warns(VpbenchWarning, match=f"a process less: {message}"):
        outcomes, (pool,), _ = spread("last", change=change)
    assert outcomes[0].result is not None
    assert {process for process, call in pool.log if call != "prepare"} == {1}
    with pytest.raises(UsageError, match=message):
        spread("last", out="none", size=1, change=change)
    assert not files(tmp_path / "none")


def test_unreadable_clips_are_named_with_their_host_or_left_out(setting, spread, tmp_path):
    with pytest.raises(DataError, match=r"on \S+: .*seq020: does not decode"):
        spread("last", broken=20)
    with pytest.warns(VpbenchWarning, match=r"unit 1 left out: "):
        _, expected = evaluate_locally(setting, tmp_path, "last", broken=20, allow_partial=True)
    with pytest.warns(VpbenchWarning, match=r"unit 1 left out: on \S+: .*seq020: does not decode"):
        outcomes, _, _ = spread("last", out="partial", broken=20, allow_partial=True)
    assert files(tmp_path / "partial") == expected
    assert outcomes[0].cell.store.published() == [0, 2]


def test_published_units_are_not_sent_but_for_predictions_to_keep(setting, spread, tmp_path):
    run, cells, _ = setting("cluster", "last", shard="0/2")
    run_cells(run, cells)
    _, (pool,), _ = spread("last")
    assert sorted(call for _, call in pool.log if call != "prepare") == [1]
    assert spread("last")[1] == [], "no process is started for nothing"
    (folder,) = {path.parent.parent for path in tmp_path.glob("cluster/**/units/*")}
    attempts = len(list(folder.glob("attempts/*")))
    before = {path: path.stat().st_mtime_ns for path in folder.glob("units/*")}
    _, (pool,), _ = spread("last", keepers=[PredictionKeeper()])
    assert len(pool.files) == 34 and len(list(folder.glob("attempts/*"))) == attempts, "rows are not published again"
    assert len(list(folder.glob("predictions/**/*.npy"))) == 34
    assert {path: path.stat().st_mtime_ns for path in folder.glob("units/*")} == before


def test_files_that_complete_a_clip_are_sent_last(setting, tmp_path):
    """A head that is killed between them leaves a clip incomplete, so that it is predicted again."""
    run, _, _ = setting("cluster", "last")
    keepers = [PredictionKeeper(), PictureKeeper(run.manifest, 1)]
    first = ["pictures/a/truth.webp", "predictions/a.flow.npy", "predictions/a.sample1.semantics.npy"]
    last = ["pictures/a/clip.json", "predictions/a.npy", "predictions/a.sample1.npy"]
    for name in (*first, *last):
        write_atomic(tmp_path / "result" / name, name)
    contents = remote._taken_files(tmp_path / "result", keepers)
    assert list(contents) == [*first, *last] and contents["predictions/a.npy"] == b"predictions/a.npy"
    assert not (tmp_path / "result").exists()


def test_weights_that_a_user_names_are_sent(setting, spread, tmp_path):
    file = tmp_path / "w.safetensors"
    save_file(choose_predictor(PLUGINS, "convlstm:tiny", {}).value.state_dict(), file)
    run, cells, choices = setting("cluster", "convlstm:tiny", options={"convlstm": {"weights": str(file)}})
    recipe = make_recipe(run, cells, choices, [], "cpu")
    assert recipe.weights == (file.read_bytes(),)
    worker = Worker()
    file.unlink()
    reply = worker.prepare(recipe)
    assert reply.error is None and len(reply.value) == 1
    worker.close()
    with pytest.raises(Exception, match=r"w.safetensors cannot be read: No such file"):
        make_recipe(run, cells, choices, [], "cpu")


def test_a_recipe_holds_what_a_worker_cannot_know(setting, monkeypatch):
    monkeypatch.setenv("VPBENCH_ENGINE", "libraries")
    monkeypatch.setenv("RANK", "1")
    run, cells, choices = setting("cluster", "last", data_roots={"": Path("relative")}, shard="0/1")
    recipe = make_recipe(run, cells, choices, [], "cuda")
    assert recipe.variables["VPBENCH_ENGINE"] == "libraries" and "RANK" not in recipe.variables
    assert recipe.settings.data_roots == {"toy-frames": Path("relative")}
    assert (recipe.settings.device, recipe.settings.shard, recipe.folder) == ("cuda", "0/1", Path.cwd())
    assert recipe.plugins == ("toys",) and recipe.weights == (b"",)


def test_an_error_that_is_none_of_vpbench_names_its_host(spread):
    class Broken(Processes):
        def receive(self):
            answer = super().receive()
            return replace(answer, reply=Reply("far", None, portable(KeyError("hole")), ()))

    with pytest.raises(Exception, match=r"^on far: RuntimeError: KeyError: 'hole'"):
        spread("last", size=1, pool=Broken)
