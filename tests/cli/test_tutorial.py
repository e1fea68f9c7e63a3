"""The opening of docs/plugins.md, from `vpbench new` to a row on a board: its commands print what the page shows."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
SECTION = PAGE.partition("## From nothing to a row on a board\n")[2].partition("\n## ")[0]
STEPS = re.findall(r"```sh\nvpbench (.+?)\n```\n\n```text\n(.+?)```", SECTION, re.S)


def without_hashes(text: str) -> str:
    """A result's folder is named by a hash of code and versions too."""
    return re.sub(r"\b[0-9a-f]{12}\b", "HASH", text)


def test_the_way_is_short():
    assert 4 <= len(STEPS) == SECTION.count("```sh") < 10


@pytest.mark.slow
def test_the_commands_print_what_the_page_shows(vpbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    try:
        for command, output in STEPS:
            outcome = vpbench(*shlex.split(command))
            assert (outcome.code, outcome.err) == (0, ""), command
            assert without_hashes(outcome.out) == without_hashes(output), command
    finally:
        sys.modules.pop("mine", None)
    assert re.search(r"^\| 2 +\| mine ", Path("boards/moving-digits-10to10.md").read_text(), re.M)
