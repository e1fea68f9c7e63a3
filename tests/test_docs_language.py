"""The pages follow the writing rules of CONTRIBUTING.md: short sentences, plain openings, no words to avoid."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WORDS = 25
OPENING = re.compile(r"[*(\"]*(Of|What|That|Nor) [^?]*$")
AVOID = re.compile(
    r"\b(anew|mend(s|ed)?|goes on|went on|go on|is told|are told|in vain|to be had|by hand|apart|beside|holds? for)\b",
    re.IGNORECASE,
)
BLOCK = re.compile(r"^```.*?^```|<!--.*?-->", re.M | re.S)
PARAGRAPH = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.)\s)|\n(?=#)|(?<=\|)\n")


def without_code(text: str) -> str:
    """Remove code blocks and comments, and shorten inline code and links to one word each."""
    text = BLOCK.sub("\n\n", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", lambda link: "" if link[0].startswith("!") else link[1], text)
    return re.sub(r"`[^`]+`", "code", text)


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences outside tables and headings."""
    for paragraph in PARAGRAPH.split(without_code(text)):
        paragraph = re.sub(r"^\s*([-*]|\d+\.)\s+", "", " ".join(paragraph.split()))
        if paragraph and paragraph[0] not in "#|":
            yield from re.split(r"(?<=[.?!])[*)\"]*\s+(?=[\"*(A-Z0-9]|code|vpbench)", paragraph)


def faults(text: str) -> list[str]:
    """List sentences that break a rule of length or opening, and words to avoid."""
    lengths = [f"{len(s.split())} words: {s}" for s in sentences(text) if len(s.split()) > WORDS]
    openings = [f"opening: {s}" for s in sentences(text) if OPENING.match(s)]
    line = " ".join(without_code(text).split())
    return (
        lengths + openings + [f"to avoid: {line[max(0, m.start() - 40) : m.end() + 40]}" for m in AVOID.finditer(line)]
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_plain_english(page: Path) -> None:
    assert not faults(page.read_text())


@pytest.mark.parametrize("text", ["word " * 26 + ".", "Short one. Of a clip, one frame.", "Frames lie beside labels."])
def test_faults_are_found(text: str) -> None:
    assert faults(text)


def test_code_and_tables_are_exempt() -> None:
    assert not faults("```\n" + "word " * 30 + "\n```\n\n| " + "word " * 30 + "|\n\n`What a name` is short.")
