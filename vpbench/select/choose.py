"""From names and options, as users type them, to objects that are ready to run."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from vpbench.errors import (
    DataError,
    PluginError,
    UsageError,
    VpbenchError,
    describe,
    did_you_mean,
    text_of,
    type_name,
)
from vpbench.files import canonical, parse_toml, read_toml
from vpbench.names import slug
from vpbench.paths import config_file
from vpbench.plugin.annotator import Annotator
from vpbench.plugin.clip import MODALITIES, Modality
from vpbench.plugin.dataset import Dataset
from vpbench.plugin.guard import plugin_errors
from vpbench.plugin.loader import Plugins
from vpbench.plugin.metric import Metric
from vpbench.plugin.predictor import PredictorInfo
from vpbench.plugin.process_state import process_state
from vpbench.protocol.protocol import Protocol
from vpbench.select.fingerprint import Fingerprint, fingerprint
from vpbench.select.trained import Trained, fit_weights, merge_options, open_trained
from vpbench.validation import validation_line

__all__ = [
    "Chosen",
    "choose_annotators",
    "choose_metrics",
    "choose_predictor",
    "chosen_object",
    "open_dataset",
    "open_protocol",
    "open_protocol_dataset",
    "parse_assignments",
]

Options = Mapping[str, Mapping[str, Any]]
"""Option values by the name of what they belong to."""


@dataclass(frozen=True)
class Chosen:
    """A plugin's object, built from its name, preset and options."""

    name: str
    preset: str
    value: Any
    options: Mapping[str, Any]
    """All option values, JSON-able."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where each option's value comes from: default, preset or user."""
    fingerprint: str = ""
    """sha256 of its values, its code and the globals that it names."""
    unproven: str = ""
    """Why the fingerprint proves nothing; "" if it does."""
    trained: Trained | None = None
    """The file that its weights were read from, where the harness read them."""
    info: Any = None
    """Its ``info``, read once: a plugin may compute it."""

    def describe(self) -> str:
        """Return one string that names the object, its options, values and code: for the identity."""
        return canonical({"name": self.name, "options": dict(self.options), "fingerprint": self.fingerprint})


def open_protocol(plugins: Plugins, text: str) -> Protocol:
    """Return the protocol of a registered name, or of a path to a TOML file.

    Raises:
        UsageError: unknown, or not valid.
    """
    if text.endswith(".toml"):
        return Protocol.read(Path(text))
    protocol = Protocol.read(plugins.load("protocol", text))
    if protocol.name != text:
        raise PluginError(f"the protocol registered as {text!r} calls itself {protocol.name!r}")
    return protocol


def open_protocol_dataset(plugins: Plugins, protocol: Protocol, roots: Mapping[str, Path]) -> Dataset:
    """Open the dataset of a protocol at its data root (raises as :func:`open_dataset`)."""
    choice = protocol.dataset
    dataset = open_dataset(plugins, choice.name, choice.options, roots, f"protocol {protocol.name}: ")
    if choice.split not in dataset.info.splits:
        hint = did_you_mean(choice.split, dataset.info.splits)
        raise UsageError(f"protocol {protocol.name}: {choice.name!r} has no split {choice.split!r}{hint}")
    if protocol.label_size is not None and "semantics" not in dataset.info.truth_only:
        raise UsageError(
            f"protocol {protocol.name}: label_size is for datasets that label the target frame only, and "
            f"{choice.name!r} with these options does not"
        )
    return dataset


def open_dataset(
    plugins: Plugins, name: str, options: Mapping[str, Any], roots: Mapping[str, Path], where: str = ""
) -> Dataset:
    """Open a dataset at its data root.

    ``roots`` maps dataset names to folders, ``""`` to the folder for any other; then the configuration file's
    ``[data-roots]`` table and ``$VPBENCH_DATA/<dataset>`` are looked at.

    Raises:
        UsageError: an unknown dataset or option. DataError: no data root, or none that exists.
    """
    target = plugins.load("dataset", name)
    root: Path | None = None
    if target.info.needs_root:
        root = _data_root(name, roots)
        if root is None:
            raise DataError(
                f"the dataset {name!r} needs its folder: --data-root {name}=DIR. {target.info.obtain}".rstrip()
            )
        if not root.exists():
            raise DataError(f"the data root of {name!r} does not exist: {root}. {target.info.obtain}".rstrip())
    if not hasattr(target, "Options"):
        if options:
            raise UsageError(f"{where}the dataset {name!r} takes no options")
        dataset: Dataset = target(root)
    else:
        dataset = target(root, options=_validate(target.Options, options, f"{where}dataset {name!r}"))
    return dataset


