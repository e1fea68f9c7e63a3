"""Proof that an object computes what another one computed: a hash of its values, its code and the globals it names.

Every value that the object reaches is hashed: attributes, slots, containers, held objects, tensors, closures. Code is
hashed as bytecode, with the module globals that it names, so comments and unrelated functions do not count and a class
typed into an interpreter does. Libraries are taken by name and version; torch, numpy and the other requirements of
vpbench by name. An object that cannot be looked into (an open file, a session of another runtime) proves nothing, and
the result of one is never reused.
"""

from __future__ import annotations

import hashlib
import logging
import re
import types
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial, partialmethod
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from vpbench.plugin.members import Configurable, member
from vpbench.select.code import imported_files, is_library, library_version, module_files, named_globals
from vpbench.select.members import (
    LITERALS,
    attributes,
    class_annotations,
    closure,
    is_global_of_library,
    is_made_by_a_call,
    modules_of,
    transparent,
)

_TEXTS = (PurePath, np.dtype, torch.dtype, torch.Size)
_SKIPPED_CLASS_MEMBERS = frozenset(
    {"__abstractmethods__", "__annotate__", "__annotate_func__", "__annotations__", "__annotations_cache__", "__dict__"}
    | {"__doc__", "__firstlineno__", "__module__", "__orig_bases__", "__parameters__", "__static_attributes__"}
    | {"__signature__", "__slotnames__", "__weakref__", "__dataclass_fields__", "__dataclass_params__"}
    | {"_abc_impl", "_is_protocol"}
)
_CHECKERS = frozenset({"beartype", "jaxtyping"})
"""Libraries whose decorators check types and decide no number."""
_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType)


@dataclass(frozen=True)
class Fingerprint:
    """The hash of an object, and why it proves nothing ("" if it does)."""

    sha256: str
    unproven: str = ""


def fingerprint(value: Any) -> Fingerprint:
    """Return the fingerprint of a predictor, metric or annotator.

    An object with a method ``fingerprint()`` vouches for its values with the text that the method returns. Its code and
    the weights of its modules are hashed all the same.
    """
    walk = _Walk()
    name = type(value).__name__
    vouched = None if isinstance(value, type) else member(value, Configurable, "fingerprint")()
    if vouched is not None:
        walk.write("vouched", str(vouched))
    try:
        walk.visit(value if vouched is None else type(value), name)
        if vouched is not None:
            walk.unproven = ""
            walk.write(hash_weights(value))
    except RecursionError:
        walk.unproven = f"{name} is nested too deeply"
    except Exception as error:  # an object may do anything when it is looked at
        walk.unproven = f"{name} cannot be looked into: {type(error).__name__}"
    return Fingerprint(walk.sha256.hexdigest(), walk.unproven)


def hash_weights(value: Any) -> str:
    """Return the sha256 of the state dictionaries of all torch modules that an object is or holds."""
    walk = _Walk()
    for module in modules_of(value):
        walk.visit(list(module.state_dict().items()), "weights")
    return walk.sha256.hexdigest()


