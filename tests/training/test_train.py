"""Training as a whole, on toys: what is undisturbed, killed, shared by processes or refused."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import vpbench
from vpbench.plugin.loader import load_plugins
from vpbench.select.component import choose_predictor
from vpbench.select.data import open_protocol
from vpbench.select.trained import open_trained
from vpbench.training.plan import TrainSettings, make_training_plan
from vpbench.training.train import Stopped

TESTS = Path(__file__).resolve().parents[1]
PLUGINS = [str(TESTS / "toys.py"), str(TESTS / "toy_trainable.py")]


@pytest.fixture(scope="module")
def plugins():
    return load_plugins(PLUGINS)


@pytest.fixture
def protocol(tmp_path, cache):
    path = tmp_path / "toy.toml"
    path.write_text(
        'schema = 1\nname = "toy"\nversion = 1\nmetrics = ["mse", "ssim"]\n[dataset]\nname = "toy-frames"\n'
        "options = { sequences = 12, length = 10 }\n[sampling]\n"
        'kind = "first"\ncontext = 2\nhorizon = 3\n[training]\nclips = 24\n'
    )
    return path


def flat(settings):
    """Arguments of ``vpbench.train``: the recipe's next to the others."""
    return {name: value for name, value in settings.items() if name != "recipe"} | settings["recipe"]


@pytest.fixture
def train(plugins, protocol, tmp_path):
    def call(predictor="learner", out="out", **settings):
        settings = flat({"device": "cpu", "minutes": 0, "recipe": {"accumulate": 2}, **settings})
        return vpbench.train(predictor, protocol, plugins=plugins, out=tmp_path / out, **settings)

    return call


def start(protocol, out, predictor="learner", env=(), **settings):
    """Train in a process of its own, which the toy kills at KILL_AFTER."""
    settings = flat({"device": "cpu", "minutes": 0, "recipe": {"accumulate": 2}, **settings})
    code = (
        "import vpbench; from vpbench.plugin.loader import load_plugins; "
        f"vpbench.train({predictor!r}, {str(protocol)!r}, plugins=load_plugins({PLUGINS!r}), "
        f"out={str(out)!r}, **{settings!r})"
    )
    environment = {**os.environ, "PYTHONPATH": str(TESTS), **dict(env)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def files(weights, *, of_stages=True):
    """The tensors of a training's every file of weights, as bytes."""
    paths = weights.parent.rglob("weights.safetensors") if of_stages else [weights]
    return {
        f"{path.relative_to(weights.parent)}:{name}": tensor.numpy().tobytes()
        for path in paths
        for name, tensor in load_file(path).items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "after"),
    [(0, 9), (2, 12)],
    ids=["in the middle of an epoch and of a step, 0 workers", "at the start of an epoch, 2 workers"],
)
def test_killed_with_9_and_resumed_it_ends_in_the_same_bits(train, protocol, tmp_path, workers, after):
    undisturbed = train(out="undisturbed", workers=workers)
    killed = start(protocol, tmp_path / "out", env={"KILL_AFTER": str(after)}, workers=workers)
    assert killed.returncode == -signal.SIGKILL
    (checkpoint,) = tmp_path.glob("out/**/last.ckpt")
    reached = torch.load(checkpoint, weights_only=False)["callbacks"]["Saver"]["loader"]["served"]
    assert reached == after // 2 * 2, "saved between optimiser steps"
    resumed = train(workers=workers)
    assert files(resumed) == files(undisturbed)
    stages = [open_trained(path).record.stages for path in (undisturbed, resumed)]
    assert stages[0] == stages[1], "the same scores, and the same weights kept"
    assert stages[0][0].steps == 9


@pytest.mark.slow
def test_the_seed_decides_the_weights(train):
    weights = [files(train(seed=seed, out=f"out{i}"), of_stages=False) for i, seed in enumerate((0, 0, 1))]
    assert weights[0] == weights[1]
    assert all(weights[0][name] != weights[2][name] for name in weights[0])


