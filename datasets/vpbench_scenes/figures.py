"""The figures that the dataset promises, each with its threshold, measured on a sample of clips.

A figure is a property of a set of clips that makes them a test of video prediction: classes that move differently,
holes with something behind them, futures that neither repeating nor constant velocity gets right.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vpbench.plugin.dataset import Finding
from vpbench_scenes.dataset import Options, Scenes
from vpbench_scenes.observe import CONTEXT, HORIZON, Observation, Track, changing, observe

_SENSE: Final[dict[str, Callable[[float, float], bool]]] = {">=": operator.ge, "<=": operator.le}
FRAMES: Final = CONTEXT + HORIZON
"""Frames of a clip that are looked at."""
_DIFFERENT: Final = 1.0
"""Mean difference of the last frames of two futures, of 255, above which they count as two."""
_LAGS: Final = 3
"""Past motions that a context of four frames shows."""


@dataclass(frozen=True)
class Figure:
    """One promise: ``value`` beside ``sense threshold`` (``>=`` or ``<=``) in ``unit``."""

    name: str
    value: float
    sense: str
    threshold: float
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether the promise is kept; NaN keeps none."""
        return bool(_SENSE[self.sense](self.value, self.threshold))

    def finding(self) -> Finding:
        """Return the figure as a line of ``vpbench data check``."""
        unit = f" {self.unit}" if self.unit else ""
        promised = "reported" if math.isinf(self.threshold) else f"{self.sense} {self.threshold:g}{unit}"
        return Finding(self.name, f"{self.value:.2f}{unit}", promised, self.holds)

    def __str__(self) -> str:
        mark = "yes" if self.holds else "NO"
        return f"{self.name:58s} {self.value:8.2f} {self.sense} {self.threshold:6.2f} {self.unit:4s} {mark}"


