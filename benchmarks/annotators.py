"""Measure what one annotation costs in seconds and bytes, and multiply it by the frames of the protocols.

    PYTHONPATH=plugins:datasets python benchmarks/annotators.py [--only NAME ...] [--json]

Time is that of the processor, in one thread. It does not depend on the weights of a network, so these are random. Bytes
of flow are those of DIS: a mean over frames of KITTI raw, in the folder that VPBENCH_SHARED names, stretched to each
size. Without that folder, the frames are of `scenes`. Bytes of labels are those of a map of `scenes`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import Module

from vpbench.clips.blocks import COMPRESSED, encode_block
from vpbench.plugin.annotator import FLOW_STEPS
from vpbench.toolkit.media import read_image
from vpbench_annotators import deeplab, raft
from vpbench_annotators.deeplab import DeepLabV3
from vpbench_annotators.dis import Dis
from vpbench_annotators.raft import Raft
from vpbench_scenes.dataset import Options, Scenes

SIZES = {"cityscapes-video": (512, 1024), "kitti-raw": (256, 832)}
COUNTS = {
    "cityscapes-video": {
        "scored contexts": (500 * 4, 500 * 3),
        "training snippets": (2975 * 30, 2975 * 29),
        "validation contexts": (64 * 4, 64 * 3),
    },
    "kitti-raw": {
        "scored contexts": (1369 - 4 * 5, 1369 - 4 * 6),
        "1,000 training frames": (1000, 1000),
        "validation contexts": (64 * 4, 64 * 3),
    },
}
"""Frames, and pairs of frames, that are annotated. vpbench records no lengths of KITTI's training drives."""
ANNOTATORS = {
    "dis": lambda: Dis(Dis.Options()),
    "raft:small": lambda: Raft(Raft.Options(network="small")),
    "raft:large": lambda: Raft(Raft.Options(network="large")),
    "deeplabv3:resnet50": lambda: DeepLabV3(DeepLabV3.Options(backbone="resnet50")),
    "deeplabv3:resnet101": lambda: DeepLabV3(DeepLabV3.Options(backbone="resnet101")),
}


def use_random_weights() -> None:
    """Build the networks with random weights: no file is needed."""

    def flow_network(name: str, *_: object) -> Module:
        return raft.NETWORKS[name][0](weights=None).eval()

    def label_network(backbone: str, classes: int, *_: object) -> Module:
        build: Callable[..., Module] = deeplab.NETWORKS[backbone][0]
        return build(weights=None, weights_backbone=None, num_classes=classes, aux_loss=False).eval()

    for module, network in ((raft, flow_network), (deeplab, label_network)):
        vars(module)["_network"] = network
        module.weights.obtain, module.weights.sha256 = Path, str  # type: ignore[assignment]


def pairs_of(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return pairs of consecutive frames, uint8 [N,2,H,W,3]."""
    shared = os.environ.get("VPBENCH_SHARED")
    paths = sorted((Path(shared) / "data/kitti_raw").rglob("*.png")) if shared else []
    resized = [cv2.resize(read_image(path), size[::-1]) for path in paths]
    frames = np.stack(resized) if resized else drawn(size, range(9), "frames")
    return np.stack([frames[:-1], frames[1:]], axis=1)


def drawn(size: tuple[int, int], frames: Sequence[int], modality: str) -> NDArray[np.uint8]:
    """Return frames or labels of `scenes`, which are at most three times as wide as high, stretched to a size."""
    scenes = Scenes(options=Options(size=(size[0], min(size[1], 3 * size[0]))))
    maps = scenes.read("test-000000", frames, modality)
    return np.stack([cv2.resize(m, size[::-1], interpolation=cv2.INTER_NEAREST) for m in maps])


def seconds(annotator: Any, pairs: NDArray[np.uint8]) -> float:
    """Return the processor's time per entry, a mean over entries until two seconds have passed."""
    windows = pairs if annotator.info.spec.pairwise else pairs[:, :1]
    start, count, elapsed = time.process_time(), 0, 0.0
    while elapsed < 2 and count < len(windows):
        annotator.annotate({"frames": windows[count : count + 1]}, ["clip@0-1"], "cpu")
        count, elapsed = count + 1, time.process_time() - start
    return elapsed / count


def stored(pairs: NDArray[np.uint8], size: tuple[int, int]) -> dict[str, float]:
    """Return the bytes of a stored frame, a map of flow in both forms, and a map of labels."""
    flow = Dis(Dis.Options()).annotate({"frames": pairs}, ["clip@0-1"] * len(pairs), "cpu")
    labels = drawn(size, [0], "semantics")
    rounded = np.rint(flow * FLOW_STEPS) / np.float32(FLOW_STEPS) + np.float32(0)
    return {
        "frame": pairs[0, 0].nbytes,
        "float32 flow": flow[0].nbytes,
        "flow": float(np.mean([len(encode_block(entry[None], COMPRESSED, flow=True)) for entry in rounded])),
        "labels": len(encode_block(labels, COMPRESSED, flow=False)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", choices=list(ANNOTATORS), default=list(ANNOTATORS))
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    use_random_weights()
    results: dict[str, dict[str, dict[str, float]]] = {}
    for protocol, size in SIZES.items():
        pairs = pairs_of(size)
        times = {name: seconds(ANNOTATORS[name](), pairs) for name in chosen.only}
        results[protocol] = {"seconds": times, "bytes": stored(pairs, size)}
    if chosen.json:
        print(json.dumps(results, indent=1))
        return
    for protocol, values in results.items():
        for part, (frame_count, pair_count) in COUNTS[protocol].items():
            print(f"{protocol}, {part}: {frame_count} frames, {pair_count} pairs")
            counts = {"frame": frame_count, "labels": frame_count, "flow": pair_count, "float32 flow": pair_count}
            for name, size_in_bytes in values["bytes"].items():
                print(
                    f"  {name:20} {size_in_bytes / 2**20:9.3f} MiB each {counts[name] * size_in_bytes / 2**30:9.2f} GiB"
                )
            for name, duration in values["seconds"].items():
                count = frame_count if name.startswith("deeplab") else pair_count
                print(f"  {name:20} {duration:9.3f} s each   {count * duration / 3600:9.2f} h of one core")


if __name__ == "__main__":
    main()
