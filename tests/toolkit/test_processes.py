"""Children: they answer, their crash is an exception here, and nothing of them remains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from vpbench.errors import DataError, Remedy, VpbenchWarning
from vpbench.toolkit import processes
from vpbench.toolkit.processes import Child, ChildEndedError, TooLargeError, TooSlowError, run_forwarding


@pytest.fixture
def act():
    child = Child("children:act", None)
    pid = child._process.pid
    assert os.getpgid(pid) == pid, "it leads a group: without one, it could not be ended, and tests would wait for ever"
    yield child
    child.close()


def ask(child, request, **limits):
    child.send(request)
    return child.receive(**limits)


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not runs(pid)


def test_a_child_answers_in_order_and_ends_when_it_is_closed():
    child = Child("children:echo", {"a": 1})
    child.send("x")
    child.send("y")
    (first, second) = child.receive(), child.receive(timeout=60)
    assert (first[:2], second[:2]) == (({"a": 1}, "x"), ({"a": 1}, "y"))
    assert first[2] == second[2] != os.getpid() and child.runs
    child.close()
    assert not child.runs and not runs(first[2])


def test_a_child_that_is_forgotten_ends():
    child = Child("children:echo", None)
    *_, pid = ask(child, "x")
    del child
    assert not runs(pid)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("segfault", "was ended by SIGSEGV"),
        ("exit", "ended with exit code 3"),
        ("kill", "was ended by SIGKILL, most likely because memory ran out"),
    ],
)
def test_the_end_of_a_child_is_an_exception(act, action, words):
    with pytest.raises(ChildEndedError, match=f"^{words}$"):
        ask(act, action)
    assert not act.runs
    with pytest.raises(ChildEndedError):
        ask(act, "large")


def test_a_crash_shows_its_stack(capfd):
    with pytest.raises(ChildEndedError):
        ask(Child("children:act", None), "segfault")
    assert "Segmentation fault" in capfd.readouterr().err


def test_limits_end_a_child(act):
    start = time.monotonic()
    with pytest.raises(TooSlowError):
        ask(act, "hang", timeout=0.5)
    assert 0.5 <= time.monotonic() - start < 10 and not act.runs


def test_a_limit_of_memory_ends_a_child(act):
    assert len(ask(act, "large", memory=4)) == 2**25
    with pytest.raises(TooLargeError):
        ask(act, "leak", memory=0.3)
    assert not act.runs


def test_exceptions_and_warnings_arrive(act):
    with pytest.raises(DataError, match="no such file") as caught:
        ask(act, "fail")
    assert str(caught.value) == "no such file"
    assert (caught.value.remedy, caught.value.subject) == (Remedy.DATA_ROOT, "kth")
    assert "in fail" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="KeyError: 'absent'") as caught:
        ask(act, "raise")
    assert "Traceback" in caught.value.__notes__[0]
    with pytest.warns(VpbenchWarning, match="^look here$"):
        assert ask(act, "warn") == 1
    assert ask(act, "stop") == "still here", "Ctrl-C is the parent's"


def test_a_target_that_fails_or_an_answer_that_cannot_be_sent(act):
    broken = Child("children:absent", None)
    with pytest.raises(RuntimeError, match="AttributeError: module 'children' has no attribute 'absent'"):
        ask(broken, "x")
    broken.close()
    with pytest.raises(ChildEndedError, match="exit code 1"):
        ask(act, "odd")


def test_a_note_outlives_a_crash(act):
    with pytest.raises(ChildEndedError):
        ask(act, "note")
    assert act.note() == "file é"
    processes.note("nothing happens in a process that is no child")


def test_what_a_child_started_ends_with_it(act):
    pid = ask(act, "leave")
    assert runs(pid)
    act.close()
    wait_until_gone(pid)


def test_a_child_dies_with_its_parent():
    code = (
        "import os, sys\nfrom vpbench.toolkit.processes import Child\nchild = Child('children:echo', 0)\n"
        "child.send(1)\nprint(child.receive()[2], flush=True)\nchild = Child('children:act', 0)\nchild.send('hang')\n"
        "print(child._process.pid, flush=True)\nos.kill(os.getpid(), 9)"
    )
    path = os.pathsep.join(sys.path)
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    for pid in map(int, process.stdout.split()):
        wait_until_gone(pid)


def test_a_signal_that_arrives_while_a_command_starts_reaches_it(monkeypatch):
    start = subprocess.Popen

    def popen(command):
        os.kill(os.getpid(), signal.SIGUSR1)
        return start(command)

    monkeypatch.setattr(subprocess, "Popen", popen)
    handler = signal.getsignal(signal.SIGUSR1)
    sleep = [sys.executable, "-c", "import time; time.sleep(10)"]
    assert run_forwarding(sleep, [signal.SIGUSR1]) == -signal.SIGUSR1
    assert signal.getsignal(signal.SIGUSR1) == handler
    with pytest.raises(FileNotFoundError):
        run_forwarding(["./missing"], [signal.SIGUSR1])


def test_a_fork_leaves_a_child_alone():
    child = Child("children:echo", None)
    *_, pid = ask(child, "x")
    fork = os.fork()
    if fork == 0:
        child.close()
        os._exit(0)
    os.waitpid(fork, 0)
    assert ask(child, "y")[1:] == ("y", pid)
    child.close()
