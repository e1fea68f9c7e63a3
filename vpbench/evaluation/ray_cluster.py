"""Processes of a Ray cluster: actors that evaluate units, and commands on nodes. Only this module imports Ray."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpbench.errors import UsageError, VpbenchError, VpbenchWarning, describe, one_line
from vpbench.evaluation.dispatch import Answer, Cluster, OpenPool
from vpbench.evaluation.remote import Recipe, Reply, UnitRequest, Worker, harness_variables

Resources = Mapping[str, float]
"""Amounts by Ray's names: CPU, GPU, memory, and those that a cluster defines."""
_NAMES = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}

_PATIENCE = 10
"""Seconds for a connection, and for processes to remove their temporary files."""
_SILENCE = 30
"""Seconds without an answer after which the nodes are looked at."""


def ray_cluster(parameters: Mapping[str, Any], processes: int | None, device: str) -> Cluster:
    """Return the Ray cluster; it is joined when there is work, and left before scores are printed.

    Args:
        parameters: ``address`` of the cluster, and Ray's options of an actor, such as ``num_gpus``.
        processes: number of processes; by default, as many as the cluster has room for.
        device: ``cpu``, ``cuda``, or ``auto`` for the one that ``num_gpus`` says.

    Raises:
        VpbenchError: Ray is not installed. UsageError: Ray does not know a parameter, or two of them do not fit.
    """
    setup = _set_up(parameters, device, Worker)
    return Cluster(setup.device, _opener(setup, processes))


@dataclass(frozen=True)
class NodeOutcome:
    """The end of a command on a node."""

    host: str
    output: str
    """Its standard output."""
    error: str
    """Why it failed: the last line of its standard error, or of Ray; "" if it did not."""


def run_on_nodes(
    words: Sequence[str],
    parameters: Mapping[str, Any],
    processes: int | None,
    device: str,
    progress: Callable[[int, int], None],
) -> list[NodeOutcome]:
    """Run ``vpbench WORDS`` on every node of the Ray cluster that has room for it.

    Args:
        words: arguments of ``vpbench``.
        parameters: as in :func:`ray_cluster`.
        processes: number of processes on each node; by default, as many as it has room for.
        device: as in :func:`ray_cluster`.
        progress: called with (processes that ended, processes).

    Returns:
        The outcomes, in the order of the nodes' names.

    Raises:
        VpbenchError: Ray is not installed, no cluster can be joined, or no node has room.
        UsageError: Ray does not know a parameter, or two of them do not fit.
    """
    setup = _set_up(parameters, device, _run_here)
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray, needs, outcomes = setup.ray, demand(setup.options), []
    with redirect_stdout(sys.stderr), _signals(), _joined(ray, setup.address):
        task, calls = ray.remote(_run_here), {}
        for node in ray.nodes():
            places = room([node["Resources"]], needs) if node["Alive"] else 0
            near = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            options = {**setup.options, "scheduling_strategy": near, "max_retries": 0}
            for _ in range(min(places, processes or places)):
                call = task.options(**options).remote(list(words), str(Path.cwd()), harness_variables())
                calls[call] = node["NodeManagerHostname"]
        if not calls:
            raise VpbenchError(f"no node of the Ray cluster has {_listed(needs)}")
        progress(0, len(calls))
        waiting = list(calls)
        while waiting:
            (call,), waiting = ray.wait(waiting, num_returns=1)
            outcomes.append(_outcome(ray, call, calls[call]))
            progress(len(outcomes), len(calls))
    return sorted(outcomes, key=lambda outcome: (outcome.host, outcome.error))


def _outcome(ray: Any, call: Any, host: str) -> NodeOutcome:
    try:
        return NodeOutcome(host, *ray.get(call))
    except ray.exceptions.RayError as error:
        return NodeOutcome(host, "", reason(error))


