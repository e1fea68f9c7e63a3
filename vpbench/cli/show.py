"""``vpbench show``: one registered thing, or one result, in full."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import State, common_options, json_option, print_json
from vpbench.errors import UsageError
from vpbench.names import Selector
from vpbench.output import say
from vpbench.plugin.loader import KINDS

if TYPE_CHECKING:
    from vpbench.plugin.loader import Plugins
    from vpbench.results.result import Result


@click.command("show")
@click.argument("name", metavar="[KIND/]NAME[:PRESET]|RESULT|FILE.safetensors|COST.json")
@click.option("-p", "--protocol", metavar="NAME|FILE", help="Protocol that the options of a predictor follow.")
@click.option("--metric", metavar="NAME", help="Metric of a result to show at each step.")
@json_option
@common_options
@click.pass_obj
def command(state: State, name: str, protocol: str | None, metric: str | None, as_json: bool) -> None:
    """Show a predictor, dataset, metric, protocol or annotator, a result folder, a file of weights, or a cost.

    For a result, prints its scores with their 95 % intervals, and the clips where it is worst by its first metric.
    """
    if os.path.lexists(Path(name) / "run.json"):
        _show_result(state, Path(name), metric, as_json=as_json)
        return
    if metric:
        raise UsageError(f"--metric {metric}: {name} is not a result; name the folder of one")
    if name.endswith(".json"):
        _show_cost(Path(name), as_json=as_json)
        return
    value = _weights(Path(name)) if name.endswith(".safetensors") else _registered(state.plugins, name, protocol)
    if as_json:
        print_json(value)
        return
    for line in _lines(value):
        say(line)


def _registered(plugins: Plugins, name: str, protocol: str | None) -> dict[str, Any]:
    from vpbench.results.result import load
    from vpbench.select.data import open_protocol
    from vpbench.select.description import describe_entry

    selector = Selector.parse(name)
    try:
        entry = plugins.find(selector.name)
    except UsageError:
        if Path(name).is_dir():
            load(name)  # raises, and names the results below it
        if os.sep in name and name.partition("/")[0] not in KINDS:
            raise UsageError(f"{name}: there is no such folder") from None
        raise
    return describe_entry(plugins, entry, selector.argument, open_protocol(plugins, protocol) if protocol else None)


def _weights(path: Path) -> dict[str, Any]:
    from vpbench.select.description import describe_weights

    return describe_weights(path)


def _show_cost(path: Path, *, as_json: bool) -> None:
    from vpbench.pages.costs import describe_cost
    from vpbench.results.costs import read_cost

    record = read_cost(path)
    if as_json:
        print_json({"kind": "cost", "path": str(path), "cost": record.to_json()})
        return
    for text in describe_cost(record):
        say(text)


def _show_result(state: State, path: Path, metric: str | None, *, as_json: bool) -> None:
    from vpbench.results.result import load

    result = load(path)
    if as_json:
        print_json(_result(result))
        return
    from vpbench.pages.result import print_result

    print_result(result, state.plugins, metric)


def _result(result: Result) -> dict[str, Any]:
    run = result.run.model_dump(mode="json", by_alias=True, exclude={"manifest", "protocol"})
    complete = os.path.lexists(result.path / "summary.json")
    return {
        "kind": "result",
        "path": str(result.path),
        "protocol": result.run.protocol.name,
        "run": run,
        "mixed": result.mixed(),
        "summary": result.summary.to_json() if complete else None,
    }


def _option(name: str, option: Mapping[str, Any], pad: str) -> list[str]:
    """Return the lines of an option: its value and where it comes from, its type, its description."""
    value = option.get("value", "" if option["required"] else option["default"])
    source = option.get("source", "required" if option["required"] else "default")
    description = f": {option['description']}" if option["description"] else ""
    return [f"{pad}{name}: {value}  ({source})".replace(":   (", ": ("), f"{pad}  {option['type']}{description}"]


def _lines(value: Any, indent: int = 0, empty: bool = False) -> list[str]:
    """Return the lines of a document; ``empty``: those of what is empty or None too, as a preset may set it so."""
    pad = "  " * indent
    lines: list[str] = []
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            if "type" in item and "description" in item:
                lines += _option(key, item, pad)
            else:
                lines += [f"{pad}{key}:", *_lines(item, indent + 1, empty or key == "presets")]
        elif isinstance(item, list) and item and all(isinstance(entry, Mapping) for entry in item):
            for entry in item:
                lines += [f"{pad}{key}:", *_lines(entry, indent + 1, empty)]
        elif isinstance(item, str) and "\n" in item:
            lines += [f"{pad}{key}:", *(f"{pad}  {line}".rstrip() for line in item.splitlines())]
        elif empty or item not in ("", None, [], (), {}):
            lines.append(f"{pad}{key}: {item}")
    return lines
