"""``vpbench data``: look at a dataset before it is used, and decode it once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from textwrap import indent
from typing import TYPE_CHECKING

import click

from vpbench.cli.common import (
    State,
    common_options,
    json_option,
    pairs,
    parse_options,
    print_json,
    roots,
)
from vpbench.cli.data_export import command as export
from vpbench.cli.submitting import job_parameters, submit_options, submit_shares
from vpbench.cli.trouble import message
from vpbench.names import Selector
from vpbench.output import progress_bar, say, say_block, say_table
from vpbench.paths import cache_dir

if TYPE_CHECKING:
    from vpbench.plugin.dataset import Dataset, DatasetInfo, Finding
    from vpbench.plugin.loader import Plugins
    from vpbench.plugin.modality import Modality
    from vpbench.protocol.protocol import Protocol
    from vpbench.protocol.units import Manifest
    from vpbench.select.component import Component

_NAMED = 3  # offenders that are named


@click.group("data")
@common_options
def command() -> None:
    """Check a dataset, or prepare or export a protocol's clips."""


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


@command.command("prepare")
@click.argument("protocol", metavar="PROTOCOL|FILE.toml")
@click.option("--data-root", "data_roots", multiple=True, metavar="[DATASET=]DIR", help="Folder of the dataset.")
@click.option("--annotate", multiple=True, metavar="KIND=NAME", help="Annotate the contexts, too.")
@click.option(
    "-o", "--option", "options", multiple=True, metavar="NAME.OPTION=VALUE", help="An option of an annotator."
)
@click.option("--weights", multiple=True, metavar="[NAME=]FILE", help="Weights of an annotator.")
@click.option(
    "--training",
    is_flag=True,
    help="Prepare the training and validation data of `vpbench train`, not the scored clips.",
)
@click.option("--allow-partial", is_flag=True, help="Prepare incomplete data.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    help="Where networks annotate; a GPU if any.",
)
@submit_options(["slurm", "local"])
@json_option
@common_options
@click.pass_obj
def prepare(
    state: State,
    /,
    protocol: str,
    data_roots: tuple[str, ...],
    annotate: tuple[str, ...],
    options: tuple[str, ...],
    weights: tuple[str, ...],
    training: bool,
    allow_partial: bool,
    device: str,
    submit: str | None,
    processes: int | None,
    job: tuple[str, ...],
    as_json: bool,
) -> None:
    """Decode, crop, resize and annotate the clips of a protocol once; runs then read them from the cache.

    Run the same command again to resume. Results are the same, to the byte, with and without preparation.
    """
    from vpbench.clips.readable import readable_manifest
    from vpbench.clips.subset import Subset
    from vpbench.errors import UsageError
    from vpbench.evaluation.launch import Shard, choose_device, find_launch
    from vpbench.select.component import choose_annotators
    from vpbench.select.data import open_protocol, open_protocol_dataset
    from vpbench.select.options import check_used
    from vpbench.training.clips import (
        split_sequences,
        training_manifest,
        training_protocol,
        validation_manifest,
        validation_protocol,
    )

    parameters = job_parameters(submit, job, processes)
    names_by_kind = pairs(annotate, "--annotate")
    names = [Selector.parse(text).name for text in names_by_kind.values()]
    if weights and not names:
        raise UsageError(f"--weights {weights[0]}: add the annotator that they are for with --annotate")
    values = parse_options(options, weights, names)
    check_used(values, names)
    chosen = open_protocol(state.plugins, protocol)
    if submit is not None:
        submit_shares(submit, cache_dir() / "jobs", parameters, processes, gpu=device == "cuda", as_json=as_json)
        return
    launch = find_launch()
    torch_device = choose_device(device, Shard(0, 1, launch.local_rank if launch else 0))
    annotators = choose_annotators(state.plugins, names_by_kind, values)
    opened = open_protocol_dataset(state.plugins, chosen, roots(data_roots))
    if not training:
        manifest = readable_manifest(chosen, opened, allow_partial=allow_partial)
        stores = _prepare(chosen, opened, manifest, opened.info.modalities, annotators, torch_device, "clips")
    else:
        validated = validation_protocol(chosen, opened)
        validation = Subset(opened, frozenset(s.name for s in split_sequences(chosen, opened)[1]))
        limit = chosen.training.validation_clips
        clips = validation_manifest(readable_manifest(validated, validation, limit=limit, allow_partial=True))
        sequences, modalities = training_manifest(chosen, opened), sorted(opened.info.context_modalities)
        trained = training_protocol(chosen)
        stores = _prepare(trained, opened, sequences, modalities, annotators, torch_device, "sequences")
        if validated.sampling.context == 1:  # one frame has no flow
            annotators = {m: annotator for m, annotator in annotators.items() if not annotator.info.spec.pairwise}
        kind = "clips to validate on"
        stores += _prepare(validated, validation, clips, opened.info.modalities, annotators, torch_device, kind)
    if as_json:
        print_json({"protocol": chosen.name, "stores": [asdict(store) for store in stores]})


@dataclass(frozen=True)
class _Prepared:
    """One folder of prepared arrays."""

    folder: str
    kind: str
    clips: int
    bytes: int


def _prepare(
    protocol: Protocol,
    dataset: Dataset,
    manifest: Manifest,
    modalities: Sequence[Modality],
    annotators: Mapping[Modality, Component],
    device: str,
    kind: str,
) -> list[_Prepared]:
    """Make the store of these clips and those of their annotations, and print where they lie."""
    from vpbench.clips.annotations import prepare_annotations
    from vpbench.clips.prepare import prepare as make

    with progress_bar(f"preparing {protocol.name}: {kind}") as progress:
        prepared = make(protocol, dataset, manifest, modalities, progress)
    stores = [prepared]
    for modality, annotator in annotators.items():
        with progress_bar(f"{modality} by {annotator.name}: {kind}") as progress:
            stores.append(prepare_annotations(protocol, prepared, manifest, annotator, progress, device))
    sizes = [sum(path.stat().st_size for path in store.folder.iterdir()) for store in stores]
    for store, size in zip(stores, sizes, strict=True):
        say(f"{store.folder}: {len(manifest.clips)} {kind}, {size / 2**20:.0f} MiB")
    clips = len(manifest.clips)
    return [_Prepared(str(s.folder), kind, clips, size) for s, size in zip(stores, sizes, strict=True)]


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
    from vpbench.clips.decoding import decoded
    from vpbench.plugin.dataset import Finding

    findings = []
    for split in splits:
        sequences = dataset.sequences(split)
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
        if decoding := decoded(dataset, split):
            findings.append(decoding)
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
