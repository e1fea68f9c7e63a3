"""Measure what a worker costs: predicting through ``external:`` over the same predictor in this process.

    PYTHONPATH=plugins:datasets python benchmarks/external.py [PREDICTOR ...]

The worker is this file. It imports the predictor and answers with the protocol of ``docs/external.md``, so both sides
compute the same. Batches have 8 clips of 64x96 with 4 context frames, and 8 steps are predicted.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import struct
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch
from common import interleave

from vpbench.plugin.clip import Context, with_arrays
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.predictor import Predictor
from vpbench.select.component import choose_predictor

CLIPS, CONTEXT, HORIZON, SIZE = 8, 4, 8, (64, 96)


def predictor(text: str) -> Predictor:
    """Build a predictor of frames, in eval mode."""
    value = choose_predictor(load_plugins(), text, {}).value
    return value.eval() if isinstance(value, torch.nn.Module) else value


def batch() -> Context:
    """Return a context of smooth noise that moves to the right."""
    noise = torch.rand(CLIPS, 3, SIZE[0] // 8, SIZE[1] // 8 + 4, generator=torch.Generator().manual_seed(0))
    wide = torch.nn.functional.interpolate(noise, scale_factor=8, mode="bilinear")
    frames = [wide[..., 2 * t : 2 * t + SIZE[1]] for t in range(CONTEXT)]
    return Context(torch.stack(frames, 1).contiguous(), tuple(f"clip{i}@0" for i in range(CLIPS)))


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """Return a generator per clip."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def work(text: str) -> None:
    """Answer batches until standard input ends."""
    source, sink, sys.stdout = sys.stdin.buffer, sys.stdout.buffer, sys.stderr
    model = predictor(text)

    def receive() -> bytes:
        head = source.read(12)
        return source.read(struct.unpack("<4sQ", head)[1]) if head else sys.exit()

    def send(*pieces: bytes) -> None:
        for piece in pieces:
            sink.write(struct.pack("<4sQ", b"vpb1", len(piece)))
            sink.write(piece)
        sink.flush()

    send(json.dumps({"version": 1, "outputs": ["frames"]}).encode())
    while True:
        header = json.loads(receive())
        arrays = {name: torch.from_numpy(np.load(io.BytesIO(receive()))) for name in header["arrays"]}
        context = with_arrays(replace(batch(), clips=tuple(header["clips"])), arrays)
        with torch.inference_mode():
            frames = model.predict(context, header["horizon"], generators(header["seeds"])).frames
        file = io.BytesIO()
        np.save(file, frames.numpy())
        send(json.dumps({"arrays": ["frames"]}).encode(), file.getvalue())


def measure(text: str, rounds: int) -> None:
    """Print the seconds per batch in this process and through a worker, and their ratio."""
    context, model = batch(), predictor(text)
    words = {"external": {"command": f"{sys.executable} {Path(__file__).resolve()} --work {text}"}}
    worker = choose_predictor(load_plugins(), "external", words).value
    noise = range(CLIPS)

    def run(side: Predictor) -> torch.Tensor:
        with torch.inference_mode():
            frames = side.predict(replace(context), HORIZON, generators(noise)).frames
        assert frames is not None
        return frames

    assert torch.equal(run(model), run(worker)), "both sides predict the same"
    times = interleave({"process": lambda: run(model), "worker": lambda: run(worker)}, rounds)
    wall = {name: statistics.median(seconds) for name, seconds in times.items()}
    # Processor time, of both processes, does not depend on what other programs of the machine do.
    work = {}
    for name, side in {"process": model, "worker": worker}.items():
        start = cpu_seconds()
        for _ in range(rounds):
            run(side)
        work[name] = (cpu_seconds() - start) / rounds
    print(f"{text}, {CLIPS} clips of {SIZE[0]}x{SIZE[1]}, {HORIZON} steps")
    for name, figures in {"wall": wall, "processor": work}.items():
        print(
            f"  {name} time per batch: {1000 * figures['process']:.1f} ms in process, {1000 * figures['worker']:.1f} "
            f"ms through a worker, ratio {figures['worker'] / figures['process']:.3f} (bar: under 1.10)"
        )


def cpu_seconds() -> float:
    """Return the processor time of this process and of its children, which run still."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def main() -> None:
    """Measure each predictor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictors", nargs="*", default=["flow-extrapolation", "convlstm:scenes"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--work", action="store_true", help="be the worker of the one predictor")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for text in args.predictors:
        work(text) if args.work else measure(text, args.rounds)


if __name__ == "__main__":
    main()
