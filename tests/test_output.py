"""Text on its way to people: no escape sequence, no markup, no forged line."""

from __future__ import annotations

import re

import pytest

from vpbench.output import block, line, link, markdown, say, say_block, say_table

NASTY = "\x1b[2J\x1b]0;title\x07 a\r\nb\tc\u202egnp.\u2028d\x9b31m\x7f\ud800e\0"


def test_a_line_is_one_printable_line():
    text = line(NASTY)
    assert text.isprintable()
    assert text == r"\x1b[2J\x1b]0;title\x07 a b c\u202egnp. d\x9b31m\x7f\ud800e\x00"


def test_a_line_is_bounded_whatever_the_text():
    assert line("x" * 10**7) == "x" * 1999 + "…"
    assert len(line("\x1b" * 10**7)) == 2000
    assert line("x" * 2000) == "x" * 2000
    assert line("ab", 2) == "ab"
    assert line("abc", 2) == "a…"


def test_text_of_any_script_and_spaces_of_any_width_stay():
    assert line("日本 é 😀") == "日本 é 😀"
    assert block("a\u202fb\n\tc") == "a\u202fb\n\tc"


def test_a_block_keeps_its_lines():
    assert block("a\n\x1b[31mb\r\n") == "a\n\\x1b[31mb\\r\n"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a & b &amp; c", "a &amp; b &amp;amp; c"),
        ("a | b", r"a \| b"),
        ("`code`", r"\`code\`"),
        ("[x](javascript:y)", r"\[x\](javascript:y)"),
        ("**bold** _it_ ~~no~~", r"\*\*bold\*\* \_it\_ \~\~no\~\~"),
        ("snake_case stays", "snake_case stays"),
        ("\\| tricks", r"\\\| tricks"),
        ("a\n\n# heading\n| x |", r"a # heading \| x \|"),
        ("- item", r"\- item"),
        ("12. item", r"12\. item"),
        ("$x$", r"\$x\$"),
        ("plain (sum / 10)", "plain (sum / 10)"),
    ],
)
def test_markdown_shows_markup_as_it_was_typed(text, escaped):
    assert markdown(text) == escaped


def test_nothing_in_markdown_is_markup_or_control():
    characters = "".join(map(chr, range(0x250))) + "\u202a\u2066\ufeff"
    for i in range(0, len(characters), 64):
        text = markdown(characters[i : i + 64])
        assert text.isprintable()
        assert not re.search(r"[<>]", text)
        assert not re.search(r"(?<!\\)(\\\\)*[`|\[\]*]", re.sub(r"\\.", "", text))


@pytest.mark.parametrize("address", ["https://arxiv.org/abs/1811.00684", "http://example.org/a?b=c&d#e"])
def test_a_link_leads_to_http_or_https(address):
    assert link("last", address) == f"[last]({address})"


def test_parentheses_of_an_address_do_not_end_the_link():
    assert link("a", "https://doi.org/10.1016/S0925(18)1") == "[a](https://doi.org/10.1016/S0925%2818%291)"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "javascript:alert(1)",
        "https://x.org) <script>",
        "http://",
        "data:text/html,x",
        "https://x.org/\x1b[31m",
        "https://x.org/" + "x" * 600,
        "https://x.org/]",
    ],
)
def test_any_other_address_is_left_out(address):
    assert link("a|b", address) == r"a\|b"


def test_what_is_printed_is_escaped(capsys):
    say("a\x1b[31m\nvpbench: forged")
    say("e\x07", err=True)
    say_block("x\x1b\ny")
    say_table([["a\nb", "\x1b[1m", 1.50]], ["h\x1b", "i", "j"])
    out, err = capsys.readouterr()
    assert out.startswith("a\\x1b[31m\\nvpbench: forged\nx\\x1b\ny\n")
    assert "\x1b" not in out
    assert len(out.splitlines()) == 6
    assert err == "e\\x07\n"
