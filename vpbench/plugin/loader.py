"""Finds plugins, guards their import, and keeps the registry of what they bring.

Not pluggy's ``load_setuptools_entrypoints``: that drops one of two distributions with the same entry-point name without
a word, and lets one plugin that fails to import break every command.
"""

from __future__ import annotations

import importlib
import importlib.resources
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from vpbench.errors import PluginError, UsageError, VpbenchError, VpbenchWarning, describe, did_you_mean
from vpbench.files import parse_json
from vpbench.names import is_metric, is_name
from vpbench.plugin import hookspecs
from vpbench.plugin.guard import plugin_errors

if TYPE_CHECKING:
    import click

__all__ = ["GROUP", "KINDS", "Entry", "Plugin", "Plugins", "load_plugins", "plugin_modules"]

GROUP = "vpbench"
KINDS = ("predictor", "dataset", "metric", "protocol", "annotator")


class _BrokenError(VpbenchError):
    """An installed plugin cannot be loaded."""


@dataclass(frozen=True)
class Entry:
    """One registered name. ``load()`` imports what stands behind it."""

    kind: str
    name: str
    target: str
    summary: str
    default: bool
    plugin: str

    def load(self) -> Any:
        """Import the target and return the class (for a protocol: the path of its TOML file).

        Raises:
            PluginError: the module or the name in it cannot be imported.
        """
        module_name, _, attribute = self.target.partition(":")
        where = f"the {self.kind} {self.name!r} of plugin {self.plugin} cannot be imported from {self.target!r}"
        with plugin_errors(lambda error: PluginError(f"{where}: {describe(error)}; see `vpbench plugins`")):
            module = importlib.import_module(module_name)
            if self.kind == "protocol":
                return importlib.resources.files(module).joinpath(attribute)
            return getattr(module, attribute)


@dataclass(frozen=True)
class Plugin:
    """One plugin: where it came from, and why it could not be loaded if it could not."""

    name: str
    distribution: str
    version: str
    module: str
    error: str = ""
    released: bool = False
    """Whether it is installed and not editable, or vpbench's own: its code changes with its version alone."""


