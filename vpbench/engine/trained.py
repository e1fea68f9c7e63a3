"""Weights that travel: one safetensors file that says what it is, how it was made, and on which sequences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vpbench.errors import DataError, UsageError
from vpbench.plugin import weights
from vpbench.results.store import write_atomic

__all__ = ["Trained", "fit_weights", "merge_options", "open_trained", "save_trained", "sequence_keys"]

SCHEMA = 1
_KEY = "vpbench"


@dataclass(frozen=True)
class Trained:
    """A file of weights and what it says of itself; ``about`` is empty for one that vpbench did not train."""

    path: Path
    sha256: str
    about: Mapping[str, Any]
    """``predictor``, ``preset``, ``options``, ``protocol`` (all of it), ``protocol_hash``, ``clips`` (what was trained
    and validated on), ``stages`` (recipes and scores), ``seed``, ``versions``, ``git``, ``started_from``."""

    @property
    def sequences(self) -> frozenset[str] | None:
        """Keys of the sequences that these weights, and those that they started from, saw; None: not known."""
        known = self.about.get("clips", {}).get("sequences")
        return None if known is None else frozenset(known)

    def seen(self, dataset: str, sequences: Iterable[str]) -> dict[str, Any]:
        """Say whether these sequences of a dataset were trained, or validated, on.

        Returns:
            ``sha256`` of the file, ``protocol`` it was trained on, ``clips``: ``unknown`` (the file does not say),
            ``disjoint`` or ``overlap``, and ``seen``, the number of these sequences that were.
        """
        known = self.sequences
        seen = 0 if known is None else len(set(sequence_keys(dataset, set(sequences))).intersection(known))
        state = "unknown" if known is None else "overlap" if seen else "disjoint"
        name = self.about.get("protocol", {}).get("name", "")
        return {"sha256": self.sha256, "protocol": name, "clips": state, "seen": seen}


def sequence_keys(dataset: str, sequences: Iterable[str]) -> list[str]:
    """Return a short hash of each sequence's name, sorted: names themselves may be private."""
    return sorted(hashlib.sha256(f"{dataset}/{name}".encode()).hexdigest()[:16] for name in sequences)


def save_trained(path: Path, module: torch.nn.Module, about: Mapping[str, Any]) -> None:
    """Write a module's weights with what they are, so that the file exists whole or not at all.

    Raises:
        ResultError: it cannot be written.
    """
    # Each with memory of its own: safetensors has no shared tensors, and a view would bring all of what it views.
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in module.state_dict().items()}
    text = json.dumps({"schema": SCHEMA, **about}, sort_keys=True, allow_nan=False)
    write_atomic(path, save(own, metadata={"format": "pt", _KEY: text}))


def open_trained(path: Path) -> Trained:
    """Read what a file of weights says of itself, and its sha256.

    Raises:
        DataError: there is no such file, it is not safetensors, or of a newer vpbench.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file of weights")
    if path.suffix != ".safetensors":
        raise DataError(
            f"{path}: weights are read from safetensors alone, since a pickle may run code: "
            f"`vpbench weights convert {path}` makes one of it"
        )
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_KEY, "{}")
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: is not a safetensors file that can be read ({error}); replace it") from error
    try:
        about = json.loads(text)
    except ValueError:
        about = None
    theirs = about.get("schema", SCHEMA) if isinstance(about, dict) else None
    if isinstance(theirs, int) and theirs > SCHEMA:
        raise DataError(f"{path}: schema {theirs} is newer than this vpbench reads; upgrade vpbench")
    if theirs is None or (about and not isinstance(about.get("predictor"), str)):
        raise DataError(f"{path}: what it says of itself under {_KEY!r} is not vpbench's; replace it")
    return Trained(path, weights.sha256(path), about)


def merge_options(
    trained: Trained, name: str, given: Mapping[str, Any], training_only: Iterable[str]
) -> Mapping[str, Any]:
    """Return the options that weights were trained with, for those that are not given.

    Args:
        trained: the file.
        name: of the predictor that is to have them.
        given: options that the user, or a preset, names.
        training_only: those that may differ.

    Raises:
        UsageError: they are of another predictor, or were trained with another value of an option; names all.
    """
    about = trained.about
    if about and about["predictor"] != name:
        raise UsageError(f"{trained.path}: are weights of {about['predictor']!r}, not of {name!r}")
    recorded: Mapping[str, Any] = about.get("options", {})
    differ = [
        f"{option} {recorded[option]!r}, not {value!r}"
        for option, value in given.items()
        if option in recorded and option not in training_only and _plain(value) != recorded[option]
    ]
    if differ:
        raise UsageError(
            f"{trained.path}: {name!r} was trained with {'; '.join(differ)}: name no preset and none of these options, "
            f"and the file's are taken"
        )
    return {option: value for option, value in recorded.items() if option not in given}


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def fit_weights(module: Any, path: Path, name: str) -> None:
    """Give a predictor the weights of a file.

    Raises:
        UsageError: it has none. DataError: tensors are missing, too many or of other shapes; says which.
    """
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"predictor {name!r} has no weights: {path} cannot be given to it")
    tensors = weights.read(path)
    if differ := list(_differences(module.state_dict(), tensors)):
        more = f" (and {len(differ) - 3} more)" if len(differ) > 3 else ""
        raise DataError(f"{path}: does not fit predictor {name!r} with these options: {'; '.join(differ[:3])}{more}")
    module.load_state_dict(tensors)


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Iterable[str]:
    for name in sorted({*expected, *found}):
        if name not in found:
            yield f"{name} is missing"
        elif name not in expected:
            yield f"{name} is one too many"
        elif found[name].shape != expected[name].shape:
            yield f"{name} is {list(found[name].shape)}, not {list(expected[name].shape)}"
