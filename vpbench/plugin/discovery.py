"""Find installed plugins, and import those that are named as files or modules.

pluggy's ``load_setuptools_entrypoints`` is not used. It silently drops one of two distributions with the same
entry-point name, and one plugin that fails to import would break every command.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from types import ModuleType

from vpbench.errors import PluginError, Remedy, UsageError, did_you_mean
from vpbench.files import parse_json, why_no_file
from vpbench.plugin.guard import failed_as, plugin_errors

GROUP = "vpbench"
"""The entry-point group of plugins."""
_plugin_folders: set[str] = set()
"""Folders of plugin files, which are searched for modules only because those files were imported."""


def plugin_modules() -> set[str]:
    """Return the modules that installed distributions name as plugins, also those that VPBENCH_PLUGINS leaves out."""
    return {point.module for point, _ in _entry_points()}


def installed_plugins() -> list[tuple[EntryPoint, Distribution]]:
    """Return the entry points that VPBENCH_PLUGINS selects, with their distributions, vpbench's own first.

    Raises:
        PluginError: two distributions bring a plugin of one name.
        UsageError: VPBENCH_PLUGINS names a plugin that is not installed.
    """
    variable = os.environ.get("VPBENCH_PLUGINS")
    names = None if variable is None else {name.strip() for name in variable.split(",") if name.strip()}
    selected: dict[str, tuple[EntryPoint, Distribution]] = {}
    for point, distribution in _entry_points():
        if names is not None and not names & {point.name, distribution.name}:
            continue
        if point.name in selected:
            raise PluginError(
                f"two distributions bring a plugin named {point.name!r}: {selected[point.name][1].name} and "
                f"{distribution.name}; uninstall one, or choose with VPBENCH_PLUGINS=DISTRIBUTION,..."
            )
        selected[point.name] = (point, distribution)
    installed = set(selected) | {distribution.name for _, distribution in selected.values()}
    for name in sorted((names or set()) - installed):
        every_name = (point.name for point, _ in _entry_points())
        raise UsageError(f"VPBENCH_PLUGINS: no plugin {name!r} is installed{did_you_mean(name, every_name)}")
    return sorted(selected.values(), key=lambda pair: (pair[1].name != "vpbench", pair[1].name, pair[0].name))


def is_released(distribution: Distribution) -> bool:
    """Return whether a distribution is vpbench, or installed from a copy that its author does not edit in place."""
    if distribution.name == "vpbench":
        return True
    try:
        origin = parse_json(distribution.read_text("direct_url.json") or "{}")
        editable = bool(origin.get("dir_info", {}).get("editable"))
    except (AttributeError, ValueError):
        return False
    return not editable and distribution.read_text("RECORD") is not None


def _entry_points() -> Iterator[tuple[EntryPoint, Distribution]]:
    """Yield all plugins; of two copies of a distribution, the first on ``sys.path`` is the one that imports."""
    keys: set[str] = set()
    for distribution in distributions():
        key = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        if key and key not in keys:
            keys.add(key)
            yield from ((point, distribution) for point in distribution.entry_points.select(group=GROUP))


def is_module(text: str, module: ModuleType) -> bool:
    """Return whether a file or the name of a module, as users name an extra plugin, is this module."""
    if text.endswith(".py"):
        return os.path.realpath(text) == os.path.realpath(getattr(module, "__file__", None) or "")
    return text == module.__name__


def import_extra(text: str) -> ModuleType:
    """Import a plugin from a file or by its module's name.

    Raises:
        PluginError: there is no such file, or importing it fails.
    """
    path = Path(text)
    with plugin_errors(failed_as(PluginError, f"plugin {text} cannot be imported", Remedy.DEBUG)):
        if path.suffix != ".py" and path.is_file():
            raise PluginError(f"plugin {text}: the name of its file does not end in .py")
        if path.suffix != ".py":
            return importlib.import_module(text)
        if reason := why_no_file(path):
            raise PluginError(f"plugin {text}: {reason}")
        if _names_another_module(path):
            raise PluginError(f"plugin {text}: another module is named {path.stem!r}; rename the file")
        if str(path.resolve().parent) not in sys.path:
            sys.path.append(str(path.resolve().parent))  # so that it may import its neighbours
            _plugin_folders.add(str(path.resolve().parent))
        spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # so that its own "module:Class" targets resolve
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[path.stem]
            raise
        return module


def _names_another_module(path: Path) -> bool:
    """Return whether importing the file under its name would hide a module, even one that is not imported yet."""
    module = sys.modules.get(path.stem)
    if module is not None:
        return Path(getattr(module, "__file__", None) or "") != path.resolve()
    spec = importlib.util.find_spec(path.stem)
    if spec is None or spec.origin is None or Path(spec.origin).resolve() == path.resolve():
        return False
    return str(Path(spec.origin).parent) not in _plugin_folders
