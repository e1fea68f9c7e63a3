"""Tiny lossless videos and pictures whose every pixel is known."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray


def known_frames(count: int, height: int = 16, width: int = 24) -> NDArray[np.uint8]:
    """Frames [N,H,W,3]: red is the frame's number, green the column, blue the row."""
    frames = np.zeros((count, height, width, 3), dtype=np.uint8)
    frames[..., 0] = np.arange(count)[:, None, None]
    frames[..., 1] = np.arange(width)
    frames[..., 2] = np.arange(height)[:, None]
    return frames


def write_video(path: Path, frames: NDArray[np.uint8], title: str = "", rate: int = 25) -> Path:
    """Write RGB frames without loss, in the container that the suffix names: each a PNG, in a .mkv FFV1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        if title:
            container.metadata["title"] = title
        matroska = path.suffix == ".mkv"
        stream = container.add_stream("ffv1" if matroska else "png", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0" if matroska else "rgb24"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_picture(path: Path, frame: NDArray[np.uint8]) -> Path:
    """Write one RGB picture in the format that the suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), frame[..., ::-1])
    return path
