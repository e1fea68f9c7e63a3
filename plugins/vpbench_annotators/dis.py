"""Optical flow by OpenCV's DIS (dense inverse search): no weights, some milliseconds per frame.

Kroeger, Timofte, Dai, Van Gool: Fast Optical Flow using Dense Inverse Search, ECCV 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vpbench.errors import DataError
from vpbench.plugin.annotator import AnnotatorInfo

__all__ = ["Dis", "Quality", "dis_flow"]

Quality = Literal["ultrafast", "fast", "medium"]
_PRESETS: Final[Mapping[Quality, int]] = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


class Dis:
    """Backward flow by DIS on 8-bit gray, from each sampled frame to the one before."""

    class Options(BaseModel):
        """How much work goes into the flow."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        quality: Quality = Field(default="medium", description="OpenCV's preset")

    presets: Final = {name: {"quality": name} for name in _PRESETS}
    info = AnnotatorInfo(gives="flow")

    def __init__(self, options: Options) -> None:
        self.options = options

    def annotate(self, window: Mapping[str, NDArray[Any]], clip: str) -> NDArray[np.float32]:
        """Return the flow, float32 [N-1,H,W,2] in pixels, of frames uint8 RGB [N,H,W,3].

        Raises:
            DataError: the frames are too small for DIS.
        """
        frames = window["frames"]
        flows = [dis_flow(frame, before, self.options.quality) for before, frame in pairwise(frames)]
        return np.stack(flows) if flows else np.zeros((0, *frames.shape[1:3], 2), np.float32)


def dis_flow(frame: NDArray[np.uint8], before: NDArray[np.uint8], quality: Quality = "medium") -> NDArray[np.float32]:
    """Return the backward flow, float32 [H,W,2]: pixel p of ``frame`` comes from p + flow(p) of ``before``.

    Args:
        frame: uint8 RGB [H,W,3].
        before: the frame before it, of the same size.
        quality: OpenCV's preset.

    Raises:
        DataError: the frames are too small for DIS (about 12 pixels).
    """
    dis = cv2.DISOpticalFlow.create(_PRESETS[quality])
    gray, gray_before = (cv2.cvtColor(np.ascontiguousarray(f), cv2.COLOR_RGB2GRAY) for f in (frame, before))
    try:
        return np.asarray(dis.calc(gray, gray_before, None), dtype=np.float32)
    except cv2.error as error:
        raise DataError(
            f"DIS finds no optical flow in frames of {frame.shape[0]}x{frame.shape[1]} ({error.err}); "
            f"use larger frames, or another flow"
        ) from error
