"""Measure `vpbench leaderboard` and `vpbench report` on many results: seconds and peak memory at three sizes.

Run ``python benchmarks/report.py``. ``--full`` adds 60 results of 3,000 clips, 10 steps and 8 metrics: 14.4 million
rows, 1.7 GB on disk. The results are made by this script: each predictor is a little worse than the one before.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vpbench.plugin.loader import Plugins, load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.units import UNIT_CLIPS, ManifestEntry, hash_entries
from vpbench.results.layouts import Layouts
from vpbench.results.records import AttemptRecord, Identity, MetricRecord, RunRecord
from vpbench.results.scores import Score
from vpbench.results.store import Store
from vpbench.results.summarise import summary_of, summary_text
from vpbench.select.weights_record import WeightsUse

SIZES = ((6, 300), (15, 1_000), (30, 2_000))
FULL = (60, 3_000)
STEPS = 10
METRICS = {
    "mse": 0.01,
    "mae": 0.05,
    "ssim": 0.8,
    "ms-ssim": 0.85,
    "lpips": 0.2,
    "psnr": 22.0,
    "copy-index": 1.0,
    "mse/moving": 0.03,
}
"""By metric, a typical score at the first step."""


def make_results(root: Path, results: int, clips: int) -> None:
    """Write that many results of one protocol."""
    plugins, layouts = load_plugins([]), Layouts()
    for number in range(results):
        make_result(root, plugins, layouts, number, clips)


def make_run(plugins: Plugins, number: int, clips: int, typical: Mapping[str, float], steps: int) -> RunRecord:
    """Return the record of a run of ``net-<number>``; ``typical`` names its metrics."""
    sampling = {"kind": "first", "context": 4, "horizon": steps}
    value = {"schema": 1, "name": "bench", "version": 1, "dataset": {"name": "scenes"}, "sampling": sampling}
    protocol = Protocol.parse(value | {"reference": "net-000"}, "benchmark")
    entries = tuple(ManifestEntry(f"drive_{i:04d}.mp4@{i}", protocol.steps, f"drive_{i:04d}.mp4") for i in range(clips))
    infos = {name: plugins.load("metric", name)("cpu").info for name in typical}
    metrics = {
        name: MetricRecord(
            revision=info.revision, better=info.better, unit=info.unit, decimals=info.decimals, released=True
        )
        for name, info in infos.items()
    }
    name = f"net-{number:03d}"
    identity = Identity(
        protocol=protocol.hash, manifest=hash_entries(entries), data="d" * 64, predictor=name,
        options={"width": number}, fingerprint=f"{number:064d}", annotators={},
        metrics={key: info.revision for key, info in infos.items()},
        metric_code=dict.fromkeys(typical, "c" * 64), seed=0, samples=1, partial="", unproven="",
    )  # fmt: skip
    return RunRecord(
        identity=identity, identity_hash=identity.hash, predictor=name, preset="", sees_truth=False, stochastic=False,
        paper="", parameters=10**5 * (number + 1), weights=WeightsUse(clips="disjoint", seen=0, protocol="bench"),
        protocol=protocol, cumulative=True, partial="", dropped=(), metrics=metrics, skipped={}, classes=(),
        manifest=entries,
    )  # fmt: skip


def make_unmerged(root: Path, run: RunRecord, number: int) -> Store:
    """Write all rows of a result with drawn scores, and no summary."""
    store = Store.create(root / "bench" / run.predictor / run.identity.hash[:12], run)
    units = {str(unit): write_unit(store, unit, number) for unit in range(store.units)}
    attempt = AttemptRecord(
        run=hashlib.sha256((store.folder / "run.json").read_bytes()).hexdigest(), units=units, engine="plain",
        device="cpu", cpu="a processor", seconds={"predict": 1.0 + number},
        predicted_frames=len(run.manifest) * len(run.protocol.steps),
    )  # fmt: skip
    (store.folder / "attempts/00.json").write_text(json.dumps(attempt.to_json()))
    return store


def make_result(root: Path, plugins: Plugins, layouts: Layouts, number: int, clips: int) -> None:
    """Write one complete result with drawn scores."""
    store = make_unmerged(root, make_run(plugins, number, clips, METRICS, STEPS), number)
    measures = {key: plugins.load("metric", key)("cpu") for key in METRICS}
    summary = summary_of(store, layouts.tally(store), measures, intervals=False)
    scores = {key: with_intervals(score) for key, score in summary.scores.items()}
    (store.folder / "summary.json").write_text(summary_text(summary.model_copy(update={"scores": scores})))


def with_intervals(score: Score) -> Score:
    """Return a score with made-up intervals: pages show them, and only `vpbench verify` computes them again."""
    values = [value or 0.0 for value in score.per_step]
    return score.model_copy(update={"ci95": tuple((0.99 * value, 1.01 * value) for value in values)})


def write_unit(store: Store, unit: int, number: int) -> str:
    """Write the rows of a unit; return their sha256."""
    text = unit_text(store.run, unit, number)
    store.unit_path(unit).write_text(text)
    return hashlib.sha256(text.encode()).hexdigest()


def unit_text(run: RunRecord, unit: int, number: int) -> str:
    """Return the rows of a unit."""
    draws, names = np.random.default_rng([number, unit]), sorted(run.metrics)
    typical = np.array([METRICS[name] for name in names]) * (1 + 0.01 * number)
    lines = []
    for clip, steps, _ in run.manifest[unit * UNIT_CLIPS : (unit + 1) * UNIT_CLIPS]:
        data = hashlib.sha256(clip.encode()).hexdigest()[:16]
        scores = typical * draws.gamma(20, 0.05, (len(steps), 1)) * draws.gamma(50, 0.02, (len(steps), len(names)))
        if "psnr" in names:
            scores[:, names.index("psnr")] = -10 * np.log10(scores[:, names.index("mse")])
        for step, row in zip(steps, scores.tolist(), strict=True):
            lines += [
                f'{{"clip":"{clip}","data":"{data}","metric":"{name}","status":"ok","step":{step},"value":{score!r}}}\n'
                for name, score in zip(names, row, strict=True)
            ]
    return "".join(lines)


class Usage(NamedTuple):
    """Seconds on the clock and of the processor, and MiB at the peak, of a process."""

    clock: float
    processor: float
    memory: float

    def __str__(self) -> str:
        return f"{self.clock:7.1f} s {self.processor:6.1f} s {self.memory:5.0f} MiB"


def measure(*words: str) -> Usage:
    """Run vpbench, and return what it used."""
    code = f"""
