"""A plugin: masks of what stands out in a picture, by OpenCV's GrabCut, for clips that nobody labelled."""

from __future__ import annotations

import cv2
import numpy as np

from vpbench import hookimpl
from vpbench.plugin.annotator import AnnotatorInfo
from vpbench.toolkit.labels import FOREGROUND2


@hookimpl
def register_annotators(register):
    register("grabcut", f"{__name__}:GrabCut", summary="what stands out in the middle of the frame, by GrabCut")


class GrabCut:
    """The middle of the frame against its border (Rother, Kolmogorov, Blake 2004)."""

    info = AnnotatorInfo(gives="semantics", label_space=FOREGROUND2)

    def annotate(self, window, clips, device):
        return np.stack([self._mask(frame) for frame in window["frames"][:, 0]])

    def _mask(self, frame):
        height, width = frame.shape[:2]
        cv2.setRNGSeed(0)
        mask = np.zeros((height, width), np.uint8)
        middle = (width // 8, height // 8, width * 3 // 4, height * 3 // 4)
        cv2.grabCut(frame, mask, middle, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_RECT)
        return (mask & 1).astype(np.uint8)
