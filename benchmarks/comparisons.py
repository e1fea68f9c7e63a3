"""Measure the comparison of all pairs of results by one metric that is a mean.

    python benchmarks/comparisons.py [--clips 3000] [--steps 10] [--results 2 4 8]

Prints seconds of the processor for each number of results. Then it compares the two forms of the permutation test:
through the metric, and as a matrix product.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from unittest.mock import patch

import numpy as np

from vpbench.plugin.loader import load_plugins
from vpbench.results import paired
from vpbench.results.compare import compare_all
from vpbench.results.tally import Tally


def make_tally(clips: int, steps: int, seed: int) -> Tally:
    """Return rows of random scores."""
    values = np.random.default_rng(seed).gamma(2.0, 0.01, (clips, steps)) + 0.001 * seed
    return Tally(
        {"clip": f"c{i:05d}", "step": k, "metric": "mse", "value": value, "status": "ok", "data": f"d{i}"}
        for i, line in enumerate(values.tolist())
        for k, value in enumerate(line, 1)
    )


def seconds(run: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--results", type=int, nargs="+", default=[2, 4, 8])
    arguments = parser.parse_args()
    metric, steps = load_plugins().load("metric", "mse")("cpu"), range(1, arguments.steps + 1)
    tallies = [make_tally(arguments.clips, arguments.steps, seed) for seed in range(max(arguments.results))]
    recordings = {clip: clip for clip in tallies[0].clips}
    print(f"{arguments.clips} clips, {arguments.steps} steps")
    for count in arguments.results:
        took = seconds(lambda count=count: compare_all(tallies[:count], metric, steps, recordings))
        print(f"{count} results, {count * (count - 1) // 2} pairs: {took:.1f} s")
    values = np.random.default_rng(0).gamma(2.0, size=(arguments.steps, 2, arguments.clips, 1)).tolist()
    pairings = [paired.Pairing([first], [second]) for first, second in values]
    fast = seconds(lambda: paired.p_values(metric, pairings))
    with patch.object(paired, "MeanScore", ()):
        slow = seconds(lambda: paired.p_values(metric, pairings))
    print(f"{arguments.steps} p-values: {slow:.1f} s through the metric, {fast:.1f} s as a matrix product")


if __name__ == "__main__":
    main()
