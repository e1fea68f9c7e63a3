"""``vpbench data``: look at a dataset before it is used, and decode it once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from textwrap import indent
from typing import TYPE_CHECKING

import click

from vpbench.cli.common import (
    State,
    common_options,
    json_option,
    print_json,
    roots,
)
from vpbench.cli.data_export import command as export
from vpbench.cli.data_prepare import command as prepare
from vpbench.cli.trouble import message
from vpbench.output import progress_bar, say, say_block, say_table

if TYPE_CHECKING:
    from vpbench.plugin.dataset import Dataset, DatasetInfo, Finding
    from vpbench.plugin.loader import Plugins
    from vpbench.protocol.protocol import Protocol

_NAMED = 3  # offenders that are named


@click.group("data")
@common_options
def command() -> None:
    """Check a dataset, or prepare or export a protocol's clips."""


command.add_command(prepare)
command.add_command(export)


@command.command("check")
@click.argument("name", metavar="DATASET|PROTOCOL|FILE.toml")
@click.option(
    "-o", "--option", "options", multiple=True, metavar="DATASET.OPTION=VALUE", help="An option of the dataset."
)
@click.option("--data-root", "data_roots", multiple=True, metavar="[DATASET=]DIR", help="Folder of the dataset.")
@click.option("--leaks", is_flag=True, help="Decode all frames and search for test frames that are training frames.")
@json_option
@common_options
@click.pass_obj
def check(
    state: State, /, name: str, options: tuple[str, ...], data_roots: tuple[str, ...], leaks: bool, as_json: bool
) -> None:
    """List the complete, missing and unreadable parts of a dataset.

    For a protocol, only its split and clips are checked. Write protocol/NAME if a dataset has the same name. Exits
    with 1 if a check fails.
    """
    from vpbench.clips.leaks import find_leaks
    from vpbench.errors import UsageError
    from vpbench.plugin.dataset import BaseDataset
    from vpbench.plugin.members import member
    from vpbench.select.data import open_dataset, open_protocol, open_protocol_dataset
    from vpbench.select.options import parse_assignments

    kind, text = _kind(state.plugins, name)
    values = parse_assignments(options, "-o")
    if kind == "protocol":
        if values:
            raise UsageError(f"-o: the protocol {text!r} fixes the options of its dataset")
        protocol = open_protocol(state.plugins, text)
        opened, split = open_protocol_dataset(state.plugins, protocol, roots(data_roots)), protocol.dataset.split
        frames, clips = _clips(protocol, opened)
        findings = [*_sequences(opened, [split]), clips]
    else:
        if strangers := [key for key in values if key != text]:
            raise UsageError(f"-o {strangers[0]}....: this checks {text!r}; write -o {text}.OPTION=VALUE")
        opened, split, frames = open_dataset(state.plugins, text, values.get(text, {}), roots(data_roots)), "", {}
        findings = [*_sequences(opened, opened.info.splits), *member(opened, BaseDataset, "check")()]
    incomplete = any(finding.holds is False for finding in findings)
    if leaks:
        with progress_bar(f"reading {text}") as progress:
            findings += find_leaks(opened, progress, split=split, clips=frames if split else None)
    if as_json:
        print_json({"findings": [vars(finding) for finding in findings]})
    else:
        _print(findings)
        if incomplete:
            _print_source(opened.info)
    if any(finding.holds is False for finding in findings):
        raise click.exceptions.Exit(1)


def _kind(plugins: Plugins, text: str) -> tuple[str, str]:
    """Return whether a text names a dataset or a protocol, and the name."""
    kind, slash, name = text.partition("/")
    if slash and kind in ("dataset", "protocol"):
        return kind, name
    if text.endswith(".toml"):
        return "protocol", text
    if ("dataset", text) not in plugins.entries and ("protocol", text) in plugins.entries:
        return "protocol", text
    plugins.entry("dataset", text)
    return "dataset", text


def _clips(protocol: Protocol, dataset: Dataset) -> tuple[dict[str, list[int]], Finding]:
    """Return the frames that a protocol's clips show, by sequence, and how many clips there are."""
    from vpbench.errors import DataError
    from vpbench.plugin.dataset import Finding
    from vpbench.protocol.units import build_manifest

    name, expected = f"{protocol.name}: clips", str(protocol.clips or "some")
    try:
        manifest = build_manifest(protocol, dataset, allow_partial=True)
    except DataError as error:
        return {}, Finding(name, "0", expected, False, (message(error),))
    count, short = len(manifest.clips), len(manifest.dropped)
    frames: dict[str, set[int]] = {}
    for clip in manifest.clips:
        frames.setdefault(clip.sequence, set()).update(clip.frames)
    counted = f"{count} ({short} sequences too short)" if short else str(count)
    shown_frames = {sequence: sorted(numbers) for sequence, numbers in frames.items()}
    return shown_frames, Finding(name, counted, expected, protocol.clips in (None, count))


def _sequences(dataset: Dataset, splits: Sequence[str]) -> list[Finding]:
    from vpbench.clips.decoding import decode_splits
    from vpbench.plugin.dataset import Finding

    findings = []
    indexes = {split: dataset.sequences(split) for split in splits}
    readable = {split: [s for s in index if not s.problem and len(s.frames)] for split, index in indexes.items()}
    middles = {split: sequences[len(sequences) // 2] for split, sequences in readable.items() if sequences}
    decoding = decode_splits(dataset, middles)
    for split, sequences in indexes.items():
        good, broken = ([s for s in sequences if bool(s.problem) is bad] for bad in (False, True))
        counted = f"{len(good)} ({sum(len(s.frames) for s in good)} frames)"
        findings.append(Finding(f"{split}: sequences", counted, "some", bool(good)))
        rates = Counter(f"{float(s.rate):.5g}" for s in sequences if s.rate)
        if rates:
            listed = ", ".join(f"{rate} ({count})" for rate, count in rates.most_common(_NAMED))
            ellipsis = ", ..." if len(rates) > _NAMED else ""
            findings.append(Finding(f"{split}: frames per second (videos)", listed + ellipsis, "-", None))
        if broken:
            summary = [f"and {len(broken) - _NAMED} more"] if len(broken) > _NAMED else []
            named = (*(s.problem for s in broken[:_NAMED]), *summary)
            findings.append(Finding(f"{split}: missing or unreadable", str(len(broken)), "0", False, named))
        if split in decoding:
            findings.append(decoding[split])
    return findings


def _print(findings: list[Finding]) -> None:
    words = {True: "yes", False: "NO", None: "-"}
    rows = [[f.name, f.found, f.expected, words[f.holds]] for f in findings]
    say_table(rows, ["what", "found", "expected", "holds"])
    for finding in findings:
        if finding.details:
            say()
            say(f"{finding.name}:")
            for line in finding.details:
                say(f"  {line}")


def _print_source(info: DatasetInfo) -> None:
    for title, text in {"layout": info.tree, "how to get it": info.obtain, "licence": info.licence}.items():
        if text:
            say_block(f"\n{title}:\n{indent(text.rstrip(), '  ')}")
