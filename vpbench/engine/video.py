"""A user's own video as a dataset of one sequence: a video file, a folder of pictures, or one picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
from numpy.typing import NDArray

from vpbench.errors import DataError
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import DatasetInfo, SequenceInfo
from vpbench.plugin.media import IMAGE_SUFFIXES, VideoReader, count_frames, natural_key, read_image

__all__ = ["Video"]


class Video:
    """Frames of a video file by number from 0, or the pictures of a folder in the order of the numbers in their names.

    What a folder holds beside its own pictures is passed over: hidden files, other files, folders.

    Raises:
        DataError: there is nothing at ``path``, it does not decode, is no video, or is a folder without pictures.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(modalities=("frames",), needs_root=False)

    def __init__(self, path: Path) -> None:
        self.path = path
        resolved = path.resolve()
        # Names enter clip ids, which are hashed and printed: any name must encode.
        self.name = resolved.name.encode("utf-8", "backslashreplace").decode() or "root"
        if not resolved.exists():
            raise DataError(f"{path}: there is no such video or folder")
        self._pictures = _pictures(path)
        self.claimed = len(self._pictures) or count_frames(path)
        """The number of frames that a video's header claims: not always true."""

    @cached_property
    def length(self) -> int:
        """The number of frames. Those of a video are decoded to be counted, since headers and packets may lie."""
        return len(self._pictures) or _count(self.path)

    @cached_property
    def _reader(self) -> VideoReader:
        return VideoReader(self.path)

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the one sequence."""
        return [SequenceInfo(self.name, range(self.length))]

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Return frames as uint8 RGB [N,H,W,3].

        Raises:
            DataError: one does not decode, or their sizes differ.
        """
        if not self._pictures:
            return self._reader.read(frames)
        paths = [self._pictures[number] for number in frames]
        images = [read_image(path) for path in paths]
        for path, image in zip(paths, images, strict=True):
            if image.shape != images[0].shape:
                raise DataError(
                    f"{self.path}: {path.name} is {_size(image)}, {paths[0].name} is {_size(images[0])} (HxW): "
                    f"the pictures of a video must be of one size"
                )
        return np.stack(images)


def _pictures(path: Path) -> tuple[Path, ...]:
    if path.is_file():
        return (path,) if path.suffix.lower() in IMAGE_SUFFIXES else ()
    try:
        names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{path}: cannot be listed: {error.strerror}") from error
    pictures = [name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    if not pictures:
        holds = f"it holds {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}" if names else "it is empty"
        raise DataError(
            f"{path}: no picture ({' '.join(sorted(IMAGE_SUFFIXES))}) lies in this folder; {holds}: name a video, or "
            f"the folder that holds the pictures themselves"
        )
    return tuple(path / name for name in sorted(pictures, key=natural_key))


def _count(path: Path) -> int:
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            container.streams.video[0].thread_type = "AUTO"
            return sum(1 for _ in container.decode(video=0))
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"{path}: does not decode ({error}); get the file again") from error


def _size(image: NDArray[Any]) -> str:
    return f"{image.shape[0]}x{image.shape[1]}"
