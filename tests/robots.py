"""A stranger's plugin: a robot's clips with modalities that vpbench has never heard of."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

import vpbench
from vpbench.plugin.modality import ModalitySpec

ACTIONS = ModalitySpec("actions", "float32", (2,))
DEPTH = ModalitySpec("depth", "float32", pixels="nearest")
HEAT = ModalitySpec("heat", "uint8", pixels="frames")
MOTION = ModalitySpec("motion", "float32", (2,), pixels="flow", pairwise=True)
CAPTION = ModalitySpec("caption", "text")
CONTACTS = ModalitySpec("contacts", "int16", (2, 3), pairwise=True)
SPECS = (ACTIONS, DEPTH, HEAT, MOTION, CAPTION, CONTACTS)
SIZE = 16, 24


@vpbench.hookimpl
def register_datasets(register):
    register("robots", "robots:Robots", summary="clips with actions, depth, heat, motion, captions and contacts")
    register("blind-robots", "robots:BlindRobots", summary="the same without depth")


@vpbench.hookimpl
def register_predictors(register):
    register("driver", "robots:Driver", summary="drives by actions and depth")


@vpbench.hookimpl
def register_annotators(register):
    register("guess-depth", "robots:GuessDepth", summary="depth from brightness")
    register("flat-depth", "robots:FlatDepth", summary="depth as one number per frame")


@vpbench.hookimpl
def register_metrics(register):
    register("travel", "robots:Travel", summary="the true way that the robot goes")


class Robots:
    info = vpbench.DatasetInfo(
        modalities=("frames", *(spec.name for spec in SPECS)),
        declares=SPECS,
        splits=("test", "train"),
        needs_root=False,
    )

    def __init__(self, root):
        pass

    def sequences(self, split):
        return [vpbench.SequenceInfo(f"{split}/walk{i}", range(40)) for i in range(3)]

    def read(self, sequence, frames, modality):
        walk, pairs = int(sequence[-1]), list(pairwise(frames))
        noise = np.stack(
            [np.random.default_rng([walk, frame]).integers(0, 256, (*SIZE, 3), np.uint8) for frame in frames]
        )
        match modality:
            case "frames":
                return noise
            case "actions":
                return np.array([[walk, frame] for frame in frames], np.float32)
            case "depth":
                return noise[..., 0].astype(np.float32) / 3
            case "heat":
                return noise[..., 1]
            case "motion":
                return np.stack(
                    [np.full((*SIZE, 2), [b - a, -1], np.float32) for a, b in pairs]
                    or np.zeros((0, *SIZE, 2), np.float32)
                )
            case "caption":
                return np.array([f"walk {walk}" + "!" * frame for frame in frames])
            case "contacts":
                return np.array([[[a, b, walk]] * 2 for a, b in pairs], np.int16).reshape(len(pairs), 2, 3)


class BlindRobots(Robots):
    info = vpbench.DatasetInfo(
        modalities=("frames", "actions"), declares=(ACTIONS,), splits=("test",), needs_root=False
    )


class GuessDepth:
    info = vpbench.AnnotatorInfo(gives="depth", declares=(DEPTH,))

    def annotate(self, window, clips, device):
        return window["frames"][:, 0, ..., 2].astype(np.float32)


class FlatDepth:
    info = vpbench.AnnotatorInfo(gives="depth", declares=(ModalitySpec("depth", "float32"),))

    def annotate(self, window, clips, device):
        return window["frames"].mean(axis=(1, 2, 3, 4), dtype=np.float32)


class Driver:
    """Blends the last frame with its depth, and writes into all that it was shown."""

    info = vpbench.PredictorInfo(requires=("frames", "actions", "depth"), uses=("caption",), declares=(ACTIONS,))

    def predict(self, context, horizon, generators):
        assert set(context.extras) <= {"actions", "depth", "caption"}
        depth = context.extras["depth"][:, -1:, None].clone() / 255
        weight = (context.extras["actions"][:, -1, 1] / 40).view(-1, 1, 1, 1, 1)
        frames = (context.frames[:, -1:] * (1 - weight) + depth * weight).repeat(1, horizon, 1, 1, 1)
        for name in ("actions", "depth"):
            context.extras[name].fill_(-1)
        return vpbench.Prediction(frames=frames)


class Travel(vpbench.ClipMean):
    info = vpbench.MetricInfo("travel", revision=1, better="lower", needs=("frames",), truth=("actions", "caption"))

    def measure(self, comparison):
        actions, captions = comparison.future.extras["actions"], comparison.future.extras["caption"]
        return [
            [float(row[1]) + len(text) / 1000 for row, text in zip(clip, texts, strict=True)]
            for clip, texts in zip(actions, captions, strict=True)
        ]
