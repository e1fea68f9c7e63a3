"""How long a bare `vpbench run` takes (`scenes`, the default predictors, all metrics), on what, and a second time.

    python benchmarks/default_run.py [--workers N]

The results folder and the cache are empty at first. LPIPS's backbone is downloaded unless `$VPBENCH_WEIGHTS` holds it.
Start-up is everything before the first clip: Python, torch, plugins. Harness is what is left when rendering, predicting
and measuring are taken away from the rest. Seconds of the processor are the user's and the system's, of all threads.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Run it twice and print the shares of the first time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "results"
        command = [sys.executable, "-m", "vpbench", "run", "--out", str(out), "--workers", str(args.workers)]
        total, first = spend(command, Path(folder) / "cache")
        attempts = [json.loads(path.read_text()) for path in out.glob("**/attempts/*.json")]
        measured = json.loads(next(out.glob("**/run.json")).read_text())["metrics"]
        reused, second = spend(command, Path(folder) / "cache")
    spent = {phase: sum(a["seconds"][phase] for a in attempts) for phase in ("read", "predict", "measure")}
    loop = max(a["seconds"]["wall"] for a in attempts)
    shares = {
        "start-up": total - loop,
        "rendering": spent["read"],
        "predicting": spent["predict"],
        "measuring": spent["measure"],
        "harness": loop - sum(spent.values()),
    }
    names = ", ".join(measured)
    print(f"a bare vpbench run ({names}): {total:.1f} s, processor {first:.1f} s (bar: 150 s on two cores)")
    for phase, seconds in shares.items():
        print(f"  {phase:<10} {seconds:6.1f} s  {100 * seconds / total:5.1f} %")
    print(f"a second time: {reused:.1f} s, processor {second:.1f} s (bar: 8 s)")


def spend(command: list[str], cache: Path) -> tuple[float, float]:
    """Run a command with a cache folder; return its seconds of wall time and of the processor."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"VPBENCH_CACHE": str(cache)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, processor


if __name__ == "__main__":
    main()
