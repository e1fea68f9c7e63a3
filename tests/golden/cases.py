"""Inputs of the golden values: pictures, labels, flow and masks that are built here, the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from skimage import data

import vpbench_metrics
from vpbench.plugin.clip import Comparison, Future, LabelSpace, Prediction

SPACE = LabelSpace("street", ("road", "sky", "person", "car", "bus"), ((0, 0, 0),) * 5)


@dataclass(frozen=True)
class Case:
    """Arrays as a :class:`Prediction` and a :class:`Future` hold them."""

    predicted: np.ndarray
    true: np.ndarray
    last: np.ndarray | None = None
    guess: np.ndarray | None = None
    labels: np.ndarray | None = None
    predicted_flow: np.ndarray | None = None
    flow: np.ndarray | None = None
    camera_flow: np.ndarray | None = None
    predicted_disocclusion: np.ndarray | None = None
    disocclusion: np.ndarray | None = None

    def frames(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return each predicted and its true frame, float64 [3,H,W]."""
        shape = (-1, *self.true.shape[2:])
        pairs = zip(self.predicted.reshape(shape), self.true.reshape(shape), strict=True)
        return [(p.astype(np.float64), t.astype(np.float64)) for p, t in pairs]

    def comparison(self, device: str = "cpu") -> Comparison:
        def tensor(name: str) -> torch.Tensor | None:
            value = getattr(self, name)
            return None if value is None else torch.from_numpy(value.copy()).to(device)

        clips, steps = self.true.shape[:2]
        return Comparison(
            Prediction(
                frames=tensor("predicted"),
                semantics=tensor("guess"),
                flow=tensor("predicted_flow"),
                disocclusion=tensor("predicted_disocclusion"),
            ),
            Future(
                frames=tensor("true"),
                steps=tuple(range(1, steps + 1)),
                clips=tuple(f"clip{i}@0" for i in range(clips)),
                last=tensor("true")[:, 0] if self.last is None else tensor("last"),
                semantics=tensor("labels"),
                flow=tensor("flow"),
                camera_flow=tensor("camera_flow"),
                disocclusion=tensor("disocclusion"),
                label_space=SPACE,
            ),
        )


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def truth_of(frames: torch.Tensor, **fields: object) -> Future:
    """Return a truth of frames [B,S,3,H,W] and other fields; by default the first is the last context frame, too."""
    clips, steps = frames.shape[:2]
    defaults = {"steps": tuple(range(1, steps + 1)), "last": frames[:, 0]}
    return Future(frames=frames, clips=tuple(f"clip{i}@0" for i in range(clips)), **defaults | fields)


def crop(name: str, height: int, width: int, top: int = 0, left: int = 0) -> np.ndarray:
    """Return a piece of one of scikit-image's photographs, [3,H,W] in [0,1]."""
    picture = getattr(data, name)()[top : top + height, left : left + width]
    return picture.transpose(2, 0, 1) / 255


def single(predicted: np.ndarray, true: np.ndarray) -> Case:
    """Return a case of one frame of one clip."""
    p, t = (np.ascontiguousarray(np.clip(frame, 0, 1)[None, None], dtype=np.float32) for frame in (predicted, true))
    return Case(p, t)


def shifted(name: str, height: int, width: int) -> Case:
    """Return a photograph beside itself, moved by (2, 3) pixels, darker and noisy."""
    noise = np.random.RandomState(height + width).normal(0, 0.02, (3, height, width))
    return single(0.95 * crop(name, height, width, 62, 163) + noise, crop(name, height, width, 60, 160))


