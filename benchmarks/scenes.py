"""How fast `scenes` makes clips, all truth included, on one core: `python benchmarks/scenes.py`.

Each clip is made several times and the fastest counts, so that a busy machine does not decide.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

from vpbench_scenes.dataset import Options, Scenes

TRUTH = ("frames", "semantics", "instances", "flow", "disocclusion")


def seconds(options: Options, clips: range, rounds: int) -> float:
    """Return the CPU seconds for one round of clips, everything read, the fastest of the rounds for each clip."""
    best = [float("inf")] * len(clips)
    for _ in range(rounds):
        for k, index in enumerate(clips):
            dataset = Scenes(options=options)
            name = f"test-{index:06d}"
            start = time.process_time()
            for modality in TRUTH:
                dataset.read(name, range(options.length), modality)
            best[k] = min(best[k], time.process_time() - start)
    return sum(best)


def main() -> None:
    """Print frames per second at the sizes of the protocols and at 128x128."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print("size      length  frames/s (frames, labels, instances, flow, dis-occlusion)")
    for size, length in (((64, 96), 12), ((128, 128), 9), ((192, 256), 9)):
        options = Options(size=size, length=length)
        took = seconds(options, range(args.clips), args.rounds)
        print(f"{size[0]}x{size[1]:<5d} {length:5d}  {args.clips * length / took:8.1f}")


if __name__ == "__main__":
    main()
