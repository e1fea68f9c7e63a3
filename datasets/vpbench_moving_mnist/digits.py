"""Moving digits without a download: Moving MNIST's motion with the 1,797 digits of UCI that scikit-learn also ships.

The digits are a file of 45 kB here. scikit-learn and its own dependencies would be an installation for 45 kB.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vpbench.errors import DataError
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import DatasetInfo, SequenceInfo
from vpbench_moving_mnist.motion import DIGIT, FRAMES, as_rgb, draw_clip

_TEST_CLIPS = 256
_TEST_SEED = 0
_TEST_DIGITS = 500
_NAME = re.compile(r"(test|train-(\d+))/(\d{5})")

INFO = DatasetInfo(
    modalities=("frames",),
    splits=("train", "test"),
    needs_root=False,
    obtain="Nothing to download: vpbench draws the clips",
    homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    licence="digits: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, CC BY 4.0",
    citation="E. Alpaydin, C. Kaynak. Optical Recognition of Handwritten Digits. UCI Machine Learning Repository, 1998",
)


class MovingDigits:
    """Clips of 20 frames, ``test/00042`` and ``train-<seed>/00042``, drawn from different digits; frames count from 0.

    The last 500 digits of the file are for testing. Their writers may be those of training digits.
    """

    class Options(BaseModel):
        """Options of the dataset, fixed by a protocol. Test clips have none."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        seed: int = Field(default=0, ge=0, description="Seed of the training clips.")
        train_clips: int = Field(default=10_000, ge=1, le=100_000, description="Number of training clips.")

    info: ClassVar[DatasetInfo] = INFO

    def __init__(self, root: Path | None = None, options: MovingDigits.Options | None = None) -> None:
        self._options = options or self.Options()

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the clips of ``train`` or ``test``, sorted by name.

        Raises:
            DataError: an unknown split.
        """
        if split not in self.info.splits:
            raise DataError(f"moving-digits has no split {split!r}; it has {' and '.join(self.info.splits)}")
        test = split == "test"
        folder = "test" if test else f"train-{self._options.seed}"
        count = _TEST_CLIPS if test else self._options.train_clips
        return [SequenceInfo(f"{folder}/{number:05d}", range(FRAMES)) for number in range(count)]

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Draw frames as uint8 [N,64,64,3], three equal channels.

        Raises:
            DataError: an unknown clip or frame, or another modality than frames.
        """
        if modality != "frames":
            raise DataError(f"moving-digits has no {modality}, only frames")
        match = _NAME.fullmatch(sequence)
        if match is None:
            raise DataError(f"{sequence!r} is no clip of moving-digits, test/<number> or train-<seed>/<number>")
        if outside := [number for number in frames if not 0 <= number < FRAMES]:
            raise DataError(f"{sequence}: has no frame {outside[0]}, only 0 to {FRAMES - 1}")
        test = match[1] == "test"
        digits = enlarged_digits()[-_TEST_DIGITS:] if test else enlarged_digits()[:-_TEST_DIGITS]
        return as_rgb(draw_clip(digits, _TEST_SEED if test else int(match[2]), match[3])[list(frames)])


@functools.cache
def enlarged_digits() -> NDArray[np.uint8]:
    """Return all digits [1797,28,28], from 8x8 pixels of 0 to 16, bilinearly, as values of 0 to 255."""
    with np.load(Path(__file__).with_name("digits.npz")) as file:
        small = (file["digits"].astype(np.uint16) * 255 // 16).astype(np.uint8)
    return np.stack([cv2.resize(digit, (DIGIT, DIGIT), interpolation=cv2.INTER_LINEAR) for digit in small])