def pictures(height: int, width: int) -> dict[str, Case]:
    """Return photographs, noise, and drawn pictures of which float32 computations lose digits."""
    rng = np.random.RandomState(7)
    shape = (3, height, width)
    noise, ramp, halves = rng.normal(0, 1, shape), np.linspace(0, 1, width) * np.ones(shape), np.zeros(shape)
    halves[..., width // 2 :] = 1
    return {
        "astronaut": shifted("astronaut", height, width),
        "coffee": shifted("coffee", height, width),
        "negative": single(1 - crop("chelsea", height, width), crop("chelsea", height, width)),
        "noise": single(rng.rand(*shape), rng.rand(*shape)),
        "ramp": single(ramp + 0.02 * noise, ramp),
        "flat .99, flat .98": single(np.full(shape, 0.99), np.full(shape, 0.98)),
        "flat .99, flat .2": single(np.full(shape, 0.99), np.full(shape, 0.2)),
        "half black, half white": single(halves + 0.01 * noise, halves),
    }


def wide() -> Case:
    """Return photographs at 512x1024."""
    mirrored = np.concatenate([crop("astronaut", 512, 512), crop("astronaut", 512, 512)[:, ::-1]], axis=2)
    noise = np.random.RandomState(3).normal(0, 0.03, mirrored.shape)
    return single(np.roll(mirrored, 2, axis=2) + noise, mirrored)


def world() -> Case:
    """Return two clips of two steps of 40x44 pixels, with labels, flow and masks on both sides."""
    rng = np.random.RandomState(11)
    clips, steps, height, width = 2, 2, 40, 44
    tops = [[(60, 160), (62, 163)], [(100, 200), (101, 198)]]
    true = np.array([[crop("astronaut", height, width, *at) for at in clip] for clip in tops])
    last = np.array([crop("astronaut", height, width, 59, 158), crop("astronaut", height, width, 99, 201)])
    predicted = np.clip(true + rng.normal(0, 0.05, true.shape), 0, 1)
    predicted[..., :6] = true[..., :6]
    labels = rng.randint(0, 4, (clips, steps, 5, 4)).repeat(8, axis=2).repeat(11, axis=3)  # no bus
    labels[..., :3] = 255
    guess = np.where(rng.rand(*labels.shape) < 0.3, rng.randint(0, 5, labels.shape), np.roll(labels, 2, axis=-1))
    camera = np.broadcast_to(np.array([-1.3, 0.6])[:, None, None], (clips, steps, 2, height, width)).copy()
    flow = camera + 1.2 * rng.rand(clips, steps, 2, height, width)
    flow[0, 1, :, 3:5, 4:9] = np.nan
    hidden = rng.rand(clips, steps, height, width) < 0.2
    predicted_mask = np.where(rng.rand(*hidden.shape) < 0.8, hidden, ~hidden)
    predicted_flow = np.nan_to_num(flow) + rng.normal(0, 0.5, flow.shape)
    return Case(
        predicted.astype(np.float32),
        true.astype(np.float32),
        last.astype(np.float32),
        guess.astype(np.int64),
        labels.astype(np.int64),
        predicted_flow.astype(np.float32),
        flow.astype(np.float32),
        camera.astype(np.float32),
        predicted_mask,
        hidden,
    )


SMALL = pictures(64, 88) | {"astronaut, 97x120": shifted("astronaut", 97, 120)}
MULTISCALE = {f"{name}, 161x161": case for name, case in pictures(161, 161).items()} | {
    "astronaut, 176x184": shifted("astronaut", 176, 184),
    "astronaut, 512x1024": wide(),
}
PERCEPTUAL = {"astronaut, 64x64": shifted("astronaut", 64, 64), "coffee, 48x71": shifted("coffee", 48, 71)}
WORLD = {"world": world()}
WITHOUT_CAMERA = {"world without the camera's flow": replace(world(), camera_flow=None)}


def frame_metrics() -> list[str]:
    """Return the names of vpbench_metrics that compare single frames, without those of samples and of sets of clips."""
    excluded = ("vpbench_metrics.fvd", "vpbench_metrics.probabilistic", "vpbench_metrics.diversity")
    names: list[str] = []
    vpbench_metrics.register_metrics(
        lambda name, target, *, summary, default=False: target.startswith(excluded) or names.append(name)
    )
    return names