@pytest.mark.slow
def test_two_processes_are_one_with_the_doubled_batch(train, protocol, tmp_path, monkeypatch):
    monkeypatch.setenv("DROPOUT", "0")  # drawn by each process
    script = tmp_path / "two.py"  # Lightning starts the second process by running the first one's script again
    script.write_text(
        "import vpbench; from vpbench.plugin.loader import load_plugins\n"
        f"vpbench.train('learner', {str(protocol)!r}, plugins=load_plugins({PLUGINS!r}), "
        f"out={str(tmp_path / 'two')!r}, "
        "device='cpu', devices=2, keep='last', steps=5, batch_size=4)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "KILL_AFTER": "-1"}
    process = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert "distributed" not in process.stderr, "Lightning keeps to itself what every process would say"
    (path,) = tmp_path.glob("two/training/toy/learner/*/weights.safetensors")
    single = train(keep="last", recipe={"steps": 5, "batch_size": 4})
    first, second = load_file(single), load_file(path)
    scores = [open_trained(p).record.stages[0].kept.scores["mse"] for p in (single, path)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)
    assert set(first) == set(second)
    fresh = choose_predictor(load_plugins(PLUGINS), "learner", {}).value.state_dict()
    for name in first:
        assert first[name].dtype == torch.float64
        assert (first[name] - fresh[name]).abs().max() > 1e-3, "it has learned"
        assert (first[name] - second[name]).abs().max() < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["mse", "last"])
def test_stopped_and_moved_it_goes_on_where_it_lies(train, tmp_path, monkeypatch, keep):
    """The first epoch is the best: of the moved training too, wherever it began."""
    diverges = {"keep": keep, "recipe": {"epochs": 3, "learning_rate": 3.0}}
    monkeypatch.setenv("KILL_SIGNAL", "SIGINT")
    undisturbed = train(out="undisturbed", **diverges)
    monkeypatch.setenv("KILL_AFTER", "8")  # within the second of three epochs of 6 batches
    with pytest.raises(Stopped):
        train(**diverges)
    monkeypatch.delenv("KILL_AFTER")
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    moved = train(out="elsewhere", **diverges)
    records = [open_trained(path).record.stages[0].kept for path in (undisturbed, moved)]
    assert records[0] == records[1]
    assert records[0].epoch == (3 if keep == "last" else 1)
    assert files(moved) == files(undisturbed)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "at"), [(12, 5), (4, 3)], ids=["at an epoch's end", "at the last step, within one"])
@pytest.mark.parametrize("validating", [False, True], ids=["in the step", "in the validation"])
def test_stopped_before_the_end_of_a_validation_it_is_validated_again(
    train, tmp_path, monkeypatch, steps, at, validating
):
    from vpbench.training.validation import Validation

    lines, settings = [], {"recipe": {"steps": steps}, "minutes": 5}
    undisturbed = train(out="undisturbed", **settings)
    with monkeypatch.context() as patch:
        if validating:
            patch.setattr(Validation, "_rows", lambda self, trainer: os.kill(os.getpid(), signal.SIGINT))
        else:
            patch.setenv("KILL_SIGNAL", "SIGINT")
            patch.setenv("KILL_AFTER", str(at))
        with pytest.raises(Stopped) as stopped:
            train(say=lines.append, **settings)
    assert stopped.value.saved
    assert not any("mse" in line for line in lines), "nothing is validated"
    (checkpoint,) = tmp_path.glob("out/**/last.ckpt")
    assert torch.load(checkpoint, weights_only=False)["callbacks"]["Saver"]["loader"]["served"] == at + 1
    resumed = train(**settings)
    assert files(resumed) == files(undisturbed)
    stages = [
        open_trained(path.parent / "stage1" / "weights.safetensors").record.stages[0] for path in (resumed, undisturbed)
    ]
    assert stages[0] == stages[1], "the same validations, of the same epochs"


@pytest.mark.slow
def test_one_process_trains_in_a_folder(train, protocol, tmp_path):
    """Another is refused while the first one trains, and is not once that was killed, though its workers still live."""
    code = (
        "import os, sys, time; from pathlib import Path; from vpbench.training.lock import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    worker = os.fork()\n"
        "    if worker: print(worker, flush=True)\n"
        "    time.sleep(600)"
    )
    with pytest.raises(vpbench.PredictorError):
        train("out-of-memory")  # leaves a folder
    (folder,) = tmp_path.glob("out/training/toy/out-of-memory/*")
    with subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE, text=True) as holder:
        worker = int(holder.stdout.readline())
        try:
            with pytest.raises(vpbench.UsageError, match=f"another process trains in {folder}: wait until it ends"):
                train("out-of-memory")
            holder.kill()
            holder.wait()
            with pytest.raises(vpbench.PredictorError, match="out of memory"):
                train("out-of-memory")
        finally:
            holder.kill()
            os.kill(worker, signal.SIGKILL)