def table(dataset: Scenes, clips: Sequence[str]) -> list[Figure]:
    """Measure every figure.

    Args:
        dataset: at 192x256, the size the thresholds are given for, and of at least 9 frames.
        clips: names of its sequences; 64 give steady numbers.

    Returns:
        The figures of the clips; of the variant ``static`` at 64x96; class dynamics of the variant ``same-look``, for
        half of the clips; four branches of the first clips.
    """
    figures = figures_of([observe(dataset, clip) for clip in clips])
    static = Options(size=(64, 96), variant="static", **_counts(dataset))
    figures += changing_area(Scenes(options=static), clips)
    uniform = Scenes(options=dataset.options.model_copy(update={"variant": "same-look"}))
    gain = class_dynamics([observe(uniform, clip) for clip in clips[: len(clips) // 2]])
    figures.append(Figure("class dynamics where all classes look alike: gain", gain, ">=", 20.0, "%"))
    return [*figures, branching(dataset, clips[:8])]


def _counts(dataset: Scenes) -> dict[str, int]:
    return dataset.options.model_dump(include={"train", "val", "test"})


def figures_of(observations: Sequence[Observation]) -> list[Figure]:
    """Return the figures of observed clips."""

    def mean(values: Sequence[float]) -> float:
        return float(np.mean(values)) if len(values) else float("nan")

    def percent(pairs: Sequence[tuple[float, float]]) -> float:
        part, whole = np.sum(pairs, axis=0)
        return 100.0 * float(part / whole) if whole else float("nan")

    meetings = [_meeting(o.tracks) for o in observations]
    speeds = np.concatenate([np.hypot(*t.motion.T) for o in observations for t in o.tracks] or [np.zeros(0)])
    speeds = speeds[np.isfinite(speeds)]
    scales = np.concatenate([t.scale for o in observations for t in o.tracks] or [np.zeros(0)])
    scales = scales[np.isfinite(scales)]
    opposite, cross = (100.0 * mean([m[k] for m in meetings]) for k in (0, 1))
    veered = percent([o.veered for o in observations])
    complex_ = 100.0 * mean(["complex" in o.tags for o in observations])
    kinds = [(o.kinds[1], sum(o.kinds)) for o in observations]
    return [
        Figure("class dynamics: gain over a pooled linear predictor", class_dynamics(observations), ">=", 20.0, "%"),
        Figure("clips with two of one class in opposite directions", opposite, ">=", 20.0, "%"),
        Figure("clips in which such two cross", cross, ">=", 5.0, "%"),
        Figure("relative motion, 10th percentile", _percentile(speeds, 10), ">=", 0.5, "px"),
        Figure("relative motion, 90th percentile", _percentile(speeds, 90), "<=", 6.0, "px"),
        Figure("growth per frame, 1st percentile", _percentile(scales, 1), ">=", 0.9, ""),
        Figure("growth per frame, 99th percentile", _percentile(scales, 99), "<=", 1.1, ""),
        Figure("object boundary where flow jumps by 1 px", percent([o.jumps for o in observations]), ">=", 50.0, "%"),
        Figure("dis-occluded at t+1", 100 * mean([o.uncovered for o in observations]), ">=", 3.0, "%"),
        Figure("dis-occluded at t+5, cumulated", 100 * mean([o.cumulated for o in observations]), ">=", 10.0, "%"),
        Figure("dis-occluded area that was visible earlier in the context", percent(kinds), ">=", 15.0, "%"),
        Figure("holes that span two classes", percent([o.holes for o in observations]), ">=", 30.0, "%"),
        Figure("clips with a plain background", 100.0 - complex_, ">=", 20.0, "%"),
        Figure("clips with a complex background", complex_, ">=", 20.0, "%"),
        Figure("PSNR of repeat at t+5", mean([o.psnr for o in observations]), "<=", 22.0, "dB"),
        Figure("object pixels off by 1 px at constant velocity, t+5", veered, ">=", 30.0, "%"),
        Figure("picture energy above 6 px wavelength", 100 * mean([o.coarse for o in observations]), ">=", 50.0, "%"),
        Figure("warp error on smooth areas, of 255", percent([o.smooth for o in observations]) / 100, "<=", 1.0, ""),
        Figure("warp error at edges, of 255", percent([o.edges for o in observations]) / 100, "<=", math.inf, ""),
    ]  # fmt: skip


def class_dynamics(observations: Sequence[Observation]) -> float:
    """Return by how many per cent a linear predictor per class beats one for all, in end-point error.

    Both map an object's last three motions to its next, one weight per lag for both components, fitted by least squares
    on every other clip and tested on the rest, then the other way round.
    """
    tracks = [(i % 2, track) for i, o in enumerate(observations) for track in o.tracks]
    rows = [(half, track.label, *window) for half, track in tracks for window in _windows(track)]
    if not rows:
        return float("nan")
    half, label = (np.array([r[k] for r in rows]) for k in (0, 1))
    past, future = np.array([r[2] for r in rows]), np.array([r[3] for r in rows])  # [N,3,2], [N,2]
    errors = {"class": 0.0, "pooled": 0.0}
    for test in (0, 1):
        for name in np.unique(label):
            tested = (half == test) & (label == name)
            for kind, fitted in (("class", (half != test) & (label == name)), ("pooled", half != test)):
                if fitted.sum() < 8:
                    fitted = half != test
                weights = _fit(past[fitted], future[fitted])
                miss = np.einsum("nlc,l->nc", past[tested], weights) - future[tested]
                errors[kind] += float(np.hypot(*miss.T).sum())
    return 100.0 * (1.0 - errors["class"] / errors["pooled"]) if errors["pooled"] else float("nan")


def _windows(track: Track) -> list[tuple[np.ndarray, np.ndarray]]:
    motion = track.motion
    out = []
    for t in range(_LAGS, len(motion)):
        if np.isfinite(motion[t - _LAGS : t + 1]).all():
            out.append((motion[t - _LAGS : t], motion[t]))
    return out


def _fit(past: np.ndarray, future: np.ndarray) -> np.ndarray:
    inputs = past.transpose(0, 2, 1).reshape(-1, _LAGS)
    weights, *_ = np.linalg.lstsq(inputs, future.reshape(-1), rcond=None)
    return np.asarray(weights)


def _meeting(tracks: Sequence[Track]) -> tuple[bool, bool]:
    """Return whether two objects of one class move in opposite directions, and whether two such pass each other."""
    opposite = cross = False
    for i, first in enumerate(tracks):
        for second in tracks[:i]:
            if first.label != second.label:
                continue
            shared = np.isfinite(first.middle) & np.isfinite(second.middle)
            a, b = first.motion[shared, 0], second.motion[shared, 0]
            if not len(a) or not ((np.minimum(a, b) <= -0.5) & (np.maximum(a, b) >= 0.5)).any():
                continue
            opposite = True
            distance = (first.middle - second.middle)[shared]
            cross |= bool((distance > 0).any() and (distance < 0).any())
    return opposite, cross


def _percentile(values: np.ndarray, at: float) -> float:
    return float(np.percentile(values, at)) if len(values) else float("nan")


def changing_area(static: Scenes, clips: Sequence[str]) -> list[Figure]:
    """Return the figures of the fixed camera: the share of pixels that change from frame to frame."""
    areas = [100.0 * changing(static, clip, FRAMES - 1) for clip in clips]
    name = "fixed camera: changing area"
    return [
        Figure(f"{name}, 10th percentile of clips", _percentile(np.array(areas), 10), ">=", 5.0, "%"),
        Figure(f"{name}, 90th percentile of clips", _percentile(np.array(areas), 90), "<=", 25.0, "%"),
    ]


def branching(dataset: Scenes, clips: Sequence[str], branches: int = 4) -> Figure:
    """Return in how many ways every context is continued: equal to the byte before, visibly different at the end."""
    fewest = branches
    for clip in clips:
        contexts: set[bytes] = set()
        futures: list[NDArray[np.int16]] = []
        for branch in range(branches):
            options = dataset.options.model_copy(update={"branch": branch, "branch_at": CONTEXT})
            frames = Scenes(options=options).read(clip, range(FRAMES), "frames")
            contexts.add(frames[:CONTEXT].tobytes())
            last = frames[-1].astype(np.int16)
            if all(np.abs(last - future).mean() > _DIFFERENT for future in futures):
                futures.append(last)
        fewest = min(fewest, len(futures) if len(contexts) == 1 else 0)
    return Figure("different futures of one context", float(fewest), ">=", 4.0, "")
