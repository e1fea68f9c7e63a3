"""CDNet: draw its stages side by side (figure 5): truth, decoded motion features, each iteration of the refinement.

    python benchmarks/cdnet_stages.py WEIGHTS OUT.png [VIDEO [--start FRAME] [--step N]] [--clip N] [--horizon K]

VIDEO is a video file or a folder of pictures. Without it, the script draws the first frames of sequence N in the test
split of the protocol that the weights were trained for. For each stage it prints the IoU of the area that changes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from PIL import Image

from vpbench.evaluation.continuation import predict_video
from vpbench.pages.strips import Row, frames_row, strip
from vpbench.plugin.loader import load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.select.component import choose_predictor
from vpbench.select.data import open_protocol_dataset
from vpbench_cdnet.losses import area


def write_clip(protocol: Protocol, number: int, folder: Path) -> None:
    """Write the frames of a protocol's test clip as pictures."""
    dataset, sampling = open_protocol_dataset(load_plugins(), protocol, {}), protocol.sampling
    sequences = dataset.sequences(protocol.dataset.split)
    if not 0 <= number < len(sequences):
        raise SystemExit(f"--clip {number}: the split has {len(sequences)} sequences, from 0 on")
    sequence = sequences[number].name
    numbers = range(0, (sampling.context + sampling.horizon) * sampling.frame_step, sampling.frame_step)
    for k, picture in enumerate(dataset.read(sequence, numbers, "frames")):
        Image.fromarray(picture).save(folder / f"{k:03}.png")


def main() -> None:
    """Predict with each stage and draw a row for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--horizon", type=int, default=4)
    parser.add_argument("--clip", type=int, default=0)
    args = parser.parse_args()
    plugins, weights = load_plugins(), {"weights": str(args.weights)}
    chosen = choose_predictor(plugins, "cdnet", {"cdnet": weights})
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        if args.video is None:
            write_clip(
                Protocol.parse(chosen.trained.record.protocol.to_json(), args.weights.name), args.clip, Path(folder)
            )
        for stage in ("motion", *range(1, chosen.value.options.iterations + 1)):
            prediction = predict_video(
                "cdnet",
                args.video or folder,
                start=args.start,
                step=args.step,
                horizon=args.horizon,
                options={"cdnet": weights | {"emit": stage}},
                plugins=plugins,
            )
            context = prediction.batch.context.frames[0]
            if not rows:
                rows.append(frames_row("truth", torch.cat([context, prediction.batch.future.frames[0]])))
            title = "motion" if stage == "motion" else f"iteration {stage}"
            moved, true = (
                area(frames[0, :1], context[-1:], chosen.value.options.area_threshold).bool()
                for frames in (prediction.predictions[0].frames, prediction.batch.future.frames)
            )
            if len(true):  # the video has a next frame
                overlap = float((moved & true).sum() / (moved | true).sum())
                print(f"{title}: IoU of the area that changes at t+1: {overlap:.3f}")
            rows.append(frames_row(title, prediction.predictions[0].frames[0], len(context)))
    heads = [f"t{k:+d}" if k else "t" for k in range(1 - len(context), args.horizon + 1)]
    strip(heads, rows).quantize(256).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
