"""Render pages into a folder: templates escape every text, links are relative, and equal values give equal bytes."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from vpbench.output import line

MARK = "report.json"
"""Names every file of the report: the folder of an earlier report is replaced whole."""
_STATIC = ("report.css", "report.js", "clips.css", "clips.js")


class Pages:
    """Writes the files of one report.

    Args:
        folder: the folder of the report, empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("vpbench.report"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_printable,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def page(self, name: str, template: str, /, **values: Any) -> None:
        """Write a page.

        Args:
            name: its path below the folder.
            template: name of the template.
            values: for the template, which also gets ``url``: a function that makes a path below the folder a link.
        """
        root = "../" * name.count("/")

        def url(path: str) -> str:
            return root + quote(path)

        text = self._templates.get_template(template).render(url=url, **values)
        self.file(name, text + "\n")

    def file(self, name: str, data: str | bytes) -> None:
        """Write a file of the report."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        self.names.append(name)

    def finish(self) -> None:
        """Write the style, the script and the list of all files."""
        static = importlib.resources.files("vpbench.report") / "static"
        for name in _STATIC:
            self.file(f"static/{name}", (static / name).read_bytes())
        names = sorted([*self.names, MARK])
        self.file(MARK, json.dumps({"schema": 1, "files": names}, indent=1, ensure_ascii=False) + "\n")


def _printable(value: object) -> object:
    """Return a text as one line without control characters; markup of our own as it is."""
    return line(value) if isinstance(value, str) and not isinstance(value, Markup) else value
