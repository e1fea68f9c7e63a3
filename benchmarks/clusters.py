"""CPU time of several processes on one run, against one process: jobs of this machine, and a Ray cluster.

    python benchmarks/clusters.py [--clips N] [--processes N] [--nodes N] [-p PROTOCOL] [-m PREDICTOR]

Every attempt records the CPU seconds of its process after planning, with all threads. Those of Ray's head are added:
what it takes to send units and to publish rows. Start-up is subtracted per process: the seconds of a run of one clip,
which loads every metric. Results must have the same bytes. Each process has one thread, and as many jobs run at once as
the machine has cores: more of them disturb each other's caches. Another run fills the caches first.

The identity of a result names code, and every process computes it. So the source must not change meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

HEAD = "--head"


def main() -> None:
    """Run each way once, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--processes", type=int, default=8, help="jobs of this machine")
    parser.add_argument("--nodes", type=int, default=4, help="nodes of Ray, of one core each")
    parser.add_argument("-p", dest="protocol", default="scenes-small")
    parser.add_argument("-m", dest="predictor", default="repeat")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    run = ["-p", args.protocol, "-m", args.predictor, "--clips", str(args.clips), "--device", "cpu", "--out"]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        os.environ["VPBENCH_CACHE"] = str(root / "cache")
        for folder in ("first", "start"):
            vpbench([*run, str(root / folder), "--clips", "1"])
        start_up = recorded(root / "start")
        vpbench([*run, str(root / "one")])
        expected, single = contents(root / "one"), recorded(root / "one") - start_up
        work = f"{args.predictor} on {args.clips} clips of {args.protocol}"
        print(f"{work}: one process, {single:.1f} s of CPU beyond start-up ({start_up:.1f} s)", flush=True)
        world = args.processes
        ranks = [{"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)} for rank in range(world)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda rank: vpbench([*run, str(root / "jobs")], **rank), ranks))
        spent = recorded(root / "jobs") - world * start_up
        show(f"{world} processes", spent, single, differences(contents(root / "jobs"), expected))
        with ray_nodes(args.nodes) as address:
            head = time_of_head([*run, str(root / "ray"), "--submit", "ray"], address)
        spent = recorded(root / "ray") - args.nodes * start_up + head
        title = f"Ray, {args.nodes} nodes ({head:.1f} s at the head)"
        show(title, spent, single, differences(contents(root / "ray"), expected))


def vpbench(args: list[str], **variables: str) -> None:
    """Run ``vpbench run``."""
    command = [sys.executable, "-m", "vpbench", "run", *args]
    subprocess.run(command, check=True, env=os.environ | variables, stdout=subprocess.DEVNULL)


def recorded(out: Path) -> float:
    """Return the CPU seconds that attempts record."""
    attempts = out.glob("**/attempts/*.json")
    return sum(json.loads(path.read_text())["seconds"]["cpu"] for path in attempts)


def contents(out: Path) -> dict[str, bytes]:
    """Return the files of a result that have the same bytes, whoever computed them."""
    files = [
        path for path in sorted(out.rglob("*")) if path.is_file() and not {"attempts", "jobs"} & set(path.parts[-2:])
    ]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def show(title: str, seconds: float, single: float, differing: Sequence[str]) -> None:
    """Print one line, or end the program if a file differs."""
    if differing:
        sys.exit(f"{title}: files are missing, added, or have other bytes: {', '.join(differing)}")
    print(f"{title}: {seconds:.1f} s of CPU, {seconds / single:.3f} of one process; same bytes", flush=True)


def differences(files: Mapping[str, bytes], expected: Mapping[str, bytes]) -> list[str]:
    """Return the names of the files that differ, or that only one of two results has."""
    return sorted(name for name in {*files, *expected} if files.get(name) != expected.get(name))


@contextmanager
def ray_nodes(count: int) -> Iterator[str]:
    """Start a Ray cluster of nodes with one core each on this machine; yield its address."""
    os.environ |= {"RAY_agent_register_timeout_ms": "120000", "RAY_USAGE_STATS_ENABLED": "0"}
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        for _ in range(count - 1):
            cluster.add_node(**node)
        yield cluster.address
    finally:
        cluster.shutdown()


def time_of_head(args: list[str], address: str) -> float:
    """Run a command as the head of a Ray cluster; return its CPU seconds from the first process on."""
    command = [sys.executable, __file__, HEAD, *args]
    environment = os.environ | {"RAY_ADDRESS": address}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        sys.exit(process.stderr)
    return float(process.stdout.splitlines()[-1])


def be_head(args: list[str]) -> None:
    """Run ``vpbench run``, and print the CPU seconds of sending units and publishing rows."""
    from vpbench.cli.main import cli
    from vpbench.evaluation.dispatch import Dispatch

    spent = []
    work = Dispatch.__call__

    def timed(dispatch: Dispatch) -> None:
        start = time.process_time()
        work(dispatch)
        spent.append(time.process_time() - start)

    Dispatch.__call__ = timed  # type: ignore[method-assign]
    if code := cli.main(args=["run", *args], prog_name="vpbench", standalone_mode=False):
        sys.exit(code)
    print(sum(spent))


if __name__ == "__main__":
    be_head(sys.argv[2:]) if sys.argv[1:2] == [HEAD] else main()
