"""``vpbench weights``: convert somebody's checkpoint into a file that runs nothing, and download published weights."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import State, common_options, json_option, pairs, print_json
from vpbench.errors import DataError, PluginError, Remedy, UsageError
from vpbench.names import Selector
from vpbench.output import brief, say

if TYPE_CHECKING:
    from torch import Tensor

    from vpbench.plugin.loader import Plugins
    from vpbench.select.checkpoint import Network

_LISTED = 40
"""Tensors that are printed, of those converted."""


@click.group("weights")
@common_options
def command() -> None:
    """Convert files of weights, or download them."""


@command.command("get")
@click.argument("names", nargs=-1, required=True, metavar="NAME[:PRESET]...")
@json_option
@common_options
@click.pass_obj
def get(state: State, /, names: tuple[str, ...], as_json: bool) -> None:
    """Download the weights of networks, metrics and annotators now, and print where they are.

    Weights that are here already are checked only. A run downloads missing weights by itself.
    """
    from vpbench.toolkit.weights import sha256

    files = []
    for name in names:
        for path in _obtained(state.plugins, name):
            files.append({"name": name, "path": str(path), "bytes": path.stat().st_size, "sha256": sha256(path)})
            if not as_json:
                say(f"{name}: {path} ({path.stat().st_size / 2**20:.1f} MiB, sha256 {files[-1]['sha256']})")
    if as_json:
        print_json({"files": files})


def _obtained(plugins: Plugins, text: str) -> Sequence[Path]:
    """Return the files of weights of a network, a metric or an annotator.

    Raises:
        UsageError: there is no such name, or it needs no weights.
        DataError: weights cannot be downloaded, or are broken.
    """
    from vpbench.plugin.annotator import BaseAnnotator
    from vpbench.plugin.guard import failed_as, plugin_errors
    from vpbench.plugin.members import member
    from vpbench.plugin.metric import MetricMembers
    from vpbench.select.component import choose_annotator
    from vpbench.select.metrics import choose_metrics

    selector = Selector.parse(text)
    entry = plugins.find(selector.name)
    name = str(Selector(entry.name, selector.argument))
    if entry.kind == "network":
        return [entry.load().obtain()]
    value: Any
    base: type
    if entry.kind == "metric":
        value, base = choose_metrics(plugins, [name], "cpu")[name], MetricMembers
    elif entry.kind == "annotator":
        value, base = choose_annotator(plugins, name, {}).value, BaseAnnotator
    else:
        raise UsageError(
            f"{name!r} is a {entry.kind}: this command downloads weights of networks, metrics and annotators"
        )
    with plugin_errors(failed_as(PluginError, f"`obtain_weights` of the {entry.kind} {name!r} fails")):
        paths: Sequence[Path] = member(value, base, "obtain_weights")()
    if not paths:
        raise UsageError(f"the {entry.kind} {name!r} needs no weights")
    return paths


@command.command("convert")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="New file (default: FILE with the suffix .safetensors).")
@click.option("--take", multiple=True, metavar="NAME", help="State dict, or module of one, to convert.")
@click.option("--strip", multiple=True, metavar="PREFIX", help="Remove a prefix from the tensors' names.")
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="Rename a tensor, or a module with its tensors.")
@click.option("--add", multiple=True, metavar="PREFIX", help="Put a prefix before every tensor's name.")
@click.option("--for", "predictor", metavar="NAME[:PRESET]", help="Predictor that the weights must fit.")
@click.option("-o", "options", multiple=True, metavar="NAME.OPTION=VALUE", help="Option of that predictor.")
@json_option
@common_options
@click.pass_obj
def convert(
    state: State,
    /,
    file: Path,
    out: Path | None,
    take: tuple[str, ...],
    strip: tuple[str, ...],
    rename: tuple[str, ...],
    add: tuple[str, ...],
    predictor: str | None,
    options: tuple[str, ...],
    as_json: bool,
) -> None:
    """Convert a checkpoint (.pth, .pt, .ckpt) to safetensors, and list its content.

    Nothing in the file is run: a pickle that asks for it is refused. The state dict may lie under any keys. Prefixes
    of DataParallel, torch.compile and Lightning are removed. If there are several state dicts, or weights and their
    moving average, --take chooses. Names then change in this order: --strip, --rename, --add. Nothing is overwritten.

    With --for, names and layouts become those of a predictor that knows the program which saved the file. Tensors that
    do not fit are listed, and nothing is written.
    """
    from vpbench.files import write_atomic
    from vpbench.select.checkpoint import find_network
    from vpbench.select.checkpoint_names import renamed
    from vpbench.select.checkpoint_tensors import checked_tensors, encoded
    from vpbench.toolkit.weights import check_regular, sha256

    check_regular(file)
    out = out or file.with_suffix(".safetensors")
    _check_flags(file, out, {"--take": take, "--strip": strip, "--add": add})
    if options and predictor is None:
        raise UsageError(f"-o {options[0]}: options belong to a predictor: name it with --for")
    renames = pairs(rename, "--rename")
    content = _content(file)
    network = find_network(content, file, take)
    network = replace(network, names=renamed(network.names, file, strip, renames, add))
    tensors = checked_tensors(network.tensors, file)
    summary = network.summary()
    unused: Sequence[str] = ()
    if predictor is not None:
        tensors, unused = _fitted(state.plugins, predictor, options, tensors, file, as_json)
        network = replace(network, values=tensors, names={name: name for name in tensors})
    data = encoded(tensors, file)
    write_atomic(out, data)
    if as_json:
        shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        facts = {"source": str(file), "path": str(out), "bytes": len(data), "sha256": sha256(out)}
        print_json(facts | {"tensors": shapes, "left_out": list(network.left_out), "unused": list(unused)})
        return
    for line in _report(file, content, summary, network, unused):
        say(line)
    if predictor is not None:
        flags = shlex.join(
            ["-m", predictor, *(word for option in options for word in ("-o", option)), "--weights", str(out)]
        )
        say(f"all tensors fit {predictor}; use them with {flags}")
    say(f"{out}: {len(tensors)} tensors, {len(data) / 2**20:.1f} MiB, sha256 {sha256(out)}")


def _fitted(
    plugins: Plugins,
    predictor: str,
    options: tuple[str, ...],
    tensors: Mapping[str, Tensor],
    file: Path,
    as_json: bool,
) -> tuple[dict[str, Tensor], Sequence[str]]:
    """Return tensors under a predictor's names and the names of those that it never uses, or list those that misfit.

    Raises:
        DataError: some do not fit.
    """
    from vpbench.select.checkpoint_tensors import checked_tensors
    from vpbench.select.conversion import convert_for
    from vpbench.select.options import parse_assignments
    from vpbench.select.trained import misfit

    conversion = convert_for(plugins, predictor, parse_assignments(options, "-o"), tensors, file)
    if conversion.differences:
        if as_json:
            print_json({"source": str(file), "differences": list(conversion.differences)})
        for line in _shortened([f"  {text}" for text in conversion.differences]) if not as_json else ():
            say(line)
        advice = ""
        if conversion.remedy:
            flag = {Remedy.STRIP_PREFIX: "--strip", Remedy.ADD_PREFIX: "--add"}[conversion.remedy]
            advice = f"; the names differ by a prefix only: add {flag} {shlex.quote(brief(conversion.prefix))}"
        raise DataError(f"{misfit(file, predictor, conversion.differences)}{advice}")
    return checked_tensors(conversion.tensors, file), conversion.unused


def _check_flags(file: Path, out: Path, flags: dict[str, Sequence[str]]) -> None:
    if empty := [flag for flag, texts in flags.items() if not all(texts)]:
        raise UsageError(f"{empty[0]} needs a name")
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: must end in .safetensors")
    if file.suffix == ".safetensors" and out == file:
        raise UsageError(f"{file}: is safetensors already; to rename its tensors, name a new file with --out")
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out}: is there already; remove it, or name another file with --out")


def _content(file: Path) -> Any:
    from vpbench.select.trained import open_trained
    from vpbench.toolkit.weights import read_safetensors, unpickle

    if file.suffix != ".safetensors":
        return unpickle(file)
    if open_trained(file).record:
        raise UsageError(f"{file}: vpbench wrote it; use it as it is, since a copy would lose its record")
    return read_safetensors(file)


def _report(file: Path, content: Any, summary: str, written: Network, unused: Sequence[str]) -> list[str]:
    from vpbench.select.checkpoint_names import listed

    lines = _shortened(list(written.listing()))
    left_out = [f"left out: {_brief(written.left_out)}"] if written.left_out else []
    never_used = [f"never used: {_brief(unused)}"] if unused else []
    return [f"{file}: {listed(content)}", summary, *lines, *left_out, *never_used]


def _brief(names: Sequence[str]) -> str:
    from vpbench.select.checkpoint_names import listed

    text = listed(names)
    return text if text == listed(names[:8]) else f"{text}; --json lists all"


def _shortened(lines: list[str]) -> list[str]:
    if len(lines) <= _LISTED:
        return lines
    return [*lines[:_LISTED], f"  and {len(lines) - _LISTED} more; --json lists all"]
