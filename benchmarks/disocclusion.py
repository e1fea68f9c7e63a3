"""Compare SADM's criteria of dis-occlusion, and their union, with the exact masks of `scenes`.

    python benchmarks/disocclusion.py [--clips N] [--size H W]

Labels are true. The flow is exact, noisy (smooth errors of half a pixel: the annotator `flow-noise`), rough
(independent errors of a fifth of a pixel), or zero. Precision and recall are pooled over the five steps after four
context frames of the protocol `scenes`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vpbench_annotators.noise import FlowNoise
from vpbench_sadm.options import Options
from vpbench_sadm.rendering import entering, uncovered
from vpbench_scenes.dataset import Options as SceneOptions
from vpbench_scenes.dataset import Scenes

CONTEXT, LENGTH = 4, 9
FLOWS = ("exact", "noisy", "rough", "zero")
CRITERIA = {
    "occupancy": Options(occlusion="occupancy", out_of_image=False),
    "consistency": Options(occlusion="semantic", out_of_image=False),
    "consistency, nearest": Options(occlusion="semantic", consistency="nearest", out_of_image=False),
    "consistency, literal": Options(occlusion="semantic", consistency="literal", out_of_image=False),
    "occupancy or consistency": Options(out_of_image=False),
    "outside the image": Options(occlusion="none"),
    "all (the default)": Options(),
    "all, nearest": Options(consistency="nearest"),
}


def clips(size: tuple[int, int], count: int) -> Iterator[tuple[dict[str, Tensor], Tensor, Tensor]]:
    """Yield each clip's flows by kind [T-1,2,H,W], its labels [T,H,W], and its masks [T-1,H,W]."""
    dataset, noise, frames = (
        Scenes(options=SceneOptions(size=size, length=LENGTH)),
        FlowNoise(FlowNoise.Options()),
        range(LENGTH),
    )
    for number in range(count):
        name = f"test-{number:06d}"
        exact = dataset.read(name, frames, "flow")
        rough = exact + np.random.default_rng(number).normal(scale=0.2, size=exact.shape).astype(np.float32)
        noisy = noise.annotate({"flow": exact[:, None]}, [f"{name}@{i}-{i + 1}" for i in range(len(exact))], "cpu")
        kinds = {"exact": exact, "noisy": noisy, "rough": rough, "zero": np.zeros_like(exact)}
        labels = torch.from_numpy(dataset.read(name, frames, "semantics").astype(np.int64))
        masks = torch.from_numpy(dataset.read(name, frames, "disocclusion"))
        yield {kind: torch.from_numpy(flow).permute(0, 3, 1, 2) for kind, flow in kinds.items()}, labels, masks


def counts(size: tuple[int, int], count: int) -> dict[tuple[str, str], Tensor]:
    """Count pixels that are marked and true, marked, and true, of each criterion with each flow."""
    table = {(criterion, kind): torch.zeros(3, dtype=torch.int64) for criterion in CRITERIA for kind in FLOWS}
    for flows, labels, masks in clips(size, count):
        true = masks[CONTEXT - 1 :]
        for kind, flow in flows.items():
            pair = flow[CONTEXT - 1 :], labels[CONTEXT:], labels[CONTEXT - 1 : -1], flow[CONTEXT - 2 : -1]
            for criterion, options in CRITERIA.items():
                marked = uncovered(*pair, options) | entering(pair[0], options)
                table[criterion, kind] += torch.stack([(marked & true).sum(), marked.sum(), true.sum()])
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"))
    args = parser.parse_args()
    table = counts(tuple(args.size), args.clips)
    print(f"{args.clips} clips of {args.size[0]}x{args.size[1]}; precision, recall in %")
    print(f"{'':26s}" + "".join(f"{kind + ' flow':>16s}" for kind in FLOWS))
    for criterion in CRITERIA:
        cells = ""
        for kind in FLOWS:
            hits, marked, true = table[criterion, kind].tolist()
            precision = f"{100 * hits / marked:.1f}" if marked else "-"
            cells += f"{precision:>9s} {100 * hits / true:6.1f}"
        print(f"{criterion:26s}{cells}")


if __name__ == "__main__":
    main()
