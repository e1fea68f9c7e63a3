"""Fill in the templates of a new plugin, as a file or a package."""

from __future__ import annotations

import importlib.util
import keyword
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from vpbench.errors import UsageError
from vpbench.files import write_errors, write_exclusive
from vpbench.plugin.loader import Plugins

KINDS = ("predictor", "dataset", "metric", "annotator", "protocol")
"""Kinds of plugins that have a template."""
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 60
_SUMMARIES = {
    "predictor": "the last frame, fading to grey",
    "dataset": "bars that move to the right",
    "metric": "difference of mean brightness",
    "annotator": "zero flow",
    "protocol": "two moving digits, 4 to 6 frames",
}


@dataclass(frozen=True)
class Scaffold:
    """A plugin to start."""

    kind: str
    name: str
    """Lower-case letters and digits in words joined by ``-``: also the name of modules, with ``_``."""
    trainable: bool = False

    @property
    def identifier(self) -> str:
        """The name as a Python identifier."""
        return self.name.replace("-", "_")

    @property
    def package(self) -> str:
        """The import name of its package."""
        return f"vpbench_{self.identifier}"

    @property
    def distribution(self) -> str:
        """The name of its package as pip lists it, and of the folder."""
        return f"vpbench-{self.name}"

    def check_name(self, plugins: Plugins, *, packaged: bool) -> None:
        """Check that the name is valid, and neither registered nor that of a module.

        Raises:
            UsageError: says what is wrong with it.
        """
        subject = f"new {self.kind} {self.name!r}"
        if len(self.name) > _LONGEST or not _NAME.fullmatch(self.name) or keyword.iskeyword(self.identifier):
            raise UsageError(
                f"{subject}: write lower-case words of letters and digits joined by '-', such as my-model: a letter "
                f"first, at most {_LONGEST} characters, no keyword of Python"
            )
        if entry := plugins.entries.get((self.kind, self.name)):
            raise UsageError(f"{subject}: {entry.plugin} brings a {self.kind} of this name: choose another name")
        if packaged and any(plugin.name == self.name for plugin in plugins.plugins):
            raise UsageError(f"{subject}: a plugin of this name is installed: choose another name")
        module = self.package if packaged else self.identifier
        if (packaged or self.kind != "protocol") and importlib.util.find_spec(module) is not None:
            raise UsageError(f"{subject}: a module {module!r} exists already: choose another name")

    def write_file(self, folder: Path) -> Path:
        """Write the plugin as one file into a folder, and return its path.

        Raises:
            UsageError: the file exists. ResultError: it cannot be written.
        """
        if self.kind == "protocol":
            path, text = folder / f"{self.name}.toml", self._filled("protocol")
        else:
            path, text = folder / f"{self.identifier}.py", self._code(self.identifier, hook=True)
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if not write_exclusive(path, text):
            raise UsageError(f"{path} exists already: choose another name or folder")
        return path

    def write_package(self, folder: Path) -> Path:
        """Write the plugin as a package into a new folder below ``folder``, and return the new folder.

        Raises:
            UsageError: the new folder exists. ResultError: it cannot be written.
        """
        root = folder / self.distribution
        if root.exists() or root.is_symlink():
            raise UsageError(f"{root} exists already: choose another name or folder")
        unfinished = root.with_name(f".{root.name}.{secrets.token_hex(4)}.new")
        with write_errors(root):
            try:
                for name, text in self._package_files().items():
                    path = unfinished / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text, encoding="utf-8")
                unfinished.rename(root)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        return root

    def _package_files(self) -> Mapping[str, str]:
        """Return the texts of a package's files, by path."""
        source, is_protocol = f"src/{self.package}", self.kind == "protocol"
        hook = self._filled("hook", module=self.package if is_protocol else f"{self.package}.{self.kind}")
        main = f"{self.name}.toml" if is_protocol else f"{self.kind}.py"
        title = f'"""Register the {self.kind} {self.name}; its code is imported when it is first used."""'
        return {
            "pyproject.toml": self._filled("pyproject"),
            "README.md": self._filled("readme"),
            f"{source}/__init__.py": f"{title}\n\nimport vpbench\n\n\n{hook}",
            f"{source}/{main}": self._filled("protocol") if is_protocol else self._code(self.package, hook=False),
            f"tests/test_{self.identifier}.py": self._filled("test_protocol" if is_protocol else "test"),
            ".github/workflows/test.yml": self._filled("workflow"),
        }

    def _code(self, module: str, *, hook: bool) -> str:
        text = f"\n{self._filled('hook', module=module)}\n" if hook else ""
        return self._filled("trainable" if self.trainable else self.kind, hook=text)

    def _filled(self, template: str, **values: str) -> str:
        text = files(__package__).joinpath("templates", f"{template}.txt").read_text(encoding="utf-8")
        is_protocol, module = self.kind == "protocol", values.get("module", "")
        check = "data check" if is_protocol else "check"
        facts = {
            "kind": self.kind,
            "name": self.name,
            "identifier": self.identifier,
            "package": self.package,
            "distribution": self.distribution,
            "cls": f"{self.name}.toml" if is_protocol else "".join(map(str.capitalize, self.name.split("-"))),
            "summary": "a learned residual of the last frame" if self.trainable else _SUMMARIES[self.kind],
            "trainer": f'\n        trainer="{module}:stages",' if self.trainable else "",
            "command": f"vpbench {check} {self.kind}/{self.name}",
        }
        return Template(text).substitute(facts | values)
