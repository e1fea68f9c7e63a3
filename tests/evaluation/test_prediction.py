"""vpbench.evaluate restores the caller's model and raises with the plugin's exception as its cause."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import torch

import vpbench
from vpbench.errors import describe
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.loader import load_plugins

TESTS = Path(__file__).resolve().parent.parent
PROTOCOL = """
schema = 1
name = "toy"
version = 1
[dataset]
name = "toy"
[sampling]
kind = "first"
context = 3
horizon = 4
"""


class Net(torch.nn.Module):
    """Modules in three modes, and one that a list holds."""

    info = vpbench.PredictorInfo()

    def __init__(self, error: Exception | None = None):
        super().__init__()
        self.drop, self.norm = torch.nn.Dropout(0.5), torch.nn.BatchNorm2d(3)
        self.train()
        self.norm.eval()
        self.hidden = [torch.nn.Dropout(0.5)]
        self.error = error

    def fingerprint(self):
        return "net"

    def predict(self, context, horizon, generators):
        assert not (self.training or self.drop.training or self.norm.training or self.hidden[0].training)
        if self.error:
            raise self.error
        frames = self.hidden[0](self.drop(context.frames[:, -1:]))
        return vpbench.Prediction(frames=frames.repeat(1, horizon, 1, 1, 1))


class Plain:
    info = vpbench.PredictorInfo()

    def __init__(self, net):
        self.nets = {"net": net}

    def predict(self, context, horizon, generators):
        return self.nets["net"].predict(context, horizon, generators)


@pytest.fixture
def evaluate(tmp_path, cache):
    (tmp_path / "toy.toml").write_text(PROTOCOL)
    plugins = load_plugins([str(TESTS / "toys.py"), str(TESTS / "rogues.py")])

    def call(predictor, **settings):
        settings = {"metrics": ["mse"], **settings}
        return vpbench.evaluate(predictor, tmp_path / "toy.toml", plugins=plugins, out=tmp_path / "r", **settings)

    return call


def modes(net: Net) -> list[bool]:
    return [net.training, net.drop.training, net.norm.training, net.hidden[0].training]


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [lambda net: net, Plain], ids=["module", "plain"])
@pytest.mark.parametrize("error", [None, ValueError("no")], ids=["good", "raises"])
def test_every_module_is_in_the_mode_it_was_in(evaluate, wrap, error):
    net = Net(error)
    if error is None:
        evaluate(wrap(net))
    else:
        with pytest.raises(vpbench.PredictorError):
            evaluate(wrap(net))
    assert modes(net) == [True, True, False, True]


def test_the_mode_comes_back_where_nothing_can_be_evaluated(evaluate):
    net = Net()
    with pytest.raises(vpbench.UsageError):
        evaluate(net, metrics=["msee"])
    assert modes(net) == [True, True, False, True]


@pytest.mark.slow
def test_the_exception_of_the_plugin_is_the_cause(evaluate):
    error = ValueError("no")
    with pytest.raises(vpbench.PredictorError, match=r"predictor 'net' failed on clip 'test/seq000@0'") as caught:
        evaluate(Net(error))
    assert caught.value.__cause__ is error
    with pytest.raises(vpbench.MetricError) as caught:
        evaluate("last", metrics=["metric-exits"])
    assert isinstance(caught.value.__cause__, SystemExit)


def test_a_module_without_eval_mode_fails_by_name(evaluate):
    class Stubborn(Net):
        def eval(self):
            raise RuntimeError("never")

    with pytest.raises(vpbench.PredictorError, match="predictor 'plain' has no eval mode: RuntimeError: never"):
        evaluate(Plain(Stubborn()))


# --- the guard ---


class Hostile(Exception):  # noqa: N818
    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text


class Text(str):
    def __getitem__(self, key):
        raise RuntimeError

    def split(self, *args):
        raise RuntimeError

    def __len__(self):
        return 3


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("a\n b\tc"), "ValueError: a b c"),
        (ValueError(), "ValueError"),
        (SystemExit(3), "SystemExit: 3"),
        (Hostile("\x1b[31mred\x1b[0m \x1b]0;title\x07bell\x07"), "Hostile: red bell"),
        (Hostile(Text("fine")), "Hostile: fine"),
        (Hostile(3), "Hostile: (its text cannot be read)"),
        (type("A\nB" * 500, (Exception,), {})("x"), None),
        (ValueError("x" * 10**6), "ValueError: " + "x" * 300 + " ..."),
        (ValueError("\u202eabc\udc80\x00"), "ValueError: abc"),
    ],
)
def test_an_exception_is_one_printable_line(error, expected):
    line = describe(error)
    assert line.isprintable()
    assert len(line) < 700
    assert expected is None or line == expected


@pytest.mark.parametrize("error", [ValueError(), SystemExit(), KeyboardInterrupt(), GeneratorExit(), StopIteration()])
def test_the_guard_catches_whatever_is_raised(error):
    failure = vpbench.DataError("failed")
    with pytest.raises(vpbench.DataError) as caught, plugin_errors(lambda _: failure):
        raise error
    assert caught.value.__cause__ is error


def test_the_guard_refuses_an_exit_and_lets_forks_and_threads_end(monkeypatch):
    ends = []
    monkeypatch.setattr(os, "_exit", ends.append)
    fail = failed_as(vpbench.DataError, "p")
    with (
        pytest.raises(vpbench.DataError, match=r"p: SystemExit: os\._exit\(0\) would end vpbench"),
        plugin_errors(fail),
    ):
        os._exit(0)
    with plugin_errors(fail):
        thread = threading.Thread(target=plugin_errors(fail)(os._exit), args=(4,))
        thread.start()
        thread.join()
        assert ends == [4]
        fork = os.fork()
        if fork == 0:
            os._exit(5)
            os.kill(os.getpid(), 9 if ends == [4, 5] else 15)
        assert os.waitpid(fork, 0)[1] == 9
    assert os._exit == ends.append


@pytest.mark.parametrize("error", [None, ValueError()])
def test_a_fork_that_leaves_the_guard_ends(error):
    fork = -1
    with suppress(vpbench.DataError), plugin_errors(failed_as(vpbench.DataError, "p")):
        fork = os.fork()
        if error is not None:
            raise error
    if fork == 0:
        os.kill(os.getpid(), 9)
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 1


def test_guards_of_two_threads_that_overlap_leave_the_exit_as_it_was():
    end, has_entered, may_leave = os._exit, threading.Event(), threading.Event()

    def guarded():
        with plugin_errors(failed_as(vpbench.DataError, "p")):
            has_entered.set()
            may_leave.wait(10)

    thread = threading.Thread(target=guarded)
    with plugin_errors(failed_as(vpbench.DataError, "p")):
        thread.start()
        has_entered.wait(10)
    may_leave.set()
    thread.join()
    assert os._exit == end


@pytest.mark.slow
def test_a_closed_output_is_opened_again(tmp_path):
    code = (
        "import sys; from vpbench.plugin.process_state import process_state\n"
        "try:\n    with process_state(): sys.stdout.close()\n"
        "except Exception as error: print(error)\n"
        "print('still open')"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines() == [
        "it closes sys.stdout or sys.stderr, which the whole process shares",
        "still open",
    ]
