"""How long a training waits for its data: the share of its time that `vpbench train` prints at the end of a stage.

    PYTHONPATH=plugins:datasets python benchmarks/training.py [--steps N] [--json]

`convlstm:tiny` on `scenes-small`, whose clips are drawn by the processor, with 0, 1 and 2 workers. Where
`vpbench data prepare scenes-small --training` has been run (a quarter of an hour), that store is read. Where not, 256
training clips of the same protocol are prepared first, in a temporary folder (a minute).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import vpbench
from vpbench.clips.prepare import find_prepared, prepare
from vpbench.plugin.loader import Plugins, load_plugins
from vpbench.select.data import open_protocol, open_protocol_dataset
from vpbench.training.clips import training_manifest, training_protocol

BAR = 5.0
"""Percent."""
PART = 256
"""Clips that are prepared where nothing is."""
WAITING = re.compile(r"(\d+) s of training, (\d+\.\d) % of it waiting for data")


def prepared_protocol(plugins: Plugins, folder: Path) -> vpbench.Protocol:
    """Return `scenes-small` where its training clips are prepared, else a part of it, which is prepared in a folder."""
    protocol = open_protocol(plugins, "scenes-small")
    dataset = open_protocol_dataset(plugins, protocol, {})
    if not find_prepared(training_protocol(protocol), dataset, training_manifest(protocol, dataset), {"frames"}):
        value = protocol.model_dump(mode="json", by_alias=True)
        value["dataset"]["options"]["train"] = PART
        protocol = vpbench.Protocol.parse(value | {"name": "scenes-small-part"}, "benchmark")
        os.environ["VPBENCH_CACHE"] = str(folder / "cache")
        dataset = open_protocol_dataset(plugins, protocol, {})
        manifest = training_manifest(protocol, dataset)
        prepare(training_protocol(protocol), dataset, manifest, ["frames"], lambda finished, total: None)
    # Validation is not what is measured.
    return protocol.model_copy(update={"training": protocol.training.model_copy(update={"validation_clips": 1})})


def measure(protocol: vpbench.Protocol, plugins: Plugins, out: Path, workers: int, steps: int) -> dict[str, float]:
    """Train for some steps; return what it says of its time."""
    lines: list[str] = []
    vpbench.train(
        "convlstm:tiny",
        protocol,
        plugins=plugins,
        out=out,
        say=lines.append,
        steps=steps,
        workers=workers,
        metrics=["mse"],
    )
    (match,) = filter(None, map(WAITING.search, lines))
    return {"workers": workers, "seconds": int(match[1]), "percent_waiting": float(match[2])}


def main() -> None:
    """Measure, print, and exit with 1 where the bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    plugins, figures = load_plugins(), []
    with tempfile.TemporaryDirectory() as name:
        protocol = prepared_protocol(plugins, Path(name))
        for workers in (0, 1, 2):
            figure = measure(protocol, plugins, Path(name) / str(workers), workers, args.steps)
            figures.append(figure)
            if not args.json:
                print(
                    f"{protocol.name}, {workers} workers: {args.steps} steps in {figure['seconds']} s, "
                    f"{figure['percent_waiting']:.1f} % of them waiting for data (bar: under {BAR:g} %)",
                    flush=True,
                )
    if args.json:
        print(json.dumps({"protocol": protocol.name, "steps": args.steps, "figures": figures}, indent=1))
    sys.exit(not all(figure["percent_waiting"] < BAR for figure in figures))


if __name__ == "__main__":
    main()
