"""Crop and resize arrays, the same for every dataset.

The protocol names the library and the filter for frames, which stay uint8. Labels and ids take the nearest pixel. Flow
is interpolated bilinearly in float32, and its vectors are scaled by the same factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vpbench.errors import DataError
from vpbench.plugin.modality import ModalitySpec
from vpbench.protocol.protocol import CentreCrop, PixelOp, Resize

_CV2 = {"cv2-linear": cv2.INTER_LINEAR, "cv2-area": cv2.INTER_AREA, "cv2-cubic": cv2.INTER_CUBIC}
_PIL = {
    "pil-bilinear": Image.Resampling.BILINEAR,
    "pil-bicubic": Image.Resampling.BICUBIC,
    "pil-lanczos": Image.Resampling.LANCZOS,
}


def transform(array: NDArray[Any], ops: Sequence[PixelOp], spec: ModalitySpec) -> NDArray[Any]:
    """Apply pixel operations to a modality's entries and return them in the same layout and dtype.

    Entries without pixels stay as they are.

    Raises:
        DataError: a crop is larger than the picture.
    """
    for op in ops if spec.pixels else ():
        array = _crop(array, op) if isinstance(op, CentreCrop) else _resize(array, op, spec)
    return np.ascontiguousarray(array)


def _crop(array: NDArray[Any], op: CentreCrop) -> NDArray[Any]:
    height, width = array.shape[1:3]
    h, w = op.output_size(height, width)
    if h > height or w > width or h < 1 or w < 1:
        raise DataError(f"a centre crop of {h}x{w} (HxW) does not fit frames of {height}x{width}")
    top, left = (height - h) // 2, (width - w) // 2
    return array[:, top : top + h, left : left + w]


def _resize(array: NDArray[Any], op: Resize, spec: ModalitySpec) -> NDArray[Any]:
    old_height, old_width = array.shape[1:3]
    height, width = op.output_size(old_height, old_width)
    if (old_height, old_width) == (height, width):
        return array
    if not len(array):
        return np.empty((0, height, width, *array.shape[3:]), array.dtype)
    if spec.pixels == "frames":
        return np.stack([_resize_entry(entry, op) for entry in array])
    if spec.pixels == "flow":
        scale = np.array([width / old_width, height / old_height], dtype=np.float32)
        return np.stack([cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) for flow in array]) * scale
    places = np.arange(old_height * old_width, dtype=np.int32).reshape(old_height, old_width)
    nearest = cv2.resize(places, (width, height), interpolation=cv2.INTER_NEAREST)
    return array.reshape(len(array), -1, *array.shape[3:])[:, nearest]


def _resize_entry(entry: NDArray[Any], op: Resize) -> NDArray[Any]:
    """Resize a frame, or anything else like it one channel at a time."""
    if entry.shape[2:] == (3,) and entry.dtype == np.uint8:
        return _resize_picture(entry, op)
    channels = np.moveaxis(entry.reshape(*entry.shape[:2], -1), -1, 0)
    resized = [_resize_picture(np.ascontiguousarray(channel), op) for channel in channels]
    return np.stack(resized, axis=-1).reshape(*resized[0].shape, *entry.shape[2:])


def _resize_picture(picture: NDArray[Any], op: Resize) -> NDArray[Any]:
    height, width = op.output_size(*picture.shape[:2])
    if op.filter in _CV2:
        return np.asarray(cv2.resize(picture, (width, height), interpolation=_CV2[op.filter]))
    return np.asarray(Image.fromarray(picture).resize((width, height), _PIL[op.filter]))
