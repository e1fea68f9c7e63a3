"""Read the ``info`` of a plugin's object, which may be computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from vpbench.errors import PluginError, describe, text_of, type_name
from vpbench.plugin.guard import plugin_errors

Info = TypeVar("Info")


def read_info(kind: str, name: str, value: Any, model: type[Info], methods: Sequence[str]) -> Info:
    """Return the ``info`` of a predictor, an annotator or a metric.

    Args:
        kind: of plugin object.
        name: its name, for messages.
        value: the object.
        model: the class of its ``info``.
        methods: names that it must have, too.

    Raises:
        PluginError: it lacks one of them, reading one raises, or ``info`` is of another class.
    """
    names = ("info", *methods)

    def fail(error: BaseException) -> PluginError:
        if isinstance(error, AttributeError) and not (
            hasattr(type(value), "info") and all(hasattr(value, method) for method in methods)
        ):
            return PluginError(f"the {kind} {name!r} lacks one of {', '.join(names)} ({text_of(error)})")
        return PluginError(f"the `info` of {kind} {name!r} cannot be read: {describe(error)}")

    with plugin_errors(fail):
        info, *_ = (getattr(value, attribute) for attribute in names)
    if not isinstance(info, model):
        raise PluginError(f"the `info` of {kind} {name!r} must be a vpbench.{model.__name__}, not {type_name(info)}")
    return info
