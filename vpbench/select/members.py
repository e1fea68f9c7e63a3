"""List an object's attributes, slots and closures, and find the torch modules that it reaches."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel

from vpbench.select.code import is_library, named_globals

LITERALS = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), type(NotImplemented), range, slice)
_HOOKS = frozenset(name for name in vars(torch.nn.Module()) if name.endswith("hooks"))
"""Their keys are numbers that torch counts per process."""
_MAKERS = frozenset({"abc", "builtins", "collections", "dataclasses", "enum", "types", "typing"})
"""Modules that a class names as its own if their functions made it."""


def modules_of(value: Any) -> list[torch.nn.Module]:
    """Return the outermost torch modules that an object is or holds, in lists, mappings and other objects too."""
    modules: list[torch.nn.Module] = []
    visited: set[int] = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if id(item) in visited or isinstance(item, (*LITERALS, type, types.ModuleType, np.ndarray, torch.Tensor)):
            continue
        visited.add(id(item))
        if isinstance(item, torch.nn.Module):
            modules.append(item)
            visited |= {id(module) for module in item.modules()}
            stack += [member for module in item.modules() for member in _members(module)]
        elif isinstance(item, Mapping):
            stack += reversed(list(item.values()))
        elif isinstance(item, (list, tuple, set, frozenset)):
            stack += reversed(list(item))
        elif isinstance(item, types.FunctionType):
            stack += closure(item)
            if not is_library(item.__globals__.get("__name__")):
                stack += [named for _, named in named_globals(item)]
        elif isinstance(item, types.MethodType):
            stack += [item.__self__, item.__func__]
        elif isinstance(item, partial):
            stack += [item.func, *item.args, *item.keywords.values()]
        else:
            stack += _members(item)
    return modules


def _members(value: Any) -> list[Any]:
    """Return the members of an object's own classes and its attributes, the first attribute last."""
    members = [m for cls in type(value).__mro__ if not is_library(cls.__module__) for m in vars(cls).values()]
    return members + [member for _, member in attributes(value)][::-1]


def attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield an object's attributes and slots by name; of a torch module, what training and hooks' numbers leave."""
    members = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else list(slots):
            mangled = (
                f"_{cls.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
            )
            if mangled not in ("__dict__", "__weakref__") and hasattr(value, mangled):
                members[mangled] = getattr(value, mangled)
    if isinstance(value, torch.nn.Module):
        members.pop("training", None)
        members = {name: list(item.values()) if name in _HOOKS else item for name, item in members.items()}
    if isinstance(value, BaseModel):
        members = {name: item for name, item in members.items() if not name.startswith("__pydantic_fields_set")}
    yield from sorted(members.items())


def closure(function: types.FunctionType) -> list[Any]:
    """Return what the cells of a function hold."""
    return [cell.cell_contents for cell in function.__closure__ or () if not _empty(cell)]


def _empty(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is cell
    except ValueError:
        return True


def is_global_of_library(value: Any) -> bool:
    """Return whether a value is what its library calls by its name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if not (isinstance(module, str) and isinstance(name, str) and is_library(module)):
        return False
    return getattr(sys.modules.get(module), name, None) is value


def is_made_by_a_call(cls: type) -> bool:
    """Return whether a class only seems to be of the library that made it for its caller."""
    return cls.__module__ in _MAKERS and getattr(sys.modules[cls.__module__], cls.__name__, None) is not cls


def class_annotations(cls: type) -> Mapping[str, Any]:
    """Return the annotations of a class itself."""
    annotations = vars(cls).get("__annotations__", {})
    return annotations if isinstance(annotations, Mapping) else {}


def transparent(value: Any) -> bool:
    """Return whether attributes and slots are all that an object holds: no class of it is written in C."""
    return all(cls is object or _in_python(cls) for cls in type(value).__mro__)


def _in_python(cls: type) -> bool:
    if cls.__module__ in ("typing", "abc", "contextlib"):
        return True
    members = vars(cls)
    made_in_c = isinstance(members.get("__new__"), types.BuiltinFunctionType)
    return not made_in_c and not any(isinstance(m, types.MethodDescriptorType) for m in members.values())
