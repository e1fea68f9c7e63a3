"""Commands to disturb: each writes below one folder, and the same command resumes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import folders
import pytest
from disk_faults import FailingDisk, operations
from warm import TESTS, Work, start

from vpbench.cli.main import _run

PROTOCOL = """
schema = 1
name = "toy"
version = 1
metrics = ["mse", "mean-colour"]
dataset = { name = "toy-frames", options = { sequences = 40 } }
sampling = { kind = "first", context = 2, horizon = 3 }
training = { clips = 12 }
"""
PLUGINS = ["--plugin", TESTS / "toys.py", "--plugin", TESTS / "toy_trainable.py"]
PROMISED = {
    "run": ["**/run.json", "**/summary.json", "**/units/*", "**/features/*"],
    "prepare": ["cache/prepared/**/*"],
    "train": ["**/weights.safetensors"],
    "report": ["site/**/*"],
}
"""Patterns of the files whose bytes each command promises."""
UNFINISHED = (".tmp", ".new", ".old", ".claim")


@dataclass(frozen=True)
class Command:
    """A command, and the folder that it writes to."""

    name: str
    arguments: list[object]
    out: Path

    def start(self, work: Work = _run) -> BaseProcess:
        environment = {"VPBENCH_CACHE": str(self.out / "cache"), "OMP_NUM_THREADS": "1"}
        return start(self.arguments, self.out.with_suffix(".log"), environment, work)

    def run(self, work: Work = _run) -> int:
        """Run the command in a child; return its exit code, which is negative for a signal."""
        self.out.with_suffix(".log").unlink(missing_ok=True)
        process = self.start(work)
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    @property
    def printed(self) -> str:
        """The output of the last :meth:`run`, and of all processes that were started after it."""
        return self.out.with_suffix(".log").read_text()

    def finish(self) -> dict[str, bytes]:
        """Run the command, which must succeed and leave nothing unfinished; return the promised bytes."""
        code = self.run()
        assert code == 0, self.printed
        assert self.unfinished() == []
        return self.bytes()

    def bytes(self) -> dict[str, bytes]:
        paths = (path for pattern in PROMISED[self.name] for path in self.out.glob(pattern) if path.is_file())
        return {str(path.relative_to(self.out)): path.read_bytes() for path in sorted(paths)}

    def unfinished(self) -> list[str]:
        """Return the files and folders that only a process that is still running may have."""
        return sorted(str(path.relative_to(self.out)) for path in self.out.rglob("*") if path.suffix in UNFINISHED)


@dataclass(frozen=True)
class Undisturbed:
    """Bytes, seconds and operations of a command that nothing disturbs."""

    bytes: dict[str, bytes]
    seconds: float
    operations: int


@pytest.fixture(scope="module")
def make_command(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Command]:
    """Return a command by its name; each writes to a folder of its own."""
    results, protocols = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("protocols")
    (protocols / "toy.toml").write_text(PROTOCOL)
    (protocols / "small.toml").write_text(PROTOCOL.replace("40", "8"))
    for name, score in (("net", 0.1), ("other", 0.2)):
        folders.make_result(results, name, {"mse": [score, 0.3], "psnr": [20.0, 19.0]})

    def make(name: str) -> Command:
        out = tmp_path_factory.mktemp("out") / "out"
        out.mkdir()
        short = ["--device", "cpu", "--workers", "0", "--pictures", "0", "--metric", "mse", "--epoch-clips", "8"]
        arguments: dict[str, list[object]] = {
            "run": ["run", *PLUGINS, "-p", protocols / "toy.toml", "-m", "last", "--out", out],
            "prepare": ["data", "prepare", *PLUGINS, protocols / "small.toml"],
            "train": ["train", *PLUGINS, "-p", protocols / "small.toml", "-m", "learner", *short, "--out", out],
            "report": ["report", results, "--out", out / "site"],
        }
        return Command(name, arguments[name], out)

    return make


@pytest.fixture(scope="module")
def undisturbed(make_command: Callable[[str], Command]) -> Callable[[str], Undisturbed]:
    """Return what a command does if nothing disturbs it, measured once."""
    measured: dict[str, Undisturbed] = {}

    def measure(name: str) -> Undisturbed:
        if name not in measured:
            command = make_command(name)
            replace(command, arguments=["--version"]).run()  # the first child waits for the imports
            start = time.perf_counter()
            code = command.run(FailingDisk(command.out))
            seconds = time.perf_counter() - start
            assert code == 0, command.printed
            measured[name] = Undisturbed(command.bytes(), seconds, len(operations(command.out)))
            assert measured[name].bytes and command.unfinished() == []
        return measured[name]

    return measure