@dataclass
class Plugins:
    """Every plugin that was found and every name they registered."""

    plugins: list[Plugin] = field(default_factory=list)
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    manager: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager(GROUP))

    def of(self, kind: str) -> list[Entry]:
        """Return the entries of one kind, by name."""
        return sorted((e for e in self.entries.values() if e.kind == kind), key=lambda e: e.name)

    def defaults(self, kind: str) -> list[str]:
        """Return the names that plugins registered with ``default=True``, in the order of registration."""
        return [e.name for e in self.entries.values() if e.kind == kind and e.default]

    def entry(self, kind: str, name: str) -> Entry:
        """Return one entry.

        Raises:
            UsageError: no such name; says what is near, and which plugins failed to load.
        """
        try:
            return self.entries[kind, name]
        except KeyError:
            hint = did_you_mean(name, (e.name for e in self.of(kind)))
            raise UsageError(f"there is no {kind} {name!r}{hint}{self._broken()}") from None

    def load(self, kind: str, name: str) -> Any:
        """Return the object behind a name (raises as :meth:`entry` and :meth:`Entry.load`)."""
        return self.entry(kind, name).load()

    def released(self, kind: str, name: str) -> bool:
        """Return whether the code behind a name changes with the version of its distribution alone."""
        distribution = self.entry(kind, name).plugin
        return all(plugin.released for plugin in self.plugins if plugin.distribution == distribution)

    def find(self, text: str) -> Entry:
        """Return the entry for ``NAME`` or ``KIND/NAME``.

        Raises:
            UsageError: no such name, or one that several kinds share.
        """
        kind, slash, name = text.partition("/")
        if slash and kind in KINDS:
            return self.entry(kind, name)
        found = [e for e in self.entries.values() if e.name == text]
        if len(found) > 1:
            ways = " or ".join(f"{e.kind}/{e.name}" for e in found)
            raise UsageError(f"{text!r} names several things; say {ways}")
        if not found:
            hint = did_you_mean(text, (e.name for e in self.entries.values()))
            raise UsageError(f"nothing is named {text!r}{hint}{self._broken()}")
        return found[0]

    def _broken(self) -> str:
        names = ", ".join(p.name for p in self.plugins if p.error)
        return f" (not loaded: {names}; see `vpbench plugins`)" if names else ""

    def add(self, module: ModuleType, plugin: Plugin) -> None:
        """Register one imported plugin module and run its ``register_*`` hooks.

        Raises:
            PluginError: a name that another plugin has taken, or an unknown hook; nothing of this plugin stays.
        """
        before = dict(self.entries)
        name = f"{plugin.distribution}:{plugin.name}"
        self.manager.register(module, name)
        try:
            # One implementation at a time, so that each name is known by the plugin that brought it.
            for kind in KINDS:
                for impl in getattr(self.manager.hook, f"register_{kind}s").get_hookimpls():
                    if impl.plugin is module:
                        impl.function(*[self._registrar(kind, plugin) for _ in impl.argnames])
            self.manager.check_pending()
        except BaseException:
            self.entries = before
            self.manager.unregister(module)
            raise

    def add_commands(self, group: click.Group) -> None:
        """Let every plugin add its commands; one that fails adds none, with a warning."""
        for impl in self.manager.hook.register_commands.get_hookimpls():
            before = dict(group.commands)
            try:
                with plugin_errors(lambda error: _BrokenError(describe(error))):
                    impl.function(*[group for _ in impl.argnames])
                    wrong = [name for name in group.commands if not is_name(name)]
                    if wrong:
                        raise PluginError(f"the command {wrong[0]!r}: that is not a name")
            except _BrokenError as error:
                group.commands = before
                warnings.warn(
                    f"plugin {impl.plugin_name} adds no command: {error}",
                    VpbenchWarning,
                    stacklevel=2,
                )

    def _registrar(self, kind: str, plugin: Plugin) -> Callable[..., None]:
        def register(name: str, target: str, *, summary: str = "", default: bool = False) -> None:
            if not isinstance(target, str):  # strangers' code: types are not checked there
                raise PluginError(
                    f"{plugin.distribution}: the {kind} {name!r} is registered with {target!r}; register a text "
                    f'"module:Name", which is imported when it is used (f"{{__name__}}:Name" in its own file)'
                )
            if not isinstance(name, str) or not (is_metric if kind == "metric" else is_name)(name):
                raise PluginError(
                    f"{plugin.distribution}: the {kind} {name!r} is registered by what is not a name; a name "
                    f"holds letters, digits and _ . + = @ - only"
                )
            taken = self.entries.get((kind, name))
            if taken is not None:
                raise PluginError(
                    f"two plugins bring the {kind} {name!r}: {taken.plugin} and {plugin.distribution}; "
                    f"uninstall one, or choose with VPBENCH_PLUGINS"
                )
            self.entries[kind, name] = Entry(kind, name, target, summary, default, plugin.distribution)

        return register


def load_plugins(extra: Sequence[str] = ()) -> Plugins:
    """Load the installed plugins and those named by ``--plugin`` (``extra``: files or modules).

    ``VPBENCH_PLUGINS=a,b`` limits the installed ones to those names (of entry point or distribution); empty: none. An
    installed plugin that fails to import is kept out and its error recorded; one in ``extra`` that fails is an error.

    Raises:
        PluginError: two distributions with one plugin name, a name registered twice, or a broken ``extra``.
    """
    plugins = Plugins()
    plugins.manager.add_hookspecs(hookspecs)
    for point, distribution in _installed():
        description = Plugin(
            point.name, distribution.name, distribution.version, point.value, released=_released(distribution)
        )
        try:
            with plugin_errors(_broken_error):
                module = importlib.import_module(point.value)
                plugins.add(module, description)
        except _BrokenError as error:
            problem = str(error)
            description = replace(description, error=problem)
        plugins.plugins.append(description)
    for text in extra:
        module = _import_extra(text)
        if plugins.manager.is_registered(module):
            continue  # it is installed, too
        description = Plugin(module.__name__, text, getattr(module, "__version__", ""), module.__name__)
        with plugin_errors(partial(_extra_error, f"--plugin {text}", "")):
            plugins.add(module, description)
        plugins.plugins.append(description)
    return plugins


