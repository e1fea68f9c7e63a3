"""Ids of the scenes' classes by name."""

from __future__ import annotations

from typing import Final

from vpbench.toolkit.labels import CITYSCAPES19

TRAIN_ID: Final[dict[str, int]] = {name: i for i, name in enumerate(CITYSCAPES19.names)}
