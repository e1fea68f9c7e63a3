"""The command line in this process: what it printed and how it ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vpbench.cli.main import _run, cli

TOYS = str(Path(__file__).resolve().parent.parent / "toys.py")


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on standard error."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("vpbench: ")
        return lines[0]


@pytest.fixture
def vpbench(capsys, cache, monkeypatch):
    monkeypatch.setattr(cli, "commands", {})  # a plugin's command stays in one test

    def call(*args: object) -> Outcome:
        capsys.readouterr()
        code = _run([str(a) for a in args])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def toy(tmp_path):
    """Write a protocol on the toy dataset and return the arguments that use it."""

    def make(name: str = "toy", dataset: str = "toy", sampling: str = "", **options: object) -> list[str]:
        lines = [f"{key} = {json.dumps(value)}" for key, value in options.items()]
        path = tmp_path / f"{name}.toml"
        path.write_text(
            f'schema = 1\nname = "{name}"\nversion = 1\nreference = "last"\n[dataset]\nname = "{dataset}"\n'
            f"[dataset.options]\n"
            + "\n".join(lines)
            + "\n[sampling]\n"
            + (sampling or 'kind = "first"\ncontext = 3\nhorizon = 4\n')
        )
        return ["--plugin", TOYS, "-p", str(path)]

    return make
