"""Weights that travel: one safetensors file that says what it is, how it was made, and on which sequences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vpbench.errors import DataError, PluginError, Remedy, UsageError, VpbenchError
from vpbench.files import parse_json, write_atomic
from vpbench.output import brief
from vpbench.plugin.guard import failed_as, plugin_errors
from vpbench.plugin.members import member
from vpbench.plugin.predictor import BasePredictor
from vpbench.select.weights_record import SCHEMA, WeightsRecord, WeightsUse
from vpbench.toolkit import weights
from vpbench.validation import validation_line

_KEY = "vpbench"


@dataclass(frozen=True)
class Trained:
    """A file of weights and its record; None if vpbench did not train them."""

    path: Path
    sha256: str
    record: WeightsRecord | None

    @property
    def sequences(self) -> frozenset[str] | None:
        """Keys of the sequences that these weights, and those that they started from, saw; None: not known."""
        keys = self.record.clips.sequences if self.record else None
        return None if keys is None else frozenset(keys)

    def use(self, dataset: str, sequences: Iterable[str]) -> WeightsUse:
        """Say whether training or validation saw these sequences of a dataset."""
        trained_on = self.sequences
        shared = 0 if trained_on is None else len(trained_on.intersection(sequence_keys(dataset, set(sequences))))
        state: Literal["unknown", "disjoint", "overlap"]
        state = "unknown" if trained_on is None else "overlap" if shared else "disjoint"
        protocol = self.record.protocol if self.record else None
        return WeightsUse(
            sha256=self.sha256,
            protocol=protocol.name if protocol else "",
            clips=state,
            seen=shared,
            training=self.record.training_use() if self.record and self.record.stages else None,
        )


def sequence_keys(dataset: str, sequences: Iterable[str]) -> list[str]:
    """Return a short hash of each sequence's name, sorted: names themselves may be private."""
    return sorted(hashlib.sha256(f"{dataset}/{name}".encode()).hexdigest()[:16] for name in sequences)


def save_trained(path: Path, module: torch.nn.Module, record: WeightsRecord) -> None:
    """Write a module's weights with their record: the file exists whole or not at all.

    Raises:
        ResultError: it cannot be written.
    """
    # safetensors has no shared tensors, and would write all of what a view views: clone each tensor.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in module.state_dict().items()}
    text = json.dumps(record.to_json(), sort_keys=True, allow_nan=False)
    write_atomic(path, _with_sorted_metadata(save(tensors, metadata={"format": "pt", _KEY: text})))