def plugin_modules() -> set[str]:
    """Return the modules that installed distributions name as plugins, wanted or not."""
    return {point.module for d in _distributions() for point in d.entry_points.select(group=GROUP)}


def _installed() -> Iterable[tuple[EntryPoint, Distribution]]:
    wanted = os.environ.get("VPBENCH_PLUGINS")
    names = None if wanted is None else {n.strip() for n in wanted.split(",") if n.strip()}
    seen: dict[str, Distribution] = {}
    found: list[tuple[EntryPoint, Distribution]] = []
    for distribution in _distributions():
        for point in distribution.entry_points.select(group=GROUP):
            if names is not None and not names & {point.name, distribution.name}:
                continue
            if point.name in seen:
                raise PluginError(
                    f"two distributions bring a plugin named {point.name!r}: {seen[point.name].name} and "
                    f"{distribution.name}; uninstall one, or choose with VPBENCH_PLUGINS=DISTRIBUTION,..."
                )
            seen[point.name] = distribution
            found.append((point, distribution))
    if names is not None:
        known = set(seen) | {d.name for d in seen.values()}
        for name in sorted(names - known):
            everything = (p.name for d in _distributions() for p in d.entry_points.select(group=GROUP))
            raise UsageError(f"VPBENCH_PLUGINS: no plugin {name!r} is installed{did_you_mean(name, everything)}")
    return sorted(found, key=lambda pair: (pair[1].name != "vpbench", pair[1].name, pair[0].name))


def _released(distribution: Distribution) -> bool:
    """Return whether a distribution is vpbench, or installed from a copy that its author does not edit in place."""
    if distribution.name == "vpbench":
        return True
    try:
        origin = parse_json(distribution.read_text("direct_url.json") or "{}")
        editable = bool(origin.get("dir_info", {}).get("editable"))
    except (AttributeError, ValueError):
        return False
    return not editable and distribution.read_text("RECORD") is not None


def _distributions() -> Iterable[Distribution]:
    """Yield each installed distribution once: the first on ``sys.path`` is the one that imports."""
    seen: set[str] = set()
    for distribution in distributions():
        key = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        if key and key not in seen:
            seen.add(key)
            yield distribution


def _import_extra(text: str) -> ModuleType:
    path = Path(text)
    with plugin_errors(partial(_extra_error, f"--plugin {text} cannot be imported", "; --debug shows where")):
        if path.suffix != ".py":
            return importlib.import_module(text)
        if not path.is_file():
            raise PluginError(f"--plugin {text}: there is no such file")
        there = sys.modules.get(path.stem)
        if there is not None and Path(getattr(there, "__file__", None) or "") != path.resolve():
            raise PluginError(f"--plugin {text}: another module is named {path.stem!r}; rename the file")
        if str(path.resolve().parent) not in sys.path:
            sys.path.append(str(path.resolve().parent))  # so that it may import its neighbours
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


def _broken_error(error: BaseException) -> VpbenchError:
    return error if isinstance(error, PluginError) else _BrokenError(describe(error))


def _extra_error(prefix: str, suffix: str, error: BaseException) -> PluginError:
    return error if isinstance(error, PluginError) else PluginError(f"{prefix}: {describe(error)}{suffix}")
