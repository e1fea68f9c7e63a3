"""How much time predictors lose to memory that is returned to the system: `vpbench run` with other settings of malloc.

    PYTHONPATH=plugins:datasets python benchmarks/allocator.py NAME=WEIGHTS ... [--size HxW ...] [--clips N] [--json]

Each predictor continues clips of `scenes` in a process of its own, one after another with glibc's defaults, as
`vpbench run` sets malloc, and with malloc told to keep everything. Seconds are those of the processor, so that other
work on the machine matters less; they include start-up, drawing and the metric. Exits with 1 where `vpbench run` takes
more than 1.15 times as long as with everything kept, or the system's share is 15 % of the user's or more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCENES = ROOT / "datasets/vpbench_scenes/protocols/scenes.toml"
MODES = {
    "glibc": {"MALLOC_PERTURB_": "0"},  # any setting of malloc makes vpbench leave it alone; this one changes nothing
    "vpbench": {},
    "all kept": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**28)},
}
TIMES, SYSTEM = 1.15, 0.15


def protocol(folder: Path, size: str) -> Path:
    """Return a copy of `scenes` with frames of another size."""
    height, width = map(int, size.split("x"))
    file = folder / f"scenes-{size}.toml"
    text = SCENES.read_text().replace('name = "scenes"', f'name = "scenes-{size}"', 1)
    file.write_text(text.replace("[192, 256]", f"[{height}, {width}]"))
    return file


def spend(name: str, weights: str, file: Path, clips: int, settings: dict[str, str]) -> dict[str, float]:
    """Run a predictor, and return what its process took."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")} | settings
    environment |= {"OMP_NUM_THREADS": "1", "VPBENCH_CACHE": str(file.parent / "cache")}
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "vpbench", "run", "-p", file, "-m", name, "--weights", weights, "--out", out]
        command += ["--clips", str(clips), "--metric", "mse", "--device", "cpu", "--workers", "0"]
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{name}: vpbench run failed")
    return {"user": usage.ru_utime, "system": usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024}


def main() -> None:
    """Measure, print, and exit with 1 where a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictors", nargs="+", metavar="NAME=WEIGHTS")
    parser.add_argument("--size", action="append", metavar="HxW", help="size of the frames (default: 192x256)")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures, fits = [], True
    with tempfile.TemporaryDirectory() as folder:
        for size in args.size or ["192x256"]:
            file = protocol(Path(folder), size)
            for predictor in args.predictors:
                name, _, weights = predictor.partition("=")
                spent = {mode: spend(name, weights, file, args.clips, MODES[mode]) for mode in MODES}
                default, retained = spent["vpbench"], spent["all kept"]
                times = (default["user"] + default["system"]) / (retained["user"] + retained["system"])
                share = default["system"] / default["user"]
                fits &= times <= TIMES and share < SYSTEM
                figures.append({"predictor": name, "size": size, "times": times, "share": share, "spent": spent})
                if not args.json:
                    print(f"{name}, {args.clips} clips of {size}: {times:.2f} x all kept, system {share:.0%} of user")
                    for mode, values in spent.items():
                        seconds = f"user {values['user']:6.1f} s, system {values['system']:5.1f} s"
                        print(f"  {mode:<9} {seconds}, peak {values['peak_mib']:5.0f} MiB", flush=True)
    if args.json:
        print(json.dumps({"clips": args.clips, "figures": figures}, indent=1))
    sys.exit(not fits)


if __name__ == "__main__":
    main()
