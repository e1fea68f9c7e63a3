"""CDNet's stages side by side (figure 5): the truth, the motion features decoded, every iteration of the refinement.

    python benchmarks/cdnet_stages.py WEIGHTS OUT.png [VIDEO [--start FRAME] [--step N]] [--clip N] [--horizon K]

A video file or a folder of pictures; without one, the first frames of sequence N of the test split that belongs to the
protocol which the weights were trained for (of `scenes`: its clip N).
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
        raise SystemExit(f"--clip {number}: there are {len(sequences)}")
    sequence = sequences[number].name
    numbers = range(0, (sampling.context + sampling.horizon) * sampling.frame_step, sampling.frame_step)
    for k, picture in enumerate(dataset.read(sequence, numbers, "frames")):
        Image.fromarray(picture).save(folder / f"{k:03}.png")


def main() -> None:
    """Predict with each stage, and draw a row of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--horizon", type=int, default=4)
    parser.add_argument("--clip", type=int, default=0)
    asked = parser.parse_args()
    plugins, weights = load_plugins(), {"weights": str(asked.weights)}
    chosen = choose_predictor(plugins, "cdnet", {"cdnet": weights})
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        if asked.video is None:
            write_clip(Protocol.parse(chosen.trained.about["protocol"], asked.weights.name), asked.clip, Path(folder))
        for stage in ("motion", *range(1, chosen.value.options.iterations + 1)):
            found = predict_video(
                "cdnet",
                asked.video or folder,
                start=asked.start,
                step=asked.step,
                horizon=asked.horizon,
                options={"cdnet": weights | {"emit": stage}},
                plugins=plugins,
            )
            given = found.batch.context.frames[0]
            if not rows:
                rows.append(frames_row("truth", torch.cat([given, found.batch.future.frames[0]])))
            title = "motion" if stage == "motion" else f"iteration {stage}"
            moved, true = (
                area(frames[0, :1], given[-1:], chosen.value.options.area_threshold).bool()
                for frames in (found.predictions[0].frames, found.batch.future.frames)
            )
            if len(true):  # the video goes on
                shared = float((moved & true).sum() / (moved | true).sum())
                print(f"{title}: IoU of the area that changes at t+1: {shared:.3f}")
            rows.append(frames_row(title, found.predictions[0].frames[0], len(given)))
    heads = [f"t{k:+d}" if k else "t" for k in range(1 - len(given), asked.horizon + 1)]
    strip(heads, rows).quantize(256).save(asked.out, optimize=True)


if __name__ == "__main__":
    main()
