"""``vpbench train SUITE.toml`` on several processes: whatever becomes of one entry, the next one trains, or it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from vpbench.cli.train_suite import _train_in_child
from vpbench.errors import PredictorError

TESTS = Path(__file__).resolve().parents[1]
PLUGINS = [word for name in ("toys.py", "toy_trainable.py") for word in ("--plugin", str(TESTS / name))]


@pytest.fixture
def suite(toy, tmp_path):
    toy(dataset="toy-frames", sequences=12)
    path = tmp_path / "suite.toml"
    entries = "".join(f'[[predictors]]\nname = "{name}"\ntrain = {{ steps = 2 }}\n' for name in ("breaks", "learner"))
    path.write_text(f'schema = 1\nname = "table"\nprotocols = ["toy.toml"]\n{entries}')
    return path


@pytest.fixture
def train(vpbench, suite, tmp_path):
    common = [*PLUGINS, "--device", "cpu", "--workers", "0", "--pictures", "0", "--metric", "mse"]
    return lambda *args: vpbench("train", suite, *common, "--out", tmp_path / "out", *args)


@pytest.mark.slow
def test_each_is_trained_by_processes_of_its_own_though_another_failed(train, monkeypatch):
    codes, started = [1, 0], []

    class Ended:
        def __init__(self, command, start_new_session):
            started.append(command)

        def wait(self):
            return codes.pop(0)

    monkeypatch.setattr(sys, "argv", ["vpbench", "train", "x.toml", "--devices", "2"])
    monkeypatch.setattr(subprocess, "Popen", Ended)
    monkeypatch.setattr("vpbench.cli.train_suite.training_document", lambda _, weights: {"weights": weights.name})
    outcome = train("--devices", "2", "--json")
    prefix = [sys.executable, "-m", "vpbench", "train", "x.toml", "--devices", "2", "--only-job"]
    assert started == [[*prefix, "0"], [*prefix, "1"]]
    error = "toy, breaks: not trained; its processes ended with exit code 1"
    assert (outcome.code, outcome.err.splitlines()) == (1, ["toy, breaks:", f"vpbench: {error}", "toy, learner:"])
    weights = [(training["weights"], training["error"]) for training in outcome.json["trainings"]]
    assert weights == [(None, error), ("weights.safetensors", None)]


@pytest.mark.slow
def test_such_processes_train_one_only(train, tmp_path, monkeypatch):
    monkeypatch.setenv("NAN_AT", "0")
    assert train("--only-job", "1").code == 0
    assert [path.parts[-3] for path in tmp_path.glob("out/training/toy/*/*/weights.safetensors")] == ["learner"]
    assert not list(tmp_path.glob("out/training/toy/breaks"))
    failed = train("--only-job", "0")
    assert (failed.code, "the loss is nan at batch 1" in failed.error) == (1, True)


@pytest.fixture
def train_subprocess(suite, monkeypatch):
    """Train the suite's second job by a program of this test in place of vpbench."""

    def call(program):
        started = subprocess.Popen

        def popen(command, **options):
            assert command == [sys.executable, "-m", "vpbench", "train", "x.toml", "--only-job", "1"]
            return started([sys.executable, "-c", program, str(os.getpid())], **options)

        monkeypatch.setattr(sys, "argv", ["vpbench", "train", "x.toml"])
        monkeypatch.setattr(subprocess, "Popen", popen)
        return _train_in_child(1, "toy, learner")

    return call


@pytest.mark.parametrize(
    ("program", "ending"),
    [("raise SystemExit(2)", "exit code 2"), ("import os; os.kill(os.getpid(), 9)", "SIGKILL")],
    ids=["failed", "killed"],
)
def test_one_that_ended_badly_has_failed(train_subprocess, program, ending):
    with pytest.raises(PredictorError, match=f"toy, learner: not trained; its processes ended with {ending}"):
        train_subprocess(program)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 138)])
def test_a_signal_reaches_it_and_stops_the_suite(train_subprocess, name, code):
    """The last one as it ends a process that does not listen yet."""
    listens = f"signal.signal(signal.{name}, lambda *_: sys.exit({code}))" if code != 138 else ""
    tells = f"os.kill(int(sys.argv[1]), signal.{name})"
    handler = signal.getsignal(getattr(signal, name))
    with pytest.raises(click.exceptions.Exit) as stopped:
        train_subprocess(f"import os, signal, sys, time\n{listens}\ntime.sleep(0.5)\n{tells}\ntime.sleep(60)")
    assert stopped.value.exit_code == code
    assert signal.getsignal(getattr(signal, name)) == handler