def _run_here(words: Sequence[str], folder: str, variables: Mapping[str, str]) -> tuple[str, str]:
    """Run ``vpbench WORDS`` in a child process; return its output, and the last line of its errors if it failed."""
    process = subprocess.run(
        [sys.executable, "-m", "vpbench", *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
        cwd=folder if Path(folder).is_dir() else None,  # relative paths mean the same as at the head
        env={**os.environ, **variables},
    )  # fmt: skip
    lines = process.stderr.strip().splitlines() or [f"vpbench ended with {process.returncode}"]
    return process.stdout, one_line(lines[-1].removeprefix("vpbench: ")) if process.returncode else ""


@dataclass(frozen=True)
class _Setup:
    """How processes on a Ray cluster are started."""

    ray: Any
    address: str | None
    options: Mapping[str, Any]
    """Ray's options of each."""
    device: str
    """``cpu`` or ``cuda``."""


def _set_up(parameters: Mapping[str, Any], device: str, work: Any) -> _Setup:
    """Check parameters of processes that do ``work`` (arguments and errors as :func:`ray_cluster`)."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise VpbenchError("Ray is not installed: pip install 'vpbench[ray]'") from error
    options = {"num_cpus": 1, "num_gpus": int(device == "cuda"), **parameters}
    address = options.pop("address", None)
    if not isinstance(address, str | None):
        raise UsageError(f"address={address} of a Ray cluster: write it as HOST:PORT")
    try:
        ray.remote(work).options(**options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"Ray does not take these parameters of a process: {describe(error)}") from error
    process_device = "cuda" if options["num_gpus"] else "cpu"
    if device not in ("auto", process_device):
        raise UsageError(f"num_gpus={options['num_gpus']} does not fit the device {device}: leave out one of them")
    return _Setup(ray, address, options, process_device)


def demand(options: Mapping[str, Any]) -> Resources:
    """Return the resources that an actor with these options takes."""
    amounts = {name: options.get(option) or 0 for option, name in _NAMES.items()} | (options.get("resources") or {})
    return {name: amount for name, amount in amounts.items() if amount}


def room(nodes: Iterable[Resources], needs: Resources) -> int:
    """Return how many actors with these needs fit on the nodes."""
    return sum(min((int(node.get(name, 0) // amount) for name, amount in needs.items()), default=1) for node in nodes)


def reason(error: Exception) -> str:
    """Return why an actor ended in one line: the beginning of Ray's message, and the exception at its end, if any."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = f" {lines[-1]}" if re.match(r"[\w.]*(Error|Exception)\b", lines[-1]) and len(lines) > 1 else ""
    return one_line(f"{type(error).__name__}: {lines[0]}{cause}")


def _opener(setup: _Setup, processes: int | None) -> OpenPool:
    ray, needs = setup.ray, demand(setup.options)
    actor = ray.remote(Worker).options(**setup.options)

    @contextmanager
    def open_pool(recipe: Recipe) -> Iterator[_Pool]:
        with redirect_stdout(sys.stderr), _joined(ray, setup.address):  # Ray prints the end of a node
            places = _places(ray, needs)
            pool = _Pool(ray, actor.remote, ray.put(recipe), processes or max(1, places), needs)
            try:
                yield pool
            finally:
                pool.close()

    return open_pool


def _places(ray: Any, needs: Resources) -> int:
    """Return how many actors with these needs fit on the nodes that are alive; warn if none does."""
    places = room((node["Resources"] for node in ray.nodes() if node["Alive"]), needs)
    if not places:
        text = f"no node of the Ray cluster has {_listed(needs)}: waiting for one"
        warnings.warn(text, VpbenchWarning, stacklevel=2)
    return places


def _listed(needs: Resources) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in needs.items())


@contextmanager
def _joined(ray: Any, address: str | None) -> Iterator[None]:
    """Join the cluster at an address, else that of RAY_ADDRESS or of this machine, else start one here; leave it after.

    Raises:
        VpbenchError: there is none at the address.
    """
    check_reachable(address or os.environ.get("RAY_ADDRESS", ""))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except Exception as error:  # Ray raises errors of this class, too
        raise VpbenchError(f"no Ray cluster can be joined at {address or 'this machine'}: {describe(error)}") from error
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray's ends this process without a word
    try:
        yield
    finally:
        ray.shutdown()


def check_reachable(address: str) -> None:
    """Check that something listens at HOST:PORT, where Ray would try for minutes; other forms are left to Ray.

    Raises:
        VpbenchError: nothing does.
    """
    match = re.fullmatch(r"([\w.-]+):(\d{1,5})", address)
    if match is None:
        return
    try:
        socket.create_connection((match[1], int(match[2])), timeout=_PATIENCE).close()
    except (OSError, OverflowError, UnicodeError) as error:  # UnicodeError: no name of a host
        raise VpbenchError(f"no Ray cluster can be joined at {address}: {describe(error)}") from error


@contextmanager
def _signals() -> Iterator[None]:
    """Raise the exception of a signal's handler, which Ray's C code may turn into a SystemError."""
    try:
        yield
    except SystemError as error:
        raise error.__cause__ or error from None


class _Pool:
    """Actors by number, and their calls."""

    def __init__(self, ray: Any, create: Callable[[], Any], recipe: Any, size: int, needs: Resources) -> None:
        self.size = size
        self._ray, self._create, self._recipe, self._needs = ray, create, recipe, needs
        self._actors: dict[int, Any] = {}
        self._calls: dict[Any, int] = {}
        self._count = 0

    def start(self) -> int:
        self._count += 1
        self._actors[self._count] = self._create()
        self.wake(self._count)
        return self._count

    def wake(self, process: int) -> None:
        self._calls[self._actors[process].prepare.remote(self._recipe)] = process

    def send(self, process: int, request: UnitRequest) -> None:
        self._calls[self._actors[process].evaluate.remote(request)] = process

    def receive(self) -> Answer:
        with _signals():
            return self._receive()

    def _receive(self) -> Answer:
        calls = list(self._calls)
        while not (ended := self._ray.wait(calls, num_returns=1, timeout=_SILENCE)[0]):
            _places(self._ray, self._needs)  # warns where all nodes have gone
        call = ended[0]
        process = self._calls.pop(call)
        try:
            return Answer(process, self._ray.get(call))
        except self._ray.exceptions.RayTaskError as error:  # the call raised, so that it would again
            return Answer(process, Reply("a node of the Ray cluster", None, error.cause, ()))
        except self._ray.exceptions.RayError as error:
            self.stop(process)
            return Answer(process, None, reason(error))

    def stop(self, process: int) -> None:
        self._ray.kill(self._actors.pop(process))

    def close(self) -> None:
        """End every process; those that work are not waited for."""
        working = set(self._calls.values())
        calls = [actor.close.remote() for process, actor in self._actors.items() if process not in working]
        if calls:
            self._ray.wait(calls, num_returns=len(calls), timeout=_PATIENCE)
        for process in list(self._actors):
            self.stop(process)
