"""How long a bare `vpbench run` takes (`scenes`, both baselines, all metrics), and on what.

    python benchmarks/default_run.py [--workers N]

Start-up is everything before the first clip: Python, torch, plugins. Harness is what is left when rendering, predicting
and measuring are taken away from the rest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Run it once and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "vpbench", "run", "--out", out, "--workers", str(args.workers)]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        total = time.perf_counter() - start
        attempts = [json.loads(path.read_text()) for path in Path(out).glob("**/attempts/*.json")]
        measured = json.loads(next(Path(out).glob("**/run.json")).read_text())["metrics"]
    spent = {phase: sum(a["seconds"][phase] for a in attempts) for phase in ("read", "predict", "measure")}
    loop = max(a["seconds"]["wall"] for a in attempts)
    shares = {
        "start-up": total - loop,
        "rendering": spent["read"],
        "predicting": spent["predict"],
        "measuring": spent["measure"],
        "harness": loop - sum(spent.values()),
    }
    print(f"a bare vpbench run ({', '.join(measured)}): {total:.1f} s (bar: under 60 s on two cores)")
    for phase, seconds in shares.items():
        print(f"  {phase:<10} {seconds:6.1f} s  {100 * seconds / total:5.1f} %")


if __name__ == "__main__":
    main()
