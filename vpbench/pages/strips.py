"""Pictures of clips: one strip per clip, a column per frame, a row per modality.

Frames as they are; labels in their space's palette; flow in the usual colour wheel (Baker et al. 2011: hue is
direction, saturation is speed); masks white on black.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.utils import flow_to_image

from vpbench.clips.batch import Batch
from vpbench.files import write_atomic
from vpbench.plugin.clip import IGNORE, LabelSpace, Prediction
from vpbench.protocol.units import Manifest, Unit
from vpbench.toolkit.file_names import file_stem

Picture = NDArray[np.uint8]
_MARGIN, _LINE = 2, 14


@dataclass(frozen=True)
class Row:
    """One row of a strip: pictures uint8 [H,W,3] by column; columns without one stay empty."""

    title: str
    pictures: Sequence[Picture | None]


def frames_row(title: str, frames: Tensor, before: int = 0) -> Row:
    """Make a row of frames [T,3,H,W] in [0,1], after ``before`` empty columns."""
    pictures = (frames.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return Row(title, [*[None] * before, *pictures])


def labels_row(title: str, labels: Tensor, space: LabelSpace, before: int = 0) -> Row:
    """Make a row of label ids [T,H,W] or scores [T,C,H,W] in the palette of their space; 255 is black."""
    labels = labels.argmax(dim=1) if labels.ndim == 4 else labels
    table = np.zeros((IGNORE + 1, 3), dtype=np.uint8)
    table[: len(space)] = space.palette
    return Row(title, [*[None] * before, *table[labels.cpu().numpy()]])


def flow_row(title: str, flow: Tensor, before: int = 0, *, fastest: float = 0.0) -> Row:
    """Make a row of flow [T,2,H,W]; the fastest pixel of the row, or ``fastest`` pixels, has full saturation."""
    scale = torch.zeros_like(flow[:1].float().cpu())
    scale[0, 0, 0, 0] = fastest  # a picture that only sets the scale of the wheel
    wheel = flow_to_image(torch.cat([flow.float().cpu(), scale])).permute(0, 2, 3, 1).numpy()[:-1]
    return Row(title, [*[None] * before, *wheel])


def mask_row(title: str, mask: Tensor, before: int = 0) -> Row:
    """Make a row of masks [T,H,W]."""
    return Row(title, [*[None] * before, *np.repeat(mask.byte().cpu().numpy()[..., None] * np.uint8(255), 3, axis=3)])


def strip(heads: Sequence[str], rows: Sequence[Row], *, least: int = 64) -> Image.Image:
    """Draw rows of pictures of one size under the heads of their columns.

    Pictures with a side below ``least`` are enlarged by a whole factor, nearest neighbour.
    """
    first = next(p for row in rows for p in row.pictures if p is not None)
    factor = max(1, -(-least // min(first.shape[:2])))
    height, width = first.shape[0] * factor, first.shape[1] * factor
    margin = 8 + max(int(ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength(row.title)) for row in rows)
    size = (margin + len(heads) * (width + _MARGIN), _LINE + len(rows) * (height + _MARGIN))
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for x, head in enumerate(heads):
        draw.text((margin + x * (width + _MARGIN) + 2, 1), head, fill="black")
    for y, row in enumerate(rows):
        top = _LINE + y * (height + _MARGIN)
        draw.text((4, top + height // 2 - 6), row.title, fill="black")
        for x, picture in enumerate(row.pictures):
            if picture is not None:
                enlarged = Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST)
                image.paste(enlarged, (margin + x * (width + _MARGIN), top))
    return image


def column_heads(context: int, horizon: int) -> list[str]:
    """Return the head of each column: ``t-1``, ``t``, ``t+1``, ..."""
    return [f"t{k:+d}" if k else "t" for k in range(1 - context, horizon + 1)]


def clip_strip(batch: Batch, index: int, prediction: Prediction | None) -> Image.Image:
    """Draw one clip of a batch: context, truth and prediction of every modality that it has."""
    context, future = batch.context, batch.future
    count = context.frames.shape[1]
    heads = column_heads(count, batch.horizon)

    def future_row(row: Row) -> Row:
        pictures: list[Picture | None] = [None] * len(heads)
        for step, picture in zip(future.steps, row.pictures, strict=True):
            pictures[count + step - 1] = picture
        return Row(row.title, pictures)

    truth = future_row(frames_row("", future.frames[index]))
    past = frames_row("", context.frames[index])
    rows = [Row("frames", [*past.pictures, *truth.pictures[count:]])]
    if prediction is not None and prediction.frames is not None:
        rows.append(frames_row("predicted frames", prediction.frames[index], count))
        error = (prediction.frames[index][[k - 1 for k in future.steps]] - future.frames[index]).abs()
        rows.append(future_row(frames_row("error", error)))
    if future.semantics is not None and future.label_space is not None:
        rows.append(future_row(labels_row("labels", future.semantics[index], future.label_space)))
    space = (prediction.label_space if prediction else None) or context.label_space
    if prediction is not None and prediction.semantics is not None and space is not None:
        rows.append(labels_row("predicted labels", prediction.semantics[index], space, count))
    flows = [f[index] for f in (future.flow, prediction.flow if prediction else None) if f is not None]
    fastest = max((float(torch.linalg.vector_norm(f, dim=1).max()) for f in flows), default=0.0)
    if future.flow is not None:
        rows.append(future_row(flow_row("flow", future.flow[index], fastest=fastest)))
    if prediction is not None and prediction.flow is not None:
        rows.append(flow_row("predicted flow", prediction.flow[index], count, fastest=fastest))
    if future.disocclusion is not None:
        rows.append(future_row(mask_row("dis-occluded", future.disocclusion[index])))
    if prediction is not None and prediction.disocclusion is not None:
        rows.append(mask_row("predicted new", prediction.disocclusion[index], count))
    return strip(heads, rows)


class PictureKeeper:
    """Keeps a strip of the first sample of ``count`` clips, spread evenly, in ``samples/``."""

    def __init__(self, manifest: Manifest, count: int) -> None:
        ids = [ref.id for ref in manifest.clips]
        count = min(count, len(ids))
        self.clips = frozenset(ids[i * len(ids) // count] for i in range(count))

    def complete(self, result: Path, unit: Unit, samples: int) -> bool:
        """Return whether every chosen clip of a unit has its strip."""
        return all(_path(result, ref.id).is_file() for ref in unit.clips if ref.id in self.clips)

    def keep(self, result: Path, batch: Batch, prediction: Prediction, sample: int) -> None:
        """Draw the chosen clips of a batch."""
        for i, ref in enumerate(batch.refs):
            if sample == 0 and ref.id in self.clips:
                buffer = io.BytesIO()
                clip_strip(batch, i, prediction).save(buffer, "PNG", optimize=True)
                write_atomic(_path(result, ref.id), buffer.getvalue())


def _path(result: Path, clip: str) -> Path:
    return result / "samples" / f"{file_stem(clip)}.png"