def test_where_the_file_system_has_no_locks_it_trains(train, monkeypatch):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    with pytest.raises(vpbench.PredictorError, match="out of memory"):
        train("out-of-memory")


@pytest.mark.slow
def test_two_stages_one_after_another_and_resumed_within_the_second(train, protocol, tmp_path):
    undisturbed = train("two-stages", recipe={}, out="undisturbed")
    killed = start(protocol, tmp_path / "out", "two-stages", env={"KILL_AFTER": "2", "KILL_IN": "ByHand"}, recipe={})
    assert killed.returncode == -signal.SIGKILL
    first = train("two-stages", recipe={})
    assert files(first) == files(undisturbed)
    stages = open_trained(first).record.stages
    assert [(s.name, s.steps) for s in stages] == [("Fit", 6), ("ByHand", 4)]
    first_stage, second_stage = (load_file(first.parent / f"stage{i}" / "weights.safetensors") for i in (1, 2))
    assert all(not torch.equal(first_stage[name], second_stage[name]) for name in first_stage)
    attempts = {path.relative_to(first.parent).as_posix() for path in first.parent.glob("stage*/logs/*")}
    assert attempts == {"stage1/logs/attempt1", "stage2/logs/attempt1", "stage2/logs/attempt2"}


@pytest.mark.slow
@pytest.mark.parametrize("flushed", [False, True], ids=["kept before", "flushed before"])
def test_denormal_numbers_are_zero_while_it_trains(train, monkeypatch, flushed):
    class Gradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx, loss):
            return loss.clone()

        @staticmethod
        def backward(ctx, gradient):
            are_kept.append(denormals_are_kept())
            return gradient

    from toy_trainable import Fit

    are_kept, step = [], Fit.training_step
    monkeypatch.setattr(Fit, "training_step", lambda *args: Gradient.apply(step(*args)))
    torch.set_flush_denormal(flushed)
    try:
        train()
        assert set(are_kept) == {False}
        assert denormals_are_kept() == (not flushed)
    finally:
        torch.set_flush_denormal(False)


def denormals_are_kept() -> bool:
    return bool(torch.tensor(1e-40) * 1)


@pytest.mark.slow
def test_a_finished_training_is_not_repeated(train):
    weights = train()
    before = {p: p.stat().st_mtime_ns for p in weights.parent.rglob("*")}
    assert train() == weights
    assert {p: p.stat().st_mtime_ns for p in weights.parent.rglob("*")} == before
    with pytest.raises(vpbench.UsageError, match=f"there is a training in {weights.parent} already"):
        train(resume=False)


