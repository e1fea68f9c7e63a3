"""Cost of FVD: I3D per clip next to LPIPS, and the distances of many clips, in CPU seconds of the process.

``python benchmarks/fvd.py`` needs the weights of both (``vpbench weights get i3d lpips``).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from vpbench.plugin.clip import Comparison, Future, Prediction
from vpbench.plugin.set_metric import FeatureSet
from vpbench_metrics.fvd import FVD, KVD
from vpbench_metrics.i3d import CLASSES
from vpbench_metrics.perceptual import LPIPS

_STEPS = (10, 16, 30)
_SIDES = (64, 128)


def main() -> None:
    """Print two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=10_000)
    arguments = parser.parse_args()
    print(f"{arguments.clips} clips x {CLASSES} features\n")
    print("| score | CPU seconds | MiB beyond the features |\n|---|---|---|")
    rng = np.random.default_rng(0)
    predicted, true = (rng.normal(size=(arguments.clips, CLASSES)).astype(np.float32) for _ in range(2))
    features = FeatureSet(predicted[:, None], true)
    for metric in (FVD("cpu"), KVD("cpu")):
        before, start = _peak(), time.process_time()
        metric.score(features)
        print(f"| {metric.info.name} | {time.process_time() - start:.1f} | {_peak() - before:.0f} |")
    print(f"\nThreads: {torch.get_num_threads()}. CPU seconds per clip for one predictor (truth and prediction)\n")
    print("| frames | size | I3D | LPIPS | I3D / LPIPS |\n|---|---|---|---|---|")
    for steps in _STEPS:
        for side in _SIDES:
            fvd, lpips = (_per_clip(measure, steps, side, arguments.rounds) for measure in (_features, _lpips))
            print(f"| {steps} | {side}x{side} | {fvd:.2f} | {lpips:.2f} | {fvd / lpips:.1f} |")


def _per_clip(measure: Callable[[Comparison], object], steps: int, side: int, rounds: int) -> float:
    """Return the median time of one clip, after one that is not counted."""
    seconds = []
    for seed in range(rounds + 1):
        frames = torch.rand(2, 1, steps, 3, side, side, generator=torch.Generator().manual_seed(seed))
        future = Future(frames[1], tuple(range(1, steps + 1)), ("clip",), frames[1, :, 0])
        comparison = Comparison(Prediction(frames[0]), future)
        start = time.process_time()
        measure(comparison)
        seconds.append(time.process_time() - start)
    return statistics.median(seconds[1:])


def _features(comparison: Comparison) -> object:
    return FVD("cpu").features(comparison)


def _lpips(comparison: Comparison) -> object:
    return LPIPS("cpu").measure(comparison)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
