"""Load plugins, and keep the registry of the names that they register."""

from __future__ import annotations

import importlib
import importlib.resources
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from vpbench.errors import PluginError, Remedy, UsageError, VpbenchError, VpbenchWarning, describe, did_you_mean
from vpbench.names import is_metric, is_name
from vpbench.plugin import hookspecs
from vpbench.plugin.discovery import GROUP, import_extra, installed_plugins, is_module, is_released
from vpbench.plugin.guard import failed_as, plugin_errors

if TYPE_CHECKING:
    import click

    from vpbench.plugin.training import Trainer

KINDS = ("predictor", "dataset", "metric", "protocol", "annotator", "network")


class _BrokenError(VpbenchError):
    """An installed plugin cannot be loaded."""


@dataclass(frozen=True)
class Entry:
    """One registered name. ``load()`` imports the object behind it."""

    kind: str
    name: str
    target: str
    summary: str
    default: bool
    plugin: str
    trainer: str = ""
    """``"module:function"`` of a predictor that can be trained."""

    def load(self) -> Any:
        """Import the target and return the class (for a protocol: the path of its TOML file).

        Raises:
            PluginError: the module or the name in it cannot be imported.
        """
        return self._import(f"the {self.kind} {self.name!r}", self.target)

    def load_trainer(self) -> Trainer:
        """Import the trainer of a predictor.

        Raises:
            UsageError: the predictor cannot be trained.
            PluginError: the module or the name in it cannot be imported.
        """
        if not self.trainer:
            raise UsageError(f"predictor {self.name!r} cannot be trained: it is registered without a trainer")
        trainer: Trainer = self._import(f"the trainer of {self.kind} {self.name!r}", self.trainer)
        return trainer

    def _import(self, label: str, target: str) -> Any:
        module_name, _, attribute = target.partition(":")
        problem = f"{label} of plugin {self.plugin} cannot be imported from {target!r}"
        with plugin_errors(lambda error: PluginError(f"{problem}: {describe(error)}; see `vpbench plugins`")):
            module = importlib.import_module(module_name)
            if self.kind == "protocol":
                return importlib.resources.files(module).joinpath(attribute)
            return getattr(module, attribute)


@dataclass(frozen=True)
class Plugin:
    """One plugin: its origin, and the error if it could not be loaded."""

    name: str
    distribution: str
    version: str
    module: str
    error: str = ""
    released: bool = False
    """Whether it is installed and not editable, or vpbench's own: its code changes with its version alone."""


@dataclass
class Plugins:
    """All plugins, and all names that they registered."""

    plugins: list[Plugin] = field(default_factory=list)
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    manager: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager(GROUP))
    extra: tuple[str, ...] = ()
    """Plugins that were named and are not installed: another process loads them, too."""

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
            hint = did_you_mean(name, (e.name for e in self.of(kind)), f"`vpbench list {kind}s`")
            raise UsageError(f"there is no {kind} {name!r}{hint}{self._broken()}", Remedy.LOAD_PLUGIN) from None

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
        entries = [entry for entry in self.entries.values() if entry.name == text]
        if len(entries) > 1:
            names = " or ".join(f"{entry.kind}/{entry.name}" for entry in entries)
            raise UsageError(f"{text!r} names several things; say {names}")
        if not entries:
            hint = did_you_mean(text, (e.name for e in self.entries.values()), "`vpbench list`")
            raise UsageError(f"nothing is named {text!r}{hint}{self._broken()}", Remedy.LOAD_PLUGIN)
        return entries[0]

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
        def register(name: str, target: str, *, summary: str = "", default: bool = False, trainer: str = "") -> None:
            for text in (target, trainer):
                if not isinstance(text, str):  # plugins need not be type-checked
                    raise PluginError(
                        f"{plugin.distribution}: the {kind} {name!r} is registered with {text!r}; register a text "
                        f'"module:Name", which is imported when it is used (f"{{__name__}}:Name" in its own file)'
                    )
            if trainer and kind != "predictor":
                raise PluginError(f"{plugin.distribution}: the {kind} {name!r} has a trainer; only predictors have one")
            if not isinstance(name, str) or not (is_metric if kind == "metric" else is_name)(name):
                raise PluginError(
                    f"{plugin.distribution}: the {kind} {name!r} is registered by what is not a name; a name "
                    f"holds letters, digits and _ . + = @ - only"
                )
            entry = self.entries.get((kind, name))
            if entry is not None:
                raise PluginError(
                    f"two plugins bring the {kind} {name!r}: {entry.plugin} and {plugin.distribution}; "
                    f"uninstall one, or choose with VPBENCH_PLUGINS"
                )
            self.entries[kind, name] = Entry(kind, name, target, summary, default, plugin.distribution, trainer)

        return register


def load_plugins(extra: Sequence[str] = ()) -> Plugins:
    """Load the installed plugins, and ``extra`` ones by file or module.

    ``VPBENCH_PLUGINS=a,b`` limits the installed ones to those names (of entry point or distribution); empty: none. An
    installed plugin that fails to import is skipped and its error recorded. An extra plugin that fails is an error. One
    that is installed or was named before is loaded once.

    Raises:
        PluginError: two distributions with one plugin name, a name registered twice, or a broken ``extra``.
    """
    plugins = Plugins(extra=tuple(extra))
    plugins.manager.add_hookspecs(hookspecs)
    for point, distribution in installed_plugins():
        description = Plugin(
            point.name, distribution.name, distribution.version, point.value, released=is_released(distribution)
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
        if any(is_module(text, module) for module in plugins.manager.get_plugins()):
            continue
        module = import_extra(text)
        description = Plugin(module.__name__, text, getattr(module, "__version__", ""), module.__name__)
        with plugin_errors(failed_as(PluginError, f"plugin {text}", Remedy.DEBUG)):
            plugins.add(module, description)
        if not plugins.manager.get_hookcallers(module):
            raise PluginError(f"plugin {text} registers nothing: mark its functions with @vpbench.hookimpl")
        plugins.plugins.append(description)
    return plugins


def _broken_error(error: BaseException) -> VpbenchError:
    return error if isinstance(error, PluginError) else _BrokenError(describe(error))
