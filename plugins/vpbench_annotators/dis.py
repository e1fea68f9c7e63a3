"""Optical flow by OpenCV's DIS (dense inverse search): no weights, some milliseconds per frame.

Kroeger, Timofte, Dai, Van Gool: Fast Optical Flow using Dense Inverse Search, ECCV 2016.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vpbench.plugin.annotator import AnnotatorInfo
from vpbench.toolkit.flow import QUALITIES, Quality, dis_flow
from vpbench_annotators.inference import map_threads


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

    def annotate(self, window: Mapping[str, NDArray[Any]], clips: Sequence[str], device: str) -> NDArray[np.float32]:
        """Return the flow, float32 [B,H,W,2] in pixels, of pairs of frames uint8 RGB [B,2,H,W,3]; runs on the CPU.

        Raises:
            DataError: the frames are too small for DIS.
        """
        return np.stack(map_threads(lambda pair: dis_flow(pair[1], pair[0], self.options.quality), window["frames"]))
