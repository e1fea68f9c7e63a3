"""Read picture files as uint8 RGB, and refuse files that cannot become 8-bit frames without loss."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps

from vpbench.errors import DataError
from vpbench.toolkit.folders import regular_file
from vpbench.toolkit.processes import note

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
"""The formats of these suffixes. Pillow knows others that start programs or read further files."""
_PNG_DEPTH = 24
"""The byte of a PNG file that holds its bits per channel."""
_TIFF_DEPTHS = 258
"""The TIFF tag ``BitsPerSample``: one number per channel."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an 8-bit picture as uint8 RGB [H,W,3], turned as its EXIF data say.

    Pillow decodes, and not OpenCV: before version 5, OpenCV fills a truncated JPEG with grey without an error. Both
    return the same bytes for intact files.

    Raises:
        DataError: missing, no regular file, truncated, not decodable, of more than 8 bits, of several pictures, or with
            transparent pixels.
    """
    with _opened(path) as picture:
        _check_opaque(picture, path)
        return np.array(ImageOps.exif_transpose(picture).convert("RGB"), dtype=np.uint8)


def check_picture(path: Path) -> None:
    """Check from its header that a picture can be read; decodes no pixels.

    Raises:
        DataError: as :func:`read_image`, for what the header shows.
    """
    with _opened(path):
        pass


def stack(images: Sequence[NDArray[Any]], source: str) -> NDArray[Any]:
    """Stack pictures of one sequence.

    Raises:
        DataError: the sizes differ.
    """
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1:
        named = " and ".join(f"{w}x{h}" for h, w in sorted(sizes)[:2])
        raise DataError(f"{source}: the frame size changes within the sequence ({named})")
    return np.stack(images)


@contextmanager
def _opened(path: Path) -> Iterator[Pillow.Image]:
    """Open a picture and check its header. An exception of the codec, here or in the block, becomes a ``DataError``."""
    note(f"file {path}")
    try:
        data = regular_file(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        with Pillow.open(io.BytesIO(data), formats=_FORMATS) as picture:
            _check(picture, data, path)
            yield picture
    except DataError:
        raise
    except Exception as error:  # a codec may raise anything on broken data
        raise DataError(f"{path}: is not a picture that decodes ({len(data)} bytes); get the file again") from error


def _check(picture: Pillow.Image, data: bytes, path: Path) -> None:
    if (bits := _bits(picture, data)) > 8:
        raise DataError(f"{path}: has pixels of more than 8 bits ({bits} per channel); convert it to 8 bits")
    # An MPO is a photograph with a preview or a second view behind it: its first picture is the photograph.
    count = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
    if count > 1:
        raise DataError(
            f"{path}: holds {count} pictures, and a picture file is read as one frame; save each of them as a file "
            f"of its own, or all of them as a video"
        )


def _check_opaque(picture: Pillow.Image, path: Path) -> None:
    """Check that an alpha channel, if there is one, can be dropped without loss."""
    has_alpha = picture.getbands()[-1] in ("A", "a") or "transparency" in picture.info
    if has_alpha and picture.convert("RGBA").getchannel("A").getextrema()[0] != 255:
        raise DataError(f"{path}: has transparent pixels; save it without an alpha channel, on a background")


def _bits(picture: Pillow.Image, data: bytes) -> int:
    """Return the bits per channel that the file stores: a decoded array has 8 after a silent conversion, too."""
    if picture.format == "PNG":
        return data[_PNG_DEPTH]
    if picture.format == "TIFF":
        return int(max(picture.tag_v2.get(_TIFF_DEPTHS, (1,))))  # type: ignore[attr-defined]
    return 8
