"""A plugin of toys: a dataset without files and predictors that behave, or misbehave in one way each."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Sequence

import numpy as np
import torch
from pydantic import BaseModel, Field

import vpbench

SPACE = vpbench.LabelSpace("toy3", ("ground", "wall", "thing"), ((0, 0, 0), (128, 128, 128), (255, 0, 0)))


@vpbench.hookimpl
def register_datasets(register):
    register("toy", "toys:Toy", summary="noise that moves to the right")
    register("toy-frames", "toys:ToyFrames", summary="the same without labels and flow")


@vpbench.hookimpl
def register_predictors(register):
    for name, target in {
        "last": "Last",
        "noisy": "Noisy",
        "raises": "Raises",
        "not-a-number": "NotANumber",
        "wrong-shape": "WrongShape",
        "too-bright": "TooBright",
        "slightly-bright": "SlightlyBright",
        "short": "Short",
        "needs-flow": "NeedsFlow",
        "seer": "Seer",
        "with-options": "WithOptions",
        "killed": "Killed",
        "wrong-type": "WrongType",
    }.items():
        register(name, f"toys:{target}", summary=f"toy {target}")


@vpbench.hookimpl
def register_metrics(register):
    for name, target in {"spoils": "Spoils", "nothing": "Nothing", "words": "Words", "vectors": "Vectors"}.items():
        register(name, f"toys:{target}", summary=f"toy {target}")
    register("mean-colour", "toys:MeanColour", summary="distance of mean colours")


@vpbench.hookimpl
def register_annotators(register):
    register("still", "toys:Still", summary="zero flow")


class Options(BaseModel):
    """How many sequences, how long, how large."""

    sequences: int = 20
    length: int = 8
    size: tuple[int, int] = (16, 24)
    broken: int = -1
    """The sequence whose frames cannot be read."""
    unreadable: int = -1
    """The sequence that the index already knows to be unreadable."""


class Toy:
    """Each sequence is one noise picture, shifted one pixel to the right per frame; truth is exact."""

    Options = Options
    info = vpbench.DatasetInfo(
        modalities=("frames", "semantics", "flow", "disocclusion", "instances"),
        splits=("test", "train"),
        needs_root=False,
        label_space=SPACE,
    )

    def __init__(self, root, options: Options) -> None:
        self.options = options

    def sequences(self, split: str):
        return [
            vpbench.SequenceInfo(
                f"{split}/seq{i:03d}",
                range(self.options.length),
                "seq is broken" if i == self.options.unreadable else "",
            )
            for i in range(self.options.sequences)
        ]

    def read(self, sequence: str, frames: Sequence[int], modality: str):
        if sequence.endswith(f"seq{self.options.broken:03d}"):
            raise vpbench.DataError(f"{sequence}: does not decode")
        h, w = self.options.size
        seed = int.from_bytes(hashlib.sha256(sequence.encode()).digest()[:4], "big")
        picture = np.random.default_rng(seed).integers(0, 256, (h, w + 64, 3), dtype=np.uint8)
        pictures = np.stack([picture[:, 64 - f : 64 - f + w] for f in frames])
        if modality == "frames":
            return pictures
        if modality == "semantics":
            return (pictures[..., 0] // 86).astype(np.uint8)
        if modality == "instances":
            return (pictures[..., 0] // 86).astype(np.int32)
        steps = np.diff(np.asarray(frames))
        if modality == "flow":
            flow = np.zeros((len(steps), h, w, 2), np.float32)
            flow[..., 0] = -steps[:, None, None]
            return flow
        hidden = np.zeros((len(steps), h, w), bool)
        for i, step in enumerate(steps):
            hidden[i, :, :step] = True
        return hidden


class ToyFrames(Toy):
    info = vpbench.DatasetInfo(modalities=("frames",), splits=("test", "train"), needs_root=False)


def repeat(context, horizon):
    return context.frames[:, -1:].expand(-1, horizon, -1, -1, -1)


class Last:
    info = vpbench.PredictorInfo(paper="https://example.org/last")

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=repeat(context, horizon))


class Noisy:
    info = vpbench.PredictorInfo(stochastic=True)

    def predict(self, context, horizon, generators):
        last = repeat(context, horizon)
        noise = torch.stack([torch.rand(last.shape[1:], generator=g) for g in generators])
        return vpbench.Prediction(frames=(0.9 * last.cpu() + 0.1 * noise).clamp(0, 1).to(last.device))


class Raises:
    info = vpbench.PredictorInfo()

    def predict(self, context, horizon, generators):
        raise ValueError("no idea")


class NotANumber:
    info = vpbench.PredictorInfo()

    def predict(self, context, horizon, generators):
        frames = repeat(context, horizon).clone()
        frames[-1, 1, 0, 0, 0] = float("nan")
        return vpbench.Prediction(frames=frames)


class WrongShape:
    info = vpbench.PredictorInfo()

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=repeat(context, horizon + 1))


class WrongType:
    info = vpbench.PredictorInfo()

    def predict(self, context, horizon, generators):
        return repeat(context, horizon)


class TooBright:
    info = vpbench.PredictorInfo()

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=repeat(context, horizon) * 0 + 1.01)


class SlightlyBright:
    info = vpbench.PredictorInfo()

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=repeat(context, horizon) * 0 + 1.00005)


class Short:
    info = vpbench.PredictorInfo(horizon=1)

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=repeat(context, horizon))


class NeedsFlow:
    info = vpbench.PredictorInfo(requires=("frames", "flow"), outputs=("frames", "flow"))

    def predict(self, context, horizon, generators):
        flow = context.flow[:, -1:].expand(-1, horizon, -1, -1, -1)
        shifts = [int(flow[0, 0, 0, 0].item()) for flow in context.flow]
        clips = zip(context.frames[:, -1], shifts, strict=True)
        frames = [torch.stack([last.roll(-shift * k, -1) for k in range(1, horizon + 1)]) for last, shift in clips]
        return vpbench.Prediction(frames=torch.stack(frames), flow=flow)


class Seer:
    info = vpbench.PredictorInfo(outputs=("frames", "semantics"), oracle=True)

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=context.future.frames, semantics=context.future.semantics)


class WithOptions(Last, torch.nn.Module):
    class Options(BaseModel):
        width: int = Field(default=4, ge=1)
        mode: str = "plain"

    presets = {"wide": {"width": 8}, "fancy": {"mode": "fancy"}}

    def __init__(self, options) -> None:
        super().__init__()
        self.options = options
        self.layer = torch.nn.Linear(options.width, 2)
        self.head = torch.nn.Conv2d(1, 1, 3)


class Killed(Last):
    """Kills its own process after KILL_AFTER batches: what a crash in the middle of a run looks like."""

    calls = 0

    def predict(self, context, horizon, generators):
        after = int(os.environ.get("KILL_AFTER", "-1"))
        if after == Killed.calls:
            os.kill(os.getpid(), getattr(signal, os.environ.get("KILL_SIGNAL", "SIGKILL")))
        Killed.calls += 1
        return super().predict(context, horizon, generators)


class Still:
    info = vpbench.AnnotatorInfo(gives="flow")

    def annotate(self, window, clips, device):
        return np.zeros((len(clips), *window["frames"].shape[2:4], 2), np.float32)


class Spoils(vpbench.ClipMean):
    info = vpbench.MetricInfo("spoils", revision=1, better="lower")

    def measure(self, comparison):
        predicted, _ = comparison.frames
        return predicted.mul_(0.5).mean(dim=(2, 3, 4)).tolist()


class Nothing(Spoils):
    info = vpbench.MetricInfo("nothing", revision=1, better="lower")

    def measure(self, comparison):
        return None


class Words(Spoils):
    info = vpbench.MetricInfo("words", revision=1, better="lower")

    def measure(self, comparison):
        return [["12"] * len(comparison.future.steps) for _ in comparison.future.clips]


class Vectors(Spoils):
    info = vpbench.MetricInfo("vectors", revision=1, better="lower")

    def measure(self, comparison):
        return [[[1.0, 2.0]] * len(comparison.future.steps) for _ in comparison.future.clips]


class MeanColour(vpbench.SetMetric):
    """The distance of mean colours; its features are colours of context, prediction and truth."""

    info = vpbench.MetricInfo("mean-colour", revision=1, better="lower")

    def why_not(self, setting):
        return super().why_not(setting) or ("needs 2 clips or more" if setting.clips < 2 else "")

    def features(self, comparison):
        predicted, true = comparison.frames
        before = comparison.context_frames.mean(dim=(1, 3, 4))
        return torch.cat([before, predicted.mean(dim=(1, 3, 4))], 1), torch.cat([before, true.mean(dim=(1, 3, 4))], 1)

    def score(self, features):
        predicted, true = features.predicted.astype(np.float64), features.true.astype(np.float64)
        distance = np.abs(predicted.mean(axis=(0, 1)) - true.mean(axis=0))
        return {"score": float(distance.sum()), "red": float(distance[3])}

    def caution(self, clips, samples):
        return f"{clips} clips are few" if clips < 40 else ""
