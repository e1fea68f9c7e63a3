"""Optical flow by OpenCV's DIS (dense inverse search): no weights, some milliseconds per frame.

Kroeger, Timofte, Dai, Van Gool: Fast Optical Flow using Dense Inverse Search, ECCV 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from vpbench.errors import DataError

Quality = Literal["ultrafast", "fast", "medium"]
QUALITIES: Final[Mapping[Quality, int]] = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
"""OpenCV's presets by name."""
_SAFE_HEIGHT, _SAFE_RATIO = 32, 0.4
"""For lower and flatter frames, OpenCV takes the pyramid's levels from the width and reads out of bounds."""


def dis_flow(frame: NDArray[np.uint8], before: NDArray[np.uint8], quality: Quality = "medium") -> NDArray[np.float32]:
    """Return the backward flow, float32 [H,W,2], of uint8 RGB frames [H,W,3].

    Pixel p of ``frame`` comes from p + flow(p) of ``before``. Frames below 32 pixels that are more than 2.5 times as
    wide as high get copies of their last row.

    Raises:
        DataError: the frames are too small for DIS (about 12 pixels).
    """
    height, width = frame.shape[:2]
    dis = cv2.DISOpticalFlow.create(QUALITIES[quality])
    gray, gray_before = (cv2.cvtColor(np.ascontiguousarray(f), cv2.COLOR_RGB2GRAY) for f in (frame, before))
    if missing := max(min(_SAFE_HEIGHT, ceil(_SAFE_RATIO * width)) - height, 0):
        gray, gray_before = (np.pad(f, ((0, missing), (0, 0)), mode="edge") for f in (gray, gray_before))
    try:
        flow = dis.calc(gray, gray_before, None)  # type: ignore[call-overload]
    except cv2.error as error:
        raise DataError(
            f"DIS finds no optical flow in frames of {frame.shape[0]}x{frame.shape[1]} ({error.err}); "
            f"use larger frames, or another flow"
        ) from error
    return np.asarray(flow[:height], dtype=np.float32)
