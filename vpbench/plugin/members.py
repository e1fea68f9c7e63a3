"""Read the optional members of plugins: the plugin's, or the default that its base class declares.

Inheriting a base is optional. The harness reads members through this module only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, ClassVar

from vpbench.errors import PluginError, did_you_mean, type_name

if TYPE_CHECKING:
    from pydantic import BaseModel


class Configurable:
    """Declare the optional members of predictors and annotators. Datasets share ``Options``."""

    Options: ClassVar[type[BaseModel] | None] = None
    """A pydantic model. The class is then built as ``Class(options=Options(...))``, else as ``Class()``."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Option values by name: users write ``NAME:PRESET``."""
    argument: ClassVar[str] = ""
    """The option for the text after the colon if it is no preset: ``saved:DIR`` sets ``dir``, for example."""
    training_only: ClassVar[Collection[str]] = ()
    """Options of a trainable predictor that may differ from those of its weights, such as the kind of loss."""

    def fingerprint(self) -> str | None:
        """Return a text that names all values which decide the output, such as the sha256 of a file.

        By default, vpbench hashes every value that the object reaches. An object that cannot be inspected (an open
        file, a session of another runtime) then gets a separate result in each run. Code and weights are always hashed.
        """
        return None

    def result_name(self) -> str:
        """Return the name that labels results of an object built with an argument; "" for a label from the argument."""
        return ""


@dataclass(frozen=True)
class Members:
    """The members of a class that decide how it is built."""

    Options: type[BaseModel] | None
    presets: Mapping[str, Mapping[str, Any]]
    argument: str
    training_only: frozenset[str]


def members_of(target: Any, subject: str) -> Members:
    """Return the members of a class that decide how it is built.

    Args:
        target: a registered class.
        subject: its kind and name, for messages.

    Raises:
        PluginError: a member has another type than declared, or names an option that does not exist.
    """
    options, presets, argument, training_only = (
        member(target, Configurable, name) for name in ("Options", "presets", "argument", "training_only")
    )
    if not (options is None or (isinstance(options, type) and hasattr(options, "model_fields"))):
        raise PluginError(f"{subject}: `Options` must be a pydantic model, not {type_name(options)}")
    if not isinstance(presets, Mapping) or not all(isinstance(values, Mapping) for values in presets.values()):
        raise PluginError(f"{subject}: `presets` must map names to option values, such as {{'fast': {{'rate': 0.5}}}}")
    if not isinstance(argument, str):
        raise PluginError(f"{subject}: `argument` must be the name of an option, not {type_name(argument)}")
    if isinstance(training_only, str) or not isinstance(training_only, Collection):
        raise PluginError(f"{subject}: `training_only` must list names of options, not {type_name(training_only)}")
    fields = {} if options is None else options.model_fields
    named = {"argument": [argument] if argument else [], "training_only": training_only}
    for source, names in named.items():
        if unknown := [name for name in names if name not in fields]:
            raise PluginError(f"{subject}: `{source}` names no option {unknown[0]!r}{did_you_mean(unknown[0], fields)}")
    return Members(options, presets, argument, frozenset(training_only))


def member(target: Any, base: type, name: str) -> Any:
    """Return a member of a plugin's class or object; if it lacks the member, the default of ``base``."""
    try:
        return getattr(target, name)
    except AttributeError:
        default = getattr(base, name)
        return MethodType(default, target) if isinstance(default, FunctionType) else default
