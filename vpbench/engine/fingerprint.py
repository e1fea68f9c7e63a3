"""What decides a plugin object's numbers beside its name and options: weights, files, and code that has no version."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel

from vpbench.errors import UsageError

__all__ = ["fingerprint", "fingerprint_object"]


def fingerprint(value: Any, plugin: str = "") -> str:
    """Return a sha256 for an object that a plugin built, "" where name and options say everything.

    It covers what its ``fingerprint()`` returns, the weights of every ``torch.nn.Module`` in it, and the text of the
    plugin where that is a file and not an installed package.
    """
    parts = [*_own(value), *_weights(value)]
    if plugin.endswith(".py") and Path(plugin).is_file():
        parts.append("code " + hashlib.sha256(Path(plugin).read_bytes()).hexdigest())
    return _join(parts)


def fingerprint_object(value: Any) -> str:
    """Return a sha256 for an object that a program made: its class's code, its weights and all its attributes.

    Raises:
        UsageError: an attribute cannot be told from another one; the class then needs a method ``fingerprint()``.
    """
    if own := _own(value):
        return _join([*own, *_weights(value)])
    try:
        code = inspect.getsource(type(value))
    except (OSError, TypeError):  # typed into an interpreter
        code = type(value).__qualname__
    attributes = getattr(value, "__dict__", {})
    if isinstance(value, torch.nn.Module):  # the rest of a module's attributes is torch's, or its weights
        private = torch.nn.Module().__dict__
        attributes = {name: item for name, item in attributes.items() if name not in private}
    plain = [f"{name} {_plain(item, type(value).__name__, name)}" for name, item in sorted(attributes.items())]
    return _join([code, *plain, *_weights(value)])


def _own(value: Any) -> list[str]:
    make = getattr(value, "fingerprint", None)
    own = str(make()) if make is not None else ""
    return [own] if own else []


def _weights(value: Any) -> Iterator[str]:
    inside = getattr(value, "__dict__", {}) if not isinstance(value, torch.nn.Module) else {"": value}
    for place, module in sorted(inside.items()):
        if isinstance(module, torch.nn.Module):
            for name, tensor in sorted(module.state_dict().items()):
                yield f"{place}.{name} {_plain(tensor, '', '')}"


def _plain(item: Any, owner: str, name: str) -> str:
    if isinstance(item, torch.Tensor):
        content = item.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return f"{item.dtype} {list(item.shape)} {hashlib.sha256(content).hexdigest()}"
    if isinstance(item, np.ndarray) and item.dtype != object:
        return f"{item.dtype} {item.shape} {hashlib.sha256(np.ascontiguousarray(item).tobytes()).hexdigest()}"
    if isinstance(item, BaseModel):
        return item.model_dump_json()
    if isinstance(item, torch.nn.Module):
        return type(item).__qualname__  # its weights are hashed on their own
    if isinstance(item, Mapping):
        return str(sorted((str(key), _plain(part, owner, name)) for key, part in item.items()))
    if isinstance(item, (list, tuple)):
        return str([_plain(part, owner, name) for part in item])
    if item is None or isinstance(item, (bool, int, float, str, Path)):
        return json.dumps(item, default=str)
    raise UsageError(
        f"two objects of {owner} with another {name!r} could not be told apart: give {owner} a method `fingerprint()` "
        f"that returns a string naming all that decides its predictions"
    )


def _join(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest() if parts else ""
