"""Timing for the benchmarks: both sides of a ratio run in turn in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

Run = Callable[[], object]


def seconds(run: Run) -> float:
    """Return the wall time of one call, including work queued on a GPU."""
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def interleave(runs: Mapping[str, Run], rounds: int) -> dict[str, list[float]]:
    """Return the wall times of each run. All run once per round, after one round of warm-up."""
    times = [{name: seconds(run) for name, run in runs.items()} for _ in range(rounds + 1)]
    return {name: [round_times[name] for round_times in times[1:]] for name in runs}


def medians(runs: Mapping[str, Run], rounds: int) -> dict[str, float]:
    """Return the median wall time of each run."""
    return {name: statistics.median(times) for name, times in interleave(runs, rounds).items()}
