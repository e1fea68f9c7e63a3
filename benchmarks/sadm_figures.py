"""The pictures of SADM's paper, drawn on `scenes` with weights of ours, each with what it is chosen by.

    python benchmarks/sadm_figures.py WEIGHTS FOLDER [--clips N] [--horizon K] [--swap A,B]

change.png    figure 1: how much frames, labels and flow change, in the clip of median change of frames
swap.png      figure 6: a clip, and the same with classes A and B exchanged at the input
failure.png   figure 8: the clip whose dis-occluded regions are completed worst
two-cars.png  figure 9: the clip of two cars of opposite flow that differ most
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vpbench.pages.strips import Row, flow_row, frames_row, labels_row, mask_row, strip
from vpbench.plugin.clip import Context, LabelSpace, Prediction
from vpbench.plugin.loader import load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.select.component import Component, choose_predictor
from vpbench.select.data import open_protocol_dataset


@dataclass(frozen=True)
class Clip:
    """A clip with its whole truth: T frames, flow and dis-occlusion from the second one on."""

    name: str
    frames: Tensor
    semantics: Tensor
    instances: Tensor
    flow: Tensor
    disocclusion: Tensor
    space: LabelSpace

    def context(self, length: int) -> Context:
        """Return the first frames as a predictor sees them."""
        return Context(
            frames=self.frames[None, :length],
            clips=(self.name,),
            semantics=self.semantics[None, :length],
            flow=self.flow[None, : length - 1],
            label_space=self.space,
        )


def clips(protocol: Protocol, count: int, length: int) -> Iterator[Clip]:
    """Yield the first test clips of a protocol of `scenes`."""
    dataset = open_protocol_dataset(load_plugins(), protocol, {})
    for sequence in dataset.sequences(protocol.dataset.split)[:count]:
        read = {
            name: torch.from_numpy(dataset.read(sequence.name, range(length), name))
            for name in ("frames", "semantics", "instances", "flow", "disocclusion")
        }
        yield Clip(
            sequence.name,
            read["frames"].permute(0, 3, 1, 2) / 255,
            read["semantics"].long(),
            read["instances"].long(),
            read["flow"].permute(0, 3, 1, 2).float(),
            read["disocclusion"].bool(),
            dataset.info.label_space,
        )


def predict(sadm: Component, clip: Clip, length: int, horizon: int) -> Prediction:
    """Continue a clip after its first frames."""
    prediction: Prediction = sadm.value.predict(clip.context(length), horizon, [torch.Generator().manual_seed(0)])
    return prediction


def change(clip: Clip) -> list[Row]:
    """Show frames, labels and flow, and below each what changes from one step to the next."""
    frames, labels, flow = (t[1:] for t in (clip.frames, clip.semantics, clip.flow))
    fastest = float(torch.linalg.vector_norm(flow, dim=1).max())
    return [
        frames_row("frames", frames),
        frames_row("change", (clip.frames[2:] - frames[:-1]).abs(), 1),
        labels_row("labels", labels, clip.space),
        mask_row("change", labels[1:] != labels[:-1], 1),
        flow_row("flow", clip.flow, fastest=fastest),
        flow_row("change", clip.flow[1:] - clip.flow[:-1], 1, fastest=fastest),
    ]


def changed(clip: Clip) -> tuple[float, float, float]:
    """Return the changing part of frames, labels and flow from step to step, in % of pixels.

    Of a frame more than 8 of 255 in some channel; of flow more than half a pixel.
    """
    frames = (clip.frames[1:] - clip.frames[:-1]).abs().amax(dim=1) > 8 / 255
    flow = torch.linalg.vector_norm(clip.flow[1:] - clip.flow[:-1], dim=1) > 0.5
    labels = clip.semantics[1:] != clip.semantics[:-1]
    return tuple(100 * float(t.float().mean()) for t in (frames, labels, flow))  # type: ignore[return-value]


def predicted_rows(title: str, made: Prediction, fastest: float, before: int = 0) -> list[Row]:
    """Show frames, labels and flow of a prediction."""
    assert made.frames is not None and made.semantics is not None and made.flow is not None and made.label_space
    return [
        frames_row(f"{title}frames", made.frames[0], before),
        labels_row(f"{title}labels", made.semantics[0].argmax(1), made.label_space, before),
        flow_row(f"{title}flow", made.flow[0], before, fastest=fastest),
    ]


def hole_error(clip: Clip, made: Prediction, length: int, horizon: int) -> float:
    """Return the squared error where something is newly visible, summed over the steps."""
    assert made.frames is not None
    hole = clip.disocclusion[length - 1 : length - 1 + horizon]
    error = (made.frames[0] - clip.frames[length : length + horizon]).square().mean(dim=1)
    return float((error * hole).sum() / hole.sum().clamp(min=1))


def parting(clip: Clip, at: int) -> tuple[float, list[Tensor]]:
    """Return by how many pixels two cars of opposite horizontal flow differ most, and where they are; 0, nowhere."""
    car = clip.semantics[at] == clip.space.names.index("car")
    masks = [car & (clip.instances[at] == number) for number in clip.instances[at][car].unique().tolist()]
    sized = [mask for mask in masks if int(mask.sum()) > mask.numel() // 50]
    speeds = [(float(clip.flow[at - 1, 0][mask].mean()), mask) for mask in sized]
    pairs = [(b - a, [left, right]) for a, left in speeds for b, right in speeds if a < 0 < b]
    return max(pairs, key=lambda pair: pair[0], default=(0.0, []))


def draw(path: Path, heads: Sequence[str], rows: list[Row]) -> None:
    """Write a strip."""
    strip(heads, rows).quantize(256).save(path, optimize=True)


def main() -> None:
    """Choose the clips, predict, draw, and print what they were chosen by."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--horizon", type=int, default=5)
    parser.add_argument("--swap", default="car,road")
    asked = parser.parse_args()
    plugins, weights, horizon = load_plugins(), {"weights": str(asked.weights)}, asked.horizon
    kinds = {"plain": {}, "swapped": {"swap_classes": asked.swap}, "warped": {"emit": "warped"}}
    models = {kind: choose_predictor(plugins, "sadm", {"sadm": weights | given}) for kind, given in kinds.items()}
    for model in models.values():
        model.value.eval()
    plain = models["plain"]
    protocol = Protocol.parse(plain.trained.record.protocol.to_json(), asked.weights.name)
    length = protocol.sampling.context
    every = list(clips(protocol, asked.clips, length + horizon))
    made = {clip.name: predict(plain, clip, length, horizon) for clip in every}
    asked.folder.mkdir(parents=True, exist_ok=True)
    steps = [f"t+{k}" for k in range(1, horizon + 1)]

    shares = {clip.name: changed(clip) for clip in every}
    means = torch.tensor(list(shares.values())).mean(dim=0).tolist()
    print("change per step, % of pixels: frames {:.1f}, labels {:.1f}, flow {:.1f}".format(*means))
    middle = sorted(every, key=lambda clip: shares[clip.name][0])[len(every) // 2]
    draw(asked.folder / "change.png", [f"{k}" for k in range(2, length + horizon + 1)], change(middle))

    first, second = (plain.value.space(every[0].space).names.index(name) for name in asked.swap.split(","))
    both = max(every, key=lambda c: min(int((c.semantics[length - 1] == k).sum()) for k in (first, second)))
    other = predict(models["swapped"], both, length, horizon)
    fastest = float(torch.linalg.vector_norm(both.flow, dim=1).max())
    truth = both.frames[length:]
    rows = [frames_row("truth", truth), flow_row("true flow", both.flow[length - 1 :], fastest=fastest)]
    rows += predicted_rows("", made[both.name], fastest) + predicted_rows("swapped: ", other, fastest)
    draw(asked.folder / "swap.png", steps, rows)
    for name, index in zip(asked.swap.split(","), (first, second), strict=True):
        there = both.semantics[length] == index
        flows = [both.flow[length - 1], made[both.name].flow[0, 0], other.flow[0, 0]]
        values = ["({:.2f}, {:.2f})".format(*flow[:, there].mean(dim=1).tolist()) for flow in flows]
        print(f"{both.name}: mean flow of {name} at t+1: true {values[0]}, predicted {values[1]}, swapped {values[2]}")

    worst = max(every, key=lambda clip: hole_error(clip, made[clip.name], length, horizon))
    warped = predict(models["warped"], worst, length, horizon)
    rows = [
        frames_row("truth", worst.frames[length:]),
        mask_row("newly visible", worst.disocclusion[length - 1 :]),
        mask_row("predicted new", made[worst.name].disocclusion[0]),
        frames_row("warped", warped.frames[0]),
        frames_row("completed", made[worst.name].frames[0]),
        frames_row("error", (made[worst.name].frames[0] - worst.frames[length:]).abs()),
    ]
    draw(asked.folder / "failure.png", steps, rows)
    errors = [hole_error(worst, each, length, horizon) for each in (warped, made[worst.name])]
    print(f"{worst.name}: MSE where newly visible: warped {errors[0]:.4f}, completed {errors[1]:.4f}")

    cars = max(every, key=lambda clip: parting(clip, length)[0])
    fastest = float(torch.linalg.vector_norm(cars.flow, dim=1).max())
    rows = [frames_row("truth", cars.frames[length:]), labels_row("labels", cars.semantics[length:], cars.space)]
    rows += [flow_row("true flow", cars.flow[length - 1 :], fastest=fastest)]
    draw(asked.folder / "two-cars.png", steps, rows + predicted_rows("predicted ", made[cars.name], fastest))
    for mask in parting(cars, length)[1]:
        flows = [float(flow[0][mask].mean()) for flow in (cars.flow[length - 1], made[cars.name].flow[0, 0])]
        print(f"{cars.name}: horizontal flow of one of two cars at t+1: true {flows[0]:.2f}, predicted {flows[1]:.2f}")


if __name__ == "__main__":
    main()
