"""The tutorials are true: their files are written, their commands run, and they print the output that the page shows.

``...`` in the expected output stands for any text within a line, or for any lines where it stands alone. The folder of
a page in ``examples`` has the files that the page ends with.
"""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
NUMBER = re.compile(r"\d+\.\d+")
FILE = re.compile(r"(?:# |<!-- )(?P<name>[\w./-]+\.(?:py|toml|txt))\b.*\n")


def is_like(printed: str, expected: str) -> bool:
    """Compare a command's output with the page; decimals may differ a little, as they do between machines."""
    match = pattern(expected).fullmatch(printed)
    numbers = [float(number) for number in NUMBER.findall(expected)]
    return match is not None and list(map(float, match.groups())) == pytest.approx(numbers, rel=0.05, abs=2e-3)


def pattern(expected: str) -> re.Pattern[str]:
    """The text that a command may print, given the output on the page; a group per decimal number."""
    pieces = []
    for line in expected.rstrip("\n").split("\n"):
        text = re.escape(line.rstrip()).replace(re.escape("..."), ".*?")
        numbered = re.sub(r"\d+\\\.\d+", r"(\\d+\\.\\d+)", text)
        pieces.append(r"(?:.*\n)*?" if line.strip() == "..." else f"{numbered}[ ]*\n")
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


def test_an_output_is_compared_with_the_page():
    assert is_like("a b c\nx\ny\nend\n", "a ... c\n...\nend\n")
    assert not is_like("a b c\nx\nend\n", "a ... c\nend\n")
    assert not is_like("b\n", "a\n")
    assert is_like("mse  0.1001\n", "mse  0.1000\n")
    assert not is_like("mse  0.2000\n", "mse  0.1000\n")
    assert not is_like("step 2\n", "step 1\n")
    assert transcript("$ one \\\n  two\nout\n$ three\n") == [("one \\\n  two", "out\n"), ("three", "")]


@pytest.fixture
def binaries(tmp_path):
    """The commands of an environment that has all of this one, and into which a page may install packages."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    (site / "borrowed.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for name in ("vpbench", "pip"):
        command = home / "bin" / name
        command.write_text(f'#!/bin/sh\nexec "{home}/bin/python" -m {name} "$@"\n')
        command.chmod(0o755)
    return home / "bin"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs_as_it_is_written(page, binaries, tmp_path):
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "100",
        "PIP_NO_BUILD_ISOLATION": "false",  # which pip reads as: no isolation
        "PIP_NO_INDEX": "true",
        "VPBENCH_CACHE": str(tmp_path / "cache"),
        "PYTHONWARNINGS": "ignore",
    }
    folder = tmp_path / "work"
    folder.mkdir()
    for block in BLOCK.finditer(page.read_text()):
        line = page.read_text().count("\n", 0, block.start()) + 1
        if block["language"] == "console":
            for command, expected in transcript(block["text"]):
                run = subprocess.run(
                    ["bash", "-c", command],
                    **{"cwd": folder, "env": environment, "timeout": 900},
                    **{"capture_output": True, "text": True, "check": False},
                )
                assert run.returncode == 0, f"{page.name}:{line}: {command}\n{run.stdout}{run.stderr}"
                printed = f"--- on the page\n{expected}--- printed\n{run.stdout}--- stderr\n{run.stderr}"
                assert is_like(run.stdout, expected) or not expected, f"{page.name}:{line}: {command}\n{printed}"
        elif named := FILE.match(block["text"]):
            path = folder / named["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["text"])
    for path in filter(Path.is_file, (EXAMPLES / page.stem).rglob("*")):
        name = path.relative_to(EXAMPLES / page.stem)
        assert (folder / name).read_bytes() == path.read_bytes(), f"examples/{page.stem}/{name} is not that of the page"
