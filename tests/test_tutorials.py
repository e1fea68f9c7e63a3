"""The tutorials are true: their files are written, their commands run, and what a command prints is what the page shows.

``...`` in the shown output stands for any text within a line, or for any lines where it stands alone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
FILE = re.compile(r"(?:# |<!-- )(?P<name>[\w./-]+\.(?:py|toml|txt))\b.*\n")


def pattern(shown: str) -> re.Pattern[str]:
    """What a command may print, given the output on the page."""
    pieces = []
    for line in shown.rstrip("\n").split("\n"):
        if line.strip() == "...":
            pieces.append(r"(?:.*\n)*?")
        else:
            pieces.append(".*?".join(map(re.escape, line.rstrip().split("..."))) + r"[ ]*\n")
    return re.compile("".join(pieces))


def transcript(block: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output that the page shows."""
    parts = re.split(r"^\$ ", block, flags=re.M)
    assert not parts[0], "a console block starts with a command"
    steps = []
    for part in parts[1:]:
        command = re.match(r"(?:.*\\\n)*.*\n", part)
        assert command is not None
        steps.append((command[0].strip(), part[command.end() :]))
    return steps


def test_the_pattern_of_an_output():
    assert pattern("a ... c\n...\nend\n").fullmatch("a b c\nx\ny\nend\n")
    assert not pattern("a ... c\nend\n").fullmatch("a b c\nx\nend\n")
    assert not pattern("a\n").fullmatch("b\n")
    assert transcript("$ one \\\n  two\nout\n$ three\n") == [("one \\\n  two", "out\n"), ("three", "")]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs_as_it_is_written(page, tmp_path):
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "100",
        "VPBENCH_CACHE": str(tmp_path / "cache"),
        "PYTHONWARNINGS": "ignore",
    }
    folder = tmp_path / "work"
    folder.mkdir()
    for block in BLOCK.finditer(page.read_text()):
        line = page.read_text().count("\n", 0, block.start()) + 1
        if block["language"] == "console":
            for command, shown in transcript(block["text"]):
                run = subprocess.run(
                    ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
                )
                assert run.returncode == 0, f"{page.name}:{line}: {command}\n{run.stdout}{run.stderr}"
                assert pattern(shown).fullmatch(run.stdout) or not shown, (
                    f"{page.name}:{line}: {command}\n--- shown\n{shown}--- printed\n{run.stdout}--- stderr\n{run.stderr}"
                )
        elif named := FILE.match(block["text"]):
            path = folder / named["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["text"])
