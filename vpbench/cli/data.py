"""``vpbench data``: look at a dataset before it is used, and decode it once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vpbench.cli.common import State, common_options, json_option, print_json, progress_bar, roots

if TYPE_CHECKING:
    from vpbench.plugin.dataset import Dataset, Finding

__all__ = ["command"]


@click.group("data")
@common_options
def command() -> None:
    """Check a dataset, or prepare a protocol's clips."""


@command.command("check")
@click.argument("dataset")
@click.option(
    "-o", "--option", "options", multiple=True, metavar="DATASET.OPTION=VALUE", help="An option of the dataset."
)
@click.option("--data-root", "data_roots", multiple=True, metavar="[DATASET=]DIR", help="Where it lies.")
@json_option
@common_options
@click.pass_obj
def check(state: State, /, dataset: str, options: tuple[str, ...], data_roots: tuple[str, ...], as_json: bool) -> None:
    """Tell what of a dataset is there, what is missing or unreadable, and what it promises and keeps.

    Exits with 1 where something does not hold.
    """
    from vpbench.engine.choose import open_dataset, parse_assignments
    from vpbench.errors import UsageError

    state.plugins.entry("dataset", dataset)
    values = parse_assignments(options, "-o")
    if strange := [name for name in values if name != dataset]:
        raise UsageError(f"-o {strange[0]}....: this checks {dataset!r}; write -o {dataset}.OPTION=VALUE")
    opened = open_dataset(state.plugins, dataset, values.get(dataset, {}), roots(data_roots))
    findings = [*_sequences(opened), *getattr(opened, "check", lambda: [])()]
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        _print(findings)
    if not all(finding.holds for finding in findings):
        raise click.exceptions.Exit(1)


@command.command("prepare")
@click.argument("protocol", metavar="PROTOCOL|FILE.toml")
@click.option("--data-root", "data_roots", multiple=True, metavar="[DATASET=]DIR", help="Where the dataset lies.")
@click.option("--allow-partial", is_flag=True, help="Prepare what is there.")
@common_options
@click.pass_obj
def prepare(state: State, /, protocol: str, data_roots: tuple[str, ...], allow_partial: bool) -> None:
    """Decode, crop and resize the clips of a protocol once; runs then read them from the cache.

    Goes on where it stopped. Results are the same, to the byte, with and without.
    """
    from vpbench.engine.choose import open_protocol, open_protocol_dataset
    from vpbench.engine.prepare import prepare as make
    from vpbench.protocol.units import build_manifest

    chosen = open_protocol(state.plugins, protocol)
    opened = open_protocol_dataset(state.plugins, chosen, roots(data_roots))
    manifest = build_manifest(chosen, opened, allow_partial=allow_partial)
    with progress_bar(f"preparing {chosen.name}") as progress:
        folder = make(chosen, opened, manifest, opened.info.modalities, progress)
    size = sum(path.stat().st_size for path in folder.iterdir())
    click.echo(f"{folder}: {len(manifest.clips)} clips, {size / 2**20:.0f} MiB")


def _sequences(dataset: Dataset) -> list[Finding]:
    from vpbench.plugin.dataset import Finding

    findings = []
    for split in dataset.info.splits:
        sequences = dataset.sequences(split)
        broken = [s.problem for s in sequences if s.problem]
        frames = sum(len(s.frames) for s in sequences)
        findings.append(Finding(f"{split}: sequences", f"{len(sequences)} ({frames} frames)", "some", bool(sequences)))
        if broken:
            first = f"{len(broken)}, the first: {broken[0]}"
            findings.append(Finding(f"{split}: missing or unreadable", first, "0", False))
    return findings


def _print(findings: list[Finding]) -> None:
    from tabulate import tabulate

    rows = [[f.name, f.found, f.expected, "yes" if f.holds else "NO"] for f in findings]
    click.echo(tabulate(rows, ["what", "found", "expected", "holds"], disable_numparse=True))
