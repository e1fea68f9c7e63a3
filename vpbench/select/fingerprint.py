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
import sys
import types
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial, partialmethod
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from vpbench.select.code import imported_files, is_library, library_version, module_files, named_globals
from vpbench.select.members import LITERALS, attributes, closure, modules_of

__all__ = ["Fingerprint", "fingerprint", "hash_weights"]

_TEXTS = (PurePath, np.dtype, torch.dtype, torch.Size)
_SKIPPED_CLASS_MEMBERS = frozenset(
    {"__abstractmethods__", "__annotate__", "__annotate_func__", "__annotations__", "__annotations_cache__", "__dict__"}
    | {"__doc__", "__firstlineno__", "__module__", "__orig_bases__", "__parameters__", "__static_attributes__"}
    | {"__signature__", "__weakref__", "__dataclass_fields__", "__dataclass_params__", "_abc_impl", "_is_protocol"}
)
_MAKERS = frozenset({"abc", "builtins", "collections", "dataclasses", "enum", "types", "typing"})
"""Modules that a class names as its own if their functions made it."""
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
    vouched = None if isinstance(value, type) else getattr(value, "fingerprint", None)
    if vouched is not None:
        walk.write("vouched", str(vouched()))
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

    def visit(self, value: Any, where: str) -> None:
        """Add a value and everything it reaches; ``where`` is the path to it, for messages."""
        if isinstance(value, LITERALS) and type(value).__module__ == "builtins":
            return self.write(type(value).__name__, repr(value))
        if type(value) is tuple and all(isinstance(item, LITERALS) for item in value):
            return self.write("tuple", repr(value))  # whether equal constants are one object depends on the compiler
        if id(value) in self._numbers:
            return self.write("again", self._numbers[id(value)])
        self._numbers[id(value)] = len(self._numbers)
        self._alive.append(value)
        return self._visit_new(value, where)

    def _visit_new(self, value: Any, where: str) -> None:
        match value:
            case torch.nn.Module(_orig_mod=original) if is_library(type(value).__module__):  # torch.compile's wrapper
                self._all("compiled", [original], where)
            case torch.Tensor():
                self._tensor(value, where)
            case np.ndarray():
                self._array(value, where)
            case torch.device():
                self.write("device")  # which one decides no number
            case torch.Generator():
                self._tensor(value.get_state(), where)
            case logging.Logger():
                self.write("logger", value.name)
            case types.ModuleType():
                self._module(value, where)
            case type():
                self._class(value, where)
            case types.FunctionType():
                self._function(value, where)
            case types.MethodType():
                self._all("method", [value.__func__, value.__self__], where)
            case types.BuiltinFunctionType() if isinstance(value.__self__, (types.ModuleType, type(None), type)):
                self.write("builtin", value.__module__, value.__qualname__)
            case types.CodeType():
                self._code(value, where)
            case staticmethod() | classmethod():
                self._all(type(value).__name__, [value.__func__], where)
            case property():
                self._all("property", [value.fget, value.fset, value.fdel], where)
            case cached_property():
                self._all("property", [value.func], where)
            case partial() | partialmethod():
                self._all("partial", [value.func, value.args, value.keywords], where)
            case Enum():
                self.visit(type(value), where)
                self.write(value.name)
            case _ if _is_global_of_library(value):
                self.write("library", value.__module__, value.__name__, library_version(value.__module__))
            case _ if isinstance(value, _TEXTS):
                self.write(type(value).__name__, str(value))
            case _:
                self._object(value, where)

    def _all(self, word: str, parts: Iterable[Any], where: str) -> None:
        self.write(word)
        for part in parts:
            self.visit(part, where)
        self.write("end")

    def _module(self, module: types.ModuleType, where: str) -> None:
        """Add a module that is held as a value: whatever of it may be used."""
        if is_library(module.__name__):
            return self._library(module.__name__, "")
        for path in module_files(module.__name__):
            self.write("file", path.name, path.read_bytes())
        values = {
            name: item for name, item in vars(module).items() if not name.startswith("__") or name == "__getattr__"
        }
        return self._all(f"module {module.__name__}", [values], where)

    def _array(self, array: np.ndarray[Any, Any], where: str) -> None:
        if type(array) is not np.ndarray:
            self.visit(type(array), where)
            self.visit(dict(attributes(array)), where)
        plain = np.asarray(array)
        if plain.dtype.hasobject:
            return self.visit(plain.tolist(), where)
        return self.write("array", plain.dtype, plain.shape, _sha256(np.ascontiguousarray(plain)))

    def _tensor(self, tensor: torch.Tensor, where: str) -> None:
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_nested:
            return self._cannot(tensor, where)
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or vars(tensor):
            self.visit(type(tensor), where)
            self.visit(vars(tensor), where)
        plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
        return self.write(
            "tensor", tensor.dtype, list(tensor.shape), _sha256(plain.flatten().view(torch.uint8).numpy())
        )

    def _function(self, function: types.FunctionType, where: str) -> None:
        cells = closure(function)
        module = function.__globals__.get("__name__", "")  # `__module__` of a wrapper may be that of what it wraps
        if is_library(module):
            self._library(module, function.__code__.co_qualname)
            wrapped = getattr(function, "__wrapped__", None)
            if module.partition(".")[0] in _CHECKERS and wrapped is not None:
                cells = [wrapped]
            return self._all("closure", cells, where)
        self.write("function", function.__qualname__)
        self._code(function.__code__, where)
        self._all("closure", cells, where)
        self._all("defaults", [function.__defaults__, function.__kwdefaults__, vars(function)], where)
        for name, value in named_globals(function):
            self.write("global", name)
            if isinstance(value, types.ModuleType):  # what the function uses of it is yielded, too
                self.write("module", value.__name__)
            else:
                self.visit(value, name)
        for path in imported_files(function):
            self.write("imports", path.name, path.read_bytes())
        return None

    def _code(self, code: types.CodeType, where: str) -> None:
        self.write("code", code.co_code, code.co_names, code.co_varnames, code.co_flags, code.co_argcount)
        for constant in code.co_consts:
            self.visit(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant, where)

    def _class(self, cls: type, where: str) -> None:
        if is_library(cls.__module__) and not _is_made_by_a_call(cls):
            return self._library(cls.__module__, cls.__qualname__)
        self._all(f"class {cls.__qualname__}", [type(cls), *cls.__bases__], where)
        if issubclass(cls, Enum):
            self.visit({name: member.value for name, member in cls.__members__.items()}, where)
        self.write(*sorted(f"{name} {text}" for name, text in _annotations(cls).items() if isinstance(text, str)))
        for name, member in sorted(vars(cls).items()):
            hidden = (
                name in _SKIPPED_CLASS_MEMBERS or name.startswith("__pydantic_") or isinstance(member, _DESCRIPTORS)
            )
            if not hidden and not (issubclass(cls, Enum) and not callable(member)):
                self.write(name)
                self.visit(member, f"{where}.{name}")
        return None

    def _library(self, module: str, name: str) -> None:
        self.write("library", module, name, library_version(module))

    def _object(self, value: Any, where: str) -> None:
        kind = type(value)
        self.visit(kind, where)
        if is_library(kind.__module__) and callable(getattr(value, "__wrapped__", None)):
            return self.visit(value.__wrapped__, where)  # a cache or a compiler around a function
        if is_library(kind.__module__) and isinstance(value, dict) and kind not in (dict, OrderedDict):
            return self._reduced(value, where)
        if isinstance(value, (set, frozenset)):
            self.write("set", *sorted(self._alone(item, where) for item in value))
        elif isinstance(value, (dict, types.MappingProxyType)):
            for key, item in dict.items(value) if isinstance(value, dict) else value.items():
                self.visit(key, where)
                self.visit(item, f"{where}[{key!r:.40}]")
        elif isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                self.visit(item, f"{where}[{i}]")
        elif isinstance(value, LITERALS):
            plain = next(literal for literal in LITERALS if isinstance(value, literal))
            self.write(plain.__repr__(value))  # type: ignore[call-arg]
        elif isinstance(value, re.Pattern):
            self.write(value.pattern, value.flags)
        elif not _transparent(value):
            return self._reduced(value, where)
        if kind.__module__ != "builtins":
            for name, member in attributes(value):
                self.write(name)
                self.visit(member, f"{where}.{name}")
        return self.write("end")

    def _alone(self, value: Any, where: str) -> str:
        """Return the hash of one item of a set, whose order differs between processes."""
        walk = _Walk()
        walk.visit(value, where)
        self.unproven = self.unproven or walk.unproven
        return walk.sha256.hexdigest()

    def _reduced(self, value: Any, where: str) -> None:
        """Add what pickle would keep of an object of a library that is not written in Python."""
        kind = type(value)
        pickles = any("__reduce__" in vars(c) or "__reduce_ex__" in vars(c) for c in kind.__mro__ if c is not object)
        if not (pickles and is_library(kind.__module__)):
            return self._cannot(value, where)
        try:
            reduced = value.__reduce_ex__(2)
        except Exception:
            return self._cannot(value, where)
        if not isinstance(reduced, tuple) or any(part is value for part in reduced):
            return self._cannot(value, where)
        parts = [list(part) if isinstance(part, Iterator) else part for part in reduced]
        return self._all("reduced", parts, where)

    def _cannot(self, value: Any, where: str) -> None:
        self.unproven = self.unproven or f"{where} is a {type(value).__module__}.{type(value).__qualname__}"


def _is_global_of_library(value: Any) -> bool:
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if not (isinstance(module, str) and isinstance(name, str) and is_library(module)):
        return False
    return getattr(sys.modules.get(module), name, None) is value


def _is_made_by_a_call(cls: type) -> bool:
    """Return whether a class only seems to be of the library that made it for its caller."""
    return cls.__module__ in _MAKERS and getattr(sys.modules[cls.__module__], cls.__name__, None) is not cls


def _annotations(cls: type) -> Mapping[str, Any]:
    annotations = vars(cls).get("__annotations__", {})
    return annotations if isinstance(annotations, Mapping) else {}


def _transparent(value: Any) -> bool:
    """Return whether attributes and slots are all that an object holds: no class of it is written in C."""
    return all(cls is object or _in_python(cls) for cls in type(value).__mro__)


def _in_python(cls: type) -> bool:
    if cls.__module__ in ("typing", "abc", "contextlib"):
        return True
    members = vars(cls)
    made_in_c = isinstance(members.get("__new__"), types.BuiltinFunctionType)
    return not made_in_c and not any(isinstance(m, types.MethodDescriptorType) for m in members.values())


def _sha256(array: Any) -> str:
    return hashlib.sha256(array.tobytes() if array.size else b"").hexdigest()
