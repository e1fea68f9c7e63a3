"""Measure in one clip the figures that the dataset promises: numbers from its truth alone.

Everything is read through the contract of a dataset, so the same code measures any dataset with the whole truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vpbench.plugin.dataset import Dataset
from vpbench_scenes.truth import SEEN_EARLIER

CONTEXT: Final = 4
HORIZON: Final = 5
_LEAST: Final = 24
"""Pixels of an object in a frame below which its motion is not measured."""

Array = NDArray[Any]


class Whole(Dataset, Protocol):
    """A dataset that also tells the kinds of dis-occlusion and tags its clips."""

    def disocclusion_kinds(self, sequence: str, context: list[int], frame: int) -> NDArray[np.uint8]:
        """See :meth:`vpbench_scenes.dataset.Scenes.disocclusion_kinds`."""

    def tags(self, sequence: str) -> frozenset[str]:
        """See :meth:`vpbench_scenes.dataset.Scenes.tags`."""


@dataclass(frozen=True)
class Track:
    """One object: its class, and per frame pair its motion (px, forward) relative to what surrounds it, [T-1,2].

    ``middle`` is the x of its visible pixels' mean, [T-1], ``scale`` its growth from frame to frame; NaN: not measured.
    """

    label: int
    motion: Array
    middle: Array
    scale: Array


@dataclass(frozen=True)
class Observation:
    """The numbers of one clip; shares are pairs (pixels that hold, pixels in all)."""

    tracks: tuple[Track, ...]
    tags: frozenset[str]
    jumps: tuple[int, int]
    """Pairs of neighbouring pixels across an object's boundary: flow differs by 1 px or more."""
    uncovered: float
    """Share of frame t+1 that is dis-occluded."""
    cumulated: float
    """Share of frame t+5 that the last context frame does not show."""
    kinds: tuple[int, int, int]
    """Dis-occluded pixels of t+1 to t+5 by kind: entering, seen earlier, never seen."""
    holes: tuple[int, int]
    """Connected dis-occluded regions at t+1 (4 pixels or more): those of two or more classes."""
    psnr: float
    """PSNR of the repeated last context frame, at t+5 (dB)."""
    veered: tuple[int, int]
    """Object pixels at t+5 that constant velocity puts wrong by more than 1 px."""
    coarse: float
    """Share of the last context frame's variance at wavelengths above 6 px."""
    smooth: tuple[float, int]
    """Summed warp error (of 255) where the picture is smooth and nothing is uncovered, and its pixels."""
    edges: tuple[float, int]
    """The same near surface boundaries and texture edges."""


def observe(dataset: Whole, sequence: str) -> Observation:
    """Measure one clip, of at least ``CONTEXT + HORIZON`` frames."""
    numbers = range(CONTEXT + HORIZON)
    last, end = CONTEXT - 1, CONTEXT + HORIZON - 1
    frames, semantics, instances, flow, hidden = (
        dataset.read(sequence, numbers, modality)
        for modality in ("frames", "semantics", "instances", "flow", "disocclusion")
    )
    context = list(range(CONTEXT))
    kinds = [dataset.disocclusion_kinds(sequence, context, f) for f in range(CONTEXT, end + 1)]
    counts = np.sum([np.bincount(k.ravel(), minlength=4) for k in kinds], axis=0)
    assert SEEN_EARLIER == 2
    warps = [_warp_error(frames[t], frames[t + 1], flow[t], hidden[t], semantics[t + 1]) for t in range(len(flow))]
    return Observation(
        tracks=tuple(_tracks(semantics, instances, flow)),
        tags=dataset.tags(sequence),
        jumps=_jumps(instances[1:], flow),
        uncovered=float(hidden[last].mean()),
        cumulated=float((kinds[-1] > 0).mean()),
        kinds=(int(counts[1]), int(counts[2]), int(counts[3])),
        holes=_holes(hidden[last], semantics[CONTEXT]),
        psnr=_psnr(frames[last], frames[end]),
        veered=_veered(dataset, sequence, instances[end], last, end),
        coarse=_coarse(frames[last]),
        smooth=(sum(w[0] for w in warps), sum(w[1] for w in warps)),
        edges=(sum(w[2] for w in warps), sum(w[3] for w in warps)),
    )


def changing(dataset: Dataset, sequence: str, frames: int) -> float:
    """Return the mean share of pixels that differ from the frame before by over .05 of the range (CDNet's area)."""
    pictures = dataset.read(sequence, range(frames), "frames").astype(np.float32) / 255
    return float((np.abs(pictures[1:] - pictures[:-1]).mean(-1) > 0.05).mean())