@pytest.mark.slow
def test_the_file_says_what_it_is(train, plugins, protocol):
    weights = train(recipe={"epochs": 2, "learning_rate": 0.02}, seed=5)
    with safe_open(weights, "pt") as file:
        about = json.loads(file.metadata()["vpbench"])
    assert about["predictor"] == "learner" and about["preset"] == ""
    assert about["options"] == {"hidden": 4, "loss": "l2"}
    assert about["protocol"]["name"] == "toy"
    assert about["protocol_hash"] == vpbench.Protocol.read(protocol).hash
    assert about["seed"] == 5
    assert about["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert len(about["clips"]["sequences"]) == 12 and about["clips"]["per_epoch"] == 24
    (stage,) = about["stages"]
    recipe = {"epochs": 2, "steps": 12, "batch_size": 4, "learning_rate": 0.02, "precision": "32"}
    unset = dict.fromkeys(("clip", "clip_frames", "crop", "epoch_clips", "size"))
    assert stage["recipe"] == {**recipe, "accumulate": 1, **unset}
    assert set(stage["kept"]["scores"]) == {"mse", "ssim"}
    assert about["started_from"] is None
    continued = train(recipe={"epochs": 1}, options={"learner": {"weights": str(weights)}})
    assert open_trained(continued).record.started_from == open_trained(weights).sha256


@pytest.mark.slow
def test_weights_remember_the_sequences_of_those_that_they_started_from(train, tmp_path):
    weights = train(recipe={"epochs": 1})
    trained_on = open_trained(weights).sequences
    tensors = load_file(weights)

    def started_from(name, about):
        save_file(tensors, tmp_path / name, metadata={"vpbench": json.dumps(about)} if about else None)
        options = {"learner": {"weights": str(tmp_path / name)}}
        return open_trained(train(recipe={"epochs": 1}, out=name.partition(".")[0], options=options))

    metadata = {"predictor": "learner", "clips": {"sequences": ["0" * 16]}}
    assert started_from("other.safetensors", metadata).sequences == trained_on | {"0" * 16}
    # Of unknown origin: nobody knows what they saw, whatever they are trained on afterwards.
    unknown = started_from("unknown.safetensors", None)
    assert unknown.sequences is None
    assert unknown.use("toy", ["test/seq000"]).clips == "unknown"


@pytest.mark.slow
def test_the_weights_of_a_stage_say_what_they_are(train, plugins):
    weights = train(recipe={"epochs": 1})
    stage, whole = open_trained(weights.parent / "stage1" / "weights.safetensors"), open_trained(weights)
    assert stage.sequences == whole.sequences
    chosen = choose_predictor(plugins, "learner", {"learner": {"weights": str(stage.path)}})
    assert chosen.trained.record.protocol_hash == whole.record.protocol_hash


@pytest.mark.slow
def test_the_best_weights_are_kept_by_the_metric_that_is_named(train, plugins, monkeypatch):
    monkeypatch.setenv("DROPOUT", "0")
    diverges = {"recipe": {"epochs": 4, "learning_rate": 3.0}}  # after the first epoch it gets worse
    best, last = (open_trained(train(keep=keep, out=keep, **diverges)) for keep in ("ssim", "last"))
    history = [
        open_trained(t.path.parent / "stage1" / "weights.safetensors").record.stages[0].history for t in (best, last)
    ]
    assert history[0] == history[1]
    means = [sum(epoch.scores["ssim"]) for epoch in history[0]]
    (stage,) = best.record.stages
    assert stage.kept.epoch == 1 + means.index(max(means))
    assert last.record.stages[0].kept.epoch == 4
    assert stage.kept.epoch != 4, "the toy was to diverge"


@pytest.mark.slow
def test_the_validation_scores_are_those_of_run(train, plugins, protocol, tmp_path):
    """Evaluated on the sequences that were held out, the weights score what their file says."""
    from vpbench.select.data import open_protocol_dataset
    from vpbench.training.clips import split_sequences

    weights = train(recipe={"epochs": 1})
    value = vpbench.Protocol.read(protocol)
    _, held_out, _ = split_sequences(value, open_protocol_dataset(plugins, value, {}))
    text = protocol.read_text().replace("[sampling]", 'split = "train"\n[sampling]')
    on_train = tmp_path / "train.toml"
    on_train.write_text(text)
    result = vpbench.evaluate(
        "learner", on_train, plugins=plugins, out=tmp_path / "r", options={"learner": {"weights": str(weights)}}
    )
    rows = [
        r for r in result.rows() if r["clip"].partition("@")[0] in {s.name for s in held_out} and r["metric"] == "mse"
    ]
    assert len(held_out) == 1
    scores = open_trained(weights).record.stages[0].kept.scores["mse"]
    assert [r["value"] for r in rows] == pytest.approx(scores, rel=1e-9)
    assert result.training == "overlap"


@pytest.mark.slow
def test_a_prepared_store_is_used_and_changes_no_bit(train, plugins, protocol, monkeypatch):
    from toys import ToyFrames

    from vpbench.clips.prepare import prepare
    from vpbench.select.data import open_protocol_dataset
    from vpbench.training.clips import split_sequences, training_manifest, training_protocol

    plain = train(out="plain")
    value = vpbench.Protocol.read(protocol)
    dataset = open_protocol_dataset(plugins, value, {})
    read, (trained, _, _) = ToyFrames.read, split_sequences(value, dataset)
    prepare(training_protocol(value), dataset, training_manifest(value, dataset), ["frames"], lambda count, total: None)

    def only_what_is_not_trained_on(self, sequence, frames, modality):
        assert sequence not in {s.name for s in trained}
        return read(self, sequence, frames, modality)

    monkeypatch.setattr(ToyFrames, "read", only_what_is_not_trained_on)
    assert files(train(out="prepared")) == files(plain)


@pytest.mark.slow
def test_an_annotator_supplies_what_it_learns_from(train, plugins, protocol):
    """Flow by OpenCV's DIS, of frames that move one pixel to the right: as made for it, and as prepared."""
    from vpbench.clips.annotations import prepare_annotations
    from vpbench.clips.prepare import prepare
    from vpbench.select.component import choose_annotators
    from vpbench.select.data import open_protocol_dataset
    from vpbench.training.clips import training_manifest, training_protocol

    with pytest.raises(vpbench.DataError, match=r"requires flow.*flow=NAME"):
        train("follows-flow", recipe={})
    protocol.write_text(protocol.read_text().replace("length = 10", "length = 10, size = [48, 64]"))
    settings = {"recipe": {"steps": 4, "learning_rate": 1.0}, "annotate": {"flow": "dis"}, "metrics": ["mse"]}
    weights = train("follows-flow", **settings)
    learnt = load_file(weights)["weight"]
    assert learnt.tolist() == pytest.approx([4, 0], abs=0.4), "minus the sum of four gradients, each the mean flow"
    assert json.loads(open_trained(weights).record.annotators["flow"])["name"] == "dis"
    value = vpbench.Protocol.read(protocol)
    dataset, dis = open_protocol_dataset(plugins, value, {}), choose_annotators(plugins, {"flow": "dis"}, {})["flow"]
    plan, manifest, quiet = training_protocol(value), training_manifest(value, dataset), lambda count, total: None
    prepare_annotations(plan, prepare(plan, dataset, manifest, ["frames"], quiet), manifest, dis, quiet)
    assert files(train("follows-flow", out="prepared", **settings)) == files(weights)


@pytest.mark.slow
def test_compiled_it_learns_the_same(train, monkeypatch):
    """torch's tracing as in ``--compile``, but what it traced runs as it is: making machine code takes minutes."""
    traced, compiling = [], torch.compile

    def backend(graph, inputs):
        traced.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(compiling, backend=backend))
    settings = {"keep": "last", "recipe": {"steps": 2}}
    plain, compiled = train(out="plain", **settings), train(out="compiled", compile=True, **settings)
    assert traced
    assert [open_trained(path).record.compiled for path in (plain, compiled)] == [False, True]
    eager, fast = load_file(plain), load_file(compiled)
    assert eager.keys() == fast.keys()
    for name in eager:
        torch.testing.assert_close(eager[name], fast[name])


