"""Reading pictures and videos, for dataset authors: uint8 RGB in, one clear error out."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps

from vpbench.errors import DataError

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "VideoReader",
    "count_frames",
    "file_stamp",
    "natural_key",
    "read_image",
    "stack",
]

VIDEO_SUFFIXES = frozenset({".avi", ".mp4", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".gif"})
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})

Image = NDArray[np.uint8]
_DIGITS = re.compile(r"(\d+)")


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a key that sorts file names by the numbers in them: ``frame2.png`` before ``frame10.png``."""
    parts: list[str | int] = list(_DIGITS.split(name))  # text, digits, text, ...
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def read_image(path: Path) -> Image:
    """Read an 8-bit picture as uint8 RGB [H,W,3], turned as its EXIF data say, without its alpha channel.

    Decoded by Pillow and not OpenCV, which before version 5 fills a truncated JPEG with grey and says nothing. Of
    intact files both give the same bytes.

    Raises:
        DataError: missing, truncated, not decodable, or of more than 8 bits.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        with Pillow.open(io.BytesIO(data)) as picture:
            mode = picture.mode
            image = np.array(ImageOps.exif_transpose(picture).convert("RGB"), dtype=np.uint8)
    except Exception as error:  # a codec may raise anything on broken data
        raise DataError(f"{path}: is not a picture that decodes ({len(data)} bytes); get the file again") from error
    if mode.startswith("I") or mode == "F":
        raise DataError(f"{path}: has pixels of more than 8 bits (Pillow's mode {mode}); convert it to 8 bits")
    return image


def stack(images: Sequence[NDArray[Any]], where: str) -> NDArray[Any]:
    """Stack pictures of one sequence.

    Raises:
        DataError: the sizes differ.
    """
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1:
        named = " and ".join(f"{w}x{h}" for h, w in sorted(sizes)[:2])
        raise DataError(f"{where}: the frame size changes within the sequence ({named})")
    return np.stack(images)


def file_stamp(path: Path) -> str:
    """Return size and time of a file (of a folder: what changes when files in it come or go)."""
    state = path.stat()
    return f"{state.st_size}-{state.st_mtime_ns}"


def count_frames(path: Path) -> int:
    """Return how many frames a video's header claims; nothing is decoded.

    Containers that do not say (.gif, .mkv, .webm) are counted by packets.

    Raises:
        DataError: empty, truncated before its header ends, shorter than an AVI's header says, or without a video stream
            or a frame in it.
    """
    with _open(path) as container:
        start, size = _start(path), path.stat().st_size
        if start[:4] == b"RIFF" and (whole := 8 + int.from_bytes(start[4:], "little")) > size:
            raise DataError(f"{path}: is cut off: {size} of {whole} bytes; get the file again")
        stream = _video_stream(container, path)
        count = int(stream.frames) or sum(1 for packet in container.demux(stream) if packet.size)
    if not count:
        raise DataError(f"{path}: holds no frame; get the file again")
    return count


class VideoReader:
    """Frames of one video by number, counted from 0 in the order of presentation.

    The video is decoded forward and held open, and the frames from the first one last asked for onwards stay at hand:
    windows read in ascending order decode it once, however much they overlap. Frames before that are not kept, so that
    going back decodes from the start again.

    It can be pickled, and carried through a fork: the copy opens the file anew.
    """

    def __init__(self, path: Path, keep: int = 256 << 20) -> None:
        """``keep`` bytes of decoded frames stay at hand at most."""
        self.path = path
        self._keep = keep
        self._held: dict[int, Image] = {}
        self._restart()

    def __reduce__(self) -> tuple[type[VideoReader], tuple[Path, int]]:
        return VideoReader, (self.path, self._keep)

    def read(self, frames: Sequence[int]) -> NDArray[np.uint8]:
        """Return uint8 RGB [N,H,W,3] of N >= 1 ascending frame numbers.

        Raises:
            DataError: the video does not decode, has fewer frames, or changes its frame size among those read.
        """
        if self._pid != os.getpid():
            # The file position is shared with the parent process, and a decoder's threads do not exist here: freeing
            # the decoder would wait for them without end.
            _abandoned.append((self._decoded, self._rgb))
            self._restart()
        self._held = {number: image for number, image in self._held.items() if number >= frames[0]}
        found = {number: self._held[number] for number in frames if number in self._held}
        missing = [number for number in dict.fromkeys(frames) if number not in found]
        if missing and missing[0] < self._next:
            self._restart()
        for number in missing:
            found[number] = self._advance_to(number, first=frames[0])
        return stack([found[number] for number in frames], str(self.path))

    def _restart(self) -> None:
        self._decoded = _decode(self.path)
        self._next = 0
        self._held = {}
        self._rgb = VideoReformatter()
        self._pid = os.getpid()

    def _advance_to(self, number: int, first: int) -> Image:
        """Decode up to a frame and return it; those from ``first`` on are held, those before are not even converted."""
        for frame in self._decoded:
            current = self._next
            self._next += 1
            if current < first:
                continue
            image = np.asarray(self._rgb.reformat(frame, format="rgb24").to_ndarray(), dtype=np.uint8)
            self._held[current] = image
            if len(self._held) * image.nbytes > self._keep:
                del self._held[min(self._held)]
            if current == number:
                return image
        claimed = count_frames(self.path)
        if claimed == self._next:
            raise DataError(f"{self.path}: frame {number} was asked for, but it has {claimed} frames")
        raise DataError(
            f"{self.path}: frame {number} was asked for, but only {self._next} frames decode although its header "
            f"claims {claimed}; get the file again, or leave it out with --allow-partial"
        )


_abandoned: list[object] = []
"""Decoders inherited through a fork, kept from being freed."""


def _decode(path: Path) -> Iterator[Any]:
    with _open(path) as container:
        stream = _video_stream(container, path)
        stream.thread_count = 1  # processes are what runs in parallel
        try:
            yield from container.decode(stream)
        except (av.error.FFmpegError, ValueError) as error:
            raise DataError(f"{path}: does not decode ({error}); get the file again") from error


def _open(path: Path) -> Any:
    try:
        return av.open(str(path), metadata_errors="replace")
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (av.error.FFmpegError, OSError) as error:
        size = path.stat().st_size if path.is_file() else 0
        raise DataError(
            f"{path}: is not a video that opens ({size} bytes; {error.strerror}); get the file again"
        ) from error


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise DataError(f"{path}: has no video stream; get the file again")
    return container.streams.video[0]
