"""The page of conformance lists every check with its demand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vpbench.testing.conformance import CHECKS

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()


@pytest.mark.parametrize("kind", CHECKS)
def test_the_page_lists_every_check(kind):
    _, _, section = PAGE.partition(f"## {kind.capitalize()}s\n")
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", section.partition("\n## ")[0], re.M)
    assert rows[1:] == [(check.name, check.demand) for check in CHECKS[kind]]


@pytest.mark.parametrize("check", [check for checks in CHECKS.values() for check in checks], ids=lambda c: c.name)
def test_a_demand_is_one_sentence(check):
    assert re.fullmatch(r"[A-Z`][^.]*(\.\w[^.]*)*\.", check.demand)
    assert len(check.demand.split()) <= 25