def _data_root(name: str, roots: Mapping[str, Path]) -> Path | None:
    if name in roots or "" in roots:
        return roots.get(name, roots.get("", Path())).expanduser()
    file = config_file()
    if file.exists():
        try:
            table = read_toml(file).get("data-roots", {})
        except (OSError, ValueError) as error:
            raise UsageError(f"configuration file {file}: {error}") from error
        if not isinstance(table, dict) or not isinstance(table.get(name, ""), str):
            raise UsageError(f'configuration file {file}: [data-roots] maps dataset names to folders: {name} = "DIR"')
        if name in table:
            return Path(table[name]).expanduser()
    base = os.environ.get("VPBENCH_DATA")
    return Path(base) / name if base else None


def choose_predictor(plugins: Plugins, text: str, options: Options, seed: int = 0) -> Chosen:
    """Build the predictor of ``NAME`` or ``NAME:PRESET`` (or ``NAME:ARGUMENT`` where it takes one).

    Args:
        plugins: where it is looked up.
        text: what the user typed.
        options: by name; ``weights`` of one that can be trained is a file, whose options hold where none are named.
        seed: what untrained weights are drawn from.

    Raises:
        UsageError: an unknown name, preset or option, a value that does not fit, weights of another predictor.
        DataError: a file of weights that cannot be read, or is not of this shape.
    """
    name, _, argument = text.partition(":")
    chosen = _choose(plugins, "predictor", name, argument, options.get(name, {}), seed)
    return replace(chosen, info=_read_info(chosen.value, name))


def _read_info(predictor: Any, name: str) -> PredictorInfo:
    """Return a predictor's ``info``.

    Raises:
        PluginError: it lacks ``info`` or ``predict``, or reading one of them raises.
    """

    def fail(error: BaseException) -> PluginError:
        if isinstance(error, AttributeError):
            return PluginError(f"the predictor {name!r} lacks `info` or `predict` ({text_of(error)})")
        return PluginError(f"the `info` of predictor {name!r} cannot be read: {describe(error)}")

    with plugin_errors(fail):
        info, _ = predictor.info, predictor.predict
    if not isinstance(info, PredictorInfo):
        raise PluginError(f"the `info` of predictor {name!r} must be a vpbench.PredictorInfo, not {type_name(info)}")
    return info


def choose_annotators(plugins: Plugins, wanted: Mapping[str, str], options: Options) -> dict[Modality, Chosen]:
    """Build annotators from ``{modality: NAME[:PRESET]}``.

    Raises:
        UsageError: an unknown modality, name, preset or option, or an annotator of another modality.
    """
    chosen: dict[Modality, Chosen] = {}
    for modality, text in wanted.items():
        if modality not in MODALITIES or modality == "frames":
            raise UsageError(
                f"--annotate {modality}={text}: {modality!r} cannot be annotated"
                f"{did_you_mean(modality, set(MODALITIES) - {'frames'})}"
            )
        name, _, argument = text.partition(":")
        one = _choose(plugins, "annotator", name, argument, options.get(name, {}))
        annotator: Annotator = one.value
        if annotator.info.gives != modality:
            raise UsageError(f"--annotate {modality}={text}: the annotator {name!r} gives {annotator.info.gives}")
        chosen[annotator.info.gives] = one
    return chosen


def choose_metrics(plugins: Plugins, names: Sequence[str], device: str) -> dict[str, Metric]:
    """Build metrics by name, in the given order.

    Raises:
        UsageError: an unknown name. PluginError: an object that is no metric, or goes by another name.
    """
    metrics: dict[str, Metric] = {}
    for name in names:
        metric = plugins.load("metric", name)(device)
        if not isinstance(metric, Metric):
            raise PluginError(f"the metric {name!r} lacks one of info, why_not, measure, finalise, resample")
        if metric.info.name != name:
            raise PluginError(f"the metric registered as {name!r} calls itself {metric.info.name!r}")
        metrics[name] = metric
    return metrics


def fingerprint_metric(plugins: Plugins, name: str) -> Fingerprint:
    """Return the fingerprint of a metric as built for the CPU, so that the device does not decide it.

    Raises:
        UsageError, PluginError: as :meth:`Plugins.load`.
    """
    return fingerprint(plugins.load("metric", name)("cpu"))


