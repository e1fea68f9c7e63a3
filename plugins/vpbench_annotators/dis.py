"""Optical flow by OpenCV's DIS (dense inverse search): no weights, some milliseconds per frame.

Kroeger, Timofte, Dai, Van Gool: Fast Optical Flow using Dense Inverse Search, ECCV 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vpbench.plugin.annotator import AnnotatorInfo
from vpbench.toolkit.flow import QUALITIES, Quality, dis_flow


class Dis:
    """Backward flow by DIS on 8-bit gray, from each sampled frame to the one before."""

    class Options(BaseModel):
        """How much work goes into the flow."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        quality: Quality = Field(default="medium", description="OpenCV's preset")

    presets: Final = {name: {"quality": name} for name in QUALITIES}
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
