"""The pictures of SADM's paper, drawn on `scenes` with our weights. Each clip is chosen by a number.

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
    """A clip and its truth: T frames, and flow and dis-occlusion from the second one on."""

    name: str
    frames: Tensor
    semantics: Tensor
    instances: Tensor
    flow: Tensor
    disocclusion: Tensor
    space: LabelSpace

    def context(self, length: int) -> Context:
        """Return the first frames as a context."""
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
    """Show frames, labels and flow, and below each its change from step to step."""
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
    """Return the share of pixels, in %, whose frame, label or flow changes from step to step.

    A frame changes by more than 8 of 255 in some channel, flow by more than half a pixel.
    """
    frames = (clip.frames[1:] - clip.frames[:-1]).abs().amax(dim=1) > 8 / 255
    flow = torch.linalg.vector_norm(clip.flow[1:] - clip.flow[:-1], dim=1) > 0.5
    labels = clip.semantics[1:] != clip.semantics[:-1]
    return tuple(100 * float(t.float().mean()) for t in (frames, labels, flow))  # type: ignore[return-value]


def predicted_rows(title: str, prediction: Prediction, fastest: float, before: int = 0) -> list[Row]:
    """Show frames, labels and flow of a prediction."""
    assert (
        prediction.frames is not None
        and prediction.semantics is not None
        and prediction.flow is not None
        and prediction.label_space
    )
    return [
        frames_row(f"{title}frames", prediction.frames[0], before),
        labels_row(f"{title}labels", prediction.semantics[0].argmax(1), prediction.label_space, before),
        flow_row(f"{title}flow", prediction.flow[0], before, fastest=fastest),
    ]


def hole_error(clip: Clip, prediction: Prediction, length: int, horizon: int) -> float:
    """Return the mean squared error of the dis-occluded pixels of all steps."""
    assert prediction.frames is not None
    hole = clip.disocclusion[length - 1 : length - 1 + horizon]
    error = (prediction.frames[0] - clip.frames[length : length + horizon]).square().mean(dim=1)
    return float((error * hole).sum() / hole.sum().clamp(min=1))


def parting(clip: Clip, step: int) -> tuple[float, list[Tensor]]:
    """Return the largest difference, in pixels, between two cars of opposite horizontal flow, and their masks."""
    car = clip.semantics[step] == clip.space.names.index("car")
    masks = [car & (clip.instances[step] == number) for number in clip.instances[step][car].unique().tolist()]
    large = [mask for mask in masks if int(mask.sum()) > mask.numel() // 50]
    speeds = [(float(clip.flow[step - 1, 0][mask].mean()), mask) for mask in large]
    pairs = [(b - a, [mask_a, mask_b]) for a, mask_a in speeds for b, mask_b in speeds if a < 0 < b]
    return max(pairs, key=lambda pair: pair[0], default=(0.0, []))


def draw(path: Path, heads: Sequence[str], rows: list[Row]) -> None:
    """Write a strip."""
    strip(heads, rows).quantize(256).save(path, optimize=True)


@dataclass(frozen=True)
class Figures:
    """The clips, the models by kind, and the predictions of the plain model."""

    models: dict[str, Component]
    clips: list[Clip]
    predictions: dict[str, Prediction]
    length: int
    horizon: int
    folder: Path

    @property
    def steps(self) -> list[str]:
        """The heads of a strip of predictions."""
        return [f"t+{k}" for k in range(1, self.horizon + 1)]

    def draw_change(self) -> None:
        """Draw figure 1."""
        shares = {clip.name: changed(clip) for clip in self.clips}
        means = torch.tensor(list(shares.values())).mean(dim=0).tolist()
        print("change per step, % of pixels: frames {:.1f}, labels {:.1f}, flow {:.1f}".format(*means))
        median = sorted(self.clips, key=lambda clip: shares[clip.name][0])[len(self.clips) // 2]
        draw(self.folder / "change.png", [f"{k}" for k in range(2, self.length + self.horizon + 1)], change(median))

    def draw_swap(self, names: Sequence[str]) -> None:
        """Draw figure 6 for the clip with the most pixels of both classes."""
        length, labels = self.length, self.clips[0].space.names
        ids = [labels.index(name) for name in names]
        clip = max(self.clips, key=lambda c: min(int((c.semantics[length - 1] == k).sum()) for k in ids))
        plain, swapped = self.predictions[clip.name], predict(self.models["swapped"], clip, length, self.horizon)
        fastest = float(torch.linalg.vector_norm(clip.flow, dim=1).max())
        true_flow = flow_row("true flow", clip.flow[length - 1 :], fastest=fastest)
        rows = [frames_row("truth", clip.frames[length:]), true_flow]
        rows += predicted_rows("", plain, fastest) + predicted_rows("swapped: ", swapped, fastest)
        draw(self.folder / "swap.png", self.steps, rows)
        assert plain.flow is not None and swapped.flow is not None
        for name, index in zip(names, ids, strict=True):
            area, flows = clip.semantics[length] == index, (clip.flow[length - 1], plain.flow[0, 0], swapped.flow[0, 0])
            means = ["({:.2f}, {:.2f})".format(*flow[:, area].mean(dim=1).tolist()) for flow in flows]
            print(f"{clip.name}: mean flow of {name} at t+1: true {means[0]}, predicted {means[1]}, swapped {means[2]}")

    def draw_failure(self) -> None:
        """Draw figure 8."""
        length, horizon = self.length, self.horizon
        clip = max(self.clips, key=lambda c: hole_error(c, self.predictions[c.name], length, horizon))
        completed, warped = self.predictions[clip.name], predict(self.models["warped"], clip, length, horizon)
        assert completed.frames is not None and completed.disocclusion is not None and warped.frames is not None
        rows = [
            frames_row("truth", clip.frames[length:]),
            mask_row("newly visible", clip.disocclusion[length - 1 :]),
            mask_row("predicted new", completed.disocclusion[0]),
            frames_row("warped", warped.frames[0]),
            frames_row("completed", completed.frames[0]),
            frames_row("error", (completed.frames[0] - clip.frames[length:]).abs()),
        ]
        draw(self.folder / "failure.png", self.steps, rows)
        errors = [hole_error(clip, prediction, length, horizon) for prediction in (warped, completed)]
        print(f"{clip.name}: MSE where newly visible: warped {errors[0]:.4f}, completed {errors[1]:.4f}")

    def draw_cars(self) -> None:
        """Draw figure 9."""
        length = self.length
        clip = max(self.clips, key=lambda c: parting(c, length)[0])
        prediction, fastest = self.predictions[clip.name], float(torch.linalg.vector_norm(clip.flow, dim=1).max())
        rows = [frames_row("truth", clip.frames[length:]), labels_row("labels", clip.semantics[length:], clip.space)]
        rows += [flow_row("true flow", clip.flow[length - 1 :], fastest=fastest)]
        draw(self.folder / "two-cars.png", self.steps, rows + predicted_rows("predicted ", prediction, fastest))
        assert prediction.flow is not None
        for mask in parting(clip, length)[1]:
            true, predicted = (float(flow[0][mask].mean()) for flow in (clip.flow[length - 1], prediction.flow[0, 0]))
            print(f"{clip.name}: horizontal flow of one of two cars at t+1: true {true:.2f}, predicted {predicted:.2f}")


def main() -> None:
    """Choose the clips, predict, draw, and print the numbers that they were chosen by."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--horizon", type=int, default=5)
    parser.add_argument("--swap", default="car,road")
    args = parser.parse_args()
    plugins, weights = load_plugins(), {"weights": str(args.weights)}
    kinds = {"plain": {}, "swapped": {"swap_classes": args.swap}, "warped": {"emit": "warped"}}
    models = {kind: choose_predictor(plugins, "sadm", {"sadm": weights | changes}) for kind, changes in kinds.items()}
    for model in models.values():
        model.value.eval()
    plain = models["plain"]
    protocol = Protocol.parse(plain.trained.record.protocol.to_json(), args.weights.name)
    length = protocol.sampling.context
    chosen = list(clips(protocol, args.clips, length + args.horizon))
    predictions = {clip.name: predict(plain, clip, length, args.horizon) for clip in chosen}
    args.folder.mkdir(parents=True, exist_ok=True)
    figures = Figures(models, chosen, predictions, length, args.horizon, args.folder)
    figures.draw_change()
    figures.draw_swap(args.swap.split(","))
    figures.draw_failure()
    figures.draw_cars()


if __name__ == "__main__":
    main()
