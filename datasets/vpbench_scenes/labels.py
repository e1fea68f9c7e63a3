"""The Cityscapes label space: the 19 train ids with their official names and colours."""

from __future__ import annotations

from typing import Final

from vpbench.plugin.clip import LabelSpace

__all__ = ["CITYSCAPES19", "MOVING", "TRAIN_ID"]

CITYSCAPES19: Final = LabelSpace(
    name="cityscapes19",
    names=(
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    palette=(
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0),
        (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
)  # fmt: skip
"""Train ids of Cordts et al., CVPR 2016 (cityscapesScripts ``labels.py``); 255 is ignored."""

TRAIN_ID: Final[dict[str, int]] = {name: i for i, name in enumerate(CITYSCAPES19.names)}
MOVING: Final = frozenset(range(11, 19))
"""Train ids of the eight classes whose objects move and carry an instance id."""