@pytest.mark.slow
def test_logs_and_pictures(train):
    weights = train(recipe={"epochs": 2})
    (log,) = weights.parent.glob("stage1/logs/attempt1/metrics.csv")
    rows = list(csv.DictReader(log.open()))
    assert [float(r["val/mse"]) for r in rows if r["val/mse"]] == pytest.approx(
        [
            sum(e.scores["mse"]) / 3
            for e in open_trained(weights.parent / "stage1" / "weights.safetensors").record.stages[0].history
        ]
    )
    assert all(float(r["train/loss"]) > 0 for r in rows if r["train/loss"])
    assert list(weights.parent.glob("stage1/logs/attempt1/events.out.tfevents.*"))
    picture = (weights.parent / "learning-curve.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


@pytest.mark.slow
def test_losses_are_in_the_log_while_it_trains(train, tmp_path, monkeypatch):
    from toy_trainable import Fit

    step, logged = Fit.training_step, []

    def looking(self, batch, index):
        if batch.step == 10:
            logged.extend(tmp_path.glob("out/**/metrics.csv"))
            logged.extend(csv.DictReader(logged[0].open()))
        return step(self, batch, index)

    monkeypatch.setattr(Fit, "training_step", looking)
    train(recipe={"epochs": 1, "batch_size": 2}, minutes=5)
    assert [(row["step"], float(row["train/loss"]) > 0) for row in logged[1:]] == [("10", True)]


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_stops_it_and_keeps_the_last_good_checkpoint(train, tmp_path, monkeypatch):
    monkeypatch.setenv("NAN_AT", "4")
    with pytest.raises(vpbench.PredictorError, match=r"the loss is nan at batch 5: training stops, and the last good"):
        train("breaks", recipe={})
    (checkpoint,) = tmp_path.glob("out/**/last.ckpt")
    state = torch.load(checkpoint, weights_only=False)
    assert state["callbacks"]["Saver"]["loader"]["served"] == 4
    assert all(tensor.isfinite().all() for tensor in state["state_dict"].values())
    monkeypatch.setenv("NAN_AT", "-1")
    assert files(train("breaks", recipe={})) == files(train("breaks", recipe={}, out="undisturbed"))


@pytest.mark.slow
@pytest.mark.parametrize("at", [2, 5], ids=["within an epoch", "in its last batch: the other would validate"])
def test_a_loss_of_one_process_that_is_not_a_number_stops_both(protocol, tmp_path, at):
    command = [sys.executable, "-m", "vpbench", "train", "-p", str(protocol), "-m", "breaks", "--devices", "2"]
    command += ["--device", "cpu", "--batch-size", "2", "--epochs", "2", "--workers", "0", "--pictures", "0"]
    command += ["--out", str(tmp_path / "out"), *(word for plugin in PLUGINS for word in ("--plugin", plugin))]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "NAN_AT": str(at), "NAN_RANK": "1", "KILL_AFTER": "-1"}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert process.returncode == 1, process.stderr
    messages = [line for line in process.stderr.splitlines() if line.startswith("vpbench: ")]
    assert len(messages) == 1, process.stderr
    assert f"the loss is nan at batch {at + 1}: training stops" in messages[0]
    assert "Traceback" not in process.stderr
    assert not list(tmp_path.glob("out/**/weights.safetensors"))