def chosen_object(predictor: Any) -> Chosen:
    """Wrap a predictor that a Python program made itself; its class's name labels the result."""
    if isinstance(predictor, type) or not callable(getattr(predictor, "predict", None)):
        raise UsageError(
            f"{type_name(predictor)} is neither a predictor's name nor an object with `info` and `predict`"
        )
    info = _read_info(predictor, type(predictor).__name__)
    text = slug(re.sub(r"(?<!^)(?=[A-Z])", "-", type(predictor).__name__).lower())
    options = getattr(predictor, "options", None)
    values = options.model_dump(mode="json") if isinstance(options, BaseModel) else {}
    proof = fingerprint(predictor)
    return Chosen(text, "", predictor, values, fingerprint=proof.sha256, unproven=proof.unproven, info=info)


def parse_assignments(texts: Sequence[str], flag: str) -> dict[str, dict[str, Any]]:
    """Parse ``NAME.OPTION=VALUE`` texts; a value is TOML where it parses as TOML, else a string.

    Raises:
        UsageError: not of that form.
    """
    parsed: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        name, dot, option = key.rpartition(".")
        if not (equals and dot and name and option):
            raise UsageError(f"{flag} {text}: write it as NAME.OPTION=VALUE")
        try:
            parsed.setdefault(name, {})[option] = parse_toml(f"value = {value}")["value"]
        except ValueError:
            parsed.setdefault(name, {})[option] = value
    return parsed


def _choose(plugins: Plugins, kind: str, name: str, argument: str, options: Mapping[str, Any], seed: int = 0) -> Chosen:
    target = plugins.load(kind, name)
    presets: Mapping[str, Mapping[str, Any]] = getattr(target, "presets", {})
    where = f"{kind} {name!r}"
    preset, given = argument, dict(presets.get(argument, {}))
    if argument and argument not in presets:
        takes = getattr(target, "argument", "")
        if not takes:
            raise UsageError(f"{where} has no preset {argument!r}{did_you_mean(argument, presets)}")
        given = {takes: argument}
        preset = _slug(argument)
    sources = dict.fromkeys(given, f"preset {preset}")
    given.update(options)
    sources.update(dict.fromkeys(options, "user"))
    model = getattr(target, "Options", None)
    trained: Trained | None = None
    if "weights" in given and hasattr(target, "training_stages"):
        trained = open_trained(Path(given.pop("weights")).expanduser())
        free = getattr(target, "training_only", ())
        shown_alone = set(presets.get(argument, ())) and set(presets[argument]) <= set(free)
        if argument in presets and model is not None and not shown_alone:
            # A preset also means every option that it leaves as it is, unless it says nothing of the network.
            merge_options(trained, name, json.loads(_validate(model, given, where).model_dump_json()), free)
        recorded = merge_options(trained, name, given, free)
        given.update(recorded)
        sources.update(dict.fromkeys(recorded, "weights"))
        if not set(options) - {"weights"}:
            preset = preset or trained.about.get("preset", "")
    elif model is None and options:
        raise UsageError(f"{where} takes no options, so -o {name}.{next(iter(options))} cannot be set")
    takes = getattr(target, "argument", "")
    if takes and takes not in given and model is not None and model.model_fields[takes].is_required():
        raise UsageError(f"{where} needs its {takes}: write {name}:{takes.upper()}")
    validated = None if model is None else _validate(model, given, where)

    def fail(error: BaseException) -> VpbenchError:
        return error if isinstance(error, VpbenchError) else PluginError(f"{where} cannot be built: {describe(error)}")

    with plugin_errors(fail), process_state():
        torch.manual_seed(seed)  # untrained weights are drawn the same in every process: shards must agree
        value = target() if validated is None else target(options=validated)
        if trained is not None:
            fit_weights(value, trained, name)
        proof = fingerprint(value)
    values = {} if validated is None else json.loads(validated.model_dump_json())
    every = {key: sources.get(key, "default") for key in values}
    return Chosen(name, preset, value, values, every, proof.sha256, proof.unproven, trained)


def _validate(model: type[BaseModel], values: Mapping[str, Any], where: str) -> BaseModel:
    if unknown := [key for key in values if key not in model.model_fields]:
        raise UsageError(f"{where} has no option {unknown[0]!r}{did_you_mean(unknown[0], model.model_fields)}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(f"{where}: option {validation_line(error)}") from error


def _slug(text: str) -> str:
    """Return a name for a folder from what the user typed: its last part, and enough of a hash to tell two apart."""
    tail = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(text).name or "root")[:80].lstrip(".-") or "root"
    return f"{tail}-{hashlib.sha256(str(Path(text).resolve()).encode()).hexdigest()[:6]}"
