"""Truth made worse on purpose, to see what a model's claim is worth when its inputs are as they are in practice.

What is random follows from the clip's id and the option ``seed`` alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vpbench.plugin.annotator import AnnotatorInfo
from vpbench.toolkit.labels import CITYSCAPES19, MOVING

_GRID: Final = 8
"""Pixels between the nodes of a noise field: errors of real estimators are smooth, too."""


class FlowNoise:
    """The dataset's flow plus smooth errors; ``zero`` gives no motion at all.

    Each component of the errors has standard deviation ``sigma`` at the nodes of a grid of 8 pixels and is interpolated
    between them.
    """

    class Options(BaseModel):
        """How bad the flow is."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        sigma: float = Field(default=0.5, ge=0, le=100, description="pixels")
        zero: bool = Field(default=False, description="no motion at all")
        seed: int = Field(default=0, ge=0)

    presets: Final = {"mild": {"sigma": 0.2}, "strong": {"sigma": 1.0}, "zero": {"zero": True}}
    info = AnnotatorInfo(gives="flow", needs=("frames", "flow"))

    def __init__(self, options: Options) -> None:
        self.options = options

    def annotate(self, window: Mapping[str, NDArray[Any]], clips: Sequence[str], device: str) -> NDArray[np.float32]:
        """Return the noisy flow, float32 [B,H,W,2] in pixels."""
        flow = window["flow"][:, 0]
        if self.options.zero:
            return np.zeros_like(flow)
        return np.stack([self._spoil(entry, clip) for entry, clip in zip(flow, clips, strict=True)])

    def _spoil(self, flow: NDArray[np.float32], clip: str) -> NDArray[np.float32]:
        draw = _draws("flow", clip, self.options.seed)
        errors = np.stack([_smooth(draw, flow.shape[:2]) for _ in range(2)], axis=-1)
        return np.asarray(flow + self.options.sigma * errors, dtype=np.float32)


class LabelNoise:
    """The dataset's labels with shaky boundaries: each is looked up ``jitter`` pixels off at most, smoothly varying.

    Only between classes that stand still: labels of ``keep`` neither spread nor shrink (SADM, section 6.2, holds that
    confusion among static classes is what makes nine classes better than twenty). A share ``swap`` of the blocks of 8x8
    pixels takes one label that occurs in the frame, mostly a wrong one.
    """

    class Options(BaseModel):
        """How bad the labels are."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        jitter: float = Field(default=2.0, ge=0, le=64, description="pixels")
        keep: tuple[int, ...] = Field(
            default=tuple(map(CITYSCAPES19.names.index, MOVING)), description="ids of classes that move (Cityscapes')"
        )
        swap: float = Field(default=0.0, ge=0, le=1, description="share of blocks with a wrong label")
        seed: int = Field(default=0, ge=0)

    presets: Final = {f"jitter-{pixels}": {"jitter": pixels} for pixels in (0, 1, 2, 4)} | {
        "swaps": {"jitter": 1, "swap": 0.02}
    }
    info = AnnotatorInfo(gives="semantics", needs=("frames", "semantics"))

    def __init__(self, options: Options) -> None:
        self.options = options

    def annotate(self, window: Mapping[str, NDArray[Any]], clips: Sequence[str], device: str) -> NDArray[np.uint8]:
        """Return the noisy labels, uint8 [B,H,W]."""
        labels = window["semantics"][:, 0]
        return np.stack([self._spoil(entry, clip) for entry, clip in zip(labels, clips, strict=True)])

    def _spoil(self, labels: NDArray[np.uint8], clip: str) -> NDArray[np.uint8]:
        draw = _draws("labels", clip, self.options.seed)
        height, width = labels.shape
        rows, columns = np.indices(labels.shape)
        # At most `jitter` pixels in each direction: the field is clipped at two standard deviations.
        dy, dx = (np.clip(_smooth(draw, labels.shape) / 2, -1, 1) * self.options.jitter for _ in range(2))
        y = np.clip(np.rint(rows + dy).astype(np.int64), 0, height - 1)
        x = np.clip(np.rint(columns + dx).astype(np.int64), 0, width - 1)
        shaken = labels[y, x]
        shaken = np.where(np.isin(labels, self.options.keep) | np.isin(shaken, self.options.keep), labels, shaken)
        present = np.unique(labels)
        blocks = (-(-height // _GRID), -(-width // _GRID))
        wrong, substitute = draw.random(blocks) < self.options.swap, present[draw.integers(0, len(present), blocks)]
        wrong, substitute = (np.kron(a, np.ones((_GRID, _GRID), a.dtype))[:height, :width] for a in (wrong, substitute))
        return np.where(wrong, substitute, shaken).astype(np.uint8)


def _draws(kind: str, clip: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{kind}/{seed}/{clip}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))


def _smooth(draw: np.random.Generator, size: tuple[int, ...]) -> NDArray[np.float64]:
    """Return a field [H,W] of standard normal values at grid nodes, interpolated bilinearly between them."""
    height, width = size
    nodes = draw.standard_normal((height // _GRID + 2, width // _GRID + 2))
    rows, columns = np.arange(height) / _GRID, np.arange(width) / _GRID
    across = np.stack([np.interp(columns, np.arange(nodes.shape[1]), line) for line in nodes])
    return np.stack([np.interp(rows, np.arange(nodes.shape[0]), line) for line in across.T], axis=1)