def _tracks(semantics: Array, instances: Array, flow: Array) -> Iterator[Track]:
    for number in np.unique(instances[instances > 0]):
        motion = np.full((len(flow), 2), np.nan)
        middle, scale = np.full(len(flow), np.nan), np.full(len(flow), np.nan)
        for t in range(len(flow)):
            rows, columns = np.nonzero(instances[t + 1] == number)
            if len(rows) < _LEAST:
                continue
            y0, y1, x0, x1 = max(rows.min() - 6, 0), rows.max() + 7, max(columns.min() - 6, 0), columns.max() + 7
            ids = instances[t + 1, y0:y1, x0:x1]
            around = ids == 0
            inside = ids == number
            vectors = flow[t, y0:y1, x0:x1]
            if around.sum() < _LEAST:
                continue
            motion[t] = np.median(vectors[around], axis=0) - vectors[inside].mean(axis=0)
            middle[t] = columns.mean()
            pairs = inside[:, 1:] & inside[:, :-1]
            growth = (vectors[:, 1:, 0] - vectors[:, :-1, 0])[pairs]
            scale[t] = 1.0 / (1.0 + float(np.median(growth))) if len(growth) else np.nan
        labels = semantics[instances == number]
        yield Track(int(np.bincount(labels).argmax()), motion, middle, scale)


def _jumps(instances: Array, flow: Array) -> tuple[int, int]:
    jumps = total = 0
    for axis in (1, 2):
        after, before = [slice(None)] * 3, [slice(None)] * 3
        after[axis], before[axis] = slice(1, None), slice(None, -1)
        boundary = instances[tuple(after)] != instances[tuple(before)]
        step = flow[tuple(after)] - flow[tuple(before)]
        jump = (step[..., 0] ** 2 + step[..., 1] ** 2) >= 1.0
        jumps += int((jump & boundary).sum())
        total += int(boundary.sum())
    return jumps, total


def _holes(hidden: Array, semantics: Array) -> tuple[int, int]:
    count, regions = cv2.connectedComponents(hidden.astype(np.uint8), connectivity=8)
    spans = total = 0
    for region in range(1, count):
        labels = semantics[regions == region]
        if len(labels) >= 4:
            total += 1
            spans += len(np.unique(labels)) > 1
    return spans, total


def _psnr(first: Array, second: Array) -> float:
    mse = float(((first.astype(np.float64) - second) ** 2).mean()) / 255**2
    return -10.0 * float(np.log10(max(mse, 1e-10)))


def _veered(dataset: Dataset, sequence: str, instances: Array, last: int, end: int) -> tuple[int, int]:
    """Compare where object pixels were with where they would come from at the velocity they had at the last frame."""
    objects = instances > 0
    now = dataset.read(sequence, [last, end], "flow")[0][objects]
    before = dataset.read(sequence, [last - 1, end], "flow")[0][objects]
    # Points p + now at frame `last` that moved by (now - before) into it: where constant velocity takes them.
    wrong = now + (end - last) * (now - before)
    return int(((wrong**2).sum(-1) > 1.0).sum()), int(objects.sum())


def _coarse(frame: Array) -> float:
    grey = frame.astype(np.float64).mean(-1)
    h, w = grey.shape
    window = np.hanning(h)[:, None] * np.hanning(w)
    grey = (grey - (grey * window).sum() / window.sum()) * window
    power = np.abs(np.fft.fft2(grey)) ** 2
    frequency = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w))
    return float(power[frequency < 1 / 6].sum() / max(power.sum(), 1e-12))


def _warp_error(
    before: Array, after: Array, flow: Array, hidden: Array, labels: Array
) -> tuple[float, int, float, int]:
    """Return the summed warp error and the pixels, first on smooth areas, then at edges, both outside dis-occlusion.

    Smooth: in the 5x5 pixels around, labels are one, the flow varies by under half a pixel and each channel of both
    frames by under 24 of 255.
    """
    h, w = hidden.shape
    x = (flow[..., 0] + np.arange(w, dtype=np.float32)).astype(np.float32)
    y = (flow[..., 1] + np.arange(h, dtype=np.float32)[:, None]).astype(np.float32)
    warped = cv2.remap(before.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = np.abs(warped - after).mean(-1)
    box = np.ones((5, 5), np.uint8)

    def spread(picture: Array) -> Array:
        picture = picture.astype(np.float32)
        change: Array = cv2.dilate(picture, box) - cv2.erode(picture, box)
        return np.asarray(change.reshape(h, w, -1).max(-1))

    smooth = (spread(labels) == 0) & (spread(flow) < 0.5) & (spread(after) < 24) & (spread(warped) < 24)
    visible = ~hidden & (x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)
    flat, edge = smooth & visible, ~smooth & visible
    return float(error[flat].sum()), int(flat.sum()), float(error[edge].sum()), int(edge.sum())
