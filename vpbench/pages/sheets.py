"""Sheets of pictures: one WebP file per modality of a clip, and ``clip.json`` that describes them.

Same pictures, same bytes. Frames of more than ``_SMALL`` pixels are encoded with loss; labels, flow and masks never.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vpbench.clips.batch import Batch
from vpbench.files import write_atomic, write_errors
from vpbench.pages.films import SHOWN_SIDE, Film, Pictures, clip_films
from vpbench.plugin.clip import Prediction
from vpbench.protocol.units import Manifest, Unit
from vpbench.results.pictures import (
    DESCRIPTION,
    LONGEST_SIDE,
    ClipPictures,
    Kind,
    Sheet,
    pictures_folder,
    sheet_file,
    spread,
)

_SMALL = 160
"""Pixels of the longest side up to which frames are encoded without loss: they are enlarged for looking."""
_QUALITY, _ERROR_QUALITY = 82, 75


def sheet_columns(count: int, height: int, width: int) -> int:
    """Return the number of pictures in a row, such that a sheet of ``count`` fits into a WebP file.

    Returns:
        0 if no number does.
    """
    columns = min(count, LONGEST_SIDE // width)
    return columns if columns and -(-count // columns) * height <= LONGEST_SIDE else 0


def encode(film: Film, *, lossless: bool) -> tuple[Sheet, bytes]:
    """Return the sheet of a film and its file; pictures are halved until the sheet fits into one."""
    pictures = film.pictures
    count, height, width = pictures.shape[:3]
    while not (columns := sheet_columns(count, height, width)):
        pictures = pictures[:, ::2, ::2]
        height, width = pictures.shape[1:3]
    exact = lossless or film.exact or max(height, width) <= _SMALL
    quality = _ERROR_QUALITY if film.limit else _QUALITY
    options: dict[str, Any] = {"lossless": True, "method": 0} if exact else {"quality": quality, "method": 2}
    buffer = io.BytesIO()
    Image.fromarray(_grid(pictures, columns)).save(buffer, "WEBP", **options)
    sheet = Sheet(steps=film.steps, size=(height, width), columns=columns, limit=film.limit, legend=film.legend)
    return sheet, buffer.getvalue()


def _grid(pictures: Pictures, columns: int) -> Pictures:
    """Arrange pictures [T,H,W,3] row by row; places without one are white."""
    count, height, width = pictures.shape[:3]
    rows = -(-count // columns)
    grid = np.full((rows * columns, height, width, 3), 255, dtype=np.uint8)
    grid[:count] = pictures
    tiled = grid.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return tiled.reshape(rows * height, columns * width, 3)


def write_pictures(
    folder: Path, clip: str, films: Mapping[Kind, Film], *, full_size: bool, size: tuple[int, int]
) -> ClipPictures:
    """Write the pictures of a clip, in place of earlier ones; ``clip.json``, which completes them, comes last.

    Args:
        folder: the folder of the clip.
        clip: id of the clip.
        films: its pictures.
        full_size: whether they have the size of the frames.
        size: height and width of the frames.

    Raises:
        ResultError: a file cannot be written.
    """
    with write_errors(folder), suppress(FileNotFoundError):
        (folder / DESCRIPTION).unlink()
    sheets: dict[Kind, Sheet] = {}
    for kind, film in films.items():
        sheets[kind], data = encode(film, lossless=full_size)
        write_atomic(folder / sheet_file(kind), data)
    pictures = ClipPictures(clip=clip, size=size, full_size=full_size, sheets=sheets)
    text = json.dumps(pictures.to_json(), indent=1, ensure_ascii=False) + "\n"
    write_atomic(folder / DESCRIPTION, text)
    return pictures


def draw_clip(root: Path, batch: Batch, index: int, prediction: Prediction, *, full_size: bool) -> ClipPictures:
    """Draw one clip of a batch into its folder below ``root``, mostly that of a result.

    Raises:
        ResultError: a file cannot be written.
    """
    films = clip_films(batch, index, prediction, None if full_size else SHOWN_SIDE)
    height, width = batch.context.frames.shape[-2:]
    clip = batch.refs[index].id
    return write_pictures(pictures_folder(root, clip), clip, films, full_size=full_size, size=(height, width))


class PictureKeeper:
    """Keeps pictures of the first sample of ``count`` clips, spread evenly, in ``pictures/``."""

    def __init__(self, manifest: Manifest, count: int) -> None:
        self.clips = frozenset(spread([ref.id for ref in manifest.clips], count))

    def complete(self, result: Path, unit: Unit, samples: int) -> bool:
        """Return whether every chosen clip of a unit has its pictures."""
        folders = [pictures_folder(result, ref.id) for ref in unit.clips if ref.id in self.clips]
        return all((folder / DESCRIPTION).is_file() for folder in folders)

    def completes(self, name: str) -> bool:
        """Return whether a file describes the pictures of a clip."""
        return Path(name).name == DESCRIPTION

    def keep(self, result: Path, batch: Batch, prediction: Prediction, sample: int) -> None:
        """Draw the chosen clips of a batch."""
        for index, ref in enumerate(batch.refs):
            if sample == 0 and ref.id in self.clips:
                draw_clip(result, batch, index, prediction, full_size=False)
