"""Describe registered names and files of weights: what ``vpbench show`` prints, and the pages of plugins."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import safe_open

from vpbench.names import Selector
from vpbench.plugin.dataset import BaseDataset
from vpbench.plugin.loader import Entry, Plugins
from vpbench.plugin.members import Configurable, member, members_of
from vpbench.protocol.protocol import Protocol
from vpbench.select.component import choose_predictor
from vpbench.select.data import open_protocol
from vpbench.select.metrics import engines_of
from vpbench.select.option_types import describe_options
from vpbench.select.parameters import count_parameters
from vpbench.select.trained import open_trained


def describe_entry(
    plugins: Plugins, entry: Entry, argument: str = "", protocol: Protocol | None = None
) -> dict[str, Any]:
    """Return what there is to know of a registered name, as a JSON document.

    Args:
        plugins: the registry.
        entry: the registered name.
        argument: the text after the colon: a predictor's preset.
        protocol: protocol that the options of a predictor follow.

    Raises:
        VpbenchError: the plugin is broken, or has no such preset.
    """
    value = {"kind": entry.kind, "name": entry.name, "summary": entry.summary, "plugin": entry.plugin}
    if entry.kind == "predictor":
        return value | _predictor(plugins, entry, argument, protocol)
    return value | _DESCRIBE[entry.kind](plugins, entry)


def describe_weights(path: Path) -> dict[str, Any]:
    """Return what a file of weights says of itself, as a JSON document.

    Raises:
        DataError: the file is no safetensors file, or its record cannot be read.
    """
    trained = open_trained(path)
    with safe_open(path, "pt") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in sorted(file.keys())}
    parameters = sum(math.prod(shape) for shape in shapes.values())
    value = {"kind": "weights", "path": str(path), "sha256": trained.sha256, "parameters": parameters}
    record = trained.record
    if record is None:
        return value | {"trained_by": "another program", "tensors": shapes}
    document = record.to_json()
    return value | {
        "trained_by": "vpbench train",
        **{key: document[key] for key in ("predictor", "preset", "options")},
        "protocol": record.protocol.name if record.protocol else None,
        "sequences": len(trained.sequences or ()),
        **{key: document[key] for key in ("stages", "seed", "started_from", "versions", "git")},
    }


def _predictor(plugins: Plugins, entry: Entry, preset: str, protocol: Protocol | None) -> dict[str, Any]:
    target = entry.load()
    members = members_of(target, f"predictor {entry.name!r}")
    presets = {key: dict(options) for key, options in members.presets.items()}
    described = describe_options(members.Options) if members.Options else {}
    if members.argument and not preset:  # it is built from its argument only
        content: dict[str, Any] = {"argument": members.argument, "options": described}
    else:
        chosen = choose_predictor(plugins, str(Selector(entry.name, preset)), {}, protocol)
        counts = count_parameters(chosen.value)
        content = {
            "preset": chosen.preset,
            "parameters": sum(counts.values()),
            "parts": counts,
            "options": {
                name: {"value": value, "source": chosen.sources[name]} | described.get(name, {})
                for name, value in chosen.options.items()
            },
            "info": asdict(chosen.info),
        }
    return content | {"presets": presets, "doc": _doc(target)}


def _dataset(plugins: Plugins, entry: Entry) -> dict[str, Any]:
    target = entry.load()
    info = asdict(target.info)
    space = info.pop("label_space")
    options = member(target, BaseDataset, "Options")
    described = {} if options is None else describe_options(options)
    return {"info": info, "label_space": space and space["names"], "options": described, "doc": _doc(target)}


def _metric(plugins: Plugins, entry: Entry) -> dict[str, Any]:
    target = entry.load()
    return {"info": asdict(target("cpu").info), "engines": list(engines_of(target)), "doc": _doc(target)}


def _protocol(plugins: Plugins, entry: Entry) -> dict[str, Any]:
    protocol = open_protocol(plugins, entry.name)
    return {"hash": protocol.hash, "protocol": protocol.model_dump(mode="json", by_alias=True)}


def _annotator(plugins: Plugins, entry: Entry) -> dict[str, Any]:
    target = entry.load()
    options = member(target, Configurable, "Options")
    described = {} if options is None else describe_options(options)
    info = getattr(target, "info", None)  # that of ``saved`` depends on its folder
    return {"info": asdict(info) if info else {}, "options": described, "doc": _doc(target)}


def _network(plugins: Plugins, entry: Entry) -> dict[str, Any]:
    network = entry.load()
    return {"file": network.file, "sources": [source.name for source in network.sources]}


_DESCRIBE: Mapping[str, Callable[[Plugins, Entry], dict[str, Any]]] = {
    "dataset": _dataset,
    "metric": _metric,
    "protocol": _protocol,
    "annotator": _annotator,
    "network": _network,
}


def _doc(target: Any) -> str:
    """Return an object's docstring; its references, written for the API pages, as plain names."""
    return re.sub(r":\w+:`~?([^`]+)`", r"\1", inspect.getdoc(target) or "")