def test_weights_that_are_not_finite_are_never_saved(train, tmp_path, monkeypatch):
    """The gradient may overflow where the loss did not."""
    from toy_trainable import Fit

    step = Fit.training_step

    def overflowing(self, batch, index):
        if batch.step == 3:
            self.model.net[0].weight.register_hook(lambda gradient: gradient * float("inf"))
        return step(self, batch, index)

    monkeypatch.setattr(Fit, "training_step", overflowing)
    with pytest.raises(vpbench.PredictorError, match="weights are not finite at batch 4"):
        train(recipe={})
    (checkpoint,) = tmp_path.glob("out/**/last.ckpt")
    assert torch.load(checkpoint, weights_only=False)["callbacks"]["Saver"]["loader"]["served"] == 3


def test_a_recipe_decides_the_frames_of_a_clip_and_the_clips_of_an_epoch(plugins, protocol, tmp_path):
    for recipe, horizon, per_epoch in (({}, 3, 24), ({"clip_frames": 9, "epoch_clips": 50}, 7, 50)):
        settings = TrainSettings(out=tmp_path, device="cpu", recipe=recipe)
        plan = make_training_plan(open_protocol(plugins, str(protocol)), "learner", plugins, settings)
        assert [(clips.horizon, clips.per_epoch) for clips in plan.clips] == [(horizon, per_epoch)]
        assert plan.validation.protocol.sampling.horizon == 3, "validation uses the protocol's"


def test_no_memory_says_what_to_lower(train):
    with pytest.raises(vpbench.PredictorError, match="out of memory with 4 clips per batch: use a smaller batch"):
        train("out-of-memory")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"predictor": "fails"}, "the trainer of predictor 'fails' failed: RuntimeError: no stages on toy"),
        ({"keep": "psnr"}, "no metric 'psnr' to keep weights by; known: last, mse, ssim"),
        ({"recipe": {"batch_size": 25}}, "an epoch of 24 clips does not hold one step of 25 clips"),
        ({"recipe": {"crop": (8, 25), "size": (16, 24)}}, "a crop of 8x25 is larger than frames of 16x24"),
        ({"recipe": {"epoch": 2}}, "train has no argument 'epoch'; did you mean 'epochs'"),
        ({"predictor": "two-stages"}, "stage 2 has manual optimization, and accumulates no batches"),
        ({"devices": 3}, "a batch of 4 clips cannot be divided among 3 processes: choose a multiple of 3"),
        ({"recipe": {"clip_frames": 2}}, "training clips of 2 frames have no future after"),
        ({"strategy": "quantum"}, "quantum"),
    ],
)
def test_what_cannot_be_trained_is_said(train, tmp_path, settings, words):
    with pytest.raises(vpbench.VpbenchError, match=words):
        train(**settings)
    assert not list(tmp_path.rglob("training.json")) or "strategy" in settings


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("predictor", 3), ("out", None), ("options", {"learner": "hidden"}), ("metrics", "mse"), ("epochs", 0),
        ("steps", 1.5), ("batch_size", True), ("learning_rate", float("nan")), ("precision", "16"), ("nodes", [1]),
        ("seed", -1), ("minutes", float("inf")), ("say", "loudly"), ("recipe", {"epochs": 3}),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named(plugins, protocol, argument, value):
    with pytest.raises(vpbench.UsageError, match=rf"^train(: {argument} must be | has no argument '{argument}')"):
        vpbench.train(**{"predictor": "learner", "protocol": protocol, "plugins": plugins, argument: value})
