"""Films of a clip: the pictures of one modality at its steps, scaled for looking.

Frames as they are. Labels in their space's palette. Flow in the usual colour wheel: hue is direction, saturation is
speed. Masks white on black. Errors from black over red to yellow, on one scale for every predictor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.utils import flow_to_image

from vpbench.clips.batch import Batch
from vpbench.plugin.clip import IGNORE, LabelSpace, Prediction
from vpbench.results.pictures import Kind, LegendEntry

SHOWN_SIDE = 512
"""Pixels of the longest side of a picture; larger ones are scaled down."""
ERROR_LIMIT = 0.5
"""Mean absolute error over the channels, on [0,1], that has the strongest colour."""
_FAST = 99
"""Percentile of the true speeds that has full saturation, so that a few fast pixels do not fade all others."""

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Film:
    """Pictures uint8 [T,H,W,3] of one modality."""

    pictures: Pictures
    steps: tuple[int, ...]
    """The step of each picture: 1 is t+1, 0 the last context frame."""
    limit: float = 0.0
    """The value of the strongest colour, for errors and flow."""
    legend: tuple[LegendEntry, ...] = ()
    exact: bool = False
    """Whether colours have a meaning, so that they must be encoded without loss."""


def clip_films(
    batch: Batch, index: int, prediction: Prediction | None, side: int | None = SHOWN_SIDE
) -> dict[Kind, Film]:
    """Return the films of one clip of a batch: context, truth and prediction of every modality that it has.

    Args:
        batch: the clip and its truth, at the scored steps.
        index: place of the clip in the batch.
        prediction: of the batch; None to draw the truth alone.
        side: pixels of the longest side; None for the full size.
    """
    context, future = batch.context, batch.future
    steps = future.steps
    past = tuple(range(1 - context.frames.shape[1], 1))
    films: dict[Kind, Film] = {
        "context": Film(frame_pictures(context.frames[index], side), past),
        "truth": Film(frame_pictures(future.frames[index], side), steps),
    }
    if future.semantics is not None and future.label_space is not None:
        films["labels"] = _labels(future.semantics[index], future.label_space, steps, side)
    fast = 0.0
    if future.flow is not None:
        films["flow"] = _flow(future.flow[index], steps, side)
        fast = films["flow"].limit
    if future.disocclusion is not None:
        films["disocclusion"] = Film(mask_pictures(future.disocclusion[index], side), steps, exact=True)
    if prediction is not None:
        films |= predicted_films(prediction, index, side, fast=fast, space=context.label_space)
        if prediction.frames is not None:
            predicted = prediction.frames[index][[step - 1 for step in steps]]
            films["error"] = Film(error_pictures(predicted, future.frames[index], side), steps, limit=ERROR_LIMIT)
    return films


def predicted_films(
    prediction: Prediction, index: int, side: int | None, *, fast: float = 0.0, space: LabelSpace | None = None
) -> dict[Kind, Film]:
    """Return the films of a prediction alone.

    Args:
        prediction: of a batch.
        index: place of the clip in the batch.
        side: pixels of the longest side; None for the full size.
        fast: speed of full saturation, in pixels per frame; 0 to choose it from the predicted flow.
        space: label space of a prediction that names none.
    """
    films: dict[Kind, Film] = {}
    steps = tuple(range(1, 1 + max((tensor.shape[1] for tensor in prediction.tensors().values()), default=0)))
    space = prediction.label_space or space
    if prediction.frames is not None:
        films["prediction"] = Film(frame_pictures(prediction.frames[index], side), steps)
    if prediction.semantics is not None and space is not None:
        films["predicted-labels"] = _labels(prediction.semantics[index], space, steps, side)
    if prediction.flow is not None:
        films["predicted-flow"] = _flow(prediction.flow[index], steps, side, fast)
    if prediction.disocclusion is not None:
        films["predicted-disocclusion"] = Film(mask_pictures(prediction.disocclusion[index], side), steps, exact=True)
    return films


def frame_pictures(frames: Tensor, side: int | None) -> Pictures:
    """Return pictures of frames [T,3,H,W] in [0,1]."""
    levels = (_pooled(frames, side).clamp(0, 1) * 255).round().byte()
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def error_pictures(predicted: Tensor, true: Tensor, side: int | None) -> Pictures:
    """Return pictures of the mean absolute error over the channels of frames [T,3,H,W]."""
    error = torch.cat([_pooled((p - t).abs_()[None], side).mean(dim=1) for p, t in zip(predicted, true, strict=True)])
    levels = ((error / ERROR_LIMIT).clamp(0, 1) * 255).round().byte().cpu().numpy()
    colours = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    return np.asarray(colours[levels], dtype=np.uint8)


def mask_pictures(mask: Tensor, side: int | None) -> Pictures:
    """Return pictures of masks [T,H,W]: white where true."""
    levels = _nearest(mask, side).byte().cpu().numpy() * np.uint8(255)
    return np.repeat(levels[..., None], 3, axis=3)


def label_pictures(labels: Tensor, space: LabelSpace, side: int | None) -> Pictures:
    """Return pictures of label ids [T,H,W] or scores [T,C,H,W] in the palette of their space; 255 is black."""
    return _palette(space)[_label_ids(labels, side)]


def _labels(labels: Tensor, space: LabelSpace, steps: Sequence[int], side: int | None) -> Film:
    ids = _label_ids(labels, side)
    present = [i for i in np.unique(ids).tolist() if i < len(space)]
    legend = tuple(LegendEntry(name=space.names[i], colour=space.palette[i]) for i in present)
    return Film(_palette(space)[ids], tuple(steps), legend=legend, exact=True)


def _label_ids(labels: Tensor, side: int | None) -> NDArray[np.uint8]:
    small = _nearest(labels, side)
    return (small.argmax(dim=1) if labels.ndim == 4 else small).to(torch.uint8).cpu().numpy()


def _palette(space: LabelSpace) -> NDArray[np.uint8]:
    table = np.zeros((IGNORE + 1, 3), dtype=np.uint8)
    table[: len(space)] = space.palette
    return table


def _flow(flow: Tensor, steps: Sequence[int], side: int | None, fast: float = 0.0) -> Film:
    """Draw flow [T,2,H,W]; faster pixels than ``fast`` have its colour."""
    vectors = _pooled(flow, side).float().cpu()
    speeds = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    fast = fast or max(float(np.percentile(speeds.numpy(), _FAST)), 1e-3)
    cut = vectors / (speeds / fast).clamp(min=1)
    scale = torch.zeros_like(cut[:1])
    scale[0, 0, 0, 0] = fast  # a picture that only sets the scale of the wheel
    wheel = flow_to_image(torch.cat([cut, scale])).permute(0, 2, 3, 1).contiguous().numpy()[:-1]
    return Film(wheel, tuple(steps), limit=fast, exact=True)


def shown_size(height: int, width: int, side: int | None) -> tuple[int, int]:
    """Return the height and width of pictures none of which is longer than ``side``; the same for None."""
    if side is None or max(height, width) <= side:
        return height, width
    factor = side / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def _pooled(arrays: Tensor, side: int | None) -> Tensor:
    """Scale arrays [T,C,H,W] down: each pixel is the mean of those below it."""
    size = shown_size(arrays.shape[-2], arrays.shape[-1], side)
    return arrays if size == tuple(arrays.shape[-2:]) else interpolate(arrays.float(), size, mode="area")


def _nearest(arrays: Tensor, side: int | None) -> Tensor:
    """Scale arrays [...,H,W] down: each pixel is one of those below it."""
    height, width = arrays.shape[-2:]
    rows, columns = (
        torch.arange(new, device=arrays.device) * old // new
        for old, new in zip((height, width), shown_size(height, width, side), strict=True)
    )
    return arrays[..., rows, :][..., columns]
