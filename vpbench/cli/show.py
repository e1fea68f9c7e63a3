"""``vpbench show``: one registered thing, or one result, in full."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import State, common_options, json_option, print_json
from vpbench.errors import UsageError
from vpbench.names import Selector
from vpbench.output import say
from vpbench.plugin.loader import KINDS

if TYPE_CHECKING:
    from vpbench.plugin.loader import Entry, Plugins


@click.command("show")
@click.argument("name", metavar="[KIND/]NAME[:PRESET]|RESULT")
@click.option("-p", "--protocol", metavar="NAME|FILE", help="Protocol that the options of a predictor follow.")
@json_option
@common_options
@click.pass_obj
def command(state: State, name: str, protocol: str | None, as_json: bool) -> None:
    """Show a predictor, dataset, metric, protocol or annotator, or a result folder."""
    if os.path.lexists(Path(name) / "run.json"):
        value = _result(Path(name))
    else:
        value = _registered(state.plugins, name, protocol)
    if as_json:
        print_json(value)
        return
    for line in _lines(value):
        say(line)


def _registered(plugins: Plugins, name: str, protocol: str | None) -> dict[str, Any]:
    selector = Selector.parse(name)
    try:
        entry = plugins.find(selector.name)
    except UsageError:
        if Path(name).is_dir():
            return _result(Path(name))  # raises, and names the results below it
        if os.sep in name and name.partition("/")[0] not in KINDS:
            raise UsageError(f"{name}: there is no such folder") from None
        raise
    value = {"kind": entry.kind, "name": entry.name, "summary": entry.summary, "plugin": entry.plugin}
    if entry.kind == "predictor":
        return value | _predictor(plugins, entry, selector.argument, protocol)
    return value | _DESCRIBE[entry.kind](plugins, entry)


def _predictor(plugins: Plugins, entry: Entry, preset: str, protocol: str | None) -> dict[str, Any]:
    from vpbench.plugin.members import members_of
    from vpbench.select.component import choose_predictor
    from vpbench.select.data import open_protocol
    from vpbench.select.parameters import count_parameters

    target = entry.load()
    members = members_of(target, f"predictor {entry.name!r}")
    presets = {key: dict(options) for key, options in members.presets.items()}
    if members.argument and not preset:  # it is built from its argument only
        content: dict[str, Any] = {"argument": members.argument}
    else:
        followed = open_protocol(plugins, protocol) if protocol else None
        chosen = choose_predictor(plugins, str(Selector(entry.name, preset)), {}, followed)
        counts = count_parameters(chosen.value)
        content = {
            "preset": chosen.preset,
            "parameters": sum(counts.values()),
            "parts": counts,
            "options": {k: {"value": v, "source": chosen.sources[k]} for k, v in chosen.options.items()},
            "info": asdict(chosen.info),
        }
    return content | {"presets": presets, "doc": _doc(target)}


def _dataset(plugins: Plugins, entry: Entry) -> dict[str, Any]:
    target = entry.load()
    info = asdict(target.info)
    space = info.pop("label_space")
    from vpbench.plugin.dataset import BaseDataset
    from vpbench.plugin.members import member

    options = member(target, BaseDataset, "Options")
    fields = {} if options is None else {k: str(f.description or f.annotation) for k, f in options.model_fields.items()}
    return {"info": info, "label_space": space and space["names"], "options": fields, "doc": _doc(target)}


def _metric(plugins: Plugins, entry: Entry) -> dict[str, Any]:
    from vpbench.select.metrics import engines_of

    target = entry.load()
    return {"info": asdict(target("cpu").info), "engines": list(engines_of(target)), "doc": _doc(target)}


def _protocol(plugins: Plugins, entry: Entry) -> dict[str, Any]:
    from vpbench.select.data import open_protocol

    protocol = open_protocol(plugins, entry.name)
    return {"hash": protocol.hash, "protocol": protocol.model_dump(mode="json", by_alias=True)}


def _annotator(plugins: Plugins, entry: Entry) -> dict[str, Any]:
    target = entry.load()
    return {"info": asdict(target.info), "doc": _doc(target)}


def _network(plugins: Plugins, entry: Entry) -> dict[str, Any]:
    network = entry.load()
    return {"file": network.file, "sources": [source.name for source in network.sources]}


_DESCRIBE = {
    "dataset": _dataset,
    "metric": _metric,
    "protocol": _protocol,
    "annotator": _annotator,
    "network": _network,
}


def _result(path: Path) -> dict[str, Any]:
    from vpbench.results.result import load

    result = load(path)
    run = result.run.model_dump(mode="json", by_alias=True, exclude={"manifest", "protocol"})
    complete = os.path.lexists(path / "summary.json")
    return {
        "kind": "result",
        "path": str(path),
        "protocol": result.run.protocol.name,
        "run": run,
        "mixed": result.mixed(),
        "summary": result.summary.to_json() if complete else None,
    }


def _doc(target: Any) -> str:
    return inspect.getdoc(target) or ""


def _lines(value: Any, indent: int = 0, empty: bool = False) -> list[str]:
    """Return the lines of a document; ``empty``: those of what is empty or None too, as a preset may set it so."""
    pad = "  " * indent
    lines: list[str] = []
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            if set(item) == {"value", "source"}:
                lines.append(f"{pad}{key}: {item['value']}  ({item['source']})")
            else:
                lines += [f"{pad}{key}:", *_lines(item, indent + 1, empty or key == "presets")]
        elif isinstance(item, str) and "\n" in item:
            lines += [f"{pad}{key}:", *(f"{pad}  {line}".rstrip() for line in item.splitlines())]
        elif empty or item not in ("", None, [], (), {}):
            lines.append(f"{pad}{key}: {item}")
    return lines
