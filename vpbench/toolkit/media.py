"""Read pictures and videos, for dataset authors: uint8 RGB in, one clear error out.

Videos are read here, with FFmpeg: counts do not trust headers, frames are turned upright, damage is refused by name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from vpbench.errors import DataError, Remedy
from vpbench.toolkit.containers import check_whole
from vpbench.toolkit.decoding import check_depth, check_intact, damaged, open_video, upright, video_stream
from vpbench.toolkit.decoding import decode as _decode
from vpbench.toolkit.folders import file_stamp
from vpbench.toolkit.pictures import IMAGE_SUFFIXES, check_picture, read_image, stack
from vpbench.toolkit.processes import note
from vpbench.toolkit.series import order_pictures

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "VideoFacts",
    "VideoReader",
    "check_picture",
    "count_frames",
    "decoded_length",
    "file_stamp",
    "order_pictures",
    "probe_video",
    "read_image",
    "stack",
]

VIDEO_SUFFIXES = frozenset({".avi", ".mp4", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".gif"})

Image = NDArray[np.uint8]
_NO_FRAME = 19
"""An MPEG-4 packet of at most so many bytes may hold no picture (FFmpeg's ``MAX_NVOP_SIZE``)."""
_LEADS_TO = {"mpeg4", "h264", "hevc"}
"""Codecs in which an intact packet may show no frame: not coded, or before the first frame to decode from."""


@dataclass(frozen=True)
class VideoFacts:
    """Facts that a video's packets and header tell before it is decoded."""

    frames: int
    """How many frames are shown."""
    rate: Fraction | None
    """Frames per second; None where the file does not say."""
    claimed: int
    """How many frames the header claims, true or not; 0 where it does not say."""


def probe_video(path: Path) -> VideoFacts:
    """Count a video's frames and read its frame rate; cheap, since frames are decoded only where packets mislead.

    The container's index is used where it agrees with the header and the file; otherwise packets that show a frame are
    counted. A few streams are decoded to be counted: those that begin in the middle of a group of pictures, and MPEG-4
    with packets that hold no picture.

    Raises:
        DataError: no regular file, empty, cut off, damaged where it is looked at, without a video stream or a frame, or
            with more than 8 bits per channel.
    """
    with open_video(path) as container:
        size = path.stat().st_size
        check_whole(path, size)
        stream = video_stream(container, path)
        if (pixels := stream.codec_context.format) is not None:
            check_depth(pixels, path)
        rate, claimed = stream.average_rate or stream.guessed_rate, int(stream.frames)
        frames = claimed if _index_agrees(stream, size) else _count_packets(container, stream, path)
    frames = decoded_length(path) if frames is None else frames
    if not frames:
        raise DataError(f"{path}: holds no frame; get the file again")
    return VideoFacts(frames, rate, claimed)


def count_frames(path: Path) -> int:
    """Return how many frames a video shows (raises as :func:`probe_video`)."""
    return probe_video(path).frames


def decoded_length(path: Path) -> int:
    """Decode a whole video and return its number of frames (raises as :meth:`VideoReader.read`)."""
    return sum(1 for _ in _decode(path))


class VideoReader:
    """Frames of one video by number, counted from 0 in the order of presentation.

    The video is decoded forward and held open, and the frames from the first one last asked for onwards stay at hand:
    windows read in ascending order decode it once, however much they overlap. Frames before that are not kept, so that
    going back decodes from the start again.

    It can be pickled, and carried through a fork: the copy opens the file again.
    """

    def __init__(self, path: Path, keep: int = 256 << 20) -> None:
        """``keep`` bytes of decoded frames stay at hand at most."""
        self.path = path
        self._keep = keep
        self._images: dict[int, Image] = {}
        self._restart()

    def __reduce__(self) -> tuple[type[VideoReader], tuple[Path, int]]:
        return VideoReader, (self.path, self._keep)

    def read(self, frames: Sequence[int]) -> NDArray[np.uint8]:
        """Return uint8 RGB [N,H,W,3] of N >= 1 ascending frame numbers, turned upright.

        Raises:
            DataError: the video is damaged at or before these frames, has fewer frames or more than 8 bits per channel,
                or changes its frame size among those read.
        """
        note(f"file {self.path}")
        if self._pid != os.getpid():
            # The file position is shared with the parent process, and a decoder's threads do not exist here: freeing
            # the decoder would wait for them without end.
            _abandoned.append((self._decoded, self._rgb))
            self._restart()
        self._images = {number: image for number, image in self._images.items() if number >= frames[0]}
        images = {number: self._images[number] for number in frames if number in self._images}
        missing = [number for number in dict.fromkeys(frames) if number not in images]
        if missing and (missing[0] < self._next or self._failed):
            self._restart()
        for number in missing:
            images[number] = self._advance_to(number, first=frames[0])
        return stack([images[number] for number in frames], str(self.path))

    def _restart(self) -> None:
        self._decoded = _decode(self.path)
        self._next = 0
        self._failed = False
        self._images = {}
        self._rgb = VideoReformatter()
        self._pid = os.getpid()

    def _advance_to(self, number: int, first: int) -> Image:
        """Decode up to a frame and return it; those from ``first`` on are held, those before are not even converted."""
        self._failed = True  # until the frame is there: an iterator that raised has ended
        for frame in self._decoded:
            current = self._next
            self._next += 1
            if current < first:
                continue
            image = upright(self._rgb.reformat(frame, format="rgb24").to_ndarray(), frame, self.path)
            self._images[current] = image
            if len(self._images) * image.nbytes > self._keep:
                del self._images[min(self._images)]
            if current == number:
                self._failed = False
                return image
        claimed = count_frames(self.path)
        if claimed <= self._next:
            raise DataError(f"{self.path}: frame {number} was asked for, but it has {self._next} frames")
        raise DataError(
            f"{self.path}: frame {number} was asked for, but only {self._next} frames decode although it holds "
            f"{claimed} packets of frames; get the file again, or allow a partial result",
            Remedy.ALLOW_PARTIAL,
        )


_abandoned: list[object] = []
"""Decoders inherited through a fork, kept from being freed."""


def _index_agrees(stream: Any, size: int) -> bool:
    """Return whether the container's index confirms the header's count, so that no packet needs to be read."""
    entries = stream.index_entries
    if not stream.frames or len(entries) != stream.frames or stream.codec_context.has_b_frames:
        return False
    return bool(entries[0].is_keyframe) and all(
        not entry.is_discard and entry.size > _NO_FRAME and 0 <= entry.pos <= size - entry.size for entry in entries
    )


def _count_packets(container: Any, stream: Any, path: Path) -> int | None:
    """Count the packets that show a frame; None where only decoding tells."""
    codec = stream.codec_context.name
    count, start = 0, None
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            check_intact(packet, count, path)
            if codec in _LEADS_TO and start is None and not packet.is_keyframe:
                return None
            start = packet.pts if start is None else start
            if codec in _LEADS_TO and packet.pts is not None and start is not None and packet.pts < start:
                return None
            if codec == "mpeg4" and packet.size <= _NO_FRAME:
                return None
            count += not packet.is_discard and not _is_hidden(codec, packet)
    except (av.error.FFmpegError, ValueError) as error:
        raise damaged(path, count, error) from error
    return count


def _is_hidden(codec: str, packet: Any) -> bool:
    """Return whether a VP8 or VP9 packet holds a reference that is not shown (RFC 6386, 9.1; VP9 bitstream, 6.2)."""
    data = memoryview(packet)
    if codec == "vp8":
        return not data[0] & 0x10
    is_superframe = data[-1] & 0xE0 == 0xC0
    return codec == "vp9" and not is_superframe and data[0] & 0x30 != 0x30 and not data[0] & 0x0A
