"""The label spaces of Pascal VOC: its 21 classes, and foreground against background."""

from __future__ import annotations

from typing import Final

from vpbench.plugin.clip import LabelSpace

__all__ = ["FOREGROUND2", "VOC21"]

_NAMES: Final = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def _colour(label: int) -> tuple[int, int, int]:
    """Return VOC's colour: from the lowest, each three bits of the label give R, G and B a bit, from the highest.

    The rule is that of ``VOClabelcolormap.m`` in the VOC development kit.
    """
    channels = [0, 0, 0]
    for place in range(7, -1, -1):
        for channel in range(3):
            channels[channel] |= (label >> channel & 1) << place
        label >>= 3
    return channels[0], channels[1], channels[2]


FOREGROUND2: Final = LabelSpace(
    name="foreground2", names=("background", "foreground"), palette=((0, 0, 0), (255, 255, 255))
)
"""Anything that is an object of some class, and the rest."""

VOC21: Final = LabelSpace(
    name="voc21",
    names=_NAMES,
    palette=tuple(_colour(label) for label in range(21)),
    into={"foreground2": (0, *(1 for _ in _NAMES[1:]))},
)
"""Everingham et al., The PASCAL Visual Object Classes Challenge 2012; 255 is ignored."""
