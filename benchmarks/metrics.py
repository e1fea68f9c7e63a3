"""The metrics beside the usual libraries: time and memory, as ratios.

    python benchmarks/metrics.py [--quick] [--json FILE]

All timed runs are in one process, interleaved, and what counts is the ratio of medians. Then peak memory is measured,
each time in a process of its own, on one thread, above what inputs and loaded libraries take. Needs the extra ``dev``;
LPIPS its backbone (``docs/metrics.md``).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import lpips
import numpy as np
import piqa
import pytorch_msssim
import torch
from common import Run, medians
from skimage.metrics import structural_similarity
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from vpbench.plugin.clip import Comparison, Future, Prediction
from vpbench_metrics import engines
from vpbench_metrics.perceptual import LPIPS
from vpbench_metrics.pixels import MAE, MSE, PSNR
from vpbench_metrics.structure import MSSSIM, SSIM

Clips = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Size:
    """Clips, frames of each, height, width."""

    clips: int
    frames: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.clips * self.frames} frames of {self.height}x{self.width}"


def make(size: Size, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return predicted and true frames [B,S,3,H,W]: smooth noise, and the same moved and noisy."""
    generator = torch.Generator().manual_seed(seed)
    shape = (size.clips * size.frames, 3, size.height // 8 + 1, size.width // 8 + 1)
    true = torch.nn.functional.interpolate(
        torch.rand(shape, generator=generator), (size.height, size.width), mode="bicubic"
    )
    true = true.clamp_(0, 1).reshape(size.clips, size.frames, 3, size.height, size.width)
    predicted = true.roll(2, -1)
    for clip in predicted:
        clip.add_(0.03 * torch.randn(clip.shape, generator=generator)).clamp_(0, 1)
    return predicted, true


def measure(metrics: Sequence[Any], predicted: Tensor, true: Tensor, future: Future | None = None) -> list[Any]:
    """Measure as the harness does."""
    if future is None:
        clips, steps = true.shape[:2]
        names = tuple(f"clip{i}@0" for i in range(clips))
        future = Future(frames=true, steps=tuple(range(1, steps + 1)), clips=names, last=true[:, 0])
    comparison = Comparison(Prediction(frames=predicted), future)
    with torch.inference_mode():
        return [metric.measure(comparison) for metric in metrics]


def errors(p: Tensor, t: Tensor) -> list[Any]:
    """MSE, MAE and PSNR per frame, as one writes them in torch."""
    d = p - t
    mse = d.square().mean((1, 2, 3))
    return [mse.tolist(), d.abs().mean((1, 2, 3)).tolist(), (-10 * mse.log10()).tolist()]


def peers(predicted: Tensor, true: Tensor, *, multiscale: bool) -> dict[str, Run]:
    """Return what the libraries do for MSE, MAE, PSNR and SSIM, or for MS-SSIM too, each in its faster ways."""
    clips = list(zip(predicted, true, strict=True))
    frames = [(p[i : i + 1], t[i : i + 1]) for p, t in clips for i in range(len(p))]
    whole = [(predicted.flatten(0, 1), true.flatten(0, 1))]
    piqa_ssim, piqa_ms = piqa.SSIM(reduction="none"), piqa.MS_SSIM(reduction="none")

    def scikit_image() -> None:
        for p, t in clips:
            for a, b in zip(p.numpy(), t.numpy(), strict=True):
                d = a - b
                mse = np.mean(d**2)
                _ = mse, np.mean(np.abs(d)), -10 * np.log10(mse)
                structural_similarity(a, b, channel_axis=0, data_range=1.0)

    def over(pairs: Clips, *functions: Callable[[Tensor, Tensor], Tensor]) -> Run:
        def run() -> None:
            with torch.no_grad():
                for p, t in pairs:
                    errors(p, t)
                    for function in functions:
                        function(p, t).tolist()

        return run

    def msssim(p: Tensor, t: Tensor) -> Tensor:
        return pytorch_msssim.ssim(p, t, data_range=1.0, size_average=False)

    def ms_msssim(p: Tensor, t: Tensor) -> Tensor:
        return pytorch_msssim.ms_ssim(p, t, data_range=1.0, size_average=False)

    def tm(p: Tensor, t: Tensor) -> Tensor:
        return structural_similarity_index_measure(p, t, data_range=1.0, reduction="none")

    def ms_tm(p: Tensor, t: Tensor) -> Tensor:
        return multiscale_structural_similarity_index_measure(p, t, data_range=1.0, reduction="none")

    if multiscale:
        return {
            "pytorch-msssim, whole batch": over(whole, msssim, ms_msssim),
            "pytorch-msssim, frame by frame": over(frames, msssim, ms_msssim),
            "torchmetrics, frame by frame": over(frames, tm, ms_tm),
            "piqa, frame by frame": over(frames, piqa_ssim, piqa_ms),
        }
    return {
        "scikit-image, uniform 7x7": scikit_image,
        "pytorch-msssim, whole batch": over(whole, msssim),
        "pytorch-msssim, clip by clip": over(clips, msssim),
        "pytorch-msssim, frame by frame": over(frames, msssim),
        "torchmetrics, clip by clip": over(clips, tm),
        "piqa, clip by clip": over(clips, piqa_ssim),
        "piqa, frame by frame": over(frames, piqa_ssim),
    }


def harness_runs(predicted: Tensor, true: Tensor, *, multiscale: bool) -> dict[str, Run]:
    """Return vpbench's engines on the same frames."""
    metrics = [MSE(), MAE(), PSNR(), SSIM(), *([MSSSIM()] if multiscale else [])]

    def without_numba() -> None:
        with mock.patch.object(engines, "_has_numba", return_value=False):
            measure(metrics, predicted, true)

    return {"vpbench": lambda: measure(metrics, predicted, true), "vpbench without numba": without_numba}


def perceptual(size: Size) -> dict[str, tuple[Run, int]]:
    """Return lpips on the whole batch, vpbench for one predictor and for four, each with the number of predictors."""
    metric = LPIPS()
    network = metric.network()
    if isinstance(network, str):
        sys.exit(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    names = {name: "features." + name.split(".", 1)[1] for name in reference.net.state_dict()}
    reference.net.load_state_dict({name: network.net.state_dict()[source] for name, source in names.items()})
    reference = reference.to(memory_format=torch.contiguous_format)
    pairs = [make(size, seed) for seed in range(4)]
    true = pairs[0][1]

    def library() -> None:
        with torch.no_grad():
            reference(pairs[0][0].flatten(0, 1), true.flatten(0, 1), normalize=True).tolist()

    def shared(count: int) -> Run:
        def run() -> None:
            names = tuple(map(str, range(size.clips)))
            future = Future(frames=true, steps=tuple(range(1, size.frames + 1)), clips=names, last=true[:, 0])
            for predicted, _ in pairs[:count]:
                measure([metric], predicted, true, future)

        return run

    return {"lpips, whole batch": (library, 1), "vpbench": (shared(1), 1), "vpbench, 4 predictors": (shared(4), 4)}


def memory(name: str, size: Size, kind: str) -> float:
    """Return the MiB that one run takes at its peak above its inputs, in a process of its own."""
    words = [name, *map(str, (size.clips, size.frames, size.height, size.width)), kind]
    process = subprocess.run([sys.executable, __file__, "--peak", *words], check=True, capture_output=True, text=True)
    return float(process.stdout)


def peak(words: Sequence[str]) -> None:
    """Print what :func:`memory` asks for."""
    use_threads(1)
    name, kind = words[0], words[5]
    for size in (Size(1, 1, 192, 192), Size(*map(int, words[1:5]))):  # the small one loads and compiles everything
        run = runs_of(kind, size)[name]
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew (Linux)
        before = high_water()
        run()
    print(high_water() - before)


def high_water() -> float:
    """Return the most MiB this process has held."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def runs_of(kind: str, size: Size) -> dict[str, Run]:
    """Return everything that is compared: of the kind "frames", "multiscale" or "lpips"."""
    if kind == "lpips":
        return {name: run for name, (run, _) in perceptual(size).items()}
    frames = make(size)
    multiscale = kind == "multiscale"
    return peers(*frames, multiscale=multiscale) | harness_runs(*frames, multiscale=multiscale)


def use_threads(threads: int) -> None:
    """Give torch, OpenCV and, through torch's number, numba that many threads."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def compare(size: Size, threads: int, rounds: int, *, multiscale: bool) -> dict[str, Any]:
    """Return seconds and ratios of one comparison."""
    use_threads(threads)
    frames = make(size)
    libraries = peers(*frames, multiscale=multiscale)
    seconds = medians(libraries | harness_runs(*frames, multiscale=multiscale), rounds)
    fastest = min(libraries, key=lambda name: seconds[name])
    print(f"\nMSE, MAE, PSNR, SSIM{', MS-SSIM' if multiscale else ''}: {size}, {threads} thread(s)")
    for name, value in seconds.items():
        print(f"  {name:32s} {seconds[fastest] / value:7.2f} x the fastest peer", flush=True)
    return {
        "size": str(size),
        "threads": threads,
        "multiscale": multiscale,
        "fastest_peer": fastest,
        "seconds": seconds,
        "ratio": {name: seconds[fastest] / value for name, value in seconds.items()},
    }


def compare_lpips(size: Size, threads: int, rounds: int) -> dict[str, Any]:
    """Return seconds per predictor and their ratios."""
    use_threads(threads)
    runs = perceptual(size)
    seconds = medians({name: run for name, (run, _) in runs.items()}, rounds)
    seconds = {name: value / runs[name][1] for name, value in seconds.items()}
    ratio = {name: seconds["lpips, whole batch"] / value for name, value in seconds.items()}
    print(f"\nLPIPS: {size}, {threads} thread(s)")
    for name, value in ratio.items():
        print(f"  {name:32s} {value:7.2f} x lpips, per predictor", flush=True)
    return {"size": str(size), "threads": threads, "seconds_per_predictor": seconds, "ratio": ratio}


def compare_memory(size: Size, kind: str) -> dict[str, Any]:
    """Return the peak MiB of each."""
    print(f"\npeak memory, {kind}: {size}, 1 thread")
    peaks = {}
    for name in runs_of(kind, Size(1, 1, 192, 192)):
        peaks[name] = memory(name, size, kind)
        print(f"  {name:32s} {peaks[name]:7.0f} MiB", flush=True)
    return {"kind": kind, "size": str(size), "mib": peaks}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer frames, three rounds")
    parser.add_argument("--json", metavar="FILE", help="write everything there too")
    parser.add_argument("--rounds", type=int, help="rounds whose median is taken (default: 5)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--peak", nargs=6, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        peak(args.peak)
        return
    clips = 6 if args.quick else 64
    rounds = args.rounds or (3 if args.quick else 5)
    large = Size(1, 3 if args.quick else 8, 512, 1024)
    sizes = [Size(clips, 10, 64, 88), Size(clips, 10, 128, 128), large]
    fewer = 4 if args.quick else 8
    lpips_sizes = [Size(fewer, 10, 64, 88), Size(fewer, 10, 128, 128), Size(1, fewer // 2, 512, 1024)]
    figures: dict[str, list[Any]] = {"frames": [], "lpips": [], "memory": []}
    for threads in args.threads:
        figures["frames"] += [compare(size, threads, rounds, multiscale=False) for size in sizes]
        figures["frames"].append(compare(large, threads, rounds, multiscale=True))
        figures["lpips"] += [compare_lpips(size, threads, rounds) for size in lpips_sizes]
    print("\nall timings are done", file=sys.stderr, flush=True)
    figures["memory"] += [compare_memory(size, "frames") for size in sizes]
    figures["memory"].append(compare_memory(large, "multiscale"))
    figures["memory"].append(compare_memory(lpips_sizes[-1], "lpips"))
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
