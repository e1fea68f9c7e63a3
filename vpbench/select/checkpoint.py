"""Other people's checkpoints: the state dict of a network inside, and the names of its tensors without wrappers."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vpbench.errors import DataError, Remedy, UsageError
from vpbench.output import brief
from vpbench.select.checkpoint_names import Names, counted, first_parts, listed, modules, unwrapped, within
from vpbench.select.checkpoint_tensors import dtype_name

_TOP = "."
"""The path of the mapping that is the file itself."""
_DEPTH = 8
"""Levels of mappings that are searched for state dicts."""
_LIGHTNING = "pytorch-lightning_version"
_HOLDERS = ("predictor", "model", "net", "network")
"""Attributes in which a LightningModule usually holds the network that it trains."""
_COUNTER = "n_averaged"
"""The only tensor that torch's AveragedModel adds to those of its module."""
_AVERAGE = re.compile(r"(^|[._])(ema|swa|shadow|averaged?|teacher)([._]|$)")
"""Part of a module's name that marks a moving average of weights."""


@dataclass(frozen=True)
class Network:
    """The tensors of one network in a checkpoint."""

    path: str
    """Keys that lead to its state dict, joined by dots."""
    values: Mapping[str, Any]
    """Tensors, as far as they are not checked, by their names in the file."""
    names: Names
    left_out: Sequence[str] = ()
    """Modules of the state dict that are not part of it."""

    @property
    def tensors(self) -> dict[str, Any]:
        """The tensors by their new names."""
        return {new: self.values[name] for name, new in self.names.items()}

    def summary(self) -> str:
        """Return one line: where the state dict was, the number of tensors and values, and their dtypes."""
        tensors = [self.values[name] for name in self.names]
        dtypes = ", ".join(f"{count} {name}" for name, count in Counter(map(dtype_name, tensors)).most_common())
        place = "top level" if self.path == _TOP else brief(self.path)
        return f"{place}: {counted(len(tensors))}, {sum(t.numel() for t in tensors)} values ({dtypes})"

    def listing(self) -> Iterator[str]:
        """Yield a line for each tensor: its name, dtype and shape."""
        for name, new in self.names.items():
            tensor = self.values[name]
            was = "" if name == new else f"  (was {brief(name)})"
            yield f"  {brief(new)}  {dtype_name(tensor)} {list(tensor.shape)}{was}"


def find_network(content: Any, file: Path, take: Sequence[str]) -> Network:
    """Return the network that a checkpoint holds, without prefixes of DataParallel, torch.compile and Lightning.

    Args:
        content: what the file holds.
        file: for messages.
        take: a path of keys or a part of it, a module of the state dict, or one after the other.

    Raises:
        DataError: there is no network, or more than one to choose from. UsageError: ``take`` names none of it.
    """
    if not isinstance(content, Mapping):
        raise DataError(f"{file}: holds a {type(content).__name__}, not a state dict: {_SAVE}")
    state_dicts, modules_left = _state_dicts(content), list(take)
    if modules_left and (len(state_dicts) > 1 or modules_left[0] in state_dicts):
        state_dicts = _named(state_dicts, modules_left.pop(0), file)
    if not state_dicts:
        raise DataError(f"{file}: holds no state dict, only {listed(content) or 'nothing'}: {_SAVE}")
    if len(state_dicts) > 1:
        raise DataError(f"{file}: holds several sets of weights: {_choices(_sizes(state_dicts))}", Remedy.TAKE_MODULE)
    network = _network(*state_dicts.popitem(), file)
    for module in modules_left:
        network = _module(network, module, file)
    if modules_left:
        return network
    holder = _holder(network, content)
    if not take:
        _check_one(network, file, lightning=_LIGHTNING in content and not holder)
    return _module(network, holder, file) if holder else network


def _network(path: str, values: Any, file: Path) -> Network:
    """Return all of a state dict.

    Raises:
        DataError: something in it is not a tensor with a name.
    """
    if not isinstance(values, Mapping):
        raise DataError(f"{file}: the tensors of {brief(path)} have no names: {_SAVE}")
    for name, value in values.items():
        if not isinstance(name, str) or not name or not isinstance(value, Tensor):
            raise DataError(f"{file}: {_entry(name, value)}: {_SAVE}")
    names = {name: name for name in values if name != _COUNTER or len(values) == 1}
    return Network(path, values, unwrapped(names), [name for name in values if name not in names])


_SAVE = "save the weights alone, with torch.save(model.state_dict(), FILE)"


def _entry(name: Any, value: Any) -> str:
    if not isinstance(name, str) or not name:
        return f"a {type(name).__name__} stands where a tensor's name belongs"
    if "_packed_params" in name:
        return f"'{brief(name)}' belongs to a quantised layer, and weights must be floating-point"
    return f"'{brief(name)}' is of type {type(value).__name__}, not a tensor"


