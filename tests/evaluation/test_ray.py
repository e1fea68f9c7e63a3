"""A Ray cluster of three nodes on this machine, of which two are killed. Only the slow lane imports Ray."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from PIL import Image

from vpbench.errors import UsageError, VpbenchError, VpbenchWarning
from vpbench.evaluation.dispatch import Answer
from vpbench.evaluation.ray_cluster import _Pool, check_reachable, demand, ray_cluster, reason, room

GATE = '''
import os
import time
from pathlib import Path

import vpbench
from toys import Last


@vpbench.hookimpl
def register_predictors(register):
    register("gated", "gate:Gated")


class Gated(Last):
    """Notes its process, and waits until the gate is open."""

    def predict(self, context, horizon, generators):
        gate = Path(os.environ["VPBENCH_GATE"])
        (gate / str(os.getpid())).touch()
        while not (gate / "open").exists():
            time.sleep(0.05)
        return super().predict(context, horizon, generators)
'''


@pytest.fixture
def cluster(monkeypatch):
    """Three nodes of one core each; all but the first can be killed."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'vpbench[ray]'")
    for name in ("RAY_agent_register_timeout_ms", "RAY_raylet_start_wait_time_s"):
        monkeypatch.setenv(name, "120000" if name.endswith("ms") else "120")  # for a machine that is busy
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20}
    nodes = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        for _ in range(2):
            nodes.add_node(**node)
        yield nodes
    finally:
        nodes.shutdown()


def results(root: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and path.parent.name != "attempts"]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def start(args: list[str], **env: str) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **env}
    return subprocess.Popen([sys.executable, "-m", "vpbench", *args], env=environment, text=True, **pipes)


def works(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_two_of_three_nodes_die_in_the_middle_of_a_run(cluster, tmp_path, cache):
    """The head is a process of its own, whose plugins no test has loaded."""
    gate, plugin, protocol = tmp_path / "gate", tmp_path / "gate.py", tmp_path / "toy.toml"
    gate.mkdir()
    plugin.write_text(GATE)
    protocol.write_text(
        'schema = 1\nname = "toy"\nversion = 1\nreference = "last"\n[dataset]\nname = "toy-frames"\n'
        'options = { sequences = 70, size = [8, 12] }\n[sampling]\nkind = "first"\ncontext = 2\nhorizon = 2\n'
    )
    toys = str(Path(__file__).parents[1] / "toys.py")
    args = ["run", "--plugin", toys, "--plugin", str(plugin), "-p", str(protocol), "-m", "gated"]
    args += ["--metric", "mean-colour", "--save-predictions"]
    env = {"RAY_ADDRESS": cluster.address, "VPBENCH_GATE": str(gate)}
    head = start([*args, "--out", str(tmp_path / "ray"), "--submit", "ray"], **env)
    try:
        deadline = time.monotonic() + 180
        while len(list(gate.iterdir())) < 3:  # each node works on a unit
            assert head.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        processes = [psutil.Process(int(path.name)) for path in gate.iterdir()]
        for node in cluster.worker_nodes.copy():
            cluster.remove_node(node, allow_graceful=False)
        while sum(map(works, processes)) > 1:  # a node's process ends a moment later, and must not finish its unit
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (gate / "open").touch()
        out, err = head.communicate(timeout=180)
    finally:
        head.kill()
    assert head.returncode == 0, err
    message = r"vpbench: warning: a process on \S+ ended \(Actor\w+: .*\); unit \d is evaluated again"
    assert len(re.findall(message, err)) == 2, err
    assert out.startswith("toy v1: 70 clips") and "raylet" not in out
    reference = start([*args, "--out", str(tmp_path / "one")], **env)
    assert reference.wait(120) == 0
    assert results(tmp_path / "ray") == results(tmp_path / "one")
    units = [json.loads(path.read_text())["units"] for path in tmp_path.glob("ray/toy/gated/*/attempts/*")]
    assert [sorted(numbers) for numbers in units] == [list("01234")], "the nodes that died had published nothing"


@pytest.mark.slow
def test_every_node_prepares_and_a_node_without_the_data_is_named(cluster, tmp_path, cache):
    args = ["data", "prepare", "folder-4to10", "--data-root", str(tmp_path / "videos")]
    for number in range(2):
        folder = tmp_path / "videos" / f"clip{number}"
        folder.mkdir(parents=True)
        for frame in range(14):
            Image.new("RGB", (16, 16), (frame, number, 0)).save(folder / f"{frame:02}.png")
    env = {"RAY_ADDRESS": cluster.address, "VPBENCH_CACHE": str(tmp_path / "ray")}
    nodes = start([*args, "--submit", "ray", "--json"], **env)
    out, err = nodes.communicate(timeout=240)
    assert nodes.returncode == 0, err
    (node,) = json.loads(out)["nodes"]  # all have the name of this machine
    assert (node["host"], [store["clips"] for store in node["stores"]]) == (socket.gethostname(), [2])
    reference = start(args, VPBENCH_CACHE=str(tmp_path / "one"))
    assert reference.wait(120) == 0
    stores = [
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("prepared/*/*")} for name in ("ray", "one")
    ]
    assert stores[0] == stores[1] != {}
    moved = start([*args[:-1], str(tmp_path / "nowhere"), "--submit", "ray", "--processes", "1"], **env)
    out, err = moved.communicate(timeout=240)
    lines = [line for line in err.splitlines() if line.startswith("vpbench: ")]
    assert (moved.returncode, out, len(lines)) == (1, "", 3), err
    assert all(line.startswith(f"vpbench: {socket.gethostname()}: ") and "nowhere" in line for line in lines)


