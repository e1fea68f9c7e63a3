"""The label spaces of Cityscapes with their mappings, and the official table from label ids to train ids."""

from __future__ import annotations

from typing import Final

from vpbench.plugin.clip import IGNORE, LabelSpace

__all__ = ["CITYSCAPES9", "CITYSCAPES19", "CITYSCAPES20", "MOVING", "TRAIN_IDS"]

_NAMES: Final = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
    "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
_PALETTE: Final = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
    (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0),
    (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip

MOVING: Final = range(11, 19)
"""Train ids of the eight classes whose objects move."""
_MERGED: Final = tuple(k - 10 if k in MOVING else 0 for k in range(19))
_FOREGROUND: Final = tuple(int(k in MOVING) for k in range(19))

CITYSCAPES9: Final = LabelSpace(
    name="cityscapes9",
    names=("static", *(_NAMES[k] for k in MOVING)),
    palette=(_PALETTE[2], *(_PALETTE[k] for k in MOVING)),
    into={"foreground2": (0, *(1 for _ in MOVING))},
)
"""SADM's merge (supplement 6.2): the 12 static classes of cityscapes20 are one, the 8 moving ones stay."""

CITYSCAPES20: Final = LabelSpace(
    name="cityscapes20",
    names=(*_NAMES, "void"),
    palette=(*_PALETTE, (0, 0, 0)),
    into={"cityscapes9": (*_MERGED, 0), "cityscapes19": (*range(19), IGNORE), "foreground2": (*_FOREGROUND, 0)},
)
"""The 19 train ids and void, what SADM's segmentation network gives: 12 static classes with void, 8 moving."""

CITYSCAPES19: Final = LabelSpace(
    name="cityscapes19",
    names=_NAMES,
    palette=_PALETTE,
    into={"cityscapes9": _MERGED, "cityscapes20": tuple(range(19)), "foreground2": _FOREGROUND},
)
"""Train ids of Cordts et al., CVPR 2016 (cityscapesScripts ``labels.py``); 255 is ignored."""

TRAIN_IDS: Final[dict[int, int]] = dict.fromkeys(range(34), IGNORE) | {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14,
    28: 15, 31: 16, 32: 17, 33: 18,
}  # fmt: skip
"""Train id of each label id in a ``*_labelIds.png`` (cityscapesScripts ``labels.py``). The table's -1, licence plate,
is never drawn into one.
"""
