"""Read the lists of windows that STRPM published and OpenSTL ships. Both sides have windows of every video."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

WINDOWS = {"train": 73404, "test": 8582}
"""Windows on each side, in 838 videos."""
_FILE = Path(__file__).with_name("strpm_windows.txt")
_STRIDE = 25
_FRAMES = range(0, 40, 5)
"""Frames of a window of 4 + 4 images, counted from its first."""


@functools.cache
def listed_frames(split: str) -> Mapping[str, Sequence[int]]:
    """Return the frames that the windows of ``train`` or ``test`` cover, ascending, by video.

    A line of the committed file is a video, its first window's frame, and two hexadecimal numbers for train and test.
    Bit k of such a number says whether the window that starts 25 k frames later is listed. Windows every 25 frames
    through the covered frames are exactly those of the list: none lies across two others.
    """
    frames: dict[str, Sequence[int]] = {}
    for line in _FILE.read_text(encoding="ascii").splitlines():
        video, first, *masks = line.split()
        bits = int(masks[split == "test"], 16)
        starts = [int(first) + _STRIDE * k for k in range(bits.bit_length()) if bits >> k & 1]
        frames[video] = sorted({start + offset for start in starts for offset in _FRAMES})
    return frames
