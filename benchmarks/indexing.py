"""Cost of indexing a dataset relative to `os.walk` over the same tree, for every reader of an official layout.

    PYTHONPATH=plugins:datasets:tests python benchmarks/indexing.py [--files 180000]

The trees consist of empty files with official names, so nothing can be decoded. Prints the ratio of the medians
(bar: under 10).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import medians
from twins import cityscapes_snippet, empty, kitti_drive, kitti_scenes

from vpbench.plugin.dataset import Dataset
from vpbench_cityscapes.dataset import Cityscapes
from vpbench_folder.dataset import Folder
from vpbench_human36m.dataset import Human36M
from vpbench_kitti.flow import KittiFlow
from vpbench_kitti.raw import FVS24, TEST, KittiRaw
from vpbench_ucf101.dataset import UCF101


def cityscapes(root: Path, files: int) -> None:
    """31 files a snippet; two thirds in drives of their own, the others in one long drive per city."""
    snippets = files // 31
    for i in range(snippets):
        city, split = f"city{'abcdefghijklmnopqrstu'[i % 21]}", "val" if i % 7 == 0 else "train"
        drive, first = (f"{city}_{i:06d}", 0) if i % 3 else (f"{city}_000000", 40 * i)
        cityscapes_snippet(root, split, drive, first)


def kitti_raw(root: Path, files: int) -> None:
    """The 28 drives that the lists name, of one length."""
    for name in (*FVS24, *TEST):
        date, drive = name.split("/")
        kitti_drive(root, drive.split("_")[4], range(files // 28), date=date)


def kitti_flow(root: Path, files: int) -> None:
    """The official 8,400 files, whatever is asked for."""
    for folder in ("training", "testing"):
        kitti_scenes(root, folder, range(200))


def human36m(root: Path, files: int) -> None:
    """All images of Walking in one folder, as MIM reads them."""
    subjects, cameras = ("S1", "S5", "S6", "S7", "S8", "S9", "S11"), ("54138969", "55011271", "58860488", "60457274")
    names = [f"{s}_Walking{t}.{c}" for s in subjects for t in ("", "_1") for c in cameras]
    images = files // len(names)
    empty(f"{root}/{name}_{number:06d}.jpg" for name in names for number in range(1, 5 * images, 5))


def ucf101(root: Path, files: int) -> None:
    """Extracted frames, 190 a clip."""
    for i in range(files // 190):
        label, group, clip = f"Class{i % 101}", i // 101 % 25 + 1, i // 2525 + 1
        folder = f"{root}/UCF-101/{label}/v_{label}_g{group:02d}_c{clip:02d}"
        empty(f"{folder}/{number:06d}.jpg" for number in range(1, 191))


def folder(root: Path, files: int) -> None:
    """Folders of 1,000 pictures."""
    for i in range(files // 1000):
        empty(f"{root}/video{i:04d}/frame{number}.png" for number in range(1000))


READERS: dict[str, tuple[Callable[[Path, int], None], Callable[[Path], Dataset]]] = {
    "cityscapes": (cityscapes, lambda root: Cityscapes(root, options=Cityscapes.Options(labels=True))),
    "kitti-raw": (kitti_raw, KittiRaw),
    "kitti-flow": (kitti_flow, KittiFlow),
    "human36m": (human36m, Human36M),
    "ucf101": (ucf101, UCF101),
    "folder": (folder, Folder),
}


def main() -> None:
    """Make the trees, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=180_000)
    args = parser.parse_args()
    for name, (make, opened) in READERS.items():
        with tempfile.TemporaryDirectory() as path:
            root = Path(path)
            make(root, args.files)

            def index(root: Path = root, opened: Callable[[Path], Dataset] = opened) -> list[str]:
                data = opened(root)
                return [s.name for split in data.info.splits for s in data.sequences(split) if not s.problem]

            count = sum(len(files) for _, _, files in os.walk(root))
            times = medians({"index": index, "walk": lambda root=root: list(os.walk(root))}, 5)
            sequences = len(index())
        print(
            f"{name}: {count} files, {sequences} sequences: {times['index']:.2f} s, os.walk {times['walk']:.2f} s, "
            f"ratio {times['index'] / times['walk']:.1f}"
        )


if __name__ == "__main__":
    main()