import resource, sys
from vpbench.cli.main import _run
code = _run({list(words)!r})
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss, file=sys.stderr)
sys.exit(code)
"""
    start = time.perf_counter()
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    processor, memory = map(float, process.stderr.split()[-2:])
    return Usage(time.perf_counter() - start, processor, memory / 1024)


def print_size(results: int, clips: int) -> None:
    """Make results, write both kinds of pages, and print what they cost."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_results(root / "results", results, clips)
        board = measure("leaderboard", str(root / "results"), "--out", str(root / "boards"))
        report = measure("report", str(root / "results"), "--out", str(root / "site"))
        first, protocol = ((root / "site" / name).stat().st_size for name in ("index.html", "bench/index.html"))
    rows = results * clips * STEPS * len(METRICS)
    print(f"{results:7} {clips:5} {rows:11,}  {board}  {report}  {first / 1000:4.0f} kB {protocol / 1000:4.0f} kB")


def main() -> None:
    """Print a line per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="also measure 60 results of 3,000 clips")
    parser.add_argument("--size", nargs=2, type=int, metavar=("RESULTS", "CLIPS"), help="measure this size alone")
    arguments = parser.parse_args()
    sizes = [tuple(arguments.size)] if arguments.size else [*SIZES, *([FULL] if arguments.full else [])]
    costs = "clock processor   memory"
    print(f"results clips        rows  leaderboard: {costs}  report: {costs}  pages: first, protocol")
    for results, clips in sizes:
        print_size(results, clips)


if __name__ == "__main__":
    main()
