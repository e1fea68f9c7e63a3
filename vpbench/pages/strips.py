"""Pictures of clips: one strip per clip, a column per frame, a row per modality.

Frames as they are; labels in their space's palette; flow in the usual colour wheel (Baker et al. 2011: hue is
direction, saturation is speed); masks white on black.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
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
from vpbench.pages.films import Film, clip_films, frame_pictures, label_pictures, mask_pictures
from vpbench.pages.numbers import step_text
from vpbench.plugin.clip import LabelSpace, Prediction
from vpbench.protocol.units import Manifest, Unit
from vpbench.results.pictures import Kind, spread
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
    return Row(title, [*[None] * before, *frame_pictures(frames, None)])


def labels_row(title: str, labels: Tensor, space: LabelSpace, before: int = 0) -> Row:
    """Make a row of label ids [T,H,W] or scores [T,C,H,W] in the palette of their space; 255 is black."""
    return Row(title, [*[None] * before, *label_pictures(labels, space, None)])


def flow_row(title: str, flow: Tensor, before: int = 0, *, fastest: float = 0.0) -> Row:
    """Make a row of flow [T,2,H,W]; the fastest pixel of the row, or ``fastest`` pixels, has full saturation."""
    scale = torch.zeros_like(flow[:1].float().cpu())
    scale[0, 0, 0, 0] = fastest  # a picture that only sets the scale of the wheel
    wheel = flow_to_image(torch.cat([flow.float().cpu(), scale])).permute(0, 2, 3, 1).numpy()[:-1]
    return Row(title, [*[None] * before, *wheel])


def mask_row(title: str, mask: Tensor, before: int = 0) -> Row:
    """Make a row of masks [T,H,W]."""
    return Row(title, [*[None] * before, *mask_pictures(mask, None)])


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
    return list(map(step_text, range(1 - context, horizon + 1)))


_TITLES: Mapping[Kind, str] = {
    "truth": "frames",
    "prediction": "predicted frames",
    "error": "error",
    "labels": "labels",
    "predicted-labels": "predicted labels",
    "flow": "flow",
    "predicted-flow": "predicted flow",
    "disocclusion": "dis-occluded",
    "predicted-disocclusion": "predicted new",
}
"""Titles of the rows, in their order."""


def films_strip(films: Mapping[Kind, Film]) -> Image.Image:
    """Draw the films of a clip: a row per modality, the context before the true frames."""
    context, steps = films["context"], [step for film in films.values() for step in film.steps]
    columns = range(min(steps), max(steps) + 1)
    rows = []
    for kind, title in _TITLES.items():
        if kind in films:
            pictures = dict(zip(films[kind].steps, films[kind].pictures, strict=True))
            if kind == "truth":
                pictures |= zip(context.steps, context.pictures, strict=True)
            rows.append(Row(title, [pictures.get(step) for step in columns]))
    return strip(list(map(step_text, columns)), rows)


class StripKeeper:
    """Keeps a strip of the first sample of ``count`` clips, spread evenly, in ``samples/``."""

    def __init__(self, manifest: Manifest, count: int) -> None:
        self.clips = frozenset(spread([ref.id for ref in manifest.clips], count))

    def complete(self, result: Path, unit: Unit, samples: int) -> bool:
        """Return whether every chosen clip of a unit has its strip."""
        return all(_path(result, ref.id).is_file() for ref in unit.clips if ref.id in self.clips)

    def completes(self, name: str) -> bool:
        """Return True: a strip is the only file of its clip."""
        return True

    def keep(self, result: Path, batch: Batch, prediction: Prediction, sample: int) -> None:
        """Draw the chosen clips of a batch."""
        for i, ref in enumerate(batch.refs):
            if sample == 0 and ref.id in self.clips:
                buffer = io.BytesIO()
                films_strip(clip_films(batch, i, prediction)).save(buffer, "PNG")
                write_atomic(_path(result, ref.id), buffer.getvalue())


def _path(result: Path, clip: str) -> Path:
    return result / "samples" / f"{file_stem(clip)}.png"
