"""Time and size of the pictures of one clip: ``python benchmarks/pictures.py [--size 1024x2048] [--steps 10]``.

Draws a clip with frames, labels, flow and masks, true and predicted, with 4 context frames, as the sheets that
``vpbench run --pictures`` keeps. With ``--full-size``, also as sheets and as a strip at full size.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

import torch
from torch.nn.functional import interpolate

from vpbench.clips.batch import Batch
from vpbench.pages.films import clip_films
from vpbench.pages.sheets import draw_clip
from vpbench.pages.strips import films_strip
from vpbench.plugin.clip import Context, Future, LabelSpace, Prediction
from vpbench.protocol.sampling import ClipRef

SPACE = LabelSpace(
    "demo", tuple(map(str, range(19))), tuple((13 * i % 256, 37 * i % 256, 91 * i % 256) for i in range(19))
)


def canvas(channels: int, size: tuple[int, int], cell: int, mode: str, seed: int) -> torch.Tensor:
    """Return noise [C,H,W] in [0,1] whose detail is ``cell`` pixels wide."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, -(-size[0] // cell), -(-size[1] // cell), generator=generator)
    return interpolate(coarse, size, mode=mode)[0].clamp(0, 1)


def make_clip(size: tuple[int, int], steps: int) -> tuple[Batch, Prediction]:
    """Return a clip with every modality: texture with a grain of 2 grey levels that moves 8 pixels a step.

    The prediction repeats the last frame, and its labels and flow are the true ones of the first step.
    """
    height, width = size
    wide = (height, width + 8 * (steps + 4))
    texture = sum(canvas(3, wide, cell, "bicubic", cell) * cell**0.5 for cell in (8, 32, 128))
    texture = texture / texture.max()
    windows = [slice(8 * k, 8 * k + width) for k in range(steps + 4)]
    grain = torch.Generator().manual_seed(0)
    frames = torch.stack([texture[..., window] for window in windows])
    frames = (frames + torch.randn(frames.shape, generator=grain) * (2 / 255)).clamp(0, 1)[None]
    objects = (canvas(1, wide, 64, "nearest", 1)[0] * 18.99).long()
    labels = torch.stack([objects[..., window] for window in windows[4:]])[None]
    motion = canvas(2, wide, 256, "bicubic", 2) * 10 - 5
    flow = torch.stack([motion[..., window] for window in windows[4:]])[None]
    scored = tuple(range(1, steps + 1))
    ref = ClipRef("clip", tuple(range(4 + steps)), 4, scored)
    context = Context(frames[:, :4], (ref.id,), label_space=SPACE)
    true = {"semantics": labels, "flow": flow, "disocclusion": labels == 3, "label_space": SPACE}
    future = Future(frames[:, 4:], scored, (ref.id,), frames[:, 3], **true)
    repeated = [tensor[:, :1].repeat_interleave(steps, 1) for tensor in (frames[:, 3:], labels, flow, labels == 3)]
    return Batch((ref,), context, future, steps, ({},)), Prediction(*repeated, SPACE)


def main() -> None:
    """Print seconds and bytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="1024x2048")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument(
        "--full-size", action="store_true", help="also at full size, and as a strip: minutes at 1024x2048"
    )
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    batch, prediction = make_clip((height, width), args.steps)

    def strip() -> int:
        buffer = io.BytesIO()
        films_strip(clip_films(batch, 0, prediction, None)).save(buffer, "PNG")
        return buffer.tell()

    def sheets(full_size: bool) -> int:
        with tempfile.TemporaryDirectory() as folder:
            draw_clip(Path(folder), batch, 0, prediction, full_size=full_size)
            return sum(path.stat().st_size for path in Path(folder).rglob("*.*"))

    draws = {"sheets": lambda: sheets(False)}
    if args.full_size:
        draws |= {"sheets, full size": lambda: sheets(True), "strip, full size": strip}
    for name, draw in draws.items():
        start, processor = time.perf_counter(), time.process_time()
        size = draw()
        elapsed, worked = time.perf_counter() - start, time.process_time() - processor
        print(f"{args.size}, {args.steps} steps: {name}: {elapsed:.2f} s ({worked:.2f} s of CPU), {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
