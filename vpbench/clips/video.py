"""A user's own video as a dataset of one sequence: a video file, a folder of pictures, or one picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import DataError
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import DatasetInfo, SequenceInfo
from vpbench.toolkit.folders import check_regular, is_hidden, regular_file
from vpbench.toolkit.media import (
    IMAGE_SUFFIXES,
    VideoReader,
    check_picture,
    decoded_length,
    order_pictures,
    probe_video,
    read_image,
)


class Video:
    """Frames of a video file by number from 0, or the pictures of a folder in the order of the numbers in their names.

    Hidden files, other files and folders next to the pictures of a folder are skipped.

    Raises:
        DataError: there is nothing at ``path``, it does not decode, is no video, is a folder without pictures, with
            several series of them or with a FIFO among them, or a picture file that holds several pictures.
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
        self.claimed = len(self._pictures) or probe_video(path).claimed
        """The number of frames that a video's header claims: not always true, and 0 where it does not say."""

    @cached_property
    def length(self) -> int:
        """The number of frames. Those of a video are decoded to be counted, since headers and packets may lie."""
        return len(self._pictures) or decoded_length(self.path)

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
    if not path.is_dir():
        if regular_file(path).suffix.lower() not in IMAGE_SUFFIXES:
            return ()
        check_picture(path)
        return (path,)
    try:
        names = sorted(entry.name for entry in path.iterdir() if not is_hidden(entry.name))
    except OSError as error:
        raise DataError(f"{path}: cannot be listed: {error.strerror}") from error
    pictures = [name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    if not pictures:
        holds = f"it holds {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}" if names else "it is empty"
        raise DataError(
            f"{path}: no picture ({' '.join(sorted(IMAGE_SUFFIXES))}) lies in this folder; {holds}: name a video, or "
            f"the folder that holds the pictures themselves"
        )
    check_regular(path, pictures)
    return tuple(path / name for name in order_pictures(pictures, str(path)))


def _size(image: NDArray[Any]) -> str:
    return f"{image.shape[0]}x{image.shape[1]}"
