"""``vpbench data export``: write the clips of a protocol as files, for models in another environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from vpbench.cli.common import LENGTH, SEED, State, common_options, json_option, pairs, parse_options, print_json, roots
from vpbench.names import Selector
from vpbench.output import progress_bar, say


@click.command("export")
@click.argument("protocol", metavar="PROTOCOL|FILE.toml")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder for the files.")
@click.option("--truth", is_flag=True, help="Export the scored steps, too.")
@click.option("--format", "kind", type=click.Choice(["npy", "png"]), default="npy", show_default=True, help="Frames.")
@click.option("--clips", type=click.IntRange(min=1), help="Export N clips, spread evenly, as `vpbench run --clips N`.")
@click.option("--data-root", "data_roots", multiple=True, metavar="[DATASET=]DIR", help="Folder of the dataset.")
@click.option("--annotate", multiple=True, metavar="KIND=NAME", help="Export the annotations of the contexts, too.")
@click.option("-o", "--option", "options", multiple=True, metavar="NAME.OPTION=VALUE", help="An annotator's option.")
@click.option("--weights", multiple=True, metavar="[NAME=]FILE", help="Weights of an annotator.")
@click.option("--samples", type=LENGTH, default=1, show_default=True, help="Seeds per clip, for stochastic models.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed that the seeds of the clips follow from.")
@click.option("--allow-partial", is_flag=True, help="Export incomplete data.")
@json_option
@common_options
@click.pass_obj
def command(
    state: State,
    /,
    protocol: str,
    out: Path,
    truth: bool,
    kind: Literal["npy", "png"],
    clips: int | None,
    data_roots: tuple[str, ...],
    annotate: tuple[str, ...],
    options: tuple[str, ...],
    weights: tuple[str, ...],
    samples: int,
    seed: int,
    allow_partial: bool,
    as_json: bool,
) -> None:
    """Write the contexts of a protocol's clips as files, by clip id, and a list of the clips.

    A model in any environment reads them and writes predictions, which `-m saved:DIR` scores. Labels and flow of the
    contexts are exported if the dataset has them. Run the same command again to resume.
    """
    from vpbench.clips.probe import Probe
    from vpbench.clips.readable import readable_manifest
    from vpbench.errors import UsageError
    from vpbench.evaluation.export import Export, ExportRecord
    from vpbench.evaluation.launch import Shard, choose_device
    from vpbench.evaluation.source import open_source
    from vpbench.select.component import choose_annotators
    from vpbench.select.data import open_protocol, open_protocol_dataset
    from vpbench.select.options import check_used

    names_by_kind = pairs(annotate, "--annotate")
    names = [Selector.parse(text).name for text in names_by_kind.values()]
    if weights and not names:
        raise UsageError(f"--weights {weights[0]}: add the annotator that they are for with --annotate")
    values = parse_options(options, weights, names)
    check_used(values, names)
    chosen = open_protocol(state.plugins, protocol)
    annotators = choose_annotators(state.plugins, names_by_kind, values)
    dataset = open_protocol_dataset(state.plugins, chosen, roots(data_roots))
    manifest = readable_manifest(chosen, dataset, limit=clips, allow_partial=allow_partial)
    context = sorted({*dataset.info.context_modalities, *annotators})
    future = sorted(dataset.info.modalities) if truth else []
    probe = Probe(chosen, dataset)
    record = ExportRecord(
        protocol=chosen.name,
        protocol_hash=chosen.hash,
        manifest=manifest.hash,
        data=probe.digest(manifest, set(context) - set(annotators), future),
        partial=manifest.partial,
        format=kind,
        seed=seed,
        samples=samples,
        context=context,
        truth=future,
        annotators={modality: annotator.describe() for modality, annotator in annotators.items()},
    )
    device = choose_device("auto", Shard(0, 1))
    source = open_source(chosen, dataset, manifest, annotators, context, future, probe=probe, device=device)
    with progress_bar(f"exporting {chosen.name}") as progress:
        Export(out, source, record)(manifest.clips, progress)
    if as_json:
        print_json(record.to_json() | {"out": str(out), "clips": len(manifest.clips)})
        return
    say(f"{out}: {len(manifest.clips)} clips of {chosen.name}: {', '.join(context)}{'; with truth' if truth else ''}")
