"""Measure how results scale: what a unit costs the file system, merging, and 1,000 workers.

::

    python benchmarks/scaling.py publish                                # needs strace; minutes
    python benchmarks/scaling.py merge 10000 100000                     # minutes
    python benchmarks/scaling.py merge 10000 100000 1000000 --single    # one row per clip; minutes
    python benchmarks/scaling.py simulate                               # seconds

`publish` and `merge` measure vpbench on made rows: 5 steps and 2 metrics, 160 rows per unit of 16 clips. `simulate`
draws the time of each unit; the list of missing units comes from vpbench, on files.
"""

from __future__ import annotations

import argparse
import heapq
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from report import make_run, make_unmerged, measure, unit_text

from vpbench.evaluation.launch import find_shard
from vpbench.plugin.loader import load_plugins
from vpbench.protocol.units import UNIT_CLIPS
from vpbench.results.records import RunRecord
from vpbench.results.store import Attempt, Store

METRICS = {"mse": 0.01, "ssim": 0.8}
STEPS = 5
THOUSAND = 1000 / UNIT_CLIPS
"""Units of 1,000 clips."""
CALLS = ("open", "creat", "rename", "link", "unlink", "mkdir", "sync", "write", "stat", "getdents", "read")
"""Parts of names of system calls that reach a file system."""


def made_run(clips: int, *, single: bool = False) -> RunRecord:
    """Return the record of a run of that many clips; with one row for each if ``single``."""
    metrics = {"mse": METRICS["mse"]} if single else METRICS
    return make_run(load_plugins([]), 0, clips, metrics, 1 if single else STEPS)


def publish(root: Path, clips: int) -> tuple[float, float, Store]:
    """Publish all units as `vpbench run` does; return seconds of the processor and on the clock."""
    run = made_run(clips)
    store = Store.create(root / "result", run)
    attempt = Attempt(store, {"host": "node", "pid": 1, "engine": "plain", "device": "cpu"})
    units = [[json.loads(line) for line in unit_text(run, unit, 0).splitlines()] for unit in range(store.units)]
    processor, clock = time.process_time(), time.perf_counter()
    for number, rows in enumerate(units):
        store.publish(number, rows, attempt, "stamp")
    return time.process_time() - processor, time.perf_counter() - clock, store


