"""``vpbench weights``: convert somebody's checkpoint into a file that runs nothing, and download published weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import State, common_options, pairs
from vpbench.errors import PluginError, UsageError
from vpbench.names import Selector
from vpbench.output import say

if TYPE_CHECKING:
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
@common_options
@click.pass_obj
def get(state: State, /, names: tuple[str, ...]) -> None:
    """Download the weights of metrics and annotators now, and print where they are.

    Weights that are here already are checked only. A run downloads missing weights by itself.
    """
    from vpbench.toolkit.weights import sha256

    for name in names:
        for path in _obtained(state.plugins, name):
            say(f"{name}: {path} ({path.stat().st_size / 2**20:.1f} MiB, sha256 {sha256(path)})")


def _obtained(plugins: Plugins, text: str) -> Sequence[Path]:
    """Return the files of weights of a metric or an annotator.

    Raises:
        UsageError: there is no such name, or it needs no weights.
        DataError: weights cannot be downloaded, or are broken.
    """
    from vpbench.plugin.annotator import BaseAnnotator
    from vpbench.plugin.guard import failed_as, plugin_errors
    from vpbench.plugin.members import member
    from vpbench.plugin.metric import BaseMetric
    from vpbench.select.component import choose_annotator
    from vpbench.select.metrics import choose_metrics

    selector = Selector.parse(text)
    entry = plugins.find(selector.name)
    name = str(Selector(entry.name, selector.argument))
    value: Any
    base: type
    if entry.kind == "metric":
        value, base = choose_metrics(plugins, [name], "cpu")[name], BaseMetric
    elif entry.kind == "annotator":
        value, base = choose_annotator(plugins, name, {}).value, BaseAnnotator
    else:
        raise UsageError(f"{name!r} is a {entry.kind}: this command downloads weights of metrics and annotators")
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
@common_options
def convert(
    file: Path,
    out: Path | None,
    take: tuple[str, ...],
    strip: tuple[str, ...],
    rename: tuple[str, ...],
    add: tuple[str, ...],
) -> None:
    """Convert a checkpoint (.pth, .pt, .ckpt) to safetensors, and list its content.

    Nothing in the file is run: a pickle that asks for it is refused. The state dict may lie under any keys. Prefixes
    of DataParallel, torch.compile and Lightning are removed. If there are several state dicts, or weights and their
    moving average, --take chooses. Names then change in this order: --strip, --rename, --add. Nothing is overwritten.
    """
    from vpbench.files import write_atomic
    from vpbench.select.checkpoint import find_network
    from vpbench.select.checkpoint_names import renamed
    from vpbench.select.checkpoint_tensors import checked_tensors, encoded
    from vpbench.toolkit.weights import check_regular, sha256

    check_regular(file)
    out = out or file.with_suffix(".safetensors")
    _check_flags(file, out, {"--take": take, "--strip": strip, "--add": add})
    renames = pairs(rename, "--rename")
    content = _content(file)
    network = find_network(content, file, take)
    network = replace(network, names=renamed(network.names, file, strip, renames, add))
    tensors = checked_tensors(network.tensors, file)
    data = encoded(tensors, file)
    write_atomic(out, data)
    for line in _report(file, content, network):
        say(line)
    say(f"{out}: {len(tensors)} tensors, {len(data) / 2**20:.1f} MiB, sha256 {sha256(out)}")


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


def _report(file: Path, content: Any, network: Network) -> list[str]:
    from vpbench.select.checkpoint_names import listed

    lines = list(network.listing())
    summary = [f"  and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    left_out = [f"left out: {listed(network.left_out)}"] if network.left_out else []
    return [f"{file}: {listed(content)}", network.summary(), *lines[:_LISTED], *summary, *left_out]
