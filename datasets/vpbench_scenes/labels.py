"""The label space of the scenes: the 19 train ids of Cityscapes."""

from __future__ import annotations

from typing import Final

from vpbench_cityscapes.labels import CITYSCAPES19

__all__ = ["CITYSCAPES19", "TRAIN_ID"]

TRAIN_ID: Final[dict[str, int]] = {name: i for i, name in enumerate(CITYSCAPES19.names)}
