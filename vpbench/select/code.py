"""Which code is a library's, and what a function of other code names: module globals and files that it imports."""

from __future__ import annotations

import ast
import dis
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from itertools import pairwise
from pathlib import Path
from typing import Any

_PYTHON = Path(os.__file__).parent
_HARNESS = __name__.partition(".")[0]
_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")
_TRUSTED = frozenset(
    {"PIL", "av", "beartype", "cv2", "jaxtyping", "numba", "numpy", "pydantic", "pydantic_core", "safetensors"}
    | {"scipy", "skimage", "torch", "torchvision", "lightning", "pytorch_lightning"}
)
"""Libraries that vpbench computes with. ``attempts/`` records their versions; the identity does not."""


@cache
def is_library(module: str | None) -> bool:
    """Return whether a module belongs to Python or to an installed package that brings no vpbench plugin."""
    package = (module or "").partition(".")[0]  # code that was made by code may have no module
    if package in _TRUSTED or _of_python(package):
        return True
    if package == "vpbench" or package in _plugin_packages():
        return False
    file = getattr(sys.modules.get(package), "__file__", None)
    return file is not None and _installed(file) and library_version(module) != ""


@cache
def library_version(module: str) -> str:
    """Return the version of a library ("" for Python itself and for those that the harness computes with)."""
    package = module.partition(".")[0]
    if package in _TRUSTED or _of_python(package):
        return ""
    try:
        return version(package)
    except PackageNotFoundError:
        names = packages_distributions().get(package, [])
        return version(names[0]) if names else ""


def named_globals(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the module globals that a function names, and the globals of its modules that it names as attributes."""
    names = _names(function.__code__)
    spaces = [("", function.__globals__)]
    visited: set[str] = set()
    for path, space in spaces:
        for name in sorted(names & space.keys()):
            value = space[name]
            yield path + name, value
            module = value.__name__ if isinstance(value, types.ModuleType) else ""
            if module and module not in visited and not is_library(module):
                visited.add(module)
                spaces.append((f"{path}{name}.", vars(value)))
                if module == _HARNESS:  # its __getattr__ names every module of vpbench
                    for attribute in sorted(_attributes(function.__code__, name) & set(dir(value))):
                        yield f"{path}{name}.{attribute}", getattr(value, attribute)
                elif "__getattr__" in vars(value):
                    yield f"{path}{name}.__getattr__", vars(value)["__getattr__"]


def imported_files(function: types.FunctionType) -> list[Path]:
    """Return the files, other than libraries', that a function imports when it runs, and those that they import."""
    package = function.__globals__.get("__package__") or ""
    return _closure(list(_imports(function.__code__, package)))


def module_files(module: str) -> list[Path]:
    """Return the file of a module and those, other than libraries', that it imports."""
    return _closure([module])


def _closure(stack: list[str]) -> list[Path]:
    files: dict[Path, None] = {}
    while stack:
        name = stack.pop()
        path = _file(name)
        if path is None or path in files:
            continue
        files[path] = None
        parent = name if path.name == "__init__.py" else name.rpartition(".")[0]
        stack += _imports_of_text(path.read_text(encoding="utf-8"), parent)
    return sorted(files)


def _attributes(code: types.CodeType, name: str) -> set[str]:
    """Return the attributes of a global that code reads, such as ``b`` of ``a.b``."""
    instructions = list(dis.get_instructions(code))
    attributes = {
        after.argval
        for before, after in pairwise(instructions)
        if before.opname in ("LOAD_GLOBAL", "LOAD_NAME") and before.argval == name and after.opname in _ATTRIBUTE
    }
    nested = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return attributes.union(*(_attributes(constant, name) for constant in nested))


def _names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
        elif isinstance(constant, str):  # getattr(module, "name")
            names.add(constant)
    return names


@cache
def _imports(code: types.CodeType, package: str) -> tuple[str, ...]:
    names: list[str] = []
    if {"import_module", "__import__"} & set(code.co_names):
        names += (text for text in code.co_consts if isinstance(text, str) and text.isidentifier())
    before: list[Any] = [0, 0]
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            level, members = before[-2:]
            names += _absolute(level, instruction.argval, members or (), package)
        before.append(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _imports(constant, package)
    return tuple(names)


@cache
def _imports_of_text(text: str, package: str) -> tuple[str, ...]:
    names: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names += _absolute(node.level, node.module or "", [alias.name for alias in node.names], package)
    return tuple(names)


def _absolute(level: int, name: str, members: Any, package: str) -> Iterator[str]:
    try:
        module = importlib.util.resolve_name("." * level + name, package) if level else name
    except ImportError:  # it will fail when it runs, too
        return
    yield module
    yield from (f"{module}.{member}" for member in members)


def _file(module: str) -> Path | None:
    """Return the file of a module that is no library's; None of one that is, or of a name that is no module."""
    package = module.partition(".")[0]
    if package in _TRUSTED or _of_python(package):
        return None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    origin = spec.origin if spec is not None else None
    if not origin or not origin.endswith(".py"):
        return None
    return None if _installed(origin) and package not in _plugin_packages() else Path(origin)


@cache
def _plugin_packages() -> frozenset[str]:
    from vpbench.plugin.discovery import plugin_modules

    return frozenset(module.partition(".")[0] for module in plugin_modules())


def _of_python(package: str) -> bool:
    """Return whether a package is Python's own, and no other file of that name was imported in its place."""
    if package not in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(package), "__file__", None)
    return file is None or Path(file).is_relative_to(_PYTHON)


def _installed(file: str) -> bool:
    return bool({"site-packages", "dist-packages"} & set(Path(file).parts))
