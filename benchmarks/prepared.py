"""Measure prepared clips: compare reading them with decoding the originals, and with copying memory.

    PYTHONPATH=plugins:datasets python benchmarks/prepared.py [--json]

Videos are the UCF101 samples in the folder that VPBENCH_SHARED names, else one made here; pictures are frames of one as
PNG. Every file is in the page cache. Rounds of the three are interleaved and what counts is the ratio of medians.
Peak memory is that of `vpbench data prepare` in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
from common import medians
from PIL import Image

from vpbench.clips.prepare import prepare
from vpbench.clips.prepared import open_store
from vpbench.plugin.dataset import Dataset
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.units import build_manifest
from vpbench.toolkit.media import VideoReader, count_frames
from vpbench_folder.dataset import Folder
from vpbench_ucf101.dataset import UCF101

PROTOCOL = """
schema = 1
name = "all"
version = 1
[dataset]
name = "folder"
[sampling]
kind = "sliding"
context = 4
horizon = 10
stride = 14
"""
SHORT = 150
"""Frames of the video that is made here; UCF101's clips have 186 on average."""
PEAK = """
from pathlib import Path
from vpbench.cli.main import _run
assert _run(["data", "prepare", {protocol!r}, "--data-root", {root!r}]) == 0
fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(1024 * int(fields["VmHWM"].split()[0]))
"""
"""Not ``ru_maxrss``: that counts what the parent held before the child became another program."""


def make_video(path: Path, frames: int) -> Path:
    """Write a video of a soft pattern that moves, 320x240, as UCF101's are: MPEG-4 in AVI."""
    coarse = np.random.default_rng(0).integers(0, 256, (24, 48, 3), dtype=np.uint8)
    pattern = np.asarray(Image.fromarray(coarse).resize((640, 240), Image.Resampling.BICUBIC))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.bit_rate = 320, 240, 500_000
        for i in range(frames):
            picture = np.ascontiguousarray(np.roll(pattern, 2 * i, axis=1)[:, :320])
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def make_pictures(root: Path, video: Path) -> Path:
    """Write the frames of a video as PNG."""
    (root / video.stem).mkdir(parents=True)
    for i, frame in enumerate(VideoReader(video).read(range(count_frames(video)))):
        Image.fromarray(frame).save(root / video.stem / f"{i:06d}.png")
    return root


def speeds(name: str, opened: Callable[[], Dataset], split: str, rounds: int) -> dict[str, object]:
    """Compare reading every prepared clip with decoding it and with copying it within memory."""
    value = Protocol.read(Path(os.environ["VPBENCH_CACHE"]) / "all.toml").model_dump(mode="json", by_alias=True)
    protocol = Protocol.parse(value | {"name": name, "dataset": {"name": name, "split": split}}, name)
    manifest = build_manifest(protocol, opened())
    prepared = prepare(protocol, opened(), manifest, ["frames"], lambda count, total: None)
    clips = [prepared.read(ref.sequence, ref.frames, "frames") for ref in manifest.clips]
    buffer = np.zeros_like(clips[0])

    def read(dataset: Dataset) -> None:
        for ref in manifest.clips:
            dataset.read(ref.sequence, ref.frames, "frames")

    def copy() -> None:
        for clip in clips:
            np.copyto(buffer, clip)

    def first_read() -> None:
        """Read with a store that has verified nothing yet, as a new process does."""
        store = open_store(prepared.folder, opened(), ["frames"])
        assert store is not None
        read(store)

    works = {"decode": lambda: read(opened()), "first": first_read, "read": lambda: read(prepared), "memcpy": copy}
    median = medians(works, rounds)  # each round opens a new dataset, because one caches the frames it decoded last
    size = sum(clip.nbytes for clip in clips)
    return {
        "what": name,
        "clips": len(clips),
        "bytes": size,
        "bytes_per_second": {work: round(size / seconds) for work, seconds in median.items()},
        "first_to_decode": median["decode"] / median["first"],
        "read_to_decode": median["decode"] / median["read"],
        "read_to_memcpy": median["memcpy"] / median["read"],
    }


def peak(folder: Path, video: Path, copies: int) -> int:
    """Return the peak resident memory, in bytes, of preparing that many copies of a video."""
    root = folder / f"{video.stem}-{copies}"
    root.mkdir()
    for i in range(copies):
        shutil.copy(video, root / f"copy{i:04d}{video.suffix}")
    code = PEAK.format(protocol=os.environ["VPBENCH_CACHE"] + "/all.toml", root=str(root))
    process = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    shutil.rmtree(root)
    shutil.rmtree(Path(os.environ["VPBENCH_CACHE"]) / "prepared")
    return int(process.stdout.splitlines()[-1])


def measure(folder: Path, few: int, rounds: int) -> Iterator[dict[str, object]]:
    """Yield each figure."""
    short, long = (make_video(folder / f"{name}.avi", n) for name, n in (("short", SHORT), ("long", 4 * SHORT)))
    shared = os.environ.get("VPBENCH_SHARED")
    if shared:
        ucf101 = Path(shared) / "data" / "ucf101"
        yield speeds("ucf101", lambda: UCF101(ucf101), "test", rounds)
        video = next(ucf101.rglob("*.avi"))
    else:
        videos = folder / "videos"
        videos.mkdir()
        video = Path(shutil.copy(short, videos))
        yield speeds("avi", lambda: Folder(videos), "test", rounds)
    pictures = make_pictures(folder / "pictures", video)
    yield speeds("png", lambda: Folder(pictures), "test", rounds)
    base = peak(folder, short, few)
    yield {"what": f"memory, {4 * few} videos and {few}", "ratio": peak(folder, short, 4 * few) / base, "bytes": base}
    yield {"what": "memory, videos 4 times as long", "ratio": peak(folder, long, few) / base, "bytes": base}


def main() -> None:
    """Measure, print, and exit with 1 where a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=10, help="videos prepared for the lower figure of memory")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory() as name:
        os.environ["VPBENCH_CACHE"] = name
        (Path(name) / "all.toml").write_text(PROTOCOL)
        for figure in measure(Path(name), args.few, args.rounds):
            figures.append(figure | {"holds": holds(figure)})
            if not args.json:
                print(line(figure))
    if args.json:
        print(json.dumps(figures, indent=1))
    sys.exit(not all(figure["holds"] for figure in figures))


def holds(figure: dict) -> bool:
    """Tell whether a figure is within its bar."""
    if "ratio" in figure:
        return figure["ratio"] < 1.05
    return figure["read_to_decode"] >= 10 and figure["read_to_memcpy"] >= 0.5


def line(figure: dict) -> str:
    """Return a figure for people."""
    if "ratio" in figure:
        return f"{figure['what']}: ratio {figure['ratio']:.3f} of {figure['bytes'] / 2**20:.0f} MiB (bar: under 1.05)"
    rates = ", ".join(f"{source} {rate / 1e9:.2f} GB/s" for source, rate in figure["bytes_per_second"].items())
    return (
        f"{figure['what']}: reading prepared clips has {figure['read_to_decode']:.0f} times the speed of decoding "
        f"(bar: 10), {figure['read_to_memcpy']:.2f} times that of memcpy (bar: 0.5); first reads, with verification, "
        f"have {figure['first_to_decode']:.1f} times that of decoding; {figure['clips']} clips, {rates}"
    )


if __name__ == "__main__":
    main()