def _state_dicts(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the state dicts in a file, and lists of tensors, by their paths. Each mapping is looked at once."""
    state_dicts: dict[str, Any] = {}
    visited: set[int] = set()
    queue: deque[tuple[int, str, Mapping[Any, Any]]] = deque([(0, _TOP, content)])
    while queue:
        depth, path, mapping = queue.popleft()
        if id(mapping) in visited or "param_groups" in mapping:  # an optimizer
            continue
        visited.add(id(mapping))
        if _is_state_dict(mapping):
            state_dicts[path] = mapping
        inner = {key if path == _TOP else f"{path}.{key}": mapping[key] for key in mapping if isinstance(key, str)}
        state_dicts |= {key: value for key, value in inner.items() if _is_list_of_weights(value)}
        if depth < _DEPTH:
            queue += [(depth + 1, key, value) for key, value in inner.items() if isinstance(value, Mapping)]
    if not state_dicts and any(isinstance(value, Tensor) for value in content.values()):
        return {_TOP: content}
    return state_dicts


def _is_state_dict(mapping: Mapping[Any, Any]) -> bool:
    """Return whether a mapping has tensors, and is neither a container of mappings nor a record of scalar scores."""
    tensors = [name for name, value in mapping.items() if isinstance(value, Tensor) and value.dim()]
    nested = any(isinstance(value, Mapping) for value in mapping.values())
    return bool(tensors) and (not nested or any(isinstance(name, str) and "." in name for name in tensors))


def _is_list_of_weights(value: Any) -> bool:
    """Return whether a value is how some programs keep a moving average: the tensors in a list, without names."""
    tensors = value if isinstance(value, list | tuple) else []
    return bool(tensors) and all(isinstance(t, Tensor) and t.dim() and t.is_floating_point() for t in tensors)


def _named(state_dicts: Mapping[str, Any], text: str, file: Path) -> dict[str, Any]:
    paths = [path for path in state_dicts if path == text] or [p for p in state_dicts if text.lower() in p.lower()]
    if len(paths) != 1:
        number = "several sets of weights" if paths else "no weights"
        remedy = Remedy.TAKE_MODULE if state_dicts else None
        choices = _choices({path: size for path, size in _sizes(state_dicts).items() if not paths or path in paths})
        raise UsageError(f"cannot take '{brief(text)}': {file} holds {number} of that name: {choices}", remedy)
    return {paths[0]: state_dicts[paths[0]]}


def _module(network: Network, module: str, file: Path) -> Network:
    names = within(network.names, module)
    if not names:
        choices = _choices(modules(network.names))
        raise UsageError(f"cannot take '{brief(module)}': {file} has no such module: {choices}", Remedy.TAKE_MODULE)
    counts = first_parts({old: new for old, new in network.names.items() if old not in names})
    left_out = [f"{name} ({counted(count)})" for name, count in counts.items()]
    return Network(network.path, network.values, unwrapped(names), [*network.left_out, *left_out])


def _holder(network: Network, content: Mapping[Any, Any]) -> str:
    """Return the attribute of a LightningModule that holds the network that it trains; "" if there is none."""
    holders = [name for name in _HOLDERS if within(network.names, name)]
    if len(holders) != 1:
        return ""
    if len(within(network.names, holders[0])) < len(network.names):
        return holders[0] if _is_ours(content) else ""
    certain = _LIGHTNING in content or network.path.rpartition(".")[2] == "state_dict" or holders == ["predictor"]
    return holders[0] if certain else ""


def _check_one(network: Network, file: Path, *, lightning: bool) -> None:
    """Check that a state dict holds one network.

    Raises:
        DataError: a LightningModule holds others next to it, or there is a moving average of it.
    """
    firsts, sizes = first_parts(network.names), modules(network.names)
    everything = f", or '{brief(network.path)}' for all"
    holders = {name: firsts[name] for name in _HOLDERS if name in firsts}
    if lightning and len(holders) == 1:
        raise DataError(f"{file}: holds several modules: {_choices(holders | firsts)}{everything}", Remedy.TAKE_MODULE)
    averages = [name for name in sizes if _AVERAGE.search(name)]
    if averages and len(averages) < len(sizes):
        choices = _choices(sizes)
        raise DataError(f"{file}: holds weights and their moving average: {choices}{everything}", Remedy.TAKE_MODULE)


def _is_ours(content: Mapping[Any, Any]) -> bool:
    """Return whether ``vpbench train`` wrote a checkpoint of Lightning: these are its callbacks."""
    callbacks = content.get("callbacks")
    return isinstance(callbacks, Mapping) and {"Saver", "Validation"} <= set(callbacks)


def _sizes(state_dicts: Mapping[str, Any]) -> dict[str, int]:
    return {path: len(state_dict) for path, state_dict in state_dicts.items()}


def _choices(sizes: Mapping[str, int]) -> str:
    """Return a text such as ``model (3 tensors), ema (3 tensors); choose one of them``."""
    sizes_listed = listed(f"{name} ({counted(count)})" for name, count in sizes.items())
    return f"{sizes_listed}; choose one of them" if sizes else "it has none"