class _Walk:
    """Visits everything that a value reaches, once each, in an order that every process shares."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.unproven = ""
        self._numbers: dict[int, int] = {}
        self._alive: list[Any] = []  # an id is unique only while its object lives

    def write(self, *words: object) -> None:
        """Add words to the hash, in a form that tells ("ab", "c") from ("a", "bc")."""
        for word in words:
            data = word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogatepass")
            self.sha256.update(f"{len(data)}:".encode() + data)

    def visit(self, value: Any, location: str) -> None:
        """Add a value and everything it reaches; ``location`` is the path to it, for messages."""
        if isinstance(value, LITERALS) and type(value).__module__ == "builtins":
            return self.write(type(value).__name__, repr(value))
        if type(value) is tuple and all(isinstance(item, LITERALS) for item in value):
            return self.write("tuple", repr(value))  # whether equal constants are one object depends on the compiler
        if id(value) in self._numbers:
            return self.write("again", self._numbers[id(value)])
        self._numbers[id(value)] = len(self._numbers)
        self._alive.append(value)
        return self._visit_new(value, location)

    def _visit_new(self, value: Any, location: str) -> None:
        match value:
            case torch.nn.Module(_orig_mod=original) if is_library(type(value).__module__):  # torch.compile's wrapper
                self._items("compiled", [original], location)
            case torch.Tensor():
                self._tensor(value, location)
            case np.ndarray():
                self._array(value, location)
            case torch.device():
                self.write("device")  # which one decides no number
            case torch.Generator():
                self._tensor(value.get_state(), location)
            case logging.Logger():
                self.write("logger", value.name)
            case types.ModuleType():
                self._module(value, location)
            case type():
                self._class(value, location)
            case types.FunctionType():
                self._function(value, location)
            case types.MethodType():
                self._items("method", [value.__func__, value.__self__], location)
            case types.BuiltinFunctionType() if isinstance(value.__self__, (types.ModuleType, type(None), type)):
                self.write("builtin", value.__module__, value.__qualname__)
            case types.CodeType():
                self._code(value, location)
            case staticmethod() | classmethod():
                self._items(type(value).__name__, [value.__func__], location)
            case property():
                self._items("property", [value.fget, value.fset, value.fdel], location)
            case cached_property():
                self._items("property", [value.func], location)
            case partial() | partialmethod():
                self._items("partial", [value.func, value.args, value.keywords], location)
            case Enum():
                self.visit(type(value), location)
                self.write(value.name)
            case _ if is_global_of_library(value):
                self.write("library", value.__module__, value.__name__, library_version(value.__module__))
            case _ if isinstance(value, _TEXTS):
                self.write(type(value).__name__, str(value))
            case _:
                self._object(value, location)

    def _items(self, word: str, items: Iterable[Any], location: str) -> None:
        self.write(word)
        for item in items:
            self.visit(item, location)
        self.write("end")

    def _module(self, module: types.ModuleType, location: str) -> None:
        """Add a module that is held as a value: whatever of it may be used."""
        if is_library(module.__name__):
            return self._library(module.__name__, "")
        for path in module_files(module.__name__):
            self.write("file", path.name, path.read_bytes())
        values = {
            name: item for name, item in vars(module).items() if not name.startswith("__") or name == "__getattr__"
        }
        return self._items(f"module {module.__name__}", [values], location)

    def _array(self, array: np.ndarray[Any, Any], location: str) -> None:
        if type(array) is not np.ndarray:
            self.visit(type(array), location)
            self.visit(dict(attributes(array)), location)
        plain = np.asarray(array)
        if plain.dtype.hasobject:
            return self.visit(plain.tolist(), location)
        return self.write("array", plain.dtype, plain.shape, _sha256(np.ascontiguousarray(plain)))

    def _tensor(self, tensor: torch.Tensor, location: str) -> None:
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_nested:
            return self._cannot(tensor, location)
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or vars(tensor):
            self.visit(type(tensor), location)
            self.visit(vars(tensor), location)
        plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
        return self.write(
            "tensor", tensor.dtype, list(tensor.shape), _sha256(plain.flatten().view(torch.uint8).numpy())
        )

    def _function(self, function: types.FunctionType, location: str) -> None:
        cells = closure(function)
        module = function.__globals__.get("__name__", "")  # `__module__` of a wrapper may be that of what it wraps
        if is_library(module):
            self._library(module, function.__code__.co_qualname)
            wrapped = getattr(function, "__wrapped__", None)
            if module.partition(".")[0] in _CHECKERS and wrapped is not None:
                cells = [wrapped]
            return self._items("closure", cells, location)
        self.write("function", function.__qualname__)
        self._code(function.__code__, location)
        self._items("closure", cells, location)
        self._items("defaults", [function.__defaults__, function.__kwdefaults__, vars(function)], location)
        for name, value in named_globals(function):
            self.write("global", name)
            if isinstance(value, types.ModuleType):  # what the function uses of it is yielded, too
                self.write("module", value.__name__)
            else:
                self.visit(value, name)
        for path in imported_files(function):
            self.write("imports", path.name, path.read_bytes())
        return None

    def _code(self, code: types.CodeType, location: str) -> None:
        self.write("code", code.co_code, code.co_names, code.co_varnames, code.co_flags, code.co_argcount)
        for constant in code.co_consts:
            self.visit(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant, location)

    def _class(self, cls: type, location: str) -> None:
        if is_library(cls.__module__) and not is_made_by_a_call(cls):
            return self._library(cls.__module__, cls.__qualname__)
        self._items(f"class {cls.__qualname__}", [type(cls), *cls.__bases__], location)
        if issubclass(cls, Enum):
            self.visit({name: item.value for name, item in cls.__members__.items()}, location)
        self.write(*sorted(f"{name} {text}" for name, text in class_annotations(cls).items() if isinstance(text, str)))
        for name, item in sorted(vars(cls).items()):
            hidden = name in _SKIPPED_CLASS_MEMBERS or name.startswith("__pydantic_") or isinstance(item, _DESCRIPTORS)
            if not hidden and not (issubclass(cls, Enum) and not callable(item)):
                self.write(name)
                self.visit(item, f"{location}.{name}")
        return None

    def _library(self, module: str, name: str) -> None:
        self.write("library", module, name, library_version(module))

    def _object(self, value: Any, location: str) -> None:
        kind = type(value)
        self.visit(kind, location)
        if is_library(kind.__module__) and callable(getattr(value, "__wrapped__", None)):
            return self.visit(value.__wrapped__, location)  # a cache or a compiler around a function
        if is_library(kind.__module__) and isinstance(value, dict) and kind not in (dict, OrderedDict):
            return self._reduced(value, location)
        if isinstance(value, (set, frozenset)):
            self.write("set", *sorted(self._item_hash(item, location) for item in value))
        elif isinstance(value, (dict, types.MappingProxyType)):
            for key, item in dict.items(value) if isinstance(value, dict) else value.items():
                self.visit(key, location)
                self.visit(item, f"{location}[{key!r:.40}]")
        elif isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                self.visit(item, f"{location}[{i}]")
        elif isinstance(value, LITERALS):
            plain = next(literal for literal in LITERALS if isinstance(value, literal))
            self.write(plain.__repr__(value))  # type: ignore[call-arg]
        elif isinstance(value, re.Pattern):
            self.write(value.pattern, value.flags)
        elif not transparent(value):
            return self._reduced(value, location)
        if kind.__module__ != "builtins":
            for name, member in attributes(value):
                self.write(name)
                self.visit(member, f"{location}.{name}")
        return self.write("end")

    def _item_hash(self, value: Any, location: str) -> str:
        """Return the hash of one item of a set, whose order differs between processes."""
        walk = _Walk()
        walk.visit(value, location)
        self.unproven = self.unproven or walk.unproven
        return walk.sha256.hexdigest()

    def _reduced(self, value: Any, location: str) -> None:
        """Add what pickle would keep of an object of a library that is not written in Python."""
        kind = type(value)
        pickles = any("__reduce__" in vars(c) or "__reduce_ex__" in vars(c) for c in kind.__mro__ if c is not object)
        if not (pickles and is_library(kind.__module__)):
            return self._cannot(value, location)
        try:
            reduced = value.__reduce_ex__(2)
        except Exception:
            return self._cannot(value, location)
        if not isinstance(reduced, tuple) or any(item is value for item in reduced):
            return self._cannot(value, location)
        items = [list(item) if isinstance(item, Iterator) else item for item in reduced]
        return self._items("reduced", items, location)

    def _cannot(self, value: Any, location: str) -> None:
        self.unproven = self.unproven or f"{location} is a {type(value).__module__}.{type(value).__qualname__}"


def _sha256(array: Any) -> str:
    return hashlib.sha256(array.tobytes() if array.size else b"").hexdigest()
