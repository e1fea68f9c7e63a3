"""Measure the harness: memory, time outside reading, predicting and measuring, digests, and start-up.

    python benchmarks/harness.py VIDEO          # any video of 14 frames or more; copies of it make the clips

Prints the figures of one run; ratios are the ones to quote, since machines differ and are shared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PROTOCOL = """
schema = 1
name = "copies"
version = 1
[dataset]
name = "folder"
[sampling]
kind = "first"
context = 4
horizon = 10
[[pixels]]
op = "resize"
size = [{height}, {width}]
"""


def run(folder: Path, clips: int, video: Path, height: int, width: int) -> dict:
    """Evaluate `repeat` with every metric on copies of a video; return the attempt's record."""
    data = folder / f"data-{clips}"
    if not data.exists():
        data.mkdir()
        for i in range(clips):
            shutil.copy(video, data / f"copy{i:04d}{video.suffix}")
    protocol = folder / "copies.toml"
    protocol.write_text(PROTOCOL.format(height=height, width=width))
    out = folder / f"out-{clips}-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "vpbench", "run", "-p", str(protocol), "-m", "repeat", "--data-root", str(data)]
    start = time.perf_counter()
    subprocess.run([*command, "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
    total = time.perf_counter() - start
    (attempt,) = out.glob("**/attempts/*.json")
    return json.loads(attempt.read_text()) | {"total": total}


def digest_seconds(height: int, width: int, repeats: int = 50) -> float:
    """Median time to digest the frames of one clip."""
    from vpbench.clips.digest import digest_arrays

    clip = {"frames": np.random.default_rng(0).integers(0, 256, (14, height, width, 3), dtype=np.uint8)}
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        digest_arrays("future", clip)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def seconds(code: list[str], repeats: int = 7) -> float:
    """Median wall time of a Python command."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(code, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--few", type=int, default=50)
    parser.add_argument("--many", type=int, default=400)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few = run(folder, args.few, args.video, 64, 96)
        many = run(folder, args.many, args.video, 64, 96)
        large = run(folder, args.few, args.video, 192, 256)
    ratio = many["peak_memory_bytes"] / few["peak_memory_bytes"]
    sizes = f"{few['peak_memory_bytes'] / 2**20:.0f} MiB for {args.few} clips, "
    sizes += f"{many['peak_memory_bytes'] / 2**20:.0f} MiB for {args.many}"
    print(f"memory: peak RSS {sizes}: ratio {ratio:.3f} (bar: under 1.05)")
    for size, attempt in {"64x96": many, "192x256, MS-SSIM too": large}.items():
        spent = attempt["seconds"]
        share = (spent["wall"] - spent["read"] - spent["predict"] - spent["measure"]) / attempt["total"]
        parts = ", ".join(f"{k} {v:.1f} s" for k, v in spent.items())
        parts += f", start-up {attempt['total'] - spent['wall']:.1f} s"
        print(f"harness: {100 * share:.1f} % of a run at {size} is neither reading, predicting nor measuring "
              f"({parts}; bar: under 15 %)")  # fmt: skip
    for (height, width), attempt, clips in (((64, 96), many, args.many), ((192, 256), large, args.few)):
        share = digest_seconds(height, width) * clips / attempt["seconds"]["wall"]
        print(f"digests: {100 * share:.2f} % of an evaluation with the default metrics at {height}x{width} is spent on "
              f"saying which pixels were scored (bar: under 2 %)")  # fmt: skip
    bare = seconds([sys.executable, "-c", "import click, pluggy"])
    for words in (["--help"], ["list"]):
        took = seconds([sys.executable, "-m", "vpbench", *words])
        print(f"start-up: `vpbench {words[0]}` takes {took / bare:.2f} times `python -c 'import click, pluggy'` "
              f"({1000 * took:.0f} ms and {1000 * bare:.0f} ms; bar: under 5)")  # fmt: skip


if __name__ == "__main__":
    main()
