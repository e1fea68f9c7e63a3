"""Open a protocol by name, and its dataset at its data root."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vpbench.errors import DataError, PluginError, Remedy, UsageError, VpbenchError, did_you_mean
from vpbench.files import read_toml, why_no_file
from vpbench.paths import config_file
from vpbench.plugin.dataset import BaseDataset, Dataset
from vpbench.plugin.loader import Plugins
from vpbench.plugin.members import member
from vpbench.protocol.protocol import Protocol
from vpbench.select.options import validate_options


def open_protocol(plugins: Plugins, text: str) -> Protocol:
    """Return the protocol of a registered name, or of a path to a TOML file.

    Raises:
        UsageError: unknown, or not valid.
    """
    if text.endswith(".toml"):
        return Protocol.read(Path(text))
    if ("protocol", text) not in plugins.entries and not why_no_file(Path(f"{text}.toml")):
        raise UsageError(f"no protocol is registered as {text!r}; for the file in this folder, write {text}.toml")
    protocol = Protocol.read(plugins.load("protocol", text))
    if protocol.name != text:
        raise PluginError(f"the protocol registered as {text!r} calls itself {protocol.name!r}")
    return protocol


def protocol_name(plugins: Plugins, text: str) -> str:
    """Return the name of a protocol for tables and messages; a file that is not valid keeps its path."""
    try:
        return open_protocol(plugins, text).name
    except VpbenchError:
        return text


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
    plugins: Plugins, name: str, options: Mapping[str, Any], roots: Mapping[str, Path], place: str = ""
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
        root = find_data_root(name, roots)
        if root is None:
            raise DataError(
                f"the dataset {name!r} needs its folder. {target.info.obtain}".rstrip(), Remedy.DATA_ROOT, name
            )
        if not root.exists():
            raise DataError(f"the data root of {name!r} does not exist: {root}. {target.info.obtain}".rstrip())
    model = member(target, BaseDataset, "Options")
    if model is None:
        if options:
            raise UsageError(f"{place}the dataset {name!r} takes no options")
        dataset: Dataset = target(root)
    else:
        dataset = target(root, options=validate_options(model, options, f"{place}dataset {name!r}"))
    return dataset


def find_data_root(name: str, roots: Mapping[str, Path]) -> Path | None:
    """Return the folder of a dataset, as :func:`open_dataset` looks it up; None if none is named."""
    if name in roots or "" in roots:
        return roots.get(name, roots.get("", Path())).expanduser()
    file = config_file()
    if file.exists():
        table = read_toml(file, "configuration file").get("data-roots", {})
        if not isinstance(table, dict) or not isinstance(table.get(name, ""), str):
            raise UsageError(f'configuration file {file}: [data-roots] maps dataset names to folders: {name} = "DIR"')
        if name in table:
            return Path(table[name]).expanduser()
    base = os.environ.get("VPBENCH_DATA")
    return Path(base) / name if base else None