def calls_of(clips: int) -> Counter[str]:
    """Return the number of system calls of a process that publishes that many clips."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "calls"
        child = [sys.executable, __file__, "publish", "--child", str(Path(folder) / "store"), str(clips)]
        subprocess.run(["strace", "-f", "-c", "-o", log, *child], check=True, stdout=subprocess.DEVNULL)
        rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", log.read_text(), re.MULTILINE)
    return Counter({name: int(count) for count, name in rows if any(part in name for part in CALLS)})


def print_publishing() -> None:
    """Print files, bytes, calls and seconds per 1,000 clips; calls are a difference, so start-up does not count."""
    few, many = 1_600, 4_800
    difference = calls_of(many)
    difference.subtract(calls_of(few))
    calls = {name: round(1000 * count / (many - few)) for name, count in difference.most_common() if count > 0}
    print("system calls per 1,000 clips: " + ", ".join(f"{name} {count}" for name, count in calls.items() if count))
    for clips in (1_000, 10_000):
        with tempfile.TemporaryDirectory() as folder:
            processor, clock, store = publish(Path(folder), clips)
            sizes = [path.stat().st_size for path in store.folder.rglob("*") if path.is_file()]
        rate = (
            f"{store.units / processor:5.0f} units per second of the processor, {store.units / clock:5.0f} on the clock"
        )
        print(f"{clips:9,} clips by one process: {len(sizes):6,} files, {sum(sizes) / 1e6:7.1f} MB; {rate}")


def print_merging(sizes: Sequence[int], *, single: bool) -> None:
    """Print what `vpbench merge` uses for results of these numbers of clips."""
    for clips in sizes:
        with tempfile.TemporaryDirectory() as folder:
            run = made_run(clips, single=single)
            usage = measure("merge", str(make_unmerged(Path(folder), run, 0).folder))
        rows = clips * len(run.protocol.steps) * len(run.metrics)
        print(f"merge of {clips:9,} clips, {rows:11,} rows: {usage}", flush=True)


@dataclass(frozen=True)
class Cluster:
    """Workers that evaluate units of one result."""

    workers: int
    unit_seconds: float
    slow: float
    """Share of the workers that need four times as long."""
    failing: float
    """Mean number of deaths of a worker while it evaluates its share."""


class Folder:
    """The units of a result, as empty files: which are missing is decided by :class:`Store`."""

    def __init__(self, root: Path, run: RunRecord) -> None:
        self.store = Store(root, run)
        (root / "units").mkdir()

    def publish(self, number: int) -> None:
        """Make the file of a unit."""
        self.store.unit_path(number).touch()

    def missing(self) -> list[int]:
        """Return the numbers of the units that are not there."""
        return sorted(set(range(self.store.units)).difference(self.store.published()))


def speeds(cluster: Cluster, draws: np.random.Generator) -> np.ndarray:
    """Return the seconds per unit of each worker."""
    seconds = cluster.unit_seconds * draws.lognormal(0, 0.2, cluster.workers)
    return np.where(draws.random(cluster.workers) < cluster.slow, 4 * seconds, seconds)


def rounds_of_shares(folder: Folder, cluster: Cluster, draws: np.random.Generator) -> Iterator[float]:
    """Start every worker with ``--shard I/N`` until nothing is missing; yield the seconds of each round."""
    shards = [find_shard(f"{rank}/{cluster.workers}") for rank in range(cluster.workers)]
    units = range(folder.store.units)
    while missing := set(folder.missing()):
        ends = []
        for shard, seconds in zip(shards, speeds(cluster, draws), strict=True):
            share = [unit for unit in units[shard.rank :: shard.world] if unit in missing]
            life = draws.exponential(1 / cluster.failing) * len(share) if cluster.failing else len(share)
            finished = share[: int(life)]
            ends.append(seconds * len(finished))
            for unit in finished:
                folder.publish(unit)
        yield max(ends)


def queue_of_units(folder: Folder, cluster: Cluster, draws: np.random.Generator) -> float:
    """Send each idle worker the next unit, and a unit of a dead worker to another one; return the seconds."""
    waiting, seconds, end = folder.missing()[::-1], speeds(cluster, draws), 0.0
    death = cluster.failing * cluster.workers / folder.store.units
    idle = [(0.0, worker) for worker in range(cluster.workers)]
    heapq.heapify(idle)
    while waiting:
        now, worker = heapq.heappop(idle)
        unit, now = waiting.pop(), now + seconds[worker]
        if draws.random() < death:
            waiting.append(unit)  # the worker is started again
        else:
            folder.publish(unit)
        end = max(end, now)
        heapq.heappush(idle, (now, worker))
    assert not folder.missing()
    return end


def print_simulation(clips: int, workers: int) -> None:
    """Print how long workers take, in units of an equal division without trouble."""
    run = made_run(clips)
    for slow, failing in ((0.0, 0.0), (0.05, 0.0), (0.05, 0.1)):
        cluster = Cluster(workers, 60.0, slow, failing)
        best = cluster.unit_seconds * -(-clips // UNIT_CLIPS) / cluster.workers
        shares, queues = [], []
        for seed in range(3):
            with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
                times = list(rounds_of_shares(Folder(Path(first), run), cluster, np.random.default_rng(seed)))
                shares.append((sum(times) / best, len(times)))
                queues.append(queue_of_units(Folder(Path(second), run), cluster, np.random.default_rng(seed)) / best)
        factor, starts = (statistics.median(values) for values in zip(*shares, strict=True))
        print(
            f"{slow:4.0%} slow, {failing:4.1f} deaths per worker: shares {factor:5.2f} times the best time, "
            f"{starts:.0f} starts; queue {statistics.median(queues):5.2f} times"
        )


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("publish").add_argument("--child", nargs=2, metavar=("FOLDER", "CLIPS"))
    merge = parts.add_parser("merge")
    merge.add_argument("clips", nargs="+", type=int)
    merge.add_argument("--single", action="store_true", help="one step and one metric")
    simulate = parts.add_parser("simulate")
    simulate.add_argument("--clips", type=int, default=1_000_000)
    simulate.add_argument("--workers", type=int, default=1_000)
    arguments = parser.parse_args()
    if arguments.part == "merge":
        print_merging(arguments.clips, single=arguments.single)
    elif arguments.part == "simulate":
        print_simulation(arguments.clips, arguments.workers)
    elif arguments.child:
        publish(Path(arguments.child[0]), int(arguments.child[1]))
    else:
        print_publishing()


if __name__ == "__main__":
    main()
