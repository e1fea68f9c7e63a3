"""The pixel rule: crop and resize in uint8, the same for every dataset.

Frames are resized in uint8 by the library and filter that the protocol names, labels and ids with nearest neighbour,
flow bilinearly in float32 with its vectors scaled by the same factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vpbench.errors import DataError
from vpbench.plugin.clip import Modality
from vpbench.protocol.protocol import CentreCrop, PixelOp, Resize

__all__ = ["transform"]

_CV2 = {"cv2-linear": cv2.INTER_LINEAR, "cv2-area": cv2.INTER_AREA, "cv2-cubic": cv2.INTER_CUBIC}
_PIL = {"pil-bilinear": Image.Resampling.BILINEAR, "pil-bicubic": Image.Resampling.BICUBIC}


def transform(array: NDArray[Any], ops: Sequence[PixelOp], modality: Modality) -> NDArray[Any]:
    """Apply pixel operations to an array in a reader's layout ([N,H,W,...]) and return the same layout and dtype.

    Raises:
        DataError: a crop larger than the picture.
    """
    for op in ops:
        array = _crop(array, op) if isinstance(op, CentreCrop) else _resize(array, op, modality)
    return np.ascontiguousarray(array)


def _crop(array: NDArray[Any], op: CentreCrop) -> NDArray[Any]:
    height, width = array.shape[1:3]
    if op.size is not None:
        h, w = op.size
    else:
        assert op.fraction is not None
        h, w = round(height * op.fraction), round(width * op.fraction)
    if h > height or w > width or h < 1 or w < 1:
        raise DataError(f"a centre crop of {h}x{w} (HxW) does not fit frames of {height}x{width}")
    top, left = (height - h) // 2, (width - w) // 2
    return array[:, top : top + h, left : left + w]


def _resize(array: NDArray[Any], op: Resize, modality: Modality) -> NDArray[Any]:
    height, width = op.size
    old_height, old_width = array.shape[1:3]
    if (old_height, old_width) == (height, width):
        return array
    if not len(array):
        return np.empty((0, height, width, *array.shape[3:]), array.dtype)
    if modality == "frames":
        return np.stack([_resize_frame(frame, op) for frame in array])
    if modality in ("flow", "camera_flow"):
        scale = np.array([width / old_width, height / old_height], dtype=np.float32)
        return np.stack([cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) for flow in array]) * scale
    plain = array.astype(np.uint8) if array.dtype == np.bool_ else array
    ids = [cv2.resize(a, (width, height), interpolation=cv2.INTER_NEAREST) for a in plain]
    return np.stack(ids).astype(array.dtype)


def _resize_frame(frame: NDArray[np.uint8], op: Resize) -> NDArray[np.uint8]:
    height, width = op.size
    if op.filter in _CV2:
        return np.asarray(cv2.resize(frame, (width, height), interpolation=_CV2[op.filter]), dtype=np.uint8)
    return np.asarray(Image.fromarray(frame).resize((width, height), _PIL[op.filter]), dtype=np.uint8)
