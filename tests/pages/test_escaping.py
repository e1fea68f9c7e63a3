"""No text of a result becomes markup on a page: rows, heads, remarks, partial results, and the index."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import folders
import pytest

from vpbench.pages.leaderboard import build_pages, collect

MARKUP = "<script>alert(1)</script> <img src=x onerror=y>\n# forged | `x` [x](javascript:y) \x1b[31mred \u202egnp"
WRITTEN = re.compile(r"<br><sub>[^<]*</sub>|<!--[^<]*-->")
"""The only markup that vpbench itself writes."""


def cells(line):
    return re.split(r"(?<!\\)\|", line)


@pytest.fixture
def built(tmp_path):
    """Pages of results whose every free text is hostile."""
    protocol = {"summary": MARKUP}
    hostile = {"protocol": protocol, "paper": f"https://example.org/{MARKUP}", "skipped": {"psnr": MARKUP}}
    metrics = {"mse": {"unit": MARKUP, "released": False}}
    scores = {"mse": [0.1, None]}

    def add(predictor, scores, **changes):
        return folders.make_result(tmp_path, predictor, scores, metrics=metrics, **(hostile | changes))

    for code in ("<script>", "<img x=y"):
        for width in (MARKUP, "2"):
            for seed in (0, 1):
                settings = {"seed": seed, "stochastic": True, "clamped": True, "options": {"width": width}}
                add("net", {"mse": [0.2 + seed, 0.1]}, metric_code={"mse": code}, **settings)
    add(
        "last", scores, reason=MARKUP, fingerprint="<script>" * 8, weights={"clips": "unknown", "seen": 0, "by": MARKUP}
    )
    mixed = add("last", scores, reason=MARKUP, fingerprint="`a`|<b>c" * 8, data="other pixels")
    (attempt,) = (mixed / "attempts").iterdir()
    record = json.loads(attempt.read_text())
    (mixed / "attempts/second.json").write_text(json.dumps(record | {"engine": MARKUP, "device": MARKUP}))
    add("look", {"mse": [0.1, 0.2]}, partial=MARKUP)
    return build_pages(collect([tmp_path], folders.plugins()), folders.plugins())


def test_texts_stand_on_every_page_as_they_were_typed(built):
    page, index = built["toy.md"], built["README.md"]
    assert "(mean of 2 seeds)" in page and "## Partial results, not ranked" in page
    assert len(re.findall(r"^## mse \(code .*, data [0-9a-f]{8}\)$", page, flags=re.M)) >= 2
    assert r"code \<script" not in page and "code &lt;script&gt;" in page
    for place in ("width=", "content=", "mixes ", "undefined for 20 frames", "Not measured: psnr", "lower is better, "):
        assert re.search(rf"{place}[^\n]*(alert\(1\)|&lt;)", page), place
    partial = page.partition("## Partial results")[2]
    assert "alert(1)" in partial and "alert(1)" in index


def test_no_text_becomes_an_element_of_a_chart(built):
    charts = [ElementTree.fromstring(text) for name, text in built.items() if name.endswith(".svg")]
    assert charts
    for chart in charts:
        tags = {element.tag.rpartition("}")[2] for element in chart.iter()}
        assert tags == {"svg", "title", "style", "rect", "text", "path"}
        texts = "".join((element.text or "").strip() for element in chart.iter())
        assert "<script>alert(1)" in texts and all(c.isprintable() for c in texts)


def test_no_text_becomes_markup(built):
    for text in (text for name, text in built.items() if name.endswith(".md")):
        assert all(c.isprintable() or c == "\n" for c in text)
        plain = WRITTEN.sub("", text)
        assert "<" not in plain and ">" not in plain
        assert "\n# forged" not in text and not re.search(r"(?<!\\)\]\(javascript", text)
        assert not re.search(r"(?<!\\)`(?![0-9a-f]{12}`|[a-z-]+`:|[,: ])", plain)
        for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
            assert len({len(cells(line)) for line in table.splitlines()}) == 1, "a text adds no cell"
