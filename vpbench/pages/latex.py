"""Text for LaTeX, escaped whoever wrote it: no name can run a command, and every text compiles with any engine."""

from __future__ import annotations

import re
import unicodedata

from vpbench.output import line

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"\symbol{34}",
    "'": r"\symbol{39}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "≈": r"$\approx$",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "×": r"$\times$",
    "²": r"$^2$",
    "—": r"\textemdash{}",
    "–": r"\textendash{}",
    "…": r"\dots{}",
}
_SAFE = frozenset("ßÆæØø")


def latex(text: str) -> str:
    """Return a text as one line that LaTeX shows as it is; characters that fonts may lack appear as their number."""
    escaped = "".join(map(_escaped, unicodedata.normalize("NFC", line(text))))
    return re.sub("-(?=-)", "-{}", escaped)  # fonts would join hyphens into a dash


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isascii() or character in _SAFE or ("À" <= character <= "ÿ" and _is_accented(character)):
        return character
    return f"U+{ord(character):04X}"


def _is_accented(character: str) -> bool:
    return len(unicodedata.normalize("NFD", character)) == 2