@pytest.mark.slow
def test_a_parameter_that_ray_does_not_know_is_refused():
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'vpbench[ray]'")
    with pytest.raises(UsageError, match=r"Ray does not take these parameters of a process: .*nonsense"):
        ray_cluster({"nonsense": 1}, None, "auto")


@pytest.fixture
def any_ray(monkeypatch):
    """Replace Ray by a module that takes every option of an actor."""
    actor = SimpleNamespace(options=lambda **options: None)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(remote=lambda worker: actor))


@pytest.mark.parametrize(
    ("parameters", "device", "words"),
    [
        ({"address": 6379}, "auto", "^address=6379 of a Ray cluster: write it as HOST:PORT"),
        ({"num_gpus": 1}, "cpu", "^num_gpus=1 does not fit the device cpu"),
        ({"num_gpus": 0}, "cuda", "^num_gpus=0 does not fit the device cuda"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(any_ray, parameters, device, words):
    with pytest.raises(UsageError, match=words):
        ray_cluster(parameters, None, device)


@pytest.mark.parametrize(
    ("parameters", "device", "process_device"),
    [({}, "auto", "cpu"), ({}, "cuda", "cuda"), ({"num_gpus": 0.5}, "auto", "cuda"), ({"num_gpus": 2}, "cuda", "cuda")],
)
def test_the_device_of_processes(any_ray, parameters, device, process_device):
    assert ray_cluster(parameters, None, device).device == process_device


class TerminatedError(BaseException):
    """Raised by the handler of a signal."""


def test_the_exception_of_a_signal_is_not_lost_in_ray():
    def wait(calls, num_returns, timeout):
        raise SystemError("returned a result with an exception set") from TerminatedError()

    pool = _Pool(SimpleNamespace(wait=wait), None, None, 1, {})
    with pytest.raises(TerminatedError):
        pool.receive()


def test_a_run_that_waits_for_a_node_says_so():
    """No node is alive at the first look, one at the second."""
    alive = [[False, False], [False, True]]
    waits = [([], ["call"])] * len(alive) + [(["call"], [])]
    ray = SimpleNamespace(
        wait=lambda calls, num_returns, timeout: waits.pop(0),
        nodes=lambda: [{"Alive": is_alive, "Resources": {"CPU": 1}} for is_alive in alive.pop(0)],
        get=lambda call: f"answer of {call}",
    )
    pool = _Pool(ray, None, None, 1, {"CPU": 1})
    pool._calls["call"] = 7
    with pytest.warns(VpbenchWarning, match="^no node of the Ray cluster has 1 CPU: waiting for one$") as caught:
        assert pool.receive() == Answer(7, "answer of call")
    assert (len(caught), waits, alive) == (1, [], [])


class ActorDiedError(Exception):
    """Named as Ray's."""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The actor died unexpectedly.\n\tpid: 7\nThe actor never ran.", "The actor died unexpectedly."),
        (
            "The actor died because of an error\n  File x\nModuleNotFoundError: No module named 'vpbench'\n",
            "The actor died because of an error ModuleNotFoundError: No module named 'vpbench'",
        ),
        ("It is unavailable.", "It is unavailable."),
    ],
)
def test_the_end_of_an_actor_is_one_line(text, words):
    assert reason(ActorDiedError(text)) == f"ActorDiedError: {words}"


def test_an_address_where_nothing_listens_is_refused_at_once():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*server.getsockname())
        with pytest.raises(VpbenchError, match=rf"^no Ray cluster can be joined at {address}: ConnectionRefusedError"):
            check_reachable(address)
        server.listen()
        check_reachable(address)
    with pytest.raises(VpbenchError, match=r"^no Ray cluster can be joined at a\.\.b:1: UnicodeError"):
        check_reachable("a..b:1")
    for other_form in ("", "auto", "local", "ray://127.0.0.1:1"):
        check_reachable(other_form)


@pytest.mark.parametrize(
    ("options", "needs", "places"),
    [
        ({"num_cpus": 1, "num_gpus": 0}, {"CPU": 1}, 12),
        ({"num_cpus": 3, "num_gpus": 0}, {"CPU": 3}, 3),
        ({"num_cpus": 1, "num_gpus": 0.5, "runtime_env": {}}, {"CPU": 1, "GPU": 0.5}, 4),
        ({"num_cpus": 0, "memory": 50, "resources": {"fast": 1}}, {"memory": 50, "fast": 1}, 1),
        ({"num_cpus": 0}, {}, 3),
        ({"num_cpus": 64}, {"CPU": 64}, 0),
    ],
)
def test_the_room_of_a_cluster(options, needs, places):
    nodes = [{"CPU": 8.0, "GPU": 2.0, "memory": 100.0}, {"CPU": 4.0, "memory": 100.0, "fast": 1.0}, {}]
    assert demand(options) == needs
    assert room(nodes, needs) == places
