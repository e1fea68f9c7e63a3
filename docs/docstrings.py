"""Read docstrings for the site: an extension of griffe, the parser that mkdocstrings uses."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|meth|func|mod|attr|data):(?=`)")


class Docstrings(griffe.Extension):
    """Show examples as code, and names without Sphinx's roles, which markdown does not know."""

    def on_object(self, *, obj: griffe.Object, **arguments: Any) -> None:
        """Change a docstring before it is parsed."""
        if obj.docstring:
            text = ROLE.sub("", obj.docstring.value)
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", text, flags=re.MULTILINE)
