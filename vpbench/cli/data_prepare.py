"""``vpbench data prepare``: decode, crop, resize and annotate the clips of a protocol once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from vpbench.cli.common import State, common_options, json_option, pairs, parse_options, print_json, roots
from vpbench.cli.submitting import arguments_without_cluster, job_parameters, submit_options, submit_shares
from vpbench.files import parse_json
from vpbench.names import Selector
from vpbench.output import progress_bar, say
from vpbench.paths import cache_dir

if TYPE_CHECKING:
    from vpbench.plugin.dataset import Dataset
    from vpbench.plugin.modality import Modality
    from vpbench.protocol.protocol import Protocol
    from vpbench.protocol.units import Manifest
    from vpbench.select.component import Component


@click.command("prepare")
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
@submit_options(["slurm", "local", "ray"])
@json_option
@common_options
@click.pass_obj
def command(
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
    if submit == "ray":
        _prepare_on_nodes(chosen.name, parameters, processes, device, as_json=as_json)
        return
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

    def __str__(self) -> str:
        return f"{self.folder}: {self.clips} {self.kind}, {self.bytes / 2**20:.0f} MiB"


def _prepare_on_nodes(
    protocol: str, parameters: Mapping[str, Any], processes: int | None, device: str, *, as_json: bool
) -> None:
    """Run this command on every node of a Ray cluster, and print what each made; exit with 1 if one failed."""
    from vpbench.evaluation.ray_cluster import run_on_nodes

    words = [word for word in arguments_without_cluster() if word != "--json"]
    with progress_bar(f"preparing {protocol} on nodes") as progress:
        outcomes = run_on_nodes([*words, "--json"], parameters, processes, device, progress)
    nodes: dict[str, list[dict[str, Any]]] = {}
    for outcome in outcomes:
        if outcome.error:
            say(f"vpbench: {outcome.host}: {outcome.error}", err=True)
            continue
        stores = nodes.setdefault(outcome.host, [])
        stores += [store for store in parse_json(outcome.output)["stores"] if store not in stores]
    if as_json:
        print_json({"protocol": protocol, "nodes": [{"host": host, "stores": s} for host, s in nodes.items()]})
    else:
        for host, stores in nodes.items():
            for store in stores:
                say(f"{host}: {_Prepared(**store)}")
    if any(outcome.error for outcome in outcomes):
        raise click.exceptions.Exit(1)


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
    prepared_stores = []
    for store in stores:
        size = sum(path.stat().st_size for path in store.folder.iterdir())
        prepared_stores.append(_Prepared(str(store.folder), kind, len(manifest.clips), size))
        say(str(prepared_stores[-1]))
    return prepared_stores
