"""Every command prints one JSON document with a schema; of several results or files, failures included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import folders
import pytest

from vpbench.cli.main import cli

COMMANDS = Path(__file__).resolve().parents[2] / "vpbench/cli"


def commands(group: click.Group, name: str = "vpbench") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with its full name."""
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def test_every_command_has_json():
    options = {name: {flag for option in command.params for flag in option.opts} for name, command in commands(cli)}
    assert {"vpbench train", "vpbench new", "vpbench data check", "vpbench weights convert"} <= options.keys()
    assert [name for name, flags in options.items() if "--json" not in flags] == []


def test_one_function_prints_every_document():
    assert [path.name for path in sorted(COMMANDS.glob("*.py")) if "json.dumps" in path.read_text()] == ["common.py"]


@pytest.mark.parametrize(
    ("args", "field"),
    [
        (["list", "metrics"], "entries"),
        (["plugins"], "plugins"),
        (["new", "metric", "my-own"], "next"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_document_starts_with_its_schema(vpbench, tmp_path, monkeypatch, args, field):
    monkeypatch.chdir(tmp_path)
    document = vpbench(*args, "--json").json
    assert next(iter(document.items())) == ("schema", 1)
    assert document[field]


@pytest.fixture
def root(tmp_path):
    """Two results, of which the second has a unit that is not what was published."""
    for name in ("good", "spoilt"):
        folders.make_result(tmp_path / "results", name, {"mse": [0.1]})
    (unit,) = (tmp_path / "results").glob("toy/spoilt/*/units/000000.jsonl")
    unit.write_text(unit.read_text().replace("0.09", "0.08", 1))
    return tmp_path / "results"


@pytest.mark.parametrize(("command", "field"), [("verify", "checked"), ("merge", "summary")])
def test_every_result_stands_in_the_document_also_the_one_that_failed(vpbench, root, command, field):
    outcome = vpbench(command, root, "--json")
    assert outcome.code == 1
    good, spoilt = outcome.json["results"]
    assert good["error"] is None
    assert good[field]
    assert field not in spoilt
    assert spoilt["error"].endswith(outcome.error.removeprefix("vpbench: ")[-60:])
    assert "is not what was published" in spoilt["error"]


@pytest.mark.parametrize("command", ["verify", "merge"])
def test_without_json_the_good_results_are_lines(vpbench, root, command):
    outcome = vpbench(command, root)
    assert outcome.code == 1
    assert len(outcome.out.splitlines()) == 1
    assert "toy/good" in outcome.out


@pytest.mark.parametrize("command", ["verify", "merge"])
def test_a_folder_without_results_prints_no_document(vpbench, tmp_path, command):
    outcome = vpbench(command, tmp_path, "--json")
    assert (outcome.code, outcome.out) == (1, "")