def _with_sorted_metadata(data: bytes) -> bytes:
    """Return a safetensors file that has the same bytes each time: the library writes metadata in a random order."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + data[end:]


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
        reason = brief(str(error))
        raise DataError(f"{path}: is not a safetensors file that can be read ({reason}); replace it") from error
    return Trained(path, weights.sha256(path), _parsed(text, path))


def _parsed(text: str, path: Path) -> WeightsRecord | None:
    """Return the record of a file of weights; None for a foreign file.

    Raises:
        DataError: it is not a record of vpbench, or of a newer vpbench.
    """
    try:
        value = parse_json(text)
    except ValueError as error:
        raise DataError(f"{path}: its metadata {_KEY!r} is not JSON; replace the file") from error
    version = value.get("schema", SCHEMA) if isinstance(value, dict) else SCHEMA
    if isinstance(version, int) and version > SCHEMA:
        raise DataError(f"{path}: schema {brief(str(version))} is newer than this vpbench reads; upgrade vpbench")
    if value == {}:
        return None
    try:
        return WeightsRecord.model_validate(value)
    except ValidationError as error:
        reason = brief(validation_line(error))
        raise DataError(
            f"{path}: its metadata {_KEY!r} is not a record of vpbench ({reason}); replace the file"
        ) from error


def merge_options(
    trained: Trained, name: str, named: Mapping[str, Any], training_only: Iterable[str]
) -> Mapping[str, Any]:
    """Return the options that weights were trained with and that are not named.

    Args:
        trained: the file.
        name: name of the predictor that gets the options.
        named: options that the user, or a preset, names.
        training_only: options that may differ.

    Raises:
        UsageError: the weights are of another predictor, or were trained with other values; names every such option.
    """
    record = trained.record
    if record and record.predictor != name:
        raise UsageError(f"{trained.path}: are weights of {record.predictor!r}, not of {name!r}")
    recorded = record.options if record else {}
    differ = [
        f"{option} {recorded[option]!r}, not {value!r}"
        for option, value in named.items()
        if option in recorded and option not in training_only and _plain(value) != recorded[option]
    ]
    if differ:
        raise UsageError(
            f"{trained.path}: {name!r} was trained with {'; '.join(differ)}: leave out these "
            f"options, and a preset that sets them"
        )
    return {option: value for option, value in recorded.items() if option not in named}


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
    saved = weights.read(trained.path)
    tensors = saved if trained.record else adapt_weights(module, saved, name, trained.path)
    if differ := differences(module.state_dict(), tensors):
        remedy, prefix = (None, "") if trained.record else prefix_remedy(module, saved, tensors)
        advice = "; convert the file: its names differ by a prefix only" if remedy else ""
        raise DataError(f"{misfit(trained.path, name, differ)}{advice}", remedy, brief(prefix))
    module.load_state_dict(tensors)


def misfit(path: Path, name: str, differ: Sequence[str]) -> str:
    """Return the line about a file whose tensors differ from those of a predictor."""
    count = f" (and {len(differ) - 3} more)" if len(differ) > 3 else ""
    return f"{path}: does not fit predictor {name!r} with these options: {'; '.join(differ[:3])}{count}"


def adapt_weights(module: torch.nn.Module, tensors: Mapping[str, Tensor], name: str, path: Path) -> dict[str, Tensor]:
    """Return weights of another program as a predictor's ``adapt_state_dict`` names them.

    Raises:
        DataError: a tensor's shape does not fit. PluginError: it fails, or returns anything else.
    """
    subject = f"`adapt_state_dict` of predictor {name!r}"
    failed = failed_as(PluginError, f"{subject} failed", Remedy.DEBUG)

    def fail(error: BaseException) -> VpbenchError:
        return DataError(misfit(path, name, [str(error)])) if isinstance(error, DataError) else failed(error)

    with plugin_errors(fail):
        adapted = member(module, BasePredictor, "adapt_state_dict")(tensors)
    if not isinstance(adapted, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in adapted.items()
    ):
        raise PluginError(f"{subject} must return a mapping of names to tensors")
    return dict(adapted)


def differences(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """Return a text for each tensor that is missing, one too many, or of another shape or kind of numbers."""
    texts = dict.fromkeys(expected.keys() - tensors.keys(), "is missing")
    texts |= {brief(name): "is one too many" for name in tensors.keys() - expected.keys()}
    texts |= {name: weights.difference(expected[name], tensors[name]) for name in expected.keys() & tensors.keys()}
    return [f"{name} {text}" for name, text in sorted(texts.items()) if text]


def prefix_remedy(
    module: torch.nn.Module, saved: Mapping[str, Tensor], adapted: Mapping[str, Tensor]
) -> tuple[Remedy | None, str]:
    """Return how to change the prefix that all names lack or have too many, and the prefix; (None, "") if none is.

    Args:
        module: the predictor.
        saved: tensors as the file names them. Names of another program may have a prefix that keeps them unknown.
        adapted: the same tensors as the predictor names them.
    """
    expected = module.state_dict()
    for remedy, longer, shorter in (
        (Remedy.STRIP_PREFIX, adapted, expected),
        (Remedy.ADD_PREFIX, expected, adapted),
    ):
        first, shortest = min(longer, default=""), min(shorter, default="")
        prefix = first.removesuffix(shortest)
        if prefix and prefix != first and {prefix + name for name in shorter} == set(longer):
            return remedy, prefix
    for prefix in _shared_prefixes(saved):
        stripped = {name.removeprefix(prefix): tensor for name, tensor in saved.items()}
        with suppress(VpbenchError):
            if adapt_weights(module, stripped, "", Path()).keys() == expected.keys():
                return Remedy.STRIP_PREFIX, prefix
    return None, ""


def _shared_prefixes(names: Collection[str]) -> list[str]:
    """Return the modules that hold all tensors, such as ``["net.", "net.body."]``."""
    *parts, _ = min(names, default="").split(".")
    prefixes = [".".join(parts[: i + 1]) + "." for i in range(len(parts))]
    return [prefix for prefix in prefixes if all(name.startswith(prefix) for name in names)]
