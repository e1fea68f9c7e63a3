"""Label spaces of driving scenes and of Pascal VOC, mappings between them, labels of scores, and class boundaries.

A dataset, an annotator and a predictor that name the same space agree on ids, names and colours without importing each
other. Id 255 is ignored in every space.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vpbench.plugin.clip import IGNORE, LabelSpace

_DRIVING: Final = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
    "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
_DRIVING_PALETTE: Final = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
    (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0),
    (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
_VOC: Final = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

MOVING: Final = _DRIVING[11:]
"""Names of the eight classes whose objects move, from person to bicycle."""
_MERGED: Final = tuple(MOVING.index(name) + 1 if name in MOVING else 0 for name in _DRIVING)
_FOREGROUND: Final = tuple(int(name in MOVING) for name in _DRIVING)


def _voc_colour(label: int) -> tuple[int, int, int]:
    """Spread a label's bits over R, G and B, highest bit of a channel first (``VOClabelcolormap.m``)."""
    channels = [0, 0, 0]
    for place in range(7, -1, -1):
        for channel in range(3):
            channels[channel] |= (label >> channel & 1) << place
        label >>= 3
    return channels[0], channels[1], channels[2]


FOREGROUND2: Final = LabelSpace(
    name="foreground2", names=("background", "foreground"), palette=((0, 0, 0), (255, 255, 255))
)
"""Objects of any class, and the rest."""

VOC21: Final = LabelSpace(
    name="voc21",
    names=_VOC,
    palette=tuple(_voc_colour(label) for label in range(21)),
    into={FOREGROUND2.name: (0, *(1 for _ in _VOC[1:]))},
)
"""Everingham et al., The PASCAL Visual Object Classes Challenge 2012."""

CITYSCAPES9: Final = LabelSpace(
    name="cityscapes9",
    names=("static", *MOVING),
    palette=(_DRIVING_PALETTE[2], *_DRIVING_PALETTE[11:]),
    into={FOREGROUND2.name: (0, *(1 for _ in MOVING))},
)
"""SADM's merge (supplement 6.2): the 12 static classes of cityscapes20 become one, the 8 moving ones stay."""

CITYSCAPES20: Final = LabelSpace(
    name="cityscapes20",
    names=(*_DRIVING, "void"),
    palette=(*_DRIVING_PALETTE, (0, 0, 0)),
    into={"cityscapes9": (*_MERGED, 0), "cityscapes19": (*range(19), IGNORE), "foreground2": (*_FOREGROUND, 0)},
)
"""The 19 train ids and void, as SADM's segmentation network predicts them: 12 static classes with void, 8 moving."""

CITYSCAPES19: Final = LabelSpace(
    name="cityscapes19",
    names=_DRIVING,
    palette=_DRIVING_PALETTE,
    into={"cityscapes9": _MERGED, "cityscapes20": tuple(range(19)), "foreground2": _FOREGROUND},
)
"""Train ids of Cordts et al., CVPR 2016 (cityscapesScripts ``labels.py``)."""

LABEL_SPACES: Final[Mapping[str, LabelSpace]] = {
    space.name: space for space in (CITYSCAPES9, CITYSCAPES20, CITYSCAPES19, VOC21, FOREGROUND2)
}
"""Every label space of this module by its name."""


def likeliest(scores: Float[Tensor, "*any c h w"]) -> Int64[Tensor, "*any h w"]:
    """Return the class with the highest score at each pixel; of equal scores, the first. Scores are finite.

    ``scores.argmax(dim=-3)`` returns the same, but takes four times as long on a CPU (``benchmarks/sadm.py``).
    """
    if scores.device.type != "cpu":
        return scores.argmax(dim=-3)
    highest = scores.amax(dim=-3)
    labels = torch.zeros(highest.shape, dtype=torch.int64)
    for label in reversed(range(scores.shape[-3])):
        labels.masked_fill_(scores.select(-3, label) == highest, label)
    return labels


def boundaries(labels: Int64[Tensor, "*any h w"]) -> Bool[Tensor, "*any h w"]:
    """Mark pixels whose class differs from that of a pixel above, below, left or right; 255 differs from nothing."""
    marked = torch.zeros_like(labels, dtype=torch.bool)
    for axis in (-2, -1):
        size = labels.shape[axis] - 1
        first, second = labels.narrow(axis, 0, size), labels.narrow(axis, 1, size)
        differ = (first != second) & (first != IGNORE) & (second != IGNORE)
        marked.narrow(axis, 0, size).logical_or_(differ)
        marked.narrow(axis, 1, size).logical_or_(differ)
    return marked
