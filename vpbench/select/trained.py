"""Weights that travel: one safetensors file that says what it is, how it was made, and on which sequences."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vpbench.errors import DataError, PluginError, UsageError
from vpbench.files import write_atomic
from vpbench.toolkit import weights
from vpbench.validation import validation_line

__all__ = ["Trained", "fit_weights", "merge_options", "open_trained", "save_trained", "sequence_keys"]

SCHEMA = 1
_KEY = "vpbench"
_Name = Annotated[str, Field(pattern=r"^\w[\w.+=@-]*$", max_length=100)]
"""Text from a file that becomes part of a path, or a line of a page."""


class _Record(BaseModel):
    """What is relied on of the record in a file of weights; other entries are free."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Protocol(_Record):
    name: _Name = ""


class _Clips(_Record):
    sequences: list[Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]] | None = None


class _About(_Record):
    number: int = Field(default=SCHEMA, alias="schema", ge=1)
    predictor: _Name
    preset: Annotated[str, Field(pattern=r"^(\w[\w.+=@-]*)?$", max_length=100)] = ""
    options: dict[_Name, Any] = {}
    protocol: _Protocol = _Protocol()
    clips: _Clips = _Clips()
    stages: list[dict[str, Any]] = []


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
    weights.check_regular(path)
    if path.suffix != ".safetensors":
        raise DataError(
            f"{path}: weights are read from safetensors alone, since a pickle may run code: "
            f"`vpbench weights convert {path}` makes one of it"
        )
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_KEY, "{}")
    except (SafetensorError, OSError) as error:
        reason = weights.shown(str(error))
        raise DataError(f"{path}: is not a safetensors file that can be read ({reason}); replace it") from error
    return Trained(path, weights.sha256(path), _parsed(text, path))


def _parsed(text: str, path: Path) -> dict[str, Any]:
    """Return the record of a file of weights; an empty one is that of a foreign file.

    Raises:
        DataError: it is not a record of vpbench, or of a newer vpbench.
    """
    try:
        about = json.loads(text)
        json.dumps(about, allow_nan=False)  # 1e999 and NaN are no JSON
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: its metadata {_KEY!r} is not JSON; replace the file") from error
    theirs = about.get("schema", SCHEMA) if isinstance(about, dict) else SCHEMA
    if isinstance(theirs, int) and theirs > SCHEMA:
        raise DataError(
            f"{path}: schema {weights.shown(str(theirs))} is newer than this vpbench reads; upgrade vpbench"
        )
    if about == {}:
        return {}
    try:
        _About.model_validate(about)
    except ValidationError as error:
        reason = weights.shown(validation_line(error))
        raise DataError(
            f"{path}: its metadata {_KEY!r} is not a record of vpbench ({reason}); replace the file"
        ) from error
    return dict(about)


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


def fit_weights(module: Any, trained: Trained, name: str) -> None:
    """Load the weights of a file into a predictor, which may adapt those that vpbench did not write.

    Raises:
        UsageError: the predictor has no weights. DataError: names tensors that are missing, too many, or of another
            shape or kind of numbers. PluginError: the predictor's ``adapt_state_dict`` fails.
    """
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"predictor {name!r} has no weights: {trained.path} cannot be given to it")
    tensors = weights.read(trained.path)
    if not trained.about and hasattr(module, "adapt_state_dict"):
        tensors = _adapted(module, tensors, f"`adapt_state_dict` of predictor {name!r}")
    expected = module.state_dict()
    if differ := list(_differences(expected, tensors)):
        more = f" (and {len(differ) - 3} more)" if len(differ) > 3 else ""
        raise DataError(
            f"{trained.path}: does not fit predictor {name!r} with these options: {'; '.join(differ[:3])}{more}"
            f"{'' if trained.about else _advice(expected, tensors, trained.path)}"
        )
    module.load_state_dict(tensors)


def _adapted(module: Any, tensors: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    try:
        adapted = module.adapt_state_dict(tensors)
    except Exception as error:
        reason = weights.shown(f"{type(error).__name__}: {error}")
        raise PluginError(f"{where} failed: {reason}; --debug shows where") from error
    if not isinstance(adapted, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in adapted.items()
    ):
        raise PluginError(f"{where} must return a mapping of names to tensors")
    return dict(adapted)


def _differences(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Iterable[str]:
    for name in sorted({*expected, *tensors}):
        if name not in tensors:
            yield f"{name} is missing"
        elif name not in expected:
            yield f"{weights.shown(name)} is one too many"
        elif why := weights.difference(expected[name], tensors[name]):
            yield f"{name} {why}"


def _advice(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path) -> str:
    """Return the command after which names fit, if all of them lack one prefix or have one too many; else ""."""
    for flag, longer, shorter in (("--strip", tensors, expected), ("--add", expected, tensors)):
        first, shortest = min(longer, default=""), min(shorter, default="")
        prefix = first.removesuffix(shortest)
        if prefix and prefix != first and {prefix + name for name in shorter} == set(longer):
            flag = f"{flag} {shlex.quote(weights.shown(prefix))}"
            return f": `vpbench weights convert {path} {flag} --out NEW.safetensors` renames them"
    return ""
